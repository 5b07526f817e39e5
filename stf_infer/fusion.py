# SPDX-License-Identifier: Apache-2.0
"""A fusion: a scene goes through the engine, panel after panel, and what came of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .device_tiles import Where, tiles_of
from .engines.base import Engine
from .ensemble import Ensemble
from .errors import EngineError, NodataError
from .grid import Window
from .kept_tiles import KeptTiles
from .panels import Panel
from .pipeline import Counts, Pipeline, Writer
from .profile import Profile, Stage
from .scene import Scene
from .seam import SeamMeter
from .storage import Storage
from .threads import ThreadSplit

_log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclass
class FusionResult:
    """What a run did.

    Attributes:
        path: The file written, or None.
        array: The result as physical float32 (C, H, W) with NaN for nodata, where no path was given.
        pixels: Scene pixels that were written.
        valid_fraction: Share of them that are valid in all inputs.
        not_finite: Values (pixels times bands) that the network gave as NaN or infinite; they are nodata too.
        bands: Names of the bands of the result.
        tiles: Tiles run by the engine, each once for every sample.
        skipped_tiles: Tiles without a single valid pixel, not run.
        seconds: Wall time from first read to the finished file.
        finish_seconds: Part of it after the last row: overviews, and reading the file back to verify it.
        engine_seconds: Time inside of the engine.
        seam_ratio: Mean gradient across tile borders over that elsewhere; None without a border.
        provenance: Bundle, engine, precision and tile plan that made the result.
        profile: What each thread did and for how long, where that was asked for.
        threads: How many threads read and compressed, and why.
        panels: Panels of columns that the scene went through in.
    """

    path: Any = None
    array: np.ndarray | None = None
    bands: tuple[str, ...] = ()
    pixels: int = 0
    valid_fraction: float = 0.0
    not_finite: int = 0
    tiles: int = 0
    skipped_tiles: int = 0
    seconds: float = 0.0
    finish_seconds: float = 0.0
    engine_seconds: float = 0.0
    seam_ratio: float | None = None
    provenance: dict[str, str] = field(default_factory=dict)
    profile: tuple[Stage, ...] = ()
    threads: ThreadSplit | None = None
    panels: int = 1

    @property
    def mpx_per_second(self) -> float:
        """Scene megapixels per second of wall time."""
        return self.pixels / 1e6 / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """All figures as plain values, without the array."""
        shown = {k: v for k, v in vars(self).items() if k not in ("array", "profile", "threads")}
        if self.threads:
            shown["threads"] = self.threads.as_dict()
        if self.profile:
            shown["profile"] = [stage.as_dict() for stage in self.profile]
        return {**shown, "path": None if self.path is None else str(self.path), "mpx_per_s": self.mpx_per_second}


class PanelWriter(Writer, Protocol):
    """Where a result goes, panel after panel; those before ``first_panel`` are there already."""

    first_panel: int

    def begin(self, panel: int) -> None:
        """Rows of a panel come next, from its ``first_row`` on."""


@dataclass(frozen=True)
class Fusion:
    """One fusion, with its rasters open.

    Attributes:
        scene: The open rasters.
        panels: Windows of the scene that are written, one after the other. Together they are the area, whose pixels
            are those of the whole scene's result.
        tile_batch: Tiles in one engine call.
        ensemble: Which noise a network with noise inputs sees, and how many samples it draws.
        progress: Called with (pixels done, pixels in all).
        profile: Told what each thread does, and when.
        where: Where tiles live.
    """

    scene: Scene
    panels: Sequence[Window]
    tile_batch: int
    ensemble: Ensemble
    progress: Progress | None
    profile: Profile
    where: Where

    @property
    def area(self) -> Window:
        """Window of the scene that is written."""
        first, last = self.panels[0], self.panels[-1]
        return Window(first.y0, first.y1, first.x0, last.x1)

    def go(self, engine: Engine, writer: PanelWriter, storage: Storage, folder: Path | None = None) -> FusionResult:
        """Run it; the writer is not finished by this.

        Args:
            engine: The open engine.
            writer: Takes the finished rows.
            storage: How rows are stored.
            folder: Where tiles between two panels are kept; needed where there are several.

        Raises:
            NodataError: Not one pixel of the area is valid in all inputs.
            EngineError: The engine failed, or gave not one finite value.
            RasterError, OutputError: Reading or writing failed.
        """
        began = time.perf_counter()
        plan, counts, whole = self.scene.plan(), Counts(), False
        seam = SeamMeter(plan)
        with KeptTiles(plan, folder or Path()) as kept:
            for number, area, following in zip(count(), self.panels, (*self.panels[1:], None), strict=False):
                if number < writer.first_panel:
                    continue
                writer.begin(number)
                seam.begin()
                kept.begin(area, following, known=whole)
                panel = Panel.of(plan, area, kept.known)
                with tiles_of(self.scene, engine, self.where, self.tile_batch, panel.reads) as tiles:
                    counts += Pipeline(
                        self.scene,
                        panel,
                        tiles,
                        writer,
                        storage,
                        seam,
                        kept,
                        tile_batch=self.tile_batch,
                        ensemble=self.ensemble,
                        progress=self._progress_of(area),
                        profile=self.profile,
                    ).run()
                whole = writer.first_row == 0
        self._check(counts, engine)
        return FusionResult(
            pixels=counts.pixels,
            valid_fraction=counts.valid / max(counts.pixels, 1),
            not_finite=counts.not_finite,
            tiles=counts.tiles,
            skipped_tiles=counts.skipped_tiles,
            seconds=time.perf_counter() - began,
            engine_seconds=counts.engine_seconds,
            seam_ratio=seam.ratio,
            panels=len(self.panels),
        )

    def _progress_of(self, panel: Window) -> Callable[[int], None] | None:
        """Told of the pixels of a panel that are done."""
        told, area = self.progress, self.area
        if told is None:
            return None
        before = (panel.x0 - area.x0) * area.shape.height
        return lambda done: told(before + done, area.shape.pixels)

    def _check(self, counts: Counts, engine: Engine) -> None:
        """Refuse a result without a single value; warn of values that are missing from it."""
        values = counts.valid * len(self.scene.spec.output.bands)
        if counts.valid == 0 and counts.pixels == self.area.shape.pixels:
            raise NodataError(
                "Not one pixel is valid in all inputs, so there is nothing to fuse",
                got=", ".join(f"{role}: {layer.label}" for role, layer in self.scene.layers.items()),
                fix="Check nodata values and masks, and that the rasters overlap",
            )
        if values and counts.not_finite == values:
            raise EngineError(
                "The network gave no finite value at all",
                got=engine.describe()["engine"],
                fix="`stf-infer check` proves a bundle and an engine; check the scale of the rasters",
            )
        if counts.not_finite:
            _log.warning("%d of %d values are not finite; they became nodata", counts.not_finite, values)
