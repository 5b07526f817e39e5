# SPDX-License-Identifier: Apache-2.0
"""Change a bundle that lies on a disk: ``item.json`` is replaced at once, by one process at a time.

What it names has to lie in its place before, and what it named before may go afterwards: a bundle is at every moment
what it was before or what it is after.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .bundle import ITEM, Bundle, item_text
from .errors import OutputError


def read_item(folder: Path) -> dict[str, Any]:
    """The item of a bundle as it is on disk now."""
    item: dict[str, Any] = json.loads((folder / ITEM).read_bytes())
    return item


def replace_item(folder: Path, item: dict[str, Any]) -> None:
    """Replace the item of a bundle, with all files on the disk that were written before."""
    path = folder / ITEM
    beside = path.with_name(f".{ITEM}.{uuid.uuid4().hex[:8]}")
    try:
        beside.write_text(item_text(item), encoding="utf-8")
        flush(beside)
        shutil.copymode(path, beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    flush(folder)


def flush(path: Path) -> None:
    """Make sure that a file or folder is on the disk before something refers to it."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        if path.is_dir():  # which cannot be opened everywhere
            return
        raise
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # not every file system can
            raise
    finally:
        os.close(handle)


@contextlib.contextmanager
def changing(bundle: Bundle) -> Iterator[None]:
    """Keep others from replacing the item of a bundle meanwhile; tell of a disk that refuses.

    Raises:
        OutputError: The bundle cannot be written to.
    """
    try:
        with _locked(bundle.path):
            yield
    except OSError as error:
        raise not_writable(bundle, error.strerror or str(error)) from error


def not_writable(bundle: Bundle, why: str) -> OutputError:
    """The error of a bundle that cannot be written to."""
    return OutputError(
        "The bundle cannot be written to", got=f"{bundle.path}: {why}", fix="Copy it to a folder of your own"
    )


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # another system
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
