# SPDX-License-Identifier: Apache-2.0
"""The tiles that a bundle holds, to compare reduced engines with fp32 on.

``tiles-<digest>.npz``, the asset ``tiles``: ``input_<role>`` of shape ``(N, C, h, w)``, ``origins`` ``(N, 2)``,
``source`` and ``labels``. The name changes with the content, so that a bundle is never half of one and half of another.
"""

from __future__ import annotations

import contextlib
import uuid
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ..bundle import SHA256_MULTIHASH, TILES, Bundle, sha256_of
from ..errors import AssetError
from ..item_file import changing, flush, read_item, replace_item
from ..samples.spec import SampleSpec
from .procedural import procedural_tiles
from .tiles import Tiles

_INPUT = "input_"


def tiles_of(bundle: Bundle) -> Tiles:
    """The tiles of a bundle; procedural ones where it holds none.

    Raises:
        AssetError: The file is missing, damaged, or of another network.
    """
    if TILES not in bundle.assets:
        return procedural_tiles(bundle.spec)
    path = bundle.asset(TILES)
    try:
        tiles = read_tiles(path)
    except (OSError, EOFError, ValueError, TypeError, KeyError, BadZipFile) as error:
        raise AssetError("The tiles cannot be read", got=f"{path}: {error}", fix=_again(bundle)) from error
    try:
        tiles.check(bundle.spec)
    except AssetError as error:
        raise AssetError(error.what, got=error.got, allowed=error.allowed, fix=_again(bundle)) from error
    return tiles


def _again(bundle: Bundle) -> str:
    return f"`stf-infer tiles {bundle.path} ...` cuts others"


def read_tiles(path: Path) -> Tiles:
    """The tiles in a file.

    Raises:
        OSError, EOFError, ValueError, TypeError, KeyError, BadZipFile: It is no such file.
    """
    with np.load(path, allow_pickle=False) as data:
        inputs = {name[len(_INPUT) :]: data[name] for name in data.files if name.startswith(_INPUT)}
        source: Any = str(data["source"])
        labels = tuple(str(label) for label in data["labels"])
        origins = tuple((int(y), int(x)) for y, x in data["origins"])
    return Tiles(inputs, source, labels, origins)


def write_tiles(path: Path, tiles: Tiles) -> None:
    """Write tiles to a file, compressed."""
    arrays: dict[str, Any] = {f"{_INPUT}{role}": array for role, array in tiles.inputs.items()}
    arrays["origins"] = np.array(tiles.origins, np.int64).reshape(-1, 2)
    arrays |= {"source": np.array(tiles.source), "labels": np.array(tiles.labels, np.str_)}
    np.savez_compressed(path, **arrays)


def tiles_asset(path: Path, tiles: Tiles, *, samples: bool = False) -> dict[str, Any]:
    """The entry of a file of tiles in ``item.json``; the file lies in the bundle's folder."""
    what = "samples" if samples else "tiles"
    return {
        "href": path.name,
        "title": f"{len(tiles)} {tiles.source} {what}, to compare reduced engines with fp32 on",
        "type": "application/zip",
        "roles": ["stf:tiles"],
        "file:size": path.stat().st_size,
        "file:checksum": SHA256_MULTIHASH + sha256_of(path),
    }


def store_tiles(bundle: Bundle, tiles: Tiles) -> None:
    """Store tiles in a bundle, in place of those that it holds. Its identity stays the same.

    Args:
        bundle: The open bundle; it knows the tiles afterwards.
        tiles: Tiles of its network.

    Raises:
        AssetError: They are not.
        OutputError: The bundle cannot be written to; it is as it was before.
    """
    tiles.check(bundle.spec)
    beside = bundle.path / f".tiles-{uuid.uuid4().hex[:8]}.npz"
    with changing(bundle):
        try:
            write_tiles(beside, tiles)
            flush(beside)
            item = read_item(bundle.path)
            before = item["assets"].get(TILES, {}).get("href")
            path = bundle.path / f"tiles-{sha256_of(beside)[:8]}.npz"
            fresh = not path.exists()
            beside.replace(path)
            item["assets"][TILES] = tiles_asset(path, tiles, samples=isinstance(bundle.spec, SampleSpec))
            try:
                replace_item(bundle.path, item)
            except BaseException:
                if fresh:
                    path.unlink(missing_ok=True)
                raise
        finally:
            beside.unlink(missing_ok=True)
        known = bundle.assets.get(TILES)
        if known is not None and known.href == before != path.name:
            with contextlib.suppress(OSError):
                (bundle.path / before).unlink()
    bundle.reload()
