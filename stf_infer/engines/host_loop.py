# SPDX-License-Identifier: Apache-2.0
"""A sampler as a loop around the graph of one step: for schedules that are too long for one graph.

The bundle holds the graph of a step and, where a network can tell what depends on its conditions alone, an encoder::

    conditions ──▶ encoder ──▶ features ─┐
                                         ├─▶ step ──▶ output ──▶ next noisy image ─┐
    noise ──▶ noisy image, time ─────────┘                                        │
                   ▲──────────────────────────────────────────────────────────────┘

Both run on any backend. To whoever calls it the loop is an engine like any other: conditions and noise in, sample out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..diffusion import SamplerSpec, run
from ..errors import EngineError
from ..spec import ModelSpec
from .base import Engine, Noise

if TYPE_CHECKING:
    from ..bundle import Bundle
    from .target import Target

# Assets of the two graphs, by the precision that follows; and tensors of the step besides features and conditions.
STEP, ENCODER = "model-", "encoder-"
IMAGE, TIME = "x_t", "t"


def is_looped(bundle: Bundle) -> bool:
    """Whether the bundle holds one step of a sampling, which has to be repeated."""
    spec = bundle.spec
    return isinstance(spec, ModelSpec) and spec.sampler is not None and spec.sampler.loop == "host"


class HostLoop(Engine):
    """The whole sampling of a bundle that holds one step.

    Later draws of noise are asked for one at a time, when a step needs them: a schedule of any length holds one.

    Args:
        bundle: The open bundle.
        threads: CPU threads; None leaves it to the backend.
        target: What opens both graphs.
        precision: What to compute in.

    Attributes:
        sampler: The steps, at first those of the bundle. Other time steps may be put in their place between two calls:
            the graphs do not depend on them.
    """

    sampler: SamplerSpec

    def __init__(self, bundle: Bundle, threads: int | None, target: Target, precision: str) -> None:
        self._target, self._precision = target, precision
        super().__init__(bundle, threads)

    def open_impl(self, bundle: Bundle, threads: int | None) -> None:
        spec = bundle.spec
        assert isinstance(spec, ModelSpec)
        assert spec.sampler is not None
        self.sampler = spec.sampler
        self._conditions = [i.tensor for i in spec.inputs if i.grid != "noise"]
        (self._start,) = (i.tensor for i in spec.noises)
        self._step = self._target.open(bundle, None, self._precision, threads)
        self._encoder: Engine | None = None
        if any(key.startswith(ENCODER) for key in bundle.assets):
            try:
                encoder: Any = _Encoder(bundle)
                self._encoder = self._target.open(encoder, None, self._precision, threads)
            except BaseException:
                self._step.close()
                raise
        self.name, self.preferred_batch, self.max_batch = (
            self._step.name,
            self._step.preferred_batch,
            self._step.max_batch,
        )
        self.has_device_clock = self._step.has_device_clock

    def log_device_time(self, log: list[float] | None) -> None:
        for engine in filter(None, (self._step, self._encoder)):
            engine.log_device_time(log)

    def trial(self, inputs: Mapping[str, np.ndarray]) -> None:
        tiles = inputs[self._start].shape[0]
        self.step(self.features(inputs, tiles), self.sampler.timesteps[0], inputs[self._start])

    def infer_tiles(
        self, inputs: Mapping[str, np.ndarray], tiles: int, noise: Noise | None = None
    ) -> dict[str, np.ndarray]:
        features, bands = self.features(inputs, tiles), inputs[self._start].shape[1]

        def draw(number: int) -> np.ndarray:
            if noise is None:
                raise EngineError("The sampler draws noise in its steps, and none is given", got=f"draw {number}")
            return noise.draw(number, bands)

        def step(number: int, x: np.ndarray) -> np.ndarray:
            return self.step(features, self.sampler.timesteps[number], x)

        sample = run(self.sampler, step, inputs[self._start], draw)
        return {self.spec.output.tensor: sample}

    def infer_impl(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self.infer_tiles(inputs, inputs[self._start].shape[0])

    def features(self, inputs: Mapping[str, np.ndarray], tiles: int) -> dict[str, np.ndarray]:
        """What a step is given besides the noisy image and the time, from the conditions of so many tiles by tensor."""
        conditions = {name: inputs[name] for name in self._conditions}
        return conditions if self._encoder is None else self._encoder.infer_tiles(conditions, tiles)

    def step(self, features: Mapping[str, np.ndarray], t: int, x: np.ndarray) -> np.ndarray:
        """The network's raw output for the noisy images ``x`` ``(N, C, H, W)`` at time step ``t``."""
        tiles = x.shape[0]
        time = np.full((tiles, 1, 1, 1), t, np.float32)
        found = self._step.infer_tiles({**features, IMAGE: x, TIME: time}, tiles)
        if len(found) != 1:
            raise EngineError("A step gives one output", got=", ".join(found))
        return next(iter(found.values()))

    def close_impl(self) -> None:
        self._step.close()
        if self._encoder is not None:
            self._encoder.close()

    def describe(self) -> dict[str, str]:
        return self._step.describe()


class _Encoder:
    """A bundle whose network is the encoder."""

    def __init__(self, bundle: Bundle) -> None:
        self.path, self.spec, self.assets, self.asset = bundle.path, bundle.spec, bundle.assets, bundle.asset
        keys = {precision: f"{ENCODER}{precision}" for precision in bundle.precisions}
        self.precisions = {precision: key for precision, key in keys.items() if key in bundle.assets}
