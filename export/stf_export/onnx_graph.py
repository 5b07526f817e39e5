# SPDX-License-Identifier: Apache-2.0
"""ONNX files: what is written, what is taken from others, and what is left out. No torch here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stf_infer.errors import ExportError
from stf_infer.grid import Shape
from stf_infer.spec import InputSpec

from .contract import Contract
from .extras import need
from .samples import tensor_shape

if TYPE_CHECKING:
    from .lower import Nodes

# The operator set that torch's exporter writes natively: any other is reached by a conversion afterwards. ONNX
# Runtime reads it since 1.14, TensorRT since 8.6, OpenVINO since 2023.
OPSET = 18

# The newest file format that ONNX Runtime 1.18, the oldest one supported, reads.
IR_VERSION = 10

# Bytes of weights up to which they lie inside of the file. Beside it they are mapped, not read, by an engine that can,
# and whoever looks at the graph need not load them; inside, a file is held several times over while it is parsed.
WEIGHTS_INSIDE = 2**29

# Bytes up to which one constant lies inside of the file in any case: shapes, axes, scalars.
_SMALL = 1024

BATCH_AXIS = "batch"


@dataclasses.dataclass(frozen=True)
class GraphFacts:
    """What the writer of a bundle wants to know about a graph.

    Attributes:
        opset: Version of the default operator set.
        parameters: Numbers in the weights.
        batch: Tiles per run: 1, or None where it is free.
    """

    opset: int
    parameters: int
    batch: int | None


def load(path: str | Path) -> Any:
    """Read an ONNX file; of weights that lie beside it only small ones, which may be shapes.

    Raises:
        ExportError: The file is missing or is no ONNX file.
        MissingExtraError: The package onnx is not installed.
    """
    onnx = need("onnx")
    path = Path(path)
    if not path.is_file():
        raise ExportError("There is no ONNX file at this path", got=path)
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf, OS and onnx errors have no common base
        raise ExportError("The file cannot be read as ONNX", got=f"{path}: {error}") from error
    outside = [t for t in model.graph.initializer if onnx.external_data_helper.uses_external_data(t)]
    files = {entry.value for tensor in outside for entry in tensor.external_data if entry.key == "location"}
    if missing := sorted(name for name in files if not (path.parent / name).is_file()):
        raise ExportError("Weights of the ONNX file are not beside it", got=f"no {', '.join(missing)} in {path.parent}")
    for tensor in outside:
        if _count(tensor.dims) <= _SMALL // 8:
            onnx.external_data_helper.load_external_data_for_tensor(tensor, str(path.parent))
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
    if not model.graph.output:
        raise ExportError("The file is no ONNX model: its graph has no output", got=path)
    return model


def editable(model: Any, folder: Path) -> Any:
    """A model as an ``onnx_ir.Model``, which :mod:`stf_export.lower` works on.

    Args:
        model: What :func:`load` returned.
        folder: Where it was read from; weights beside it stay there until they are asked for.
    """
    ir = need("onnx_ir")
    made = ir.from_proto(model)
    for graph in made.graphs():
        ir.external_data.set_base_dir(graph, folder.resolve())
    return made


def save(model: Any, path: Path) -> None:
    """Write an ``onnx_ir.Model``, stripped and checked; heavy weights go to ``NAME.onnx.data`` beside it.

    Raises:
        ExportError: The model breaks ONNX's own rules, or weights that lie beside its source cannot be read.
    """
    onnx, ir = need("onnx"), need("onnx_ir")
    try:
        if _weight_bytes(model) > WEIGHTS_INSIDE:
            ir.external_data.unload_from_model(model, path.parent, f"{path.name}.data", size_threshold_bytes=_SMALL)
        else:
            ir.external_data.load_to_model(model)
    except (OSError, ValueError) as error:
        raise ExportError("The weights of the graph cannot be copied", got=error) from error
    written = ir.to_proto(model)
    strip(written)
    written.ir_version = min(written.ir_version, IR_VERSION)
    path.write_bytes(written.SerializeToString())
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError("The graph breaks the rules of ONNX", got=error) from error


def simplify_and_save(model: Any, folder: Path, path: Path) -> Nodes:
    """Simplify a model that was read from a folder and write it.

    Returns:
        How many operators it had, and has now.

    Raises:
        ExportError: As :func:`save`.
    """
    from .lower import simplify

    edited = editable(model, folder)
    nodes = simplify(edited)
    save(edited, path)
    return nodes


def strip(message: Any) -> None:
    """Remove documentation and metadata from a model and all that it holds.

    Exporters record the stack trace of every node there, with the paths of the machine that they ran on.
    """
    for field, value in list(message.ListFields()):
        if field.name in ("doc_string", "metadata_props"):
            message.ClearField(field.name)
        elif field.type == field.TYPE_MESSAGE:
            for child in value if hasattr(value, "add") else (value,):  # repeated, or one
                strip(child)


def facts(model: Any) -> GraphFacts:
    """Operator set, number of weights and batch axis of a model."""
    opset = next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx"))
    floating = need("onnx").TensorProto
    weights = [t for t in model.graph.initializer if t.data_type in (floating.FLOAT, floating.FLOAT16, floating.DOUBLE)]
    first = graph_inputs(model)[0].type.tensor_type.shape.dim[0]
    return GraphFacts(
        opset=opset,
        parameters=sum(_count(t.dims) for t in weights),
        batch=first.dim_value if first.HasField("dim_value") else None,
    )


def graph_inputs(model: Any) -> list[Any]:
    """Inputs of the graph that are not weights."""
    weights = {t.name for t in model.graph.initializer}
    return [i for i in model.graph.input if i.name not in weights]


def static_tile(model: Any, contract: Contract) -> Shape | None:
    """The tile in fine pixels that the graph's inputs fix, or None where rows and columns are free."""
    for spec in contract.inputs:
        for value in graph_inputs(model):
            dims = value.type.tensor_type.shape.dim
            if value.name == spec.tensor and len(dims) == 4 and dims[2].dim_value and dims[3].dim_value:
                factor = contract.ratio if spec.grid == "coarse" else 1
                return Shape(dims[2].dim_value * factor, dims[3].dim_value * factor)
    return None


