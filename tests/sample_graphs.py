# SPDX-License-Identifier: Apache-2.0
"""Small ONNX graphs and torch modules that take samples, and their contract: the last steps, scaled, plus a slot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from stf_export import export_onnx
from stf_infer.bundle import Bundle
from stf_infer.samples.spec import SampleInput, SampleOutput, SampleSpec, SampleValues, dims

STATIONS = ("north", "south")
STEPS, AHEAD = 3, 2


def make_contract(*, whole: bool = True, values: SampleValues | None = None, **changes: Any) -> SampleSpec:
    """``history`` (time, station) and, where ``whole``, ``slot``: one whole number from 0 to 9."""
    slot = SampleInput(role="slot", tensor="slot", dtype="int64", values=SampleValues(minimum=0, maximum=9))
    history = SampleInput(
        role="history", tensor="past", dims=dims(time=STEPS, station=STATIONS), values=values or SampleValues()
    )
    fields = {
        "network": "last-steps",
        "inputs": (history, slot) if whole else (history,),
        "output": SampleOutput(
            tensor="forecast", dims=dims(ahead=AHEAD, station=STATIONS), values=values or SampleValues()
        ),
    }
    return SampleSpec(**{**fields, **changes})


def forecast(past: np.ndarray, slot: Any) -> np.ndarray:
    """What graph and module compute, in network values: ``2 * past + slot`` of the last steps."""
    return 2 * past[..., -AHEAD:, :] + np.asarray(slot, np.float32)[..., None, None]


class LastSteps(nn.Module):
    """:func:`forecast` in torch; its parameters have the names of a role and of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, slot: torch.Tensor, past: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"forecast": self.scale * past[:, -AHEAD:] + slot[:, None, None]}


def write_graph(path: Path, *, batch: int | str = "n", kind: str = "INT64", shape: tuple[int, ...] = (3, 2)) -> Path:
    """:func:`forecast` as an ONNX file with a second output that nobody wants."""
    import onnx
    from onnx import TensorProto, helper

    def tensor(name: str, sizes: tuple[int, ...], of: int = TensorProto.FLOAT) -> Any:
        return helper.make_tensor_value_info(name, of, [batch, *sizes])

    nodes = [
        helper.make_node("Slice", ["past", "starts", "ends", "axes"], ["last"]),
        helper.make_node("Mul", ["last", "two"], ["doubled"]),
        helper.make_node("Cast", ["slot"], ["floating"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["floating", "behind"], ["aligned"]),
        helper.make_node("Add", ["doubled", "aligned"], ["forecast"]),
        helper.make_node("Neg", ["forecast"], ["other"]),
    ]
    constants = [
        helper.make_tensor("starts", TensorProto.INT64, [1], [-AHEAD]),
        helper.make_tensor("ends", TensorProto.INT64, [1], [10**6]),
        helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
        helper.make_tensor("behind", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("two", TensorProto.FLOAT, [], [2.0]),
    ]
    graph = helper.make_graph(
        nodes,
        "last-steps",
        [tensor("past", shape), tensor("slot", (), getattr(TensorProto, kind))],
        [tensor("other", (AHEAD, shape[1])), tensor("forecast", (AHEAD, shape[1]))],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def make_bundle(folder: Path, name: str = "last", **options: Any) -> Bundle:
    """A real bundle of the graph."""
    contract = make_contract(values=options.pop("values", None))
    return export_onnx(write_graph(folder / f"{name}.onnx", **options), contract, out=folder / f"{name}.stf")
