# SPDX-License-Identifier: Apache-2.0
"""Tiles that reach over the edge between two panels: run once, kept on disk until the next panel adds them."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np

from .errors import OutputError
from .grid import Tile, TilePlan, Window


@dataclass
class _Shelf:
    """What one panel keeps for the next: (iy, ix) and sample of a tile, and where its values lie in the file."""

    edge: int = 0
    columns: frozenset[int] = frozenset()
    file: BinaryIO | None = None
    places: dict[tuple[int, int, int], tuple[int, tuple[int, ...], int]] = field(default_factory=dict)
    taken: dict[int, int] = field(default_factory=dict)
    order: list[tuple[int, int]] = field(default_factory=list)

    def close(self) -> None:
        """Give the disk's room back."""
        if self.file:
            self.file.close()


class KeptTiles:
    """What the tiles of a panel add to the next ones; a context manager.

    Costs a file without a name in ``folder``, of float32 numbers: bands x columns of a tile beyond the edge x rows of
    the scene, for each sample. A killed run leaves nothing of it behind.

    Args:
        plan: The tile plan.
        folder: Where there is room: that of the result.
    """

    def __init__(self, plan: TilePlan, folder: Path) -> None:
        self._plan, self._folder = plan, folder
        self._left, self._right = _Shelf(), _Shelf()

    @property
    def known(self) -> frozenset[int]:
        """Columns of tiles that need not be run: all of their tiles were, or have no valid pixel."""
        return self._left.columns

    def begin(self, area: Window, following: Window | None, *, known: bool) -> None:
        """Go on to a panel.

        Args:
            area: The panel.
            following: The one on its right, if there is one.
            known: Whether the panel on the left was run whole, so that its tiles are all there.

        Raises:
            OutputError: No file can be made in the folder.
        """
        self._left.close()
        self._left, self._right = (self._right if known else self._dropped()), _Shelf()
        self._left.order = sorted({(iy, ix) for iy, ix, _ in self._left.places})
        if following:
            shared = self._plan.x.touching(following.x0, following.x1)
            columns = frozenset(shared) & frozenset(self._plan.x.touching(area.x0, area.x1))
            try:
                file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115  # closed by the next panel
            except OSError as error:
                raise self._failed(error) from error
            self._right = _Shelf(following.x0, columns, file)

    def _dropped(self) -> _Shelf:
        self._right.close()
        return _Shelf()

    def keep(self, tile: Tile, values: Any, sample: int, skipped: int = 0) -> None:
        """Keep what a tile adds beyond the right edge of the panel, if that is anything.

        Args:
            tile: The tile.
            values: Its output (C, h, w), from column ``skipped`` on.
            sample: The sample.
            skipped: Columns of the tile that ``values`` lacks.

        Raises:
            OutputError: The disk is full.
        """
        shelf = self._right
        if tile.ix not in shelf.columns:
            return
        assert shelf.file is not None
        first, stop = max(shelf.edge - tile.read.x0, skipped), self._plan.x.reach(tile.ix)[1] - tile.read.x0
        beyond = np.ascontiguousarray(values[:, :, first - skipped : stop - skipped], np.float32)
        try:
            place = shelf.file.seek(0, 2)
            shelf.file.write(beyond.data)
        except OSError as error:
            raise self._failed(error) from error
        shelf.places[tile.iy, tile.ix, sample] = place, beyond.shape, first

    def take(self, before: tuple[int, int], sample: int) -> Iterator[tuple[Tile, np.ndarray, int]]:
        """The tiles that the panel on the left has kept, in the order of the plan, up to a tile's (iy, ix).

        Gives each once for every sample: the tile, its values, and the columns of the tile that they lack.

        Raises:
            OutputError: What was kept cannot be read.
        """
        shelf = self._left
        number = shelf.taken.get(sample, 0)
        while number < len(shelf.order) and shelf.order[number] < before:
            iy, ix = shelf.order[number]
            number += 1
            shelf.taken[sample] = number
            place, shape, skipped = shelf.places[iy, ix, sample]
            size = int(np.prod(shape)) * 4
            assert shelf.file is not None
            try:
                shelf.file.seek(place)
                held = shelf.file.read(size)
            except OSError as error:
                raise self._failed(error) from error
            if len(held) != size:
                raise self._failed(OSError(f"{len(held)} of {size} bytes"))
            yield self._plan[iy, ix], np.frombuffer(held, np.float32).reshape(shape), skipped

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(
            "Tiles between two panels of the scene cannot be kept",
            got=f"{self._folder}: {error}",
            fix="Make room, or write to another disk",
        )

    def __enter__(self) -> KeptTiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.close()
        self._right.close()
