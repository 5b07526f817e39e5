# SPDX-License-Identifier: Apache-2.0
"""A diffusion network to a bundle: its sampling as one graph, or as a loop around the graph of one step.

What is measured and compared is always a sampling, never a step. Where that would take too long it is a short one of
the same kind: for the tile rule of tiles that are blended in any case, and for the comparison of a loop on the host,
whose golden tile is still made with every step, by torch and by the loop.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from stf_infer.diffusion import SamplerSpec
from stf_infer.engines import registry
from stf_infer.engines.host_loop import HostLoop
from stf_infer.errors import ParityError
from stf_infer.golden import golden_noise
from stf_infer.grid import Shape
from stf_infer.spec import ModelSpec, TileRule

from . import bundle_writer, parity
from .contract import Contract
from .host_graphs import write_host_graphs
from .job import Job
from .networks.diffusion.denoiser import Denoiser
from .oracle import OnnxOracle, TorchOracle
from .probe import Measured, measure
from .sampled_contract import SampledContract, sampled
from .samplers import GRAPH_STEPS, UNKNOWN, Preset, Sampler, Schedule, resolve
from .samplers.checkpoint import schedule_of
from .samplers.parts import PlainStep, StepParts
from .samplers.unrolled import Unrolled
from .samples import Tile
from .stage import Trial, finish
from .tile_rule import tile_rule, wanted_tile
from .torch_graph import bind, ready, to_onnx

# Part of the output's range by which a sampling may differ: every step hands its rounding on to the next. Where a step
# blows it up, as much as that, up to a limit that no wrong graph stays below.
_ROUNDING, _WRONG = 1e-4, 1e-2

# Steps of the samplings that stand for longer ones.
_TO_MEASURE, _TO_COMPARE = 2, 4


@dataclass(frozen=True)
class Sampling:
    """A step, and how it is to be repeated.

    Attributes:
        step: The network.
        contract: Its conditions and its output.
        asked: What a person wants.
        preset: What the network's authors did.
        found: The noise schedule in the checkpoint.
    """

    step: StepParts
    contract: Contract
    asked: Sampler
    preset: Preset
    found: Schedule | None

    @classmethod
    def of(
        cls, module: nn.Module, contract: Contract, sampler: Sampler, weights: str | Path | Mapping[str, Any] | None
    ) -> Sampling:
        """The sampling of a network of the zoo, or of any module that its contract calls a step.

        Raises:
            CheckpointError, ExportError: The noise schedule in the checkpoint cannot be used, or ``forward`` does not
                fit the contract.
        """
        found = None if weights is None else schedule_of(weights)
        if isinstance(module, Denoiser):
            ready(module)
            return cls(module, contract, sampler, module.preset, found)
        asked = sampler.over(contract.sampler or Sampler())
        return cls(PlainStep(module, contract, asked), contract, asked, UNKNOWN, found)

    def steps(self) -> SamplerSpec:
        """All steps.

        Raises:
            ExportError: What is asked for is not complete, not allowed, or contradicts the checkpoint.
        """
        return resolve(self.asked, self.preset, self.found)

    def short(self, count: int) -> SamplerSpec:
        """A sampling of the same kind through some of the time steps, the first and the last included."""
        times = self.steps().timesteps
        chosen = [
            times[i] for i in np.unique(np.linspace(0, len(times) - 1, min(count, len(times))).round().astype(int))
        ]
        changes = {"timesteps": tuple(chosen), "steps": None, "spacing": None, "loop": "graph"}
        return resolve(dataclasses.replace(self.asked, **changes), self.preset, self.found)  # type: ignore[arg-type]

    def contract_of(self, steps: SamplerSpec) -> SampledContract:
        """The contract of a sampling through these steps."""
        return sampled(self.contract, steps)

    def unrolled(self, steps: SamplerSpec) -> Unrolled:
        """The module of a sampling through these steps."""
        roles = {i.role: i.role for i in self.contract.inputs} | {i.tensor: i.role for i in self.contract.inputs}
        noises = ["noise", *(f"noise_{draw}" for draw in steps.draws if draw is not None)]
        return Unrolled(self.step, steps, [roles[name] for name in self.step.conditions], noises)

    def oracle(self, steps: SamplerSpec, tile: Shape | None) -> TorchOracle:
        """A sampling through these steps as a function of arrays."""
        contract = self.contract_of(steps)
        return TorchOracle(bind(self.unrolled(steps), contract), contract, fixed=tile)


def write(job: Job, sampling: Sampling, folder: Path, tile: int | None, made: dict[str, str]) -> None:
    """Write everything that a bundle holds.

    Args:
        job: Who is told, and the tolerance.
        sampling: What to write.
        folder: Where to.
        tile: Rows and columns of a tile; None takes the contract's, or 256.
        made: What made the graph, for the item.

    Raises:
        ExportError: As the doors of :mod:`stf_export.exporter`.
    """
    steps = sampling.steps()
    contract = sampling.contract_of(steps)
    shape = wanted_tile(contract, tile)
    job.check(contract, shape)
    if sampling.found is not None:
        job.notes.append(f"took the noise schedule of {steps.train_steps} steps from the checkpoint")
    job.say(f"sampling: {steps.describe()}")
    measured, rule = _tile_rule(job, sampling, steps, shape)
    job.say("writing the graph")
    if steps.loop == "graph":
        bound = bind(sampling.unrolled(steps), contract)
        job.nodes = to_onnx(bound, contract, shape, folder / bundle_writer.MODEL)
        graph = OnnxOracle(folder / bundle_writer.MODEL, contract, fixed=shape)
        trial = Trial(TorchOracle(bound, contract, fixed=shape), "torch", graph, contract, tolerance_of(steps))
        return finish(job, folder, contract, measured, rule, trial, made)
    job.nodes = write_host_graphs(sampling.step, sampling.contract, steps, shape, folder)
    few = sampling.short(_TO_COMPARE)
    loop = _LoopOracle(folder, sampling.contract, few, rule)
    trial = Trial(sampling.oracle(few, shape), "torch", loop, sampling.contract_of(few), tolerance_of(few))
    golden = _Golden(job, folder, sampling, contract.measured(job.name, rule))
    return finish(job, folder, contract, measured, rule, trial, made, golden=golden)


def _tile_rule(job: Job, sampling: Sampling, steps: SamplerSpec, shape: Shape) -> tuple[Measured, TileRule]:
    """The tile rule; a short sampling shows it where tiles are blended anyway."""
    contract = sampling.contract_of(steps)
    blended = contract.tile.mode == "blend" or len(steps.timesteps) > GRAPH_STEPS
    shown = sampling.short(_TO_MEASURE if blended else len(steps.timesteps))
    only = shape if blended or contract.tile.size else None
    measured = measure(sampling.oracle(shown, only), sampling.contract_of(shown), shape, job.say)
    no_core = measured.mode == "exact" and min(shape.height, shape.width) < 2 * measured.halo + measured.stride
    if blended or not no_core:
        wish = contract.tile.model_copy(update={"mode": "blend"} if blended else {})
        return measured, tile_rule(measured, contract.model_copy(update={"tile": wish}), shape)
    wish = contract.tile.model_copy(update={"mode": "blend"})
    rule = tile_rule(measured, contract.model_copy(update={"tile": wish}), shape)
    because = f"measured: {len(steps.timesteps)} steps see {measured.halo} pixels far, which leaves no core in a tile"
    return measured, rule.model_copy(update={"because": (because,)})


def tolerance_of(steps: SamplerSpec) -> float:
    """Largest difference of two sound computations of a sampling, over the output's range."""
    return min(max(_ROUNDING, parity.TOLERANCE * steps.gain), _WRONG)


