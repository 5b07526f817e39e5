# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from fakes import Opening, add_coarse_change, make_spec, with_level
from handmade_bundle import make_bundle
from stf_infer import golden
from stf_infer.cli import main
from stf_infer.diffusion import SamplerSpec, Update
from stf_infer.engines import EngineInfo
from stf_infer.spec import ModelSpec, Values


@pytest.fixture
def folder(tmp_path):
    return make_bundle(tmp_path / "net.stf")


def call(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, [str(a) for a in arguments])


def test_info_shows_what_a_person_wants_to_know(folder):
    result = call("info", folder)
    assert result.exit_code == 0
    text = " ".join(result.stdout.split())
    for word in (
        "coarse_t1",
        "red, nir",
        "2 x 8 x 8",
        "2 x 32 x 32",
        "halo 2: tiled equals untiled",
        "origins at multiples of 4",
        "fine_t1 2 px",
        "2.0e-07 of the range against torch",
        "1,234 numbers",
        "stf-infer 0.1.0",
        "converted from [Keras]",
        "model-fp32-data",
    ):
        assert word in text


def test_info_shows_the_steps_of_a_sampler(tmp_path):
    sampler = SamplerSpec(
        name="ddim",
        prediction="x0",
        clip="on",
        eta=0.5,
        schedule="cosine",
        train_steps=100,
        timesteps=(99, 49),
        alphas_cumprod=(0.1, 0.5),
        next_alphas_cumprod=(0.5, 1.0),
        updates=(Update(x0=0.7, epsilon=0.6, noise=0.3), Update(x0=1.0)),
    )
    spec = ModelSpec(**{**make_spec(32, halo=2, draws=(0, 1)).model_dump(), "sampler": sampler})
    bundle = make_bundle(tmp_path / "net.stf", spec)
    words = "ddim, 2 steps of 100 (99, 49), cosine schedule, reads x0, clip on to -1..1, eta 0.5, one graph"
    assert words in " ".join(call("info", bundle).stdout.split())
    stated = json.loads(call("info", bundle, "--json").stdout)["contract"]["sampler"]
    assert (stated["timesteps"], stated["alphas_cumprod"]) == ([99, 49], [0.1, 0.5])


def test_info_says_why_tiles_are_blended_and_how_values_are_scaled(tmp_path):
    spec = make_spec(
        32,
        mode="blend",
        overlap=8,
        because=("GlobalAveragePool over a whole tile", "measured: a change [here] moves all"),
        coarse_grid="fine",
        from_coarse="align-corners",
        values=Values(unit="kelvin", scale=0.02, offset=-5, minimum=200),
    )
    text = " ".join(call("info", make_bundle(tmp_path / "net.stf", spec)).stdout.split())
    for word in (
        "blended over 8 pixels",
        "GlobalAveragePool over a whole tile",
        "a change [here] moves all",
        "coarse to fine, align-corners",
        "kelvin",
        "x 0.02 -5, clipped to 200..",
    ):
        assert word in text


def test_info_shows_what_is_only_read(tmp_path):
    spec = make_spec(32, halo=4, predicts="core", coarse_grid="fine")
    spec = with_level(spec)
    text = " ".join(call("info", make_bundle(tmp_path / "net.stf", spec)).stdout.split())
    for word in (
        "mean-of-dates of fine_t1, fine_t3",
        "fine_t3 red, nir fine reflectance only for numbers of the scene",
        "only the core is predicted",
    ):
        assert word in text


def test_info_says_which_noise_an_input_is(tmp_path):
    spec = make_spec(32, draws=(0, 7))
    text = " ".join(call("info", make_bundle(tmp_path / "net.stf", spec)).stdout.split())
    for word in ("noise_0 red, nir noise standard normal, draw 0 2 x 32 x 32", "standard normal, draw 7"):
        assert word in text


def test_info_as_json_holds_the_whole_contract(folder):
    result = call("info", folder, "--json")
    data = json.loads(result.stdout)
    assert data["contract"] == make_spec(32, halo=2).model_dump(mode="json")
    assert data["assets"]["model-fp32"]["bytes"] == 700
    assert data["precisions"] == ["fp32"]
    assert data["notes"] == ["converted from [Keras]"]
    assert len(data["sha256"]) == 64


def test_info_needs_no_asset_files(folder):
    (folder / "model.onnx").unlink()
    assert call("info", folder).exit_code == 0


@pytest.mark.parametrize("verb", ["info", "check"])
def test_what_is_no_bundle_is_bad_input(tmp_path, verb):
    result = call(verb, tmp_path / "none.stf", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"] == "BundleError"
    assert "no bundle at this path" in result.stderr


@pytest.fixture
def install(monkeypatch):
    def do(**functions):
        listed = [
            EngineInfo(name, usable=function is not None, reason="" if function else "not there", extra="cpu")
            for name, function in functions.items()
        ]
        monkeypatch.setattr(golden, "available", lambda: listed)
        monkeypatch.setattr(golden, "_openings", lambda b, info: [Opening("fp32", functions[info.name])])

    return do


def twice(**inputs):
    return 2 * add_coarse_change(**inputs)


def test_check_passes_where_an_engine_does(folder, install):
    install(right=add_coarse_change, missing=None)
    result = call("check", folder)
    assert result.exit_code == 0
    for word in ("3 files as exported", "right", "passed", "missing", "not run", "not there", "1e-04"):
        assert word in result.stdout


def test_check_fails_where_an_engine_does(folder, install):
    install(right=add_coarse_change, wrong=twice)
    result = call("check", folder, "--json")
    assert result.exit_code == 1
    data = json.loads(result.stdout)
    assert data["passed"] is False
    assert [(e["engine"], e["passed"]) for e in data["engines"]] == [("right", True), ("wrong", False)]
    assert "FAILED" in call("check", folder).stdout
    assert call("check", folder, "--engine", "right").exit_code == 0
    assert call("check", folder, "--tolerance", "10").exit_code == 0


def test_check_without_an_engine_names_the_extra(folder, install):
    install(missing=None)
    result = call("check", folder)
    assert result.exit_code == 2
    assert "pip install 'stf-infer[cpu]'" in result.stderr


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz", "model.onnx.data"])
def test_check_finds_a_changed_byte(folder, install, name):
    install(right=add_coarse_change)
    (folder / name).write_bytes((folder / name).read_bytes()[:-1] + b"?")
    result = call("check", folder, "--json")
    assert result.exit_code == 2
    assert json.loads(result.stdout)["error"] == "AssetError"
