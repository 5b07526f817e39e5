# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that cannot be used, given to ``stf-infer export`` for several networks: exit code 2, and one object."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file

from checkpoint_support import RunsCode
from stf_export import networks
from stf_infer.bundle import Bundle
from stf_infer.cli import main

# Small forms, of every family and of both kinds of input.
SMALL: dict[str, dict[str, Any]] = {
    "deltaweave": {},
    "edcstfn": {},
    "ganstfm": {},
    "mgsfformer": {"width": 8, "horizon": 12},
    "mlffgan": {"degrade": True},
    "sdcs": {"last_width": 128, "fusion_input": "sr"},
    "stfdiff": {"width": 8, "activations": "relu"},
    "stfnet": {},
    "swinstfm": {"tile": 32},
    "unetlstm": {},
}
BANDS = 2

pytestmark = pytest.mark.usefixtures("in_a_folder")


@pytest.fixture
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def state_of(name: str, bands: int = BANDS, **options: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dict(networks.create(name, bands=bands, **{**SMALL.get(name, {}), **options}).state_dict())


def export(name: str, *more: str, weights: str = "w.pth", **options: Any) -> Result:
    typed = [f"--option={option}={json.dumps(value)}" for option, value in {**SMALL[name], **options}.items()]
    bands = [] if "--bands" in more else ["--bands", str(BANDS)]
    arguments = ["export", name, "--weights", weights, *bands, *typed, *more, "-o", "net.stf", "--json"]
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, arguments)


def refusal(result: Result) -> dict[str, Any]:
    """The object on stdout, which is all of it; nothing but the weights may lie in the folder."""
    assert result.exit_code == 2, result.output
    assert all(path.suffix in (".pth", ".safetensors") for path in Path().iterdir())
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", SMALL)
def test_the_wrong_network(name: str):
    torch.save({"epoch": 3, "state_dict": state_of("stfdcnn")}, "w.pth")
    told = refusal(export(name))
    assert told["error"] == "CheckpointError"
    assert told["fix"] == "The keys are those of the network stfdcnn: name that one"


@pytest.mark.parametrize("name", SMALL)
def test_the_wrong_number_of_bands(name: str):
    torch.save(state_of(name, bands=6), "w.pth")
    told = refusal(export(name, "--bands", "3"))
    assert told["error"] == "CheckpointError"
    assert "made for 6 bands" in told["fix"]


@pytest.mark.parametrize(
    ("name", "option"),
    [("mlffgan", "degrade"), ("sdcs", "fusion_input"), ("stfdiff", "activations")],
)
def test_an_ambiguous_variant(name: str, option: str, monkeypatch):
    torch.save(state_of(name), "w.pth")
    monkeypatch.setitem(SMALL, name, {key: value for key, value in SMALL[name].items() if key != option})
    told = refusal(export(name))
    assert told["error"] == "CheckpointError"
    assert option in told["what"]
    assert f"--option {option}=" in told["fix"]


@pytest.mark.parametrize("kind", ["pth", "safetensors", "legacy"])
@pytest.mark.parametrize("name", ["edcstfn", "mlffgan", "swinstfm", "mgsfformer"])
def test_a_truncated_file(name: str, kind: str):
    path = Path("w.safetensors" if kind == "safetensors" else "w.pth")
    if kind == "safetensors":
        save_file(state_of(name), path)
    else:
        torch.save(state_of(name), path, _use_new_zipfile_serialization=kind == "pth")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    told = refusal(export(name, weights=str(path)))
    assert told["error"] == "CheckpointError"
    assert "cut short or damaged" in told["what"]
    assert told["fix"] == "Copy or download it again"


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["edcstfn", "mlffgan", "swinstfm", "mgsfformer"])
def test_a_pickle_with_code_is_refused_and_not_run(name: str, zipped: bool):
    content = {"state_dict": state_of(name), "config": RunsCode(Path("was_run").absolute())}
    torch.save(content, "w.pth", _use_new_zipfile_serialization=zipped)
    told = refusal(export(name))
    assert told["error"] == "UnsafeCheckpointError"
    assert "would run code" in told["what"]
    assert "posix.system" in told["got"] or "nt.system" in told["got"]
    assert not Path("was_run").exists()


def test_one_stage_of_two_and_the_wrong_stages():
    state = state_of("stfdcnn", part="unit")
    torch.save(state, "w.pth")
    runner = CliRunner(env={"COLUMNS": "200"})
    common = ["export", "stfdcnn", "--bands", "2", "-o", "net.stf", "--json", "--weights"]
    told = refusal(runner.invoke(main, [*common, "w.pth"]))
    assert "--weights stage_1=FILE --weights stage_2=FILE" in told["fix"]
    told = refusal(runner.invoke(main, [*common, "stage_1=w.pth", "--weights", "stage_3=w.pth"]))
    assert told["allowed"] == "stage_1, stage_2"


def test_two_stages_are_exported_with_what_was_assumed():
    for stage in ("stage_1", "stage_2"):
        torch.save(state_of("stfdcnn", part="unit"), f"{stage}.pth")
    files = ["--weights", "stage_1=stage_1.pth", "--weights", "stage_2=stage_2.pth"]
    arguments = ["export", "stfdcnn", *files, "--bands", "red,nir", "--tile", "64", "--tolerance", "1e-3"]
    result = CliRunner().invoke(main, [*arguments, "-o", "net.stf", "--json"])
    assert result.exit_code == 0, result.output
    bundle = Bundle.open("net.stf")
    assert bundle.spec.output.bands == ("red", "nir")
    assumed = [note for note in bundle.properties["stf:notes"] if note.startswith("assumed ")]
    assert [note.partition("=")[0] for note in assumed] == ["assumed fusion", "assumed middle"]
    assert json.loads(result.stdout)["notes"] == bundle.properties["stf:notes"]


@pytest.mark.parametrize(("dtype", "word"), [(torch.float16, "float16"), (torch.bfloat16, "bfloat16")])
def test_half_precision_is_upcast_with_a_note(dtype: torch.dtype, word: str):
    state = {key: tensor.to(dtype) for key, tensor in state_of("edcstfn").items()}
    torch.save({"state_dict": state}, "w.pth")
    result = export("edcstfn", "--tile", "64", references=1, coarse_grid="fine")
    assert result.exit_code == 0, result.output
    notes = Bundle.open("net.stf").properties["stf:notes"]
    assert notes == ["unwrapped state_dict", f"upcast {len(state)} entries from {word}"]
