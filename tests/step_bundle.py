# SPDX-License-Identifier: Apache-2.0
"""A bundle of one denoising step whose every sample is known, written by hand.

Clean pixels are taken to be normal around ``fine_t1 + coarse_t2 - coarse_t1`` with one deviation: the best guess of x0
is then a straight line in the noisy pixel, and DDIM multiplies what lies beside the mean by a factor in every step.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fakes import make_spec
from handmade_bundle import asset
from stf_export.samplers import Sampler, resolve, schedule
from stf_infer.noise import noise
from stf_infer.spec import ModelSpec

T = 16
ROLES = ("coarse_t1", "fine_t1", "coarse_t2")


class Gaussian:
    """The denoiser as numbers.

    Args:
        deviation: Of the clean pixels around their mean, in network values.
    """

    def __init__(self, deviation: float = 0.1) -> None:
        self.variance, self.levels = deviation**2, schedule("cosine", T).alphas_cumprod

    @property
    def slopes(self) -> np.ndarray:
        """For every time step: by how much the guess of x0 moves with the noisy pixel."""
        return self.levels**0.5 * self.variance / (self.levels * self.variance + 1 - self.levels)

    def factor(self, timesteps: tuple[int, ...]) -> float:
        """F of a DDIM sample ``mean + F (noise - sqrt(abar) mean)``, with the abar of the first time step."""
        factor = 1.0
        for t, after in zip(timesteps, (*timesteps[1:], None), strict=True):
            level, following = self.levels[t], 1.0 if after is None else self.levels[after]
            slope = self.slopes[t]
            factor *= following**0.5 * slope + ((1 - following) / (1 - level)) ** 0.5 * (1 - level**0.5 * slope)
        return factor

    def error(self, timesteps: tuple[int, ...], mean: float = 0.0) -> float:
        """RMS difference of the sample to that of all time steps, for means of this RMS."""
        of_noise, of_mean = np.array(self._shares(timesteps)) - self._shares(every())
        return float(np.hypot(of_noise, of_mean * mean))

    def _shares(self, timesteps: tuple[int, ...]) -> tuple[float, float]:
        factor = self.factor(timesteps)
        return factor, self.levels[timesteps[0]] ** 0.5 * factor


def every() -> tuple[int, ...]:
    """All time steps."""
    return tuple(range(T - 1, -1, -1))


def make_step_bundle(
    folder: Path, sampler: Sampler | None = None, *, toy: Gaussian | None = None, tile: int = 32
) -> Path:
    """Write the bundle; its sampler is 4 steps of DDIM unless another one is asked for."""
    toy = toy or Gaussian()
    asked = sampler or Sampler(steps=4)
    preset = Sampler(
        name="ddim",
        spacing="trailing",
        eta=0.0,
        prediction="x0",
        schedule="cosine",
        train_steps=T,
        clip="off",
        loop="host",
    )
    steps = resolve(asked.over(preset))
    made = make_spec(tile, coarse_grid="fine", draws=(0,))
    spec = ModelSpec.model_validate({**made.model_dump(), "name": "toy", "network": "toy", "sampler": steps})
    folder.mkdir(parents=True)
    write_step(folder / "model.onnx", toy, len(spec.output.bands))
    inputs = {
        i.role: noise(0, 0, 0, 0, spec.tensor_shape(i))
        if i.grid == "noise"
        else np.full(spec.tensor_shape(i), 0.1 * (k + 1), np.float32)
        for k, i in enumerate(spec.inputs)
    }
    np.savez_compressed(
        folder / "golden.npz",
        output=sample(toy, inputs, steps.timesteps),
        **{f"input_{r}": a for r, a in inputs.items()},
    )
    item = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": spec.name,
        "properties": {"stf:format": "1.1", "stf:contract": spec.model_dump(mode="json")},
        "assets": {
            "model-fp32": asset(folder / "model.onnx", title="One step", **{"stf:precision": "fp32"}),
            "golden": asset(folder / "golden.npz", title="A tile", type="application/zip"),
        },
    }
    (folder / "item.json").write_text(json.dumps(item))
    return folder


def sample(toy: Gaussian, inputs: dict[str, np.ndarray], timesteps: tuple[int, ...]) -> np.ndarray:
    """The sample of the golden tile, step by step."""
    mean, x = inputs["fine_t1"] + inputs["coarse_t2"] - inputs["coarse_t1"], inputs["noise_0"].astype(float)
    for t, after in zip(timesteps, (*timesteps[1:], None), strict=True):
        level, following = toy.levels[t], 1.0 if after is None else toy.levels[after]
        x0 = mean + toy.slopes[t] * (x - level**0.5 * mean)
        x = following**0.5 * x0 + (1 - following) ** 0.5 * (x - level**0.5 * x0) / (1 - level) ** 0.5
    return x.astype(np.float32)


def write_step(path: Path, toy: Gaussian, bands: int) -> None:
    """The ONNX graph: x0 from conditions, ``x_t`` and ``t``."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    def image(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

    tables = {"slopes": toy.slopes, "signals": toy.levels**0.5}
    nodes = [
        helper.make_node("Cast", ["t"], ["index"], to=TensorProto.INT64),
        *(helper.make_node("Gather", [name, "index"], [f"{name}_t"]) for name in tables),
        helper.make_node("Sub", ["coarse_t2", "coarse_t1"], ["change"]),
        helper.make_node("Add", ["fine_t1", "change"], ["mean"]),
        helper.make_node("Mul", ["signals_t", "mean"], ["expected"]),
        helper.make_node("Sub", ["x_t", "expected"], ["beside"]),
        helper.make_node("Mul", ["slopes_t", "beside"], ["moved"]),
        helper.make_node("Add", ["mean", "moved"], ["output"]),
    ]
    size = ["n", bands, "h", "w"]
    graph = helper.make_graph(
        nodes,
        "step",
        [*(image(name, size) for name in (*ROLES, "x_t")), image("t", ["n", 1, 1, 1])],
        [image("output", size)],
        [numpy_helper.from_array(table.astype(np.float32), name) for name, table in tables.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.save(model, path)
