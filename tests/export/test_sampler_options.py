# SPDX-License-Identifier: Apache-2.0
"""A sampler as it is typed."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from stf_export import exporter
from stf_export.samplers import Sampler
from stf_infer.cli import main
from stf_infer.errors import UsageError

EXPORT = ("export", "stfdiff", "--weights", "w.pth", "-o", "net.stf")


def call(*arguments):
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture
def seen(monkeypatch):
    """What reaches the exporter."""
    found = {}

    def export(network, weights, **options):
        found.update(options)
        raise UsageError("stop here")

    monkeypatch.setattr(exporter, "export", export)
    return found


@pytest.mark.parametrize(
    ("typed", "sampler"),
    [
        (("--sampler", "ddim", "--steps", 4, "--eta", 0), Sampler(name="ddim", steps=4, eta=0.0)),
        (("--timesteps", "99,60, 20"), Sampler(timesteps=(99, 60, 20))),
        (
            ("--sampler", "ddpm", "--variance", "learned", "--loop", "host", "--clip", "on"),
            Sampler(name="ddpm", variance="learned", loop="host", clip="on"),
        ),
        (
            ("--prediction", "v", "--schedule", "linear", "--timesteps-count", 200, "--spacing", "trailing"),
            Sampler(prediction="v", schedule="linear", train_steps=200, spacing="trailing"),
        ),
        (("--diffusers-compatible",), Sampler(diffusers_compatible=True)),
    ],
)
def test_what_is_typed_is_asked_for(typed, sampler, seen):
    result = call(*EXPORT, *typed)
    assert "stop here" in result.stderr
    assert seen["sampler"] == sampler
    if "--eta" in typed:
        assert seen["sampler"].asked["eta"] == 0


def test_nothing_typed_asks_for_nothing(seen):
    call(*EXPORT)
    assert "sampler" not in seen


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (("--spacing", "uniform"), "leading, trailing, linspace, stfdiff, guided"),
        (("--sampler", "euler"), "ddim, dpm, ddpm"),
        (("--eta", 2), "0 to 1"),
        (("--timesteps", "99,many"), "from high to low"),
        (("--timesteps", "99,50", "--steps", 2), "Leave these out"),
    ],
)
def test_mistakes_are_told_as_data_and_name_what_is_allowed(typed, named, seen):
    result = call(*EXPORT, *typed, "--json")
    assert result.exit_code == 2
    assert named in json.dumps(json.loads(result.stdout), ensure_ascii=False)
    assert not seen


def test_a_sampler_has_no_meaning_for_a_graph(tmp_path):
    result = call("export", "--onnx", "m.onnx", "--contract", "c.toml", "--steps", 4, "-o", tmp_path / "net.stf")
    assert result.exit_code == 2
    assert "--sampler has no meaning with --onnx" in result.stderr


def test_networks_shows_how_the_authors_sample():
    result = call("networks", "diffstsf")
    text = " ".join(result.stdout.split())
    assert "sampler ddpm, 250 steps of 1000 (996, 992, " in text
    assert "variance learned, a loop around one step" in text
    assert "input noise" in text
    assert json.loads(call("networks", "edcstfn", "--json").stdout)["networks"][0]["sampler"] is None
