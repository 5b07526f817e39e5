# SPDX-License-Identifier: Apache-2.0
"""The embedded demo: a scene made on the spot, a shipped bundle, and the two baselines it has to beat.

Everything goes the way that a user's data goes: GeoTIFFs on disk, ``stf_infer.open(...).fuse(...)``, a GeoTIFF back.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..baselines import add_coarse_change, copy_reference
from ..datasets import DEMO_SEED, TRAINING_SEEDS, VALIDATION_SEEDS, Scene, procedural_scene, write_scene
from ..errors import UsageError

if TYPE_CHECKING:
    from ..fusion import FusionResult
    from ..metrics import MetricReport

SIDE = 512  # fine pixels
METRICS = ("rmse", "mae", "cc", "ssim", "sam_deg", "ergas")
COPY, ADD, FUSED = "fine_t1", "fine_t1 + coarse change", "fused"


def bundle_path(name: Literal["demo", "diffusion"] = "demo") -> Path:
    """A bundle that comes with the package: that of the demo, or a small diffusion network for the same scenes."""
    return Path(__file__).parent / f"{name}.stf"


@dataclass(frozen=True)
class DemoResult:
    """What the demo made and measured.

    Attributes:
        scene: The scene, with the truth.
        fused: The fused image as read back from the GeoTIFF, float32 ``(C, H, W)``; NaN is nodata.
        reports: Figures of ``fine_t1``, ``fine_t1 + coarse change`` and ``fused``, over the same pixels.
        files: Path by name: inputs, truth, ``fine_t2`` (the result) and ``picture``.
        fusion: What the run of the pipeline says about itself.
        network: Name of the network.
        seconds: Wall time of the whole demo.
    """

    scene: Scene
    fused: np.ndarray
    reports: dict[str, MetricReport]
    files: dict[str, Path]
    fusion: FusionResult
    network: str
    seconds: float

    def winner(self, metric: str, band: str | None = None) -> str:
        """Which of the three is best in a metric, pooled or in one band."""
        from ..metrics.report import HEADINGS

        less = HEADINGS[metric][1]
        figures = {
            name: (report.pooled if band is None else report.per_band[band])[metric]
            for name, report in self.reports.items()
        }
        return min(figures, key=figures.__getitem__) if less else max(figures, key=figures.__getitem__)

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        best = min(self.reports[name].pooled["rmse"] for name in (COPY, ADD))
        return {
            "seed": self.scene.seed,
            "size": list(self.scene.fine_t1.shape[1:]),
            "bands": list(self.scene.bands),
            "days_of_year": list(self.scene.days),
            "network": self.network,
            "reports": {name: report.as_dict() for name, report in self.reports.items()},
            "winner": {metric: self.winner(metric) for metric in METRICS},
            "rmse_lower_by": 1 - self.reports[FUSED].pooled["rmse"] / best,
            "files": {name: str(path) for name, path in self.files.items()},
            "fusion": self.fusion.as_dict(),
            "seconds": self.seconds,
        }


def run_demo(
    folder: str | Path,
    *,
    seed: int = DEMO_SEED,
    clouds: bool = False,
    engine: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> DemoResult:
    """Make a scene, fuse it with the shipped bundle and measure the result.

    Args:
        folder: Where the GeoTIFFs and the picture go; made if it is missing.
        seed: Which scene; not one that the network was trained on.
        clouds: Whether clouds hide a part of the inputs; the figures are then of what is left.
        engine: Target to run on; None takes the first usable one.
        progress: Called with a line about what is being done.

    Raises:
        UsageError: The network was trained with this seed.
        EngineUnavailableError: No engine is installed.
        OutputError: A file cannot be written.

    A few seconds on one core.
    """
    from .. import Model
    from .. import open as open_bundle
    from .view import draw

    if seed in TRAINING_SEEDS or seed in VALIDATION_SEEDS:
        raise UsageError(
            "The network of the demo was trained on this scene",
            got=f"seed {seed}",
            allowed=f"any seed but {TRAINING_SEEDS[0]} to {VALIDATION_SEEDS[-1]}",
        )
    started, folder, say = time.perf_counter(), Path(folder), progress or (lambda _: None)
    say("making a scene")
    scene = procedural_scene(seed, SIDE, SIDE, clouds=clouds)
    files = write_scene(scene, folder)
    say("fusing")
    inputs: dict[str, Any] = {role: files[role] for role in ("fine_t1", "coarse_t1", "coarse_t2")}
    with open_bundle(bundle_path(), engine=engine) as model:
        assert isinstance(model, Model)
        files["fine_t2"] = folder / "fine_t2.tif"
        fusion = model.fuse(files["fine_t2"], **inputs)
        network = model.spec.network
    say("measuring")
    fused = _read(files["fine_t2"])
    reports = _measure(scene, fused)
    say("drawing")
    files["picture"] = folder / "demo.png"
    draw(files["picture"], scene, fused, reports)
    return DemoResult(scene, fused, reports, files, fusion, network, time.perf_counter() - started)


def guesses(scene: Scene, fused: np.ndarray) -> dict[str, np.ndarray]:
    """Both baselines and the fused image, ``(C, H, W)`` each; clouds do not enter the baselines either."""
    clear = scene.coarse_t1_valid & scene.coarse_t2_valid
    return {
        COPY: copy_reference(scene.fine_t1),
        ADD: add_coarse_change(scene.fine_t1, scene.coarse_t1, scene.coarse_t2, scene.ratio, clear),
        FUSED: fused,
    }


def _measure(scene: Scene, fused: np.ndarray) -> dict[str, MetricReport]:
    """Figures of both baselines and the fused image, over the pixels where the fused image is valid."""
    from ..metrics import evaluate

    valid = np.isfinite(fused).all(0)
    return {
        name: evaluate(guess, scene.fine_t2, valid, data_range=1.0, ratio=scene.ratio, bands=scene.bands)
        for name, guess in guesses(scene, fused).items()
    }


def _read(path: Path) -> np.ndarray:
    """Physical values of a GeoTIFF, NaN where it holds nodata."""
    import rasterio

    with rasterio.open(path) as raster:
        stored = raster.read(masked=True)
        scales = np.array(raster.scales, np.float32)[:, None, None]
        offsets = np.array(raster.offsets, np.float32)[:, None, None]
    physical: np.ndarray = stored.astype(np.float32).filled(np.nan) * scales + offsets
    return physical
