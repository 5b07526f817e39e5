# SPDX-License-Identifier: Apache-2.0
"""Networks whose results are known: engines made of a NumPy function, and rasters on small grids."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine

from stf_infer.engines.base import Engine
from stf_infer.model import Model
from stf_infer.spec import InputSpec, ModelSpec, OutputSpec, RasterSpec, SceneStatistic, TileRule, Values

UTM = "EPSG:32633"
ORIGIN = (500_000.0, 5_300_000.0)


class FakeBundle:
    """What a Model needs of a bundle, without files."""

    sha256 = "0" * 64

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec


class FunctionEngine(Engine):
    """An engine that computes a function of its inputs by tensor name."""

    name = "function"

    def __init__(self, spec: ModelSpec, function: Callable[..., np.ndarray]) -> None:
        self.function, self.batch_sizes = function, []
        super().__init__(FakeBundle(spec))  # type: ignore[arg-type]

    def open_impl(self, bundle: Any, threads: int | None) -> None:
        pass

    def infer_impl(self, inputs: Any) -> dict[str, np.ndarray]:
        self.batch_sizes.append(next(iter(inputs.values())).shape[0])
        return {self.spec.output.tensor: self.function(**inputs).astype(np.float32)}

    def close_impl(self) -> None:
        pass


class Opening:
    """What can be opened on a target that computes a function; None cannot be opened."""

    stored = None
    tolerance = 1e-4

    def __init__(self, precision: str, function: Callable[..., np.ndarray]) -> None:
        self.precision, self.function = precision, function

    def open(self, bundle: Any, threads: int | None) -> FunctionEngine:
        return FunctionEngine(bundle.spec, self.function)


def make_spec(
    tile: int = 32,
    *,
    bands: tuple[str, ...] = ("red", "nir"),
    ratio: int = 4,
    coarse_grid: str = "coarse",
    from_coarse: str | None = None,
    values: Values | None = None,
    roles: tuple[str, ...] = ("coarse_t1", "fine_t1", "coarse_t2"),
    draws: tuple[int, ...] = (),
    **rule: Any,
) -> ModelSpec:
    """A small contract; ``draws`` are its noise inputs ``noise_0`` and so on, ``rule`` goes into its tile rule."""
    values = values or Values()
    rule.setdefault("stride", ratio if coarse_grid == "coarse" else 1)
    inputs = tuple(
        InputSpec(role=role, tensor=role, bands=bands, values=values)
        if role.startswith("fine")
        else InputSpec(role=role, tensor=role, bands=bands, values=values, grid=coarse_grid, from_coarse=from_coarse)
        for role in roles
    )
    inputs += tuple(noise_input(draw, bands) for draw in draws)
    return ModelSpec(
        name="fake",
        network="fake",
        ratio=ratio,
        inputs=inputs,
        output=OutputSpec(tensor="fine_t2", bands=bands, values=values),
        tile=TileRule(height=tile, width=tile, **rule),
    )


def with_level(spec: ModelSpec) -> ModelSpec:
    """The contract with a number of the scene, ``level``, of fine_t1 and of fine_t3, which is read for it only."""
    level = InputSpec(
        role="level",
        tensor="level",
        bands=("red", "nir"),
        grid="scene",
        statistic=SceneStatistic(rule="mean-of-dates", of=("fine_t1", "fine_t3")),
    )
    also_read = (RasterSpec(role="fine_t3", bands=("red", "nir")),)
    return ModelSpec(**{**spec.model_dump(), "inputs": (*spec.inputs, level), "also_read": also_read})


def noise_input(draw: int, bands: tuple[str, ...]) -> InputSpec:
    """Noise under the role and the tensor ``noise_<draw>``."""
    return InputSpec(role=f"noise_{draw}", tensor=f"noise_{draw}", bands=bands, grid="noise", draw=draw)


def make_model(spec: ModelSpec, function: Callable[..., np.ndarray]) -> Model:
    """An open Model around a function."""
    model = Model(FakeBundle(spec))  # type: ignore[arg-type]
    model._engine = FunctionEngine(spec, function)
    return model


def add_coarse_change(fine_t1: np.ndarray, coarse_t1: np.ndarray, coarse_t2: np.ndarray) -> np.ndarray:
    """``fine_t1 + (coarse_t2 - coarse_t1)`` with coarse pixels repeated to the fine grid."""
    change = coarse_t2 - coarse_t1
    ratio = fine_t1.shape[-1] // change.shape[-1]
    return fine_t1 + change.repeat(ratio, -1).repeat(ratio, -2)


def box_blur(radius: int) -> Callable[..., np.ndarray]:
    """Mean over a window of fine_t1, edges repeated: reach ``radius``."""

    def blur(fine_t1: np.ndarray, **_: np.ndarray) -> np.ndarray:
        pad = ((0, 0), (0, 0), (radius, radius), (radius, radius))
        padded = np.pad(fine_t1, pad, mode="edge")
        side = 2 * radius + 1
        windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side), axis=(-2, -1))
        return windows.mean(axis=(-2, -1))

    return blur


def smooth_field(bands: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth reflectance (C, H, W) float32 in [0.05, 0.45], different in every band."""
    rng = np.random.default_rng(seed)
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    out = []
    for _ in range(bands):
        a, b, c, d = rng.uniform(1, 6, 4)
        out.append(0.25 + 0.1 * np.sin(a * y * 6 + b) + 0.1 * np.cos(c * x * 6 + d))
    return np.stack(out).astype(np.float32)


