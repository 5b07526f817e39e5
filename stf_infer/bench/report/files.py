# SPDX-License-Identifier: Apache-2.0
"""Several files of a folder, written whole or not at all."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Mapping
from pathlib import Path

from ...errors import OutputError


def write_all(folder: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write files beside their destinations, then give all of them their names; the folder is made if missing.

    Args:
        folder: Where they go.
        texts: File name to its text.

    Returns:
        Their paths, in order.

    Raises:
        OutputError: One cannot be written; what stood there before is unchanged.
    """
    waiting: list[tuple[Path, Path]] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            beside = folder / f".{name}.{uuid.uuid4().hex[:8]}.partial"
            waiting.append((beside, folder / name))
            beside.write_text(text, encoding="utf-8", newline="\n")
        for _, path in waiting:
            if path.is_dir():  # which a rename would find only after others were renamed
                raise IsADirectoryError(21, "is a directory", str(path))
        for beside, path in waiting:
            beside.replace(path)
    except OSError as error:
        raise OutputError(
            "The bench's report cannot be written",
            got=f"{error.filename or folder}: {error.strerror or error}",
            fix="Name a folder that can be written to: --out DIR",
        ) from error
    finally:
        for beside, _ in waiting:
            with contextlib.suppress(OSError):
                beside.unlink()
    return [path for _, path in waiting]
