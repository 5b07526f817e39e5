# SPDX-License-Identifier: Apache-2.0
"""Which few time steps come closest to all of them, on some tiles of a scene."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stf_infer.diffusion import SamplerSpec, read_output, run
from stf_infer.engines.host_loop import HostLoop
from stf_infer.errors import NodataError, UsageError
from stf_infer.grid import Tile
from stf_infer.model import Model
from stf_infer.noise import TileNoise, check_seed
from stf_infer.scene import Scene

from ..samplers import SpacingName
from .resampled import loop_of, spaced, through
from .search import Timesteps, descend, shortest_path

# Images of the full sampling that are kept, and between which jumps are tried; those of a longer one are thinned out.
_MOST_NODES = 128
# Every so many rows and columns of them are kept: a mean error needs no more.
_STRIDE = 2

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Tuned:
    """Time steps that were found for a network.

    Attributes:
        sampler: The bundle's sampler through them.
        error: RMSE to the sample of all time steps, over the calibration tiles, in physical units.
        spaced: Time steps of as many steps by the rule of spacing.
        spaced_error: Their error.
        train_steps: T.
        tiles: Calibration tiles.
        trials: Lists of time steps that were run on them.
    """

    sampler: SamplerSpec
    error: float
    spaced: Timesteps
    spaced_error: float
    train_steps: int
    tiles: int
    trials: int

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "steps": len(self.sampler.timesteps),
            "timesteps": list(self.sampler.timesteps),
            "rmse_to_all_steps": self.error,
            "spaced_timesteps": list(self.spaced),
            "spaced_rmse_to_all_steps": self.spaced_error,
            "train_steps": self.train_steps,
            "tiles": self.tiles,
            "trials": self.trials,
        }


def tune(
    model: Model,
    rasters: Mapping[str, Any],
    steps: int,
    *,
    tiles: int = 4,
    spacing: SpacingName | None = None,
    seed: int = 0,
    any_ratio: bool = False,
    progress: Progress | None = None,
) -> Tuned:
    """Search the time steps whose sample comes closest to that of all T, from the same noise.

    Args:
        model: An open bundle whose sampler is a loop around one step, and draws no noise in its steps.
        rasters: Role to raster, as for :meth:`stf_infer.model.Model.fuse`.
        steps: How many time steps.
        tiles: Tiles of the scene to calibrate on, spread over it; those with the most valid pixels are taken.
        spacing: The rule to start from and to compare with; None takes the bundle's own.
        seed: Which noise the tiles see.
        any_ratio: Accept coarse rasters whose pixel size does not fit the contract's ratio.
        progress: Called with a line about what is being done.

    Returns:
        What was found. It costs T calls of the network for each tile, and some tens of trials of ``steps`` calls.

    Raises:
        UsageError: The bundle's sampler cannot be tuned, more steps than T, no tile.
        StfError: An input cannot be used, as in :meth:`~stf_infer.model.Model.fuse`.
    """
    loop, say = loop_of(model), progress or (lambda _: None)
    if tiles < 1:
        raise UsageError("Nothing can be calibrated without a tile", got=tiles, allowed="1 or more")
    start = spaced(loop.sampler, steps, spacing)
    _refuse_draws(start)
    with Scene(model.spec, rasters, any_ratio=any_ratio) as scene:
        chosen = _tiles(scene, tiles)
        say(f"running all {start.train_steps} steps on {len(chosen)} tiles")
        calibration = _Calibration(loop, scene, chosen, check_seed(seed))
    say(f"searching {steps} time steps")
    first = calibration.path(steps)
    found = descend(calibration.error, [start.timesteps, first], start.train_steps)
    return Tuned(
        sampler=through(loop.sampler, found.timesteps, "tuned"),
        error=found.error,
        spaced=start.timesteps,
        spaced_error=calibration.error(start.timesteps),
        train_steps=start.train_steps,
        tiles=len(chosen),
        trials=found.trials,
    )


def _refuse_draws(sampler: SamplerSpec) -> None:
    if any(draw is not None for draw in sampler.draws):
        raise UsageError(
            "The sampler draws noise in its steps: samples of other time steps differ by that noise, and an error "
            "between them says nothing",
            got=sampler.describe(),
            allowed="ddim with eta 0, or dpm",
            fix="Export the network again with --sampler ddim --eta 0 --loop host",
        )


class _Calibration:
    """Tiles of a scene, and what all time steps make of them."""

    def __init__(self, loop: HostLoop, scene: Scene, tiles: Sequence[Tile], seed: int) -> None:
        spec, self._loop = scene.spec, loop
        self._start = TileNoise(seed, [tile.read for tile in tiles]).draw(0, len(spec.output.bands))
        self._features = loop.features(_gather(scene, tiles), len(tiles))
        self._unit = 1 / abs(spec.output.values.scale)
        self._all = spaced(loop.sampler, loop.sampler.train_steps)
        self._nodes = _nodes(len(self._all.timesteps))
        self._images: list[np.ndarray] = []
        self._outputs: list[np.ndarray] = []
        self._goal = self._run(self._all, keep=True)
        self._known: dict[Timesteps, float] = {}

    def error(self, timesteps: Timesteps) -> float:
        """RMSE of the sample through some time steps to that through all of them, in physical units."""
        if timesteps not in self._known:
            sample = self._run(through(self._all, timesteps))
            self._known[timesteps] = self._unit * _rms(sample - self._goal)
        return self._known[timesteps]

    def path(self, steps: int) -> Timesteps:
        """The time steps whose jumps along the full sampling have the least sum of errors."""
        jumps = min(steps, len(self._nodes))
        chosen = [self._all.timesteps[self._nodes[node]] for node in shortest_path(self._costs(), jumps)]
        # A thinned-out sampling may have fewer images than there are steps: any others fill up.
        rest = (t for t in self._all.timesteps if t not in chosen)
        chosen += [next(rest) for _ in range(steps - len(chosen))]
        return tuple(sorted(chosen, reverse=True))

    def _run(self, sampler: SamplerSpec, *, keep: bool = False) -> np.ndarray:
        def step(number: int, x: np.ndarray) -> np.ndarray:
            output = self._loop.step(self._features, sampler.timesteps[number], x)
            if keep and number in self._nodes:
                self._images.append(x[..., ::_STRIDE, ::_STRIDE].copy())
                self._outputs.append(output[..., ::_STRIDE, ::_STRIDE].copy())
            return output

        return run(sampler, step, self._start, _no_draw)

    def _costs(self) -> np.ndarray:
        """RMS difference between a jump from each kept image to each later one, and that image; the last is the sample.

        A jump is DDIM's: sqrt(abar') x0 + sqrt(1 - abar') epsilon (Song et al. 2020, equation 12 with sigma 0); the
        samplers of higher order begin with the same.
        """
        levels = [self._all.alphas_cumprod[node] for node in self._nodes]
        goals = [*self._images, self._goal[..., ::_STRIDE, ::_STRIDE]]
        costs = np.full((len(goals), len(goals)), np.inf)
        for i, (x, output) in enumerate(zip(self._images, self._outputs, strict=True)):
            mean = output[:, : x.shape[1]]
            x0, epsilon = read_output(self._all, levels[i], x, mean)
            for j, level in enumerate((*levels[i + 1 :], 1.0), i + 1):
                costs[i, j] = _rms(level**0.5 * x0 + (1 - level) ** 0.5 * epsilon - goals[j])
        return costs


def _nodes(count: int) -> list[int]:
    """Numbers of the steps whose images are kept: all, or as many as there may be, the first and the last included."""
    return sorted({round(k) for k in np.linspace(0, count - 1, min(count, _MOST_NODES))})


def _rms(difference: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(difference, dtype=np.float64))))


def _no_draw(number: int) -> np.ndarray:
    raise AssertionError(f"a sampler without draws asks for draw {number}")


def _tiles(scene: Scene, count: int) -> list[Tile]:
    """Tiles spread over the scene: of three times as many as are wanted, those with the most valid pixels."""
    plan = scene.plan()
    places = sorted({round(k) for k in np.linspace(0, len(plan) - 1, min(len(plan), 3 * count))})
    seen = [(tile, _valid_share(scene, tile)) for tile in (plan[divmod(k, len(plan.x))] for k in places)]
    usable = sorted((t for t in seen if t[1] > 0), key=lambda t: -t[1])[:count]
    if not usable:
        raise NodataError("No calibration tile holds a pixel that is valid in all inputs", got=f"{len(seen)} tiles")
    return sorted((tile for tile, _ in usable), key=lambda tile: (tile.iy, tile.ix))


def _valid_share(scene: Scene, tile: Tile) -> float:
    window = tile.read
    rows = max(window.y0, 0), min(window.y1, scene.shape.height)
    columns = slice(max(window.x0, 0), min(window.x1, scene.shape.width))
    valid: np.ndarray | int = 1
    for reader in scene.readers.values():
        reader.move_to((window.y0, window.y1))
        valid = valid & reader.valid(*rows)[:, columns]
    return float(np.mean(valid))


def _gather(scene: Scene, tiles: Sequence[Tile]) -> dict[str, np.ndarray]:
    """Conditions of some tiles by tensor."""
    parts = []
    for tile in tiles:
        for reader in scene.readers.values():
            reader.move_to((tile.read.y0, tile.read.y1))
        parts.append(scene.gather([tile]))
    return {tensor: np.concatenate([part[tensor] for part in parts]) for tensor in parts[0]}
