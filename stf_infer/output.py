# SPDX-License-Identifier: Apache-2.0
"""Results on disk: a tiled GeoTIFF that is complete or not there, or a COG made from it.

The file grows under a hidden name beside its destination and is renamed when it is finished. Whole rows of blocks are
written, by one writer, panel after panel. From time to time the file is closed and its rows are noted in a journal, so
that a run that was killed can go on.
"""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from . import gdal
from .errors import OutputError
from .journal import Journal, checksum
from .layout import BLOCK, FileOptions
from .storage import Storage

if TYPE_CHECKING:
    from rasterio.io import DatasetWriter
    from rasterio.windows import Window as RasterWindow

    from .placement import Grid
    from .spec import OutputSpec

_log = logging.getLogger(__name__)

# Seconds between two notes in the journal: what a killed run may lose.
_CHECKPOINT_EVERY = 30.0
# Columns of overviews that are read at once.
_READ_COLUMNS = 4096
# What GDAL keeps beside a raster. An old one beside the destination is of a file that is no more.
_SIDECARS = (".aux.xml", ".ovr", ".msk")


class SceneWriter:
    """Writes the rows of a result, each panel of it from top to bottom; a context manager.

    Leaving the context after an error removes everything that was written, unless ``keep_on_error``. The destination
    appears in :meth:`finish`, complete.

    Args:
        path: The destination.
        grid: Grid of the result.
        output: What the network gives.
        storage: Bands, type, scale and nodata.
        options: Layout of the file.
        tags: Provenance, stored as TIFF metadata.
        identity: Which run this is; see :class:`stf_infer.journal.Journal`.
        panels: Ranges of columns of the result that are written one after the other, of whole blocks; None is one.
        resume: Continue an unfinished file of the same identity, if there is one.
        keep_on_error: Leave the unfinished file and its journal for a later ``resume``.

    Attributes:
        first_panel: The first panel that is not on disk as a whole.
        first_row: The first row of the panel at hand that is not on disk.
    """

    def __init__(
        self,
        path: Path,
        grid: Grid,
        output: OutputSpec,
        storage: Storage,
        options: FileOptions,
        tags: dict[str, str],
        identity: dict[str, Any],
        *,
        panels: Sequence[tuple[int, int]] | None = None,
        resume: bool = False,
        keep_on_error: bool = False,
    ) -> None:
        self.path, self.grid, self.storage, self.options = path, grid, storage, options
        self.bands, self._offsets = storage.bands(output), storage.offsets(output)
        self._tags, self._keep_on_error = tags, keep_on_error or resume
        self._partial = path.with_name(f".{path.name}.partial.tif")
        self._cog = path.with_name(f".{path.name}.partial.cog.tif")
        self._journal = Journal(path.with_name(f".{path.name}.partial.json"), identity)
        self._file: DatasetWriter | None = None
        self._panels = panels or ((0, grid.shape.width),)
        self._block_rows = -(-grid.shape.height // BLOCK)
        self._check_destination()
        self._blocks = self._continue() if resume else 0  # rows of blocks on disk, those of each panel in turn
        if self._blocks == 0:
            self._start()
        self.first_panel, row = divmod(self._blocks, self._block_rows)
        self.first_row = self._continued_at = row * BLOCK
        widest = max(stop - start for start, stop in self._panels)
        self._room = np.empty(len(self.bands) * BLOCK * widest, storage.dtype)
        self._pending, self._pending_rows = self._room.reshape(len(self.bands), BLOCK, -1), 0
        self._checkpointed_at = time.monotonic()

    def begin(self, panel: int) -> None:
        """Rows of a panel come next, from its :attr:`first_row` on.

        Args:
            panel: :attr:`first_panel`, or the one behind the last.
        """
        self.first_row = self._continued_at if panel == self.first_panel else 0
        start, stop = self._panels[panel]
        shape = len(self.bands), BLOCK, stop - start
        self._pending, self._pending_rows = self._room[: int(np.prod(shape))].reshape(shape), 0

    def _check_destination(self) -> None:
        folder = self.path.parent
        if self.path.is_dir():
            raise OutputError("The destination is a folder", got=self.path, fix="Name a file")
        if not folder.is_dir():
            raise OutputError("The folder of the destination is missing", got=folder, fix="Create it first")
        if not os.access(folder, os.W_OK):
            raise OutputError("The folder of the destination cannot be written", got=folder)

    def _start(self) -> None:
        try:
            self._remove_partial()
            self._file = self._create()
            self._file.descriptions = self.bands
            self._file.scales = (self.storage.scale,) * len(self.bands)
            self._file.offsets = self._offsets
            self._file.units = (self.storage.unit,) * len(self.bands)
            self._file.update_tags(**self._tags)
        except gdal.failures() as error:
            self._drop_file()
            self._remove_partial()
            raise self._failed(error) from error

    def _create(self) -> DatasetWriter:
        import rasterio
        from rasterio.errors import NotGeoreferencedWarning

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)  # as fine_t1 is
            return rasterio.open(
                self._partial,
                "w",
                driver="GTiff",
                count=len(self.bands),
                height=self.grid.shape.height,
                width=self.grid.shape.width,
                dtype=self.storage.dtype,
                crs=self.grid.crs,
                transform=self.grid.transform,
                nodata=self.storage.nodata,
                **self.options.creation(self.storage),
            )

    def _continue(self) -> int:
        """Open the unfinished file of an earlier run; how many of its rows of blocks are proven to be right."""
        import rasterio

        earlier = Journal.load(self._journal.path, self._journal.identity)
        if earlier is None or not self._partial.exists():
            return 0
        proven: list[int] = []
        try:
            with rasterio.open(self._partial) as held:
                for number, noted in enumerate(earlier.checksums[: self._block_rows * len(self._panels)]):
                    if checksum(held.read(window=self._window(number))) != noted:
                        break
                    proven.append(noted)
            if not proven:
                return 0
            self._file = self.options.reopen(self._partial)
        except gdal.failures() as error:
            _log.warning("the unfinished file cannot be continued, starting again: %s", error)
            return 0
        self._journal.checksums = proven
        _log.info("continuing at row of blocks %d of %d", len(proven), self._block_rows * len(self._panels))
        return len(proven)

    def _window(self, number: int) -> RasterWindow:
        """Where a row of blocks lies in the file."""
        from rasterio.windows import Window

        panel, row = divmod(number, self._block_rows)
        start, stop = self._panels[panel]
        first = row * BLOCK
        return Window(start, first, stop - start, min(BLOCK, self.grid.shape.height - first))

    def write(self, rows: np.ndarray, first: int) -> None:
        """Append rows (C, n, W) of the panel that begin at row ``first``; rows already on disk are skipped.

        Raises:
            OutputError: The disk is full, or the file cannot be written.
        """
        done = self._blocks % self._block_rows * BLOCK + self._pending_rows
        rows = rows[:, max(done - first, 0) :]
        while rows.shape[1]:
            taken = min(BLOCK - self._pending_rows, rows.shape[1])
            self._pending[:, self._pending_rows : self._pending_rows + taken] = rows[:, :taken]
            self._pending_rows += taken
            rows = rows[:, taken:]
            if self._pending_rows == self._window(self._blocks).height:
                self._flush_block_row()

    def _flush_block_row(self) -> None:
        block = self._pending[:, : self._pending_rows]
        assert self._file is not None
        try:
            self._file.write(block, window=self._window(self._blocks))
            self._journal.add(block)
            self._blocks += 1
            self._pending_rows = 0
            if time.monotonic() - self._checkpointed_at > _CHECKPOINT_EVERY:
                self._checkpoint()
        except gdal.failures() as error:
            raise self._failed(error) from error

    def _checkpoint(self) -> None:
        assert self._file is not None
        self._close_file()
        self._journal.save()
        self._file = self.options.reopen(self._partial)
        self._checkpointed_at = time.monotonic()

    def _close_file(self) -> None:
        if self._file is not None:
            file, self._file = self._file, None
            file.close()

    def finish(self) -> None:
        """Write what is left, build overviews, and give the file its name.

        Costs one reading of the whole file: GDAL does not report every write that fails on a full disk.

        Raises:
            OutputError: The disk is full, or the file on disk is not what was written.
        """
        try:
            self._close_file()
            finished = self._partial
            if self.options.format == "cog":
                finished = self._cog
                self.options.make_cog(self._partial, self._cog, self.storage)
            elif self.options.overviews:
                self.options.build_overviews(self._partial)
            self._verify(finished)
            _to_disk(finished)
            self._rename(finished)
        except gdal.failures() as error:
            raise self._failed(error) from error
        self._remove_partial()

    def _rename(self, finished: Path) -> None:
        """Give the file its name, and its sidecar: a CRS that GeoTIFF cannot express is kept there."""
        for sidecar in _SIDECARS:
            made, stale = (p.with_name(p.name + sidecar) for p in (finished, self.path))
            if made.exists():
                made.replace(stale)
            else:
                stale.unlink(missing_ok=True)
        finished.replace(self.path)

    def _verify(self, finished: Path) -> None:
        """Compare every row of blocks with what was handed to GDAL, and read the overviews."""
        import rasterio
        from rasterio.windows import Window

        with rasterio.open(finished) as written:
            levels = len(written.overviews(1))
            for number, noted in enumerate(self._journal.checksums):
                if checksum(written.read(window=self._window(number))) != noted:
                    raise OSError("the file on disk is not what was written")
        for level in range(levels):
            with rasterio.open(finished, overview_level=level) as reduced:
                rows, columns = range(0, reduced.height, BLOCK), range(0, reduced.width, _READ_COLUMNS)
                for y, x in itertools.product(rows, columns):
                    side = min(_READ_COLUMNS, reduced.width - x)
                    reduced.read(window=Window(x, y, side, min(BLOCK, reduced.height - y)))

    def _failed(self, error: Exception) -> OutputError:
        try:
            free = f"{shutil.disk_usage(self.path.parent).free / 1e6:.0f} MB free"
        except OSError as lost:
            free = str(lost)
        return OutputError(
            "The result cannot be written",
            got=f"{self.path}: {error} ({free})",
            fix="Make room, or write to another disk",
        )

    def _remove_partial(self, *, all_but_kept: bool = False) -> None:
        """Remove every unfinished file; ``all_but_kept`` leaves what a resumed run continues."""
        self._journal.remove(temporary_only=all_but_kept)
        for path in (self._cog,) if all_but_kept else (self._cog, self._partial):
            for sidecar in ("", *_SIDECARS):
                path.with_name(path.name + sidecar).unlink(missing_ok=True)

    def __enter__(self) -> SceneWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            return
        self._drop_file()
        if self._keep_on_error:
            try:
                self._journal.save()
            except OSError as problem:
                _log.debug("the journal cannot be saved: %s", problem)
        # Without a journal the rows are of no use.
        self._remove_partial(all_but_kept=self._keep_on_error and self._journal.path.exists())

    def _drop_file(self) -> None:
        """Close the file after an error; that error is the one to report."""
        try:
            self._close_file()
        except gdal.failures() as problem:
            _log.debug("closing the unfinished file: %s", problem)


def _to_disk(path: Path) -> None:
    """Have the system write a file out, so that its new name never stands for less than its content."""
    held = os.open(path, os.O_RDONLY)
    try:
        os.fsync(held)
    finally:
        os.close(held)


class ArrayWriter:
    """Collects a result in memory, as physical float32 values with NaN for nodata."""

    first_panel = first_row = 0

    def __init__(self, grid: Grid, bands: tuple[str, ...]) -> None:
        self.array = np.full((len(bands), grid.shape.height, grid.shape.width), np.nan, np.float32)

    def begin(self, panel: int) -> None:
        """There is one panel."""

    def write(self, rows: np.ndarray, first: int) -> None:
        """Take rows (C, n, W) that begin at row ``first``."""
        self.array[:, first : first + rows.shape[1]] = rows

    def finish(self) -> None:
        """Nothing is left to do."""

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(self, *_: object) -> None:
        return None