def pin(model: Any, contract: Contract, tile: Shape) -> None:
    """Check a graph from elsewhere against its contract and make rows and columns static, in place.

    The batch axis stays as it is: free (and then named ``batch``), or 1. Outputs other than the contract's are
    removed.

    Raises:
        ExportError: Names, types or shapes contradict the contract; the message says which.
    """
    onnx = need("onnx")
    found = {value.name: value for value in graph_inputs(model)}
    wanted = {spec.tensor: spec for spec in contract.inputs}
    if set(found) != set(wanted):
        raise ExportError(
            "The inputs of the graph are not those of the contract",
            got=", ".join(found) or "none",
            allowed=", ".join(wanted),
            fix="Name each of them as `tensor` of an [[input]] of the contract",
        )
    for name, spec in wanted.items():
        _pin_input(found[name], spec, contract.ratio, tile, onnx.TensorProto.FLOAT)
    free = {not v.type.tensor_type.shape.dim[0].HasField("dim_value") for v in found.values()}
    if len(free) > 1:
        raise ExportError("Some inputs of the graph have a free batch axis and some do not", got=", ".join(found))
    keep_output(model, contract.output.tensor)
    del model.graph.value_info[:]
    output = model.graph.output[0].type.tensor_type
    if output.elem_type != onnx.TensorProto.FLOAT:
        raise _not_float(contract.output.tensor)
    output.ClearField("shape")
    inferred = infer_shapes(model, f"a tile of {tile} fine pixels", "Choose the tile it was written for with --tile")
    shape = (len(contract.output.bands), tile.height, tile.width)
    dims = inferred.graph.output[0].type.tensor_type.shape.dim
    known = [d.dim_value if d.HasField("dim_value") else None for d in dims]
    if known and (len(known) != 4 or any(k not in (None, w) for k, w in zip(known[1:], shape, strict=True))):
        raise ExportError(
            f"The output {contract.output.tensor} has another shape than the contract says",
            got=tuple(known),
            allowed=(BATCH_AXIS, *shape),
            fix="Check the bands, the ratio and the tile",
        )
    set_shape(output, shape, batch=None if free == {True} else 1)


def _pin_input(value: Any, spec: InputSpec, ratio: int, tile: Shape, floating: int) -> None:
    tensor = value.type.tensor_type
    if tensor.elem_type != floating:
        raise _not_float(spec.tensor)
    dims = list(tensor.shape.dim)
    shape = tensor_shape(spec, ratio, tile)
    known = [d.dim_value if d.HasField("dim_value") else None for d in dims]
    if len(known) != 4 or any(k not in (None, w) for k, w in zip(known[1:], shape, strict=True)):
        raise ExportError(
            f"The input {spec.tensor} ({spec.role}) has another shape than the contract says",
            got=tuple(d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in dims),
            allowed=(BATCH_AXIS, *shape),
            fix=f"Check the bands, the grid ({spec.grid}), the ratio ({ratio}) and the tile ({tile})",
        )
    if known[0] not in (None, 1):
        raise ExportError(
            f"The input {spec.tensor} takes a fixed number of tiles at once",
            got=known[0],
            allowed="1, or a free batch axis",
            fix="Export the graph again with a dynamic first axis",
        )
    set_shape(tensor, shape, batch=known[0])


def infer_shapes(model: Any, what: str, fix: str | None = None) -> Any:
    """The model with the shapes that follow from those of its inputs.

    Raises:
        ExportError: They contradict one another; the message says that the graph does not take ``what``.
    """
    onnx = need("onnx")
    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ExportError(f"The graph does not take {what}", got=error, fix=fix) from error


def set_shape(tensor: Any, shape: Sequence[int], *, batch: int | None) -> None:
    """Give a tensor a shape behind a batch axis, free where ``batch`` is None."""
    tensor.ClearField("shape")
    first = tensor.shape.dim.add()
    if batch is None:
        first.dim_param = BATCH_AXIS
    else:
        first.dim_value = batch
    for length in shape:
        tensor.shape.dim.add().dim_value = length


def keep_output(model: Any, name: str) -> None:
    """Remove all outputs but one.

    Raises:
        ExportError: There is none of that name.
    """
    outputs = [o for o in model.graph.output if o.name == name]
    if not outputs:
        raise ExportError(
            "The graph has no output of the contract's name",
            got=", ".join(o.name for o in model.graph.output),
            allowed=name,
            fix="Name one of them as `tensor` of the contract's [output]",
        )
    kept = type(outputs[0])()
    kept.CopyFrom(outputs[0])
    del model.graph.output[:]
    model.graph.output.append(kept)


def _not_float(tensor: str) -> ExportError:
    return ExportError(
        f"The tensor {tensor} is not float32",
        allowed="float32 in and out",
        fix="Export the graph in float32; reduced precision is a step of its own",
    )


def _weight_bytes(model: Any) -> int:
    return sum(v.const_value.nbytes for v in model.graph.initializers.values() if v.const_value is not None)


def _count(dims: Sequence[int]) -> int:
    total = 1
    for d in dims:
        total *= d
    return total
