# SPDX-License-Identifier: Apache-2.0
"""Reduced precisions as part of an export: in the same staging, so that a failure leaves nothing."""

from __future__ import annotations

import json

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from stf_export import Reduction, Sampler, export_module, export_onnx
from stf_infer.accuracy import recorded
from stf_infer.cli import main
from stf_infer.errors import ExportError, UsageError
from tiny_networks import ThreeInputs, contract_for


def test_an_export_writes_what_is_asked_for(tmp_path, tiny_contract):
    lines: list[str] = []
    bundle = export_module(
        ThreeInputs(),
        tiny_contract,
        tile=24,
        out=tmp_path / "net.stf",
        reduction=Reduction(("fp16", "bf16"), "rmse=3%"),
        progress=lines.append,
    )
    assert bundle.precisions.keys() == {"fp32", "fp16", "bf16"}
    assert all(record.proven for record in recorded(bundle).values())
    assert any(line.startswith("fp16: trial 1") for line in lines)
    assert [path.name for path in tmp_path.iterdir()] == ["net.stf"]
    again = export_onnx(
        bundle.asset("model-fp32"), tiny_contract, out=tmp_path / "again.stf", reduction=Reduction(("fp16",))
    )
    assert again.precisions.keys() == {"fp32", "fp16"}


def test_over_the_budget_nothing_is_left(tmp_path, tiny_contract):
    with pytest.raises(ExportError, match="worst"):
        export_module(
            ThreeInputs(), tiny_contract, tile=24, out=tmp_path / "net.stf", reduction=Reduction(("fp16",), "rmse=1e-7")
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [(("fp8",), None, "minmax"), (("int8",), "rmse", "minmax"), (("int8",), None, "mse")])
def test_wrong_words_are_refused_before_the_export(wrong):
    with pytest.raises(UsageError):
        Reduction(*wrong)


class Step(nn.Module):
    """A denoiser that leaves the noisy image alone."""

    def forward(self, noisy: torch.Tensor, when: torch.Tensor, fine_t1: torch.Tensor) -> torch.Tensor:
        return fine_t1 + noisy / (1 + when.float()[:, None, None, None])


def test_a_sampling_that_is_looped_on_the_host_is_refused_before_the_export(tmp_path):
    sampler = Sampler(
        prediction="x0", schedule="linear", train_steps=50, steps=2, image="noisy", time="when", loop="host"
    )
    contract = contract_for({"fine_t1": "fine"}).model_copy(update={"sampler": sampler})
    with pytest.raises(ExportError, match="--loop graph"):
        export_module(Step(), contract, tile=16, out=tmp_path / "net.stf", reduction=Reduction(("fp16",)))
    assert list(tmp_path.iterdir()) == []


def call(*arguments):
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, ["export", *map(str, arguments)])


def test_on_the_command_line(tmp_path, tiny_bundle, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("edcstfn", "--weights", "w.pth", "--budget", "none", "-o", "a.stf").exit_code == 2
    done = call("edcstfn", "--weights", "w.pth", "--precision", "fp8", "-o", "a.stf", "--json")
    assert json.loads(done.stdout)["allowed"] == "fp16, bf16, int8"