def grid_transform(pixel: float = 30.0) -> Affine:
    """North-up transform at a round UTM corner."""
    return Affine(pixel, 0, ORIGIN[0], 0, -pixel, ORIGIN[1])


def write_tif(path: Path, array: np.ndarray, *, pixel: float = 30.0, **profile: Any) -> Path:
    """Write (C, H, W) as a GeoTIFF; ``profile`` may hold crs, transform, nodata, scale, offset, names."""
    scale, offset, names = profile.pop("scale", None), profile.pop("offset", None), profile.pop("names", None)
    profile = {"crs": UTM, "transform": grid_transform(pixel), **profile}
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=array.shape[0],
        height=array.shape[1],
        width=array.shape[2],
        dtype=array.dtype,
        **profile,
    ) as out:
        out.write(array)
        if scale is not None:
            out.scales = (scale,) * array.shape[0]
        if offset is not None:
            out.offsets = (offset,) * array.shape[0]
        if names is not None:
            out.descriptions = names
    return path


def read_tif(path: Path) -> np.ndarray:
    """All bands as stored."""
    with rasterio.open(path) as source:
        return source.read()


def block_mean(array: np.ndarray, ratio: int) -> np.ndarray:
    """(C, H, W) averaged over ratio x ratio blocks; sides are padded by repetition first."""
    c, h, w = array.shape
    padded = np.pad(array, ((0, 0), (0, -h % ratio), (0, -w % ratio)), mode="edge")
    blocks = padded.reshape(c, padded.shape[1] // ratio, ratio, padded.shape[2] // ratio, ratio)
    return blocks.mean((2, 4)).astype(array.dtype)


def write_onnx(path: Path, *, ratio: int = 4, bands: int = 2, passes: int = 1, draws: tuple[int, ...] = ()) -> Path:
    """An ONNX file: a 3 x 3 mean of fine_t1 (``passes`` times), plus the coarse change repeated to fine pixels.

    Each of ``draws`` is a noise input, of which a hundredth is added.
    """
    import onnx
    from onnx import TensorProto, helper

    kernel = np.zeros((bands, bands, 3, 3), np.float32)
    kernel[range(bands), range(bands)] = 1 / 9
    nodes = [helper.make_node("Sub", ["coarse_t2", "coarse_t1"], ["change"])]
    how = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
    nodes.append(helper.make_node("Resize", ["change", "", "scales"], ["repeated"], **how))
    blurred = "fine_t1"
    for number in range(passes):
        out = f"blurred_{number}"
        nodes.append(helper.make_node("Conv", [blurred, "kernel"], [out], pads=[1, 1, 1, 1]))
        blurred = out
    for draw in draws:
        nodes.append(helper.make_node("Mul", [f"noise_{draw}", "hundredth"], [f"faint_{draw}"]))
        nodes.append(helper.make_node("Add", [blurred, f"faint_{draw}"], [f"noisy_{draw}"]))
        blurred = f"noisy_{draw}"
    nodes.append(helper.make_node("Add", [blurred, "repeated"], ["fine_t2"]))

    def tensor(name: str, sides: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", bands, f"{sides}h", f"{sides}w"])

    graph = helper.make_graph(
        nodes,
        "blur",
        [
            *(tensor("fine_t1", ""), tensor("coarse_t1", "c"), tensor("coarse_t2", "c")),
            *(tensor(f"noise_{draw}", "") for draw in draws),
        ],
        [tensor("fine_t2", "")],
        [
            helper.make_tensor("kernel", TensorProto.FLOAT, kernel.shape, kernel.ravel()),
            helper.make_tensor("scales", TensorProto.FLOAT, [4], [1, 1, ratio, ratio]),
            *([helper.make_tensor("hundredth", TensorProto.FLOAT, [], [0.01])] if draws else []),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return path


def export_blur(out: Path, *, tile: int = 32, ratio: int = 4, passes: int = 1, draws: tuple[int, ...] = ()) -> Path:
    """A real bundle of :func:`write_onnx`; ``out`` is its folder."""
    from stf_export import Contract, export_onnx

    bands = ("red", "nir")
    inputs = tuple(
        InputSpec(role=role, tensor=role, bands=bands, grid="fine" if role == "fine_t1" else "coarse")
        for role in ("coarse_t1", "fine_t1", "coarse_t2")
    )
    inputs += tuple(noise_input(draw, bands) for draw in draws)
    output = OutputSpec(tensor="fine_t2", bands=bands)
    contract = Contract(network="blur", ratio=ratio, inputs=inputs, output=output)
    model = write_onnx(out.with_suffix(".onnx"), ratio=ratio, passes=passes, draws=draws)
    export_onnx(model, contract, tile=tile, out=out)
    return out
