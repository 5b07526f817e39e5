# SPDX-License-Identifier: Apache-2.0
"""Results on disk: a tiled GeoTIFF that is complete or not there, or a COG made from it.

The file grows under a hidden name beside its destination and is renamed when it is finished. Whole rows of blocks are
written, by one writer. From time to time the file is closed and its rows are noted in a journal, so that a run that
was killed can go on.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import OutputError
from .journal import Journal, checksum
from .storage import CompressName, FormatName, Storage, check_choice

if TYPE_CHECKING:
    from rasterio.io import DatasetWriter

    from .placement import Grid

_log = logging.getLogger(__name__)

BLOCK = 512
# Seconds between two notes in the journal: what a killed run may lose.
_CHECKPOINT_EVERY = 30.0
_SMALLEST_OVERVIEW = 256


@dataclass(frozen=True)
class FileOptions:
    """How a result file is laid out.

    Attributes:
        format: ``gtiff`` (tiled GeoTIFF) or ``cog`` (cloud-optimised GeoTIFF).
        compress: Lossless compression.
        overviews: Whether reduced versions are built in (always in a COG).
        threads: Threads that compress.
    """

    format: FormatName = "gtiff"
    compress: CompressName = "zstd"
    overviews: bool = True
    threads: int = 1

    def __post_init__(self) -> None:
        check_choice("format", self.format, FormatName)
        check_choice("compress", self.compress, CompressName)

    def creation(self, storage: Storage) -> dict[str, Any]:
        """GDAL creation options."""
        options: dict[str, Any] = {"BIGTIFF": "IF_SAFER", "NUM_THREADS": str(self.threads)}
        if self.compress != "none":
            options["COMPRESS"] = self.compress.upper()
            options["PREDICTOR"] = "3" if storage.dtype.kind == "f" else "2"
        if self.compress == "zstd":
            options["ZSTD_LEVEL"] = "1"
        return options


class SceneWriter:
    """Writes the rows of a result from top to bottom; a context manager.

    Leaving the context after an error removes everything that was written, unless ``keep_on_error``. The destination
    appears in :meth:`finish`, complete.

    Args:
        path: The destination.
        grid: Grid of the result.
        bands: Band descriptions.
        storage: Type, scale and nodata.
        options: Layout of the file.
        tags: Provenance, stored as TIFF metadata.
        identity: Which run this is; see :class:`stf_infer.journal.Journal`.
        resume: Continue an unfinished file of the same identity, if there is one.
        keep_on_error: Leave the unfinished file and its journal for a later ``resume``.
    """

    def __init__(
        self,
        path: Path,
        grid: Grid,
        bands: tuple[str, ...],
        storage: Storage,
        options: FileOptions,
        tags: dict[str, str],
        identity: dict[str, Any],
        *,
        resume: bool = False,
        keep_on_error: bool = False,
    ) -> None:
        self.path, self.grid, self.bands, self.storage, self.options = path, grid, bands, storage, options
        self._tags, self._keep_on_error = tags, keep_on_error or resume
        self._partial = path.with_name(f".{path.name}.partial.tif")
        self._journal = Journal(path.with_name(f".{path.name}.partial.json"), identity)
        self._file: DatasetWriter | None = None
        self._pending = np.empty((len(bands), BLOCK, grid.shape.width), storage.dtype)
        self._pending_rows = 0
        self._check_destination()
        self.first_row = self._continue() if resume else 0
        if self.first_row == 0:
            self._start()
        self._next_block_row = self.first_row
        self._checkpointed_at = time.monotonic()

    def _check_destination(self) -> None:
        folder = self.path.parent
        if self.path.is_dir():
            raise OutputError("The destination is a folder", got=self.path, fix="Name a file")
        if not folder.is_dir():
            raise OutputError("The folder of the destination is missing", got=folder, fix="Create it first")
        if not os.access(folder, os.W_OK):
            raise OutputError("The folder of the destination cannot be written", got=folder)

    def _start(self) -> None:
        import rasterio
        from rasterio.errors import RasterioError

        self._remove_partial()
        shape = self.grid.shape
        try:
            self._file = rasterio.open(
                self._partial,
                "w",
                driver="GTiff",
                count=len(self.bands),
                height=shape.height,
                width=shape.width,
                dtype=self.storage.dtype,
                crs=self.grid.crs,
                transform=self.grid.transform,
                nodata=self.storage.nodata,
                tiled=True,
                blockxsize=BLOCK,
                blockysize=BLOCK,
                interleave="band",
                SPARSE_OK="TRUE",  # a checkpoint must not fill the rows that are still to come
                **self.options.creation(self.storage),
            )
            self._file.descriptions = self.bands
            self._file.scales = (self.storage.scale,) * len(self.bands)
            self._file.offsets = (self.storage.offset,) * len(self.bands)
            self._file.units = (self.storage.unit,) * len(self.bands)
            self._file.update_tags(**self._tags)
        except (RasterioError, OSError) as error:
            raise self._failed(error) from error

    def _continue(self) -> int:
        """Open the unfinished file of an earlier run; the number of its rows that are proven to be right."""
        import rasterio
        from rasterio.errors import RasterioError
        from rasterio.windows import Window

        earlier = Journal.load(self._journal.path, self._journal.identity)
        if earlier is None or not self._partial.exists():
            return 0
        shape = self.grid.shape
        proven: list[int] = []
        try:
            with rasterio.open(self._partial) as held:
                for number, noted in enumerate(earlier.checksums):
                    first = number * BLOCK
                    rows = min(BLOCK, shape.height - first)
                    if checksum(held.read(window=Window(0, first, shape.width, rows))) != noted:
                        break
                    proven.append(noted)
            if not proven:
                return 0
            self._file = rasterio.open(self._partial, "r+", NUM_THREADS=str(self.options.threads))
        except RasterioError as error:
            _log.warning("the unfinished file cannot be continued, starting again: %s", error)
            return 0
        self._journal.checksums = proven
        _log.info("continuing at row %d of %d", len(proven) * BLOCK, shape.height)
        return min(len(proven) * BLOCK, shape.height)

    def write(self, rows: np.ndarray, first: int) -> None:
        """Append rows (C, n, W) that begin at scene row ``first``; rows already on disk are skipped.

        Raises:
            OutputError: The disk is full, or the file cannot be written.
        """
        done = self._next_block_row + self._pending_rows
        rows = rows[:, max(done - first, 0) :]
        while rows.shape[1]:
            taken = min(BLOCK - self._pending_rows, rows.shape[1])
            self._pending[:, self._pending_rows : self._pending_rows + taken] = rows[:, :taken]
            self._pending_rows += taken
            rows = rows[:, taken:]
            if self._pending_rows == BLOCK:
                self._flush_block_row()

    def _flush_block_row(self) -> None:
        from rasterio.errors import RasterioError
        from rasterio.windows import Window

        block = self._pending[:, : self._pending_rows]
        assert self._file is not None
        try:
            self._file.write(block, window=Window(0, self._next_block_row, block.shape[2], block.shape[1]))
            self._journal.add(block)
            self._next_block_row += self._pending_rows
            self._pending_rows = 0
            if time.monotonic() - self._checkpointed_at > _CHECKPOINT_EVERY:
                self._checkpoint()
        except (RasterioError, OSError) as error:
            raise self._failed(error) from error

    def _checkpoint(self) -> None:
        import rasterio

        assert self._file is not None
        self._close_file()
        self._journal.save()
        self._file = rasterio.open(self._partial, "r+", NUM_THREADS=str(self.options.threads))
        self._checkpointed_at = time.monotonic()

    def _close_file(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def finish(self) -> None:
        """Write what is left, build overviews, and give the file its name.

        Raises:
            OutputError: The disk is full, or the file on disk is not what was written.
        """
        from rasterio.errors import RasterioError

        try:
            if self._pending_rows:
                self._flush_block_row()
            self._close_file()
            self._verify()
            finished = self._partial
            if self.options.format == "cog":
                finished = self._make_cog()
            elif self.options.overviews:
                self._build_overviews()
            finished.replace(self.path)
            self._remove_partial()
        except (RasterioError, OSError) as error:
            raise self._failed(error) from error

    def _verify(self) -> None:
        """Read the last block row back: a file that was cut short by a full disk fails here."""
        import rasterio
        from rasterio.windows import Window

        last = len(self._journal.checksums) - 1
        first = last * BLOCK
        with rasterio.open(self._partial) as written:
            block = written.read(window=Window(0, first, written.width, written.height - first))
        if checksum(block) != self._journal.checksums[last]:
            raise OSError("the file on disk is not what was written")

    def _factors(self) -> list[int]:
        side = max(self.grid.shape.height, self.grid.shape.width)
        factors: list[int] = []
        while side // 2 ** (len(factors) + 1) >= _SMALLEST_OVERVIEW:
            factors.append(2 ** (len(factors) + 1))
        return factors

    def _build_overviews(self) -> None:
        import rasterio
        from rasterio.enums import Resampling

        factors = self._factors()
        if factors:
            with rasterio.open(self._partial, "r+", NUM_THREADS=str(self.options.threads)) as file:
                file.build_overviews(factors, Resampling.average)

    def _make_cog(self) -> Path:
        import rasterio.shutil

        made = self.path.with_name(f".{self.path.name}.partial.cog.tif")
        creation = self.options.creation(self.storage)
        predictor = {"2": "STANDARD", "3": "FLOATING_POINT"}.get(creation.pop("PREDICTOR", ""))
        creation.pop("ZSTD_LEVEL", None)
        if predictor:
            creation["PREDICTOR"] = predictor
        try:
            rasterio.shutil.copy(
                self._partial,
                made,
                driver="COG",
                BLOCKSIZE=str(BLOCK),
                OVERVIEW_RESAMPLING="AVERAGE",
                **creation,
            )
        except BaseException:
            made.unlink(missing_ok=True)
            raise
        return made

    def _failed(self, error: Exception) -> OutputError:
        free = os.statvfs(self.path.parent)
        return OutputError(
            "The result cannot be written",
            got=f"{self.path}: {error} ({free.f_bavail * free.f_frsize / 1e6:.0f} MB free)",
            fix="Make room, or write to another disk",
        )

    def _remove_partial(self) -> None:
        self._partial.unlink(missing_ok=True)
        self._journal.path.unlink(missing_ok=True)

    def __enter__(self) -> SceneWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            return
        try:
            self._close_file()
            if self._keep_on_error:
                self._journal.save()
        except Exception as problem:  # the first error is the one to report
            _log.debug("closing the unfinished file: %s", problem)
        if not self._keep_on_error:
            self._remove_partial()


class ArrayWriter:
    """Collects a result in memory, as physical float32 values with NaN for nodata."""

    first_row = 0

    def __init__(self, grid: Grid, bands: tuple[str, ...]) -> None:
        self.array = np.full((len(bands), grid.shape.height, grid.shape.width), np.nan, np.float32)

    def write(self, rows: np.ndarray, first: int) -> None:
        """Take rows (C, n, W) that begin at scene row ``first``."""
        self.array[:, first : first + rows.shape[1]] = rows

    def finish(self) -> None:
        """Nothing is left to do."""

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(self, *_: object) -> None:
        return None
