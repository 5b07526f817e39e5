# SPDX-License-Identifier: Apache-2.0
"""The journal of an unfinished result: which rows are surely on disk, and whose they are."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np


@dataclass
class Journal:
    """Checksums of the block rows written so far, beside the unfinished file.

    ``identity`` says which run the rows belong to (bundle, engine, inputs, tile plan, storage): another run does not
    continue them.
    """

    path: Path
    identity: dict[str, Any]
    checksums: list[int] = field(default_factory=list)

    def add(self, block: np.ndarray) -> None:
        """Note a block row that has been handed to the file."""
        self.checksums.append(checksum(block))

    def save(self) -> None:
        """Write the journal; called when the file on disk holds all noted rows."""
        self._beside.write_text(json.dumps({"identity": self.identity, "checksums": self.checksums}))
        self._beside.replace(self.path)

    def remove(self, *, temporary_only: bool = False) -> None:
        """Remove the journal, or only what an interrupted :meth:`save` has left."""
        self._beside.unlink(missing_ok=True)
        if not temporary_only:
            self.path.unlink(missing_ok=True)

    @property
    def _beside(self) -> Path:
        return self.path.with_suffix(".tmp")

    @classmethod
    def load(cls, path: Path, identity: dict[str, Any]) -> Journal | None:
        """The journal of an earlier run with the same identity, or None."""
        try:
            data = json.loads(path.read_text())
            if data["identity"] != json.loads(json.dumps(identity)):
                return None
            return cls(path, identity, [int(c) for c in data["checksums"]])
        except (OSError, ValueError, KeyError, TypeError):
            return None


def checksum(block: np.ndarray) -> int:
    """CRC-32 of the pixels of a block row."""
    return zlib.crc32(np.ascontiguousarray(block).data)
