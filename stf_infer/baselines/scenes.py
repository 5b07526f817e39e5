# SPDX-License-Identifier: Apache-2.0
"""Baselines over whole scenes: the stream of a network, with a formula in the place of its engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from ..engines.base import Engine
from ..engines.machine import cores
from ..errors import UsageError
from ..fusion import FusionResult
from ..grid import Shape
from ..model import Model
from ..raster import Raster, shape_of
from ..spec import PLAUSIBLE, InputSpec, ModelSpec, OutputSpec, SceneStatistic, TileRule, Values
from .starfm import Starfm, starfm

BaselineName = Literal["copy", "change", "starfm"]

# What each of them takes.
BASELINES: dict[BaselineName, tuple[str, ...]] = {
    "copy": ("fine_t1",),
    "change": ("fine_t1", "coarse_t1", "coarse_t2"),
    "starfm": ("fine_t1", "coarse_t1", "coarse_t2"),
}
assert set(BASELINES) == set(get_args(BaselineName))

TILE = 512


def fuse_baseline(
    name: BaselineName,
    output: str | Path | None = None,
    *,
    ratio: int = 16,
    unit: str = "reflectance",
    settings: Starfm | None = None,
    threads: int | None = None,
    **given: Any,
) -> FusionResult:
    """Predict the fine image at t2 without a network.

    ``copy`` gives fine_t1 again, ``change`` adds the change of the coarse images, interpolated bilinearly,
    ``starfm`` is :func:`stf_infer.baselines.starfm` with coarse images interpolated in the same way.

    Args:
        name: Which one.
        output: Path of the GeoTIFF or COG; None returns an array, as :meth:`stf_infer.Model.fuse` does.
        ratio: Coarse pixel over fine pixel.
        unit: Physical unit of the rasters: ``reflectance``, ``kelvin`` or ``1``.
        settings: Of STARFM.
        threads: CPU threads; None takes all cores.
        **given: Rasters by role (those that ``name`` does not take are left out), and the options of
            :meth:`stf_infer.Model.fuse`.

    Returns:
        What :meth:`stf_infer.Model.fuse` returns. Memory does not grow with the scene's height.

    Raises:
        UsageError: No such baseline or unit, or a raster is missing.
        RasterError, BandError, ScaleError, GridError, NodataError, OutputError: As :meth:`stf_infer.Model.fuse`.
    """
    if name not in BASELINES:
        raise UsageError("There is no such baseline", got=name, allowed=", ".join(BASELINES))
    if given.get("fine_t1") is None:
        raise UsageError("fine_t1 is missing: it defines the output grid", fix="Give fine_t1")
    for role in {role for roles in BASELINES.values() for role in roles} - set(BASELINES[name]):
        given.pop(role, None)
    fine = Raster.of(given["fine_t1"])
    if unit not in (*PLAUSIBLE, "1"):
        raise UsageError("There is no such unit", got=unit, allowed=", ".join((*PLAUSIBLE, "1")))
    with fine.open() as dataset:
        bands, shape = _band_names(fine, dataset), shape_of(dataset)
    with BaselineModel(name, bands, shape, ratio=ratio, unit=unit, settings=settings, threads=threads) as model:
        return model.fuse(output, **given)


def _band_names(fine: Raster, dataset: Any) -> tuple[str, ...]:
    """What the bands that are used are called; numbered where one has no name."""
    known = dict(enumerate(fine.names or dataset.descriptions, 1))
    used = fine.bands or tuple(known)
    names = [known.get(int(band)) if str(band).isdigit() else str(band) for band in used]
    if all(names) and len(set(names)) == len(names):
        return tuple(name for name in names if name)
    return tuple(f"band_{n}" for n in range(1, len(used) + 1))


class BaselineModel(Model):
    """A baseline as a model that fuses scenes of one size; see :func:`fuse_baseline`.

    Args:
        name: Which one.
        bands: Names of the bands.
        scene: Rows and columns of the scene in fine pixels: tiles are no larger, so that nothing is mirrored.
        ratio: Coarse pixel over fine pixel.
        unit: Physical unit of the rasters.
        settings: Of STARFM.
        threads: CPU threads; None takes all cores.
        tile: Rows and columns of a tile.
    """

    def __init__(
        self,
        name: BaselineName,
        bands: tuple[str, ...],
        scene: Shape,
        *,
        ratio: int = 16,
        unit: str = "reflectance",
        settings: Starfm | None = None,
        threads: int | None = None,
        tile: int = TILE,
    ) -> None:
        settings = settings or Starfm()
        halo = settings.radius if name == "starfm" else 0
        side = max(tile, 4 * halo)
        rule = TileRule(height=min(side, scene.height), width=min(side, scene.width), halo=halo)
        formula = _Formula(_spec(name, bands, ratio, unit, rule, settings))
        super().__init__(formula, threads=threads)  # type: ignore[arg-type]  # all that a model wants of a bundle
        self._engine = _FormulaEngine(formula, settings, threads)


class _Formula:
    """What a model wants of a bundle."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.sha256 = hashlib.sha256(json.dumps(spec.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


class _FormulaEngine(Engine):
    name = "formula"

    def __init__(self, formula: _Formula, settings: Starfm, threads: int | None) -> None:
        self._settings = settings
        super().__init__(formula, threads)  # type: ignore[arg-type]

    def open_impl(self, bundle: Any, threads: int | None) -> None:
        self._threads = threads or cores()

    def close_impl(self) -> None:
        pass

    def describe(self) -> dict[str, str]:
        from .. import __version__

        return {"engine": self.name, "version": __version__, "precision": "fp32", "device": "cpu"}

    def infer_impl(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        tiles = [self._tile(number, inputs) for number in range(len(inputs["fine_t1"]))]
        return {self.spec.output.tensor: np.stack(tiles)}

    def _tile(self, number: int, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
        fine = inputs["fine_t1"][number]
        if self.spec.network == "copy":
            return fine
        before, after = inputs["coarse_t1"][number], inputs["coarse_t2"][number]
        if self.spec.network == "change":
            return fine + (after - before)
        deviation = inputs["deviation"][number, :, 0, 0]
        return starfm(fine, before, after, self._settings, deviation=deviation, threads=self._threads)


def raster_inputs(bands: Mapping[str, tuple[str, ...]], values: Values) -> list[InputSpec]:
    """Rasters by role as formulas take them: on the fine grid, coarse ones by way of the coarse working grid."""
    return [
        InputSpec(
            role=role,
            tensor=role,
            bands=names,
            values=values,
            from_coarse="half-pixel" if role.startswith("coarse") else None,
        )
        for role, names in bands.items()
    ]


def _spec(
    name: BaselineName, bands: tuple[str, ...], ratio: int, unit: str, rule: TileRule, settings: Starfm
) -> ModelSpec:
    values = Values(unit=unit)
    inputs = raster_inputs(dict.fromkeys(BASELINES[name], bands), values)
    if name == "starfm":
        statistic = SceneStatistic(rule="standard-deviation", of=("fine_t1",))
        inputs.append(InputSpec(role="deviation", tensor="deviation", bands=bands, grid="scene", statistic=statistic))
    return ModelSpec(
        name=name,
        network=name,
        ratio=ratio,
        inputs=tuple(inputs),
        output=OutputSpec(tensor="fine_t2", bands=bands, values=values),
        tile=rule,
        options=settings.as_dict() if name == "starfm" else {},
    )
