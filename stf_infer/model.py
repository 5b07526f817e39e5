# SPDX-License-Identifier: Apache-2.0
"""A bundle with an engine: open it, fuse scenes with it, close it."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import threads as split_threads
from .area import area_window
from .bundle import Bundle
from .device_tiles import TilesOn, where_tiles_live
from .engines.opening import RebuildHere
from .ensemble import Ensemble
from .errors import UsageError
from .fusion import Fusion, FusionResult, Progress
from .opened import OpenBundle, check_batch
from .panels import panels_of
from .profile import Profile
from .samples.spec import SampleSpec
from .scene import Scene
from .storage import CompressName, DTypeName, FormatName, Storage

if TYPE_CHECKING:
    from .estimate import RunEstimate
    from .placement import Grid
    from .samples.model import SampleModel
    from .spec import ModelSpec

# GDAL's block cache, in MB: fixed, so that memory does not grow with the machine or the scene. Blocks are read once and
# written once, so it is no cache but the place where they are cut up and put together.
_GDAL_CACHE = 32


def open(
    path: str | Path,
    *,
    engine: str | None = None,
    threads: int | None = None,
    precision: str | None = None,
    rebuild: RebuildHere = "never",
) -> Model | SampleModel:
    """Open a bundle; the engine is opened on first use.

    Args:
        path: The folder ``NAME.stf``.
        engine: Target name (``stf-infer engines`` lists them); None takes the fastest that can be used here, which
            is measured once.
        threads: CPU threads for engine, reading and compression; None leaves it to the engine, and to a short
            measurement how many read and compress.
        precision: What the engine has to compute in; None takes any that is built, and fp32.
        rebuild: ``auto`` builds an engine of the bundle again that does not fit this machine or this network.

    Returns:
        A :class:`Model`, or a :class:`stf_infer.samples.model.SampleModel` where the network takes no rasters.

    Raises:
        BundleError: The folder is no bundle that can be used; the message says why.
    """
    bundle = Bundle.open(path)
    kind: type[Model | SampleModel] = Model
    if isinstance(bundle.spec, SampleSpec):
        from .samples.model import SampleModel

        kind = SampleModel
    return kind(bundle, engine=engine, threads=threads, precision=precision, rebuild=rebuild)


class Model(OpenBundle):
    """An open bundle of a network that takes rasters; a context manager. One thread fuses at a time."""

    @property
    def spec(self) -> ModelSpec:
        """The contract of the network."""
        spec = self.bundle.spec
        assert not isinstance(spec, SampleSpec), "stf_infer.open returns a SampleModel for such a bundle"
        return spec

    def fuse(
        self,
        output: str | Path | None = None,
        *,
        aoi: Any = None,
        tile_batch: int | None = None,
        seed: int | None = None,
        samples: int = 1,
        dtype: DTypeName = "auto",
        format: FormatName = "gtiff",
        compress: CompressName = "zstd",
        overviews: bool = True,
        resume: bool = False,
        any_ratio: bool = False,
        progress: Progress | None = None,
        profile: bool | str | Path | Profile = False,
        tiles_on: TilesOn = "auto",
        **rasters: Any,
    ) -> FusionResult:
        """Predict the fine image at t2.

        Args:
            output: File to write; None returns the result as an array (the whole scene in memory).
            aoi: Area to predict: (west, south, east, north) in the CRS of fine_t1, or a GeoJSON file. The pixels are
                those that the whole scene's result has there.
            tile_batch: Tiles in one engine call; None takes what suits the engine.
            seed: Which noise a network with noise inputs sees: 0 to 2^64 - 1; None is 0. A pixel sees the same noise
                whatever the tiles, the batch and the area are.
            samples: 2 or more draw as many samples, with the seeds ``seed``, ``seed + 1`` and so on, and give their
                mean and, as further bands ``<band>_std``, their standard deviation pixel by pixel (with n - 1): those
                of the images that each seed would give alone. Every tile is run once for each sample, and the rows
                that are being blended are held once for each.
            dtype: Stored type: ``int16`` (scaled), ``float32``, or ``auto`` (as fine_t1).
            format: ``gtiff`` or ``cog``.
            compress: ``zstd``, ``deflate``, ``lzw`` or ``none``.
            overviews: Build reduced versions into the file.
            resume: Keep a journal when interrupted, and continue an interrupted run of the same inputs.
            any_ratio: Accept coarse rasters whose pixel size does not fit the contract's ratio.
            progress: Called with (pixels done, pixels in all).
            profile: True measures what each thread does (``FusionResult.profile``); a path writes a trace for Perfetto
                or Chrome as well. A :class:`~stf_infer.profile.Profile` of the caller's collects there.
            tiles_on: Where strips and tiles live between reading and writing: ``auto`` keeps them on the engine's
                device where that is possible (docs/cuda.md), and ``provenance`` says where they were; ``device`` is an
                error where it is not possible. The pixels are the same.
            **rasters: One raster a role (``fine_t1=...``): a path, an array ``(C, H, W)``, a DataArray, or a
                :class:`stf_infer.Raster` that states bands, scale, nodata or CRS.

        Returns:
            Figures of the run, with the array where no output was named. Peak memory depends on tile, batch and bands,
            not on the number of rows, nor, from 4096 on, on that of columns; see docs/performance.md for exceptions.

        Raises:
            UsageError, RasterError, BandError, ScaleError, GridError, NodataError: An input cannot be used.
            EngineError: The engine cannot be opened or fails.
            OutputError: The result cannot be written. After any error nothing is at the destination that was not
                there before.
        """
        check_batch(tile_batch)
        ensemble = Ensemble.of(self.spec, seed, samples)
        from .layout import FileOptions

        options = FileOptions(format, compress, overviews, threads=self._threads or 1)
        profiled = Profile.of(profile)
        with ExitStack() as stack:
            split = split_threads.stated(self._threads) if self._threads else split_threads.usual("not measured")
            scene = self._open_scene(rasters, any_ratio, split, stack)
            area, batch = area_window(aoi, scene.grid), self._batch(tile_batch)
            if not self._threads:
                found = split_threads.measured(scene, area, self.engine, batch, options if output else None)
                if found.reading != split.reading:  # files are opened for a number of threads
                    stack.close()
                    scene = self._open_scene(rasters, any_ratio, found, stack)
                split = found
            where = where_tiles_live(self.engine, ensemble.samples, tiles_on)
            # A device computes a fixed batch whole, however few tiles are in it.
            batch = batch if where.kernels is None else self.engine.fixed_batch or batch
            panels = [area] if output is None or where.kernels else panels_of(scene, area)
            run = Fusion(scene, panels, batch, ensemble, progress, profiled, where)
            if output is None:
                result = self._fuse_array(run)
            else:
                storage = Storage.choose(self.spec.output, dtype, scene.fine_profile, ensemble.samples)
                result = self._fuse_file(Path(output), run, storage, replace(options, threads=split.writing), resume)
        result.profile, result.threads = profiled.stages, split
        profiled.write(
            {"pixels": result.pixels, "seconds": result.seconds, "threads": split.as_dict(), **result.provenance}
        )
        return result

    def _open_scene(
        self, rasters: dict[str, Any], any_ratio: bool, split: split_threads.ThreadSplit, stack: ExitStack
    ) -> Scene:
        """The rasters, and GDAL's settings, for as long as the stack is open."""
        import rasterio

        stack.enter_context(rasterio.Env(GDAL_CACHEMAX=_GDAL_CACHE, GDAL_NUM_THREADS=str(split.reading)))
        return stack.enter_context(Scene(self.spec, rasters, any_ratio=any_ratio))

    def _fuse_array(self, run: Fusion) -> FusionResult:
        from .output import ArrayWriter

        storage = Storage.choose(self.spec.output, "float32", run.scene.fine_profile, run.ensemble.samples)
        bands = storage.bands(self.spec.output)
        writer = ArrayWriter(_grid_of(run), bands)
        result = run.go(self.engine, writer, storage)
        result.array, result.bands, result.provenance = writer.array, bands, self._provenance(run)
        return result

    def _fuse_file(self, path: Path, run: Fusion, storage: Storage, options: Any, resume: bool) -> FusionResult:
        from .output import SceneWriter

        self._refuse_to_overwrite_inputs(path, run.scene)
        tags = {f"STF_{k.upper()}": v for k, v in self._provenance(run).items()}
        writer = SceneWriter(
            path,
            _grid_of(run),
            self.spec.output,
            storage,
            options,
            {**tags, "TIFFTAG_SOFTWARE": f"stf-infer {tags['STF_VERSION']}"},
            self._identity(run, storage, options, resume),
            panels=_columns_of(run),
            resume=resume,
        )
        with writer:
            result = run.go(self.engine, writer, storage, path.parent)
            began = time.perf_counter()
            with run.profile.at_work("finish"):
                writer.finish()
            result.finish_seconds = time.perf_counter() - began
            result.seconds += result.finish_seconds
        result.path, result.bands, result.provenance = path, writer.bands, self._provenance(run)
        return result

    def _batch(self, tile_batch: int | None) -> int:
        """Tiles in a call: as stated, or what suits the engine."""
        suits = self._engine_for(tile_batch).preferred_batch
        return suits if tile_batch is None else tile_batch

    def _refuse_to_overwrite_inputs(self, path: Path, scene: Scene) -> None:
        for role, raster in scene.rasters.items():
            if raster.file is not None and path.exists() and path.samefile(raster.file):
                raise UsageError("The result would overwrite an input", got=f"{role}: {path}")

    def _provenance(self, run: Fusion) -> dict[str, str]:
        """What is stored with a result: bundle, engine, precision, tile plan, ratio, version, inputs, sampler, seed."""
        from . import __version__

        tile, plan = self.spec.tile, run.scene.plan()
        sampler = getattr(self.engine, "sampler", self.spec.sampler)  # a loop may have been given other steps
        return {
            "version": __version__,
            "bundle": self.spec.name,
            "bundle_sha256": self.bundle.sha256,
            "network": self.spec.network,
            **self._made_by(),
            "tile_plan": f"{plan.tile} mode={tile.mode} halo={tile.halo} stride={tile.stride} "
            f"overlap={tile.overlap} tiles={len(plan)}",
            "ratio": str(self.spec.ratio),
            "inputs": "; ".join(
                f"{role}={'array' if raster.is_array else Path(raster.label).name}"
                for role, raster in run.scene.rasters.items()
            ),
            **({"sampler": sampler.describe()} if sampler else {}),
            **({"tiles_on": run.where.told} if run.where.told else {}),
            **({"seed": str(run.ensemble.seed)} if self.spec.noises else {}),
            **({"samples": str(run.ensemble.samples)} if run.ensemble.samples > 1 else {}),
        }

    def _identity(self, run: Fusion, storage: Storage, options: Any, resume: bool) -> dict[str, Any]:
        """What must be the same for an interrupted run to be continued."""
        from . import __version__

        return {
            "version": __version__,
            "bundle": self.bundle.sha256,
            "engine": self.engine.describe(),
            "inputs": {role: raster.identity(hash_pixels=resume) for role, raster in run.scene.rasters.items()},
            "ensemble": [run.ensemble.seed, run.ensemble.samples],
            "area": [run.area.y0, run.area.y1, run.area.x0, run.area.x1],
            "panels": _columns_of(run),
            "storage": [str(storage.dtype), storage.scale, storage.offset, str(storage.nodata)],
            "compress": options.compress,
        }

    def estimate(
        self,
        *,
        aoi: Any = None,
        tile_batch: int | None = None,
        seed: int | None = None,
        samples: int = 1,
        any_ratio: bool = False,
        **rasters: Any,
    ) -> RunEstimate:
        """What :meth:`fuse` would do with these rasters: tile plan, overlap cost, expected peak memory."""
        import rasterio

        from .estimate import estimate_run

        check_batch(tile_batch)
        count = Ensemble.of(self.spec, seed, samples).samples
        with (
            rasterio.Env(GDAL_CACHEMAX=_GDAL_CACHE),
            Scene(self.spec, rasters, any_ratio=any_ratio) as scene,
        ):
            area, cache = area_window(aoi, scene.grid), _GDAL_CACHE * 1024 * 1024
            return estimate_run(scene, self.engine, area, self._batch(tile_batch), cache, count)


def _grid_of(run: Fusion) -> Grid:
    """Grid of the result."""
    return run.scene.grid.part(run.area.y0, run.area.x0, run.area.shape)


def _columns_of(run: Fusion) -> list[tuple[int, int]]:
    """Columns of the result that each panel is."""
    return [(panel.x0 - run.area.x0, panel.x1 - run.area.x0) for panel in run.panels]


__all__ = ["Model", "open"]