class _Staged:
    """A bundle that is being written, as far as an engine needs one."""

    def __init__(self, folder: Path, spec: ModelSpec) -> None:
        self.path, self.spec = folder, spec
        files = {bundle_writer.MODEL_KEY: bundle_writer.MODEL, bundle_writer.ENCODER_KEY: bundle_writer.ENCODER}
        self.assets = {key: folder / name for key, name in files.items() if (folder / name).exists()}

        self.precisions = {"fp32": bundle_writer.MODEL_KEY}

    def asset(self, key: str) -> Path:
        return self.assets[key]


def _loop(folder: Path, spec: ModelSpec) -> HostLoop:
    """The loop that the runtime will run, on ONNX Runtime."""
    bundle: Any = _Staged(folder, spec)
    return HostLoop(bundle, None, registry.target("onnxruntime-cpu"), "fp32")


class _Given:
    """Noise that is there already."""

    def __init__(self, arrays: Mapping[int, np.ndarray]) -> None:
        self._arrays = arrays

    def draw(self, step: int, bands: int) -> np.ndarray:
        return self._arrays[step]


class _LoopOracle:
    """A loop around the written graphs, as a function of arrays that holds every draw among its inputs."""

    def __init__(self, folder: Path, step: Contract, steps: SamplerSpec, rule: TileRule) -> None:
        contract = sampled(step, steps.model_copy(update={"loop": "host"}))
        self._engine = _loop(folder, contract.measured("trial", rule))
        self._draws = {f"noise_{draw}": draw for draw in steps.draws if draw is not None}
        self.fixed: Shape | None = Shape(rule.height, rule.width)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        spec = self._engine.spec
        noise = _Given({draw: inputs[role] for role, draw in self._draws.items()})
        return self._engine.infer({i.tensor: inputs[i.role] for i in spec.inputs}, noise)[spec.output.tensor]


class _Golden:
    """The golden tile with every step: torch's, once the loop has been seen to give the same."""

    def __init__(self, job: Job, folder: Path, sampling: Sampling, spec: ModelSpec) -> None:
        self._job, self._folder, self._sampling, self._spec = job, folder, sampling, spec

    def __call__(self, inputs: Tile) -> np.ndarray:
        spec, bands = self._spec, len(self._spec.output.bands)
        self._job.say("running every step on the golden tile")
        noise = golden_noise(spec)
        assert noise is not None
        tensors = {role: torch.from_numpy(array[None]) for role, array in inputs.items()}
        module = self._sampling.unrolled(self._sampling.steps())
        with torch.inference_mode():
            conditions = [tensors[role] for role in module.conditions]
            sample = module.sample(conditions, tensors["noise"], lambda k: torch.from_numpy(noise.draw(k, bands)))
        right = sample.numpy()
        with _loop(self._folder, spec) as engine:
            looped = engine.infer({i.tensor: inputs[i.role][None] for i in spec.inputs}, noise)[spec.output.tensor]
        worst = float(np.abs(looped - right).max()) / max(float(np.ptp(right)), 1e-30)
        allowed = self._job.allowed(tolerance_of(self._sampling.steps()))
        if not worst <= allowed:
            raise ParityError(
                "The loop around the exported step does not give what torch gives after all steps",
                got=f"a difference of {worst:.2g} of the output's range",
                allowed=f"{allowed:.2g}",
                fix="If the network is that sensitive to rounding, state it with --tolerance",
            )
        return right[0]
