# SPDX-License-Identifier: Apache-2.0
"""ONNX files that take samples: checked against their contract. No torch here."""

from __future__ import annotations

from typing import Any

from stf_infer.errors import ExportError
from stf_infer.samples.spec import SampleInput, SampleSpec

from ..extras import need
from ..onnx_graph import BATCH_AXIS, graph_inputs, infer_shapes, keep_output, set_shape


def pin(model: Any, spec: SampleSpec) -> None:
    """Check a graph from elsewhere against its contract and make all axes but the first static, in place.

    The batch axis stays as it is: free (and then named ``batch``), or 1. Outputs other than the contract's are
    removed.

    Raises:
        ExportError: Names, types or shapes contradict the contract; the message says which.
    """
    onnx = need("onnx")
    found = {value.name: value for value in graph_inputs(model)}
    if set(found) != {one.tensor for one in spec.inputs}:
        raise ExportError(
            "The inputs of the graph are not those of the contract",
            got=", ".join(found) or "none",
            allowed=", ".join(one.tensor for one in spec.inputs),
            fix="Name each of them as `tensor` of an [[input]] of the contract",
        )
    for one in spec.inputs:
        _pin_input(onnx, found[one.tensor], one)
    free = {not v.type.tensor_type.shape.dim[0].HasField("dim_value") for v in found.values()}
    if len(free) > 1:
        raise ExportError("Some inputs of the graph have a free batch axis and some do not", got=", ".join(found))
    keep_output(model, spec.output.tensor)
    del model.graph.value_info[:]
    output = model.graph.output[0].type.tensor_type
    _check_type(onnx, spec.output.tensor, output, "float32")
    output.ClearField("shape")
    dims = infer_shapes(model, "one sample").graph.output[0].type.tensor_type.shape.dim
    known = [d.dim_value if d.HasField("dim_value") else None for d in dims]
    if known:
        _check_shape(f"The output {spec.output.tensor}", tuple(known), spec.output_shape)
    set_shape(output, spec.output_shape, batch=None if free == {True} else 1)


def _pin_input(onnx: Any, value: Any, one: SampleInput) -> None:
    tensor = value.type.tensor_type
    _check_type(onnx, one.tensor, tensor, one.dtype)
    dims = tensor.shape.dim
    known = tuple(d.dim_value if d.HasField("dim_value") else None for d in dims)
    _check_shape(f"The input {one.tensor} ({one.role})", known, one.shape)
    if known[0] not in (None, 1):
        raise ExportError(
            f"The input {one.tensor} takes a fixed number of samples at once",
            got=known[0],
            allowed="1, or a free batch axis",
            fix="Export the graph again with a dynamic first axis",
        )
    set_shape(tensor, one.shape, batch=known[0])


def _check_type(onnx: Any, name: str, tensor: Any, wanted: str) -> None:
    found = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type) if tensor.elem_type else "no type"
    if str(found) != wanted:
        raise ExportError(
            f"The tensor {name} has another type than the contract says",
            got=found,
            allowed=wanted,
            fix="State it as `dtype` of the [[input]]; the output is float32",
        )


def _check_shape(what: str, known: tuple[int | None, ...], shape: tuple[int, ...]) -> None:
    if len(known) != 1 + len(shape) or any(k not in (None, w) for k, w in zip(known[1:], shape, strict=True)):
        raise ExportError(
            f"{what} has another shape than the contract says",
            got=tuple("?" if k is None else k for k in known),
            allowed=(BATCH_AXIS, *shape),
            fix="Check the dims; the first axis is the batch",
        )
