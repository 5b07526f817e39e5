# SPDX-License-Identifier: Apache-2.0
"""Engines in a bundle: read, added, replaced.

    engines/<target>/<precision>-b<batch>-<digest>/
      model.blob    what the backend wrote, byte by byte
      engine.json   the sidecar: key, hashes, settings

``item.json`` states the SHA-256 of every file, and it alone says which engines a bundle has: a file that it does not
name is never opened. It is replaced at once, after the new files lie where they belong, so a bundle is at every moment
what it was before or what it is after.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..bundle import SHA256_MULTIHASH, Asset, Bundle, sha256_of
from ..errors import AssetError, EngineError
from ..item_file import changing, flush, not_writable, read_item, replace_item
from .key import EngineKey
from .target import Compiled

FOLDER = "engines"
SIDECAR = "engine.json"
FORMAT = "1.0"
_ABANDONED = 24 * 3600.0


@dataclass(frozen=True)
class StoredEngine:
    """An engine of a bundle.

    Attributes:
        target: What it was built for.
        key: What it was built from and for.
        files: Its files, verified; the main one first.
        settings: What the target has to know to open it.
        proof: What it made of the golden tile where it was built; empty where it could not be run there.
        accuracy: How far it is from fp32, as :class:`stf_infer.accuracy.Record` reads it; empty in fp32.
        built: When, by what and in which time.
        asset: Key of its main file in ``item.json``.
    """

    target: str
    key: EngineKey
    files: tuple[Path, ...]
    settings: dict[str, Any]
    proof: dict[str, Any]
    accuracy: dict[str, Any]
    built: dict[str, Any]
    asset: str

    @property
    def bytes(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.files)


def asset_key(target: str, label: str) -> str:
    """Key in ``item.json`` of an engine's main file."""
    return f"engine-{target}-{label}"


def entries(bundle: Bundle, target: str | None = None) -> list[Asset]:
    """Assets that are main files of engines, of one target or of all. Nothing is opened."""
    return [
        asset
        for asset in bundle.assets.values()
        if asset.target is not None and asset.precision is not None and target in (None, asset.target)
    ]


def batch_of(asset: Asset) -> int:
    """Tiles in a call that an engine was built for, from the name of its main file in ``item.json``."""
    batch = asset.key.rpartition("-b")[2]
    return int(batch) if batch.isdigit() else 1


def read(bundle: Bundle, asset: Asset) -> StoredEngine:
    """An engine, its files verified.

    Raises:
        AssetError: A file is missing or changed.
        EngineError: The sidecar is not one.
    """
    main = bundle.asset(asset.key)
    sidecar = bundle.asset(f"{asset.key}-sidecar")
    fix = f"`{command(bundle, asset.target, asset.precision)}` builds it again"
    try:
        data = json.loads(sidecar.read_text(encoding="utf-8"))
        major, key = str(data["format"]).split(".")[0], EngineKey.from_dict(data["key"])
        others = [bundle.asset(f"{asset.key}-{number}") for number in range(1, len(data["files"]))]
        settings, proof, built = dict(data["settings"]), dict(data["proof"]), dict(data["built"])
        accuracy = dict(data.get("accuracy", {}))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError("The sidecar of the engine cannot be read", got=f"{sidecar}: {error!r}", fix=fix) from error
    if major != FORMAT.split(".")[0]:
        raise EngineError("The sidecar of the engine has an unknown format", got=data["format"], allowed="1.x", fix=fix)
    return StoredEngine(str(asset.target), key, (main, *others), settings, proof, accuracy, built, asset.key)


def accuracy_of(bundle: Bundle, asset: Asset) -> dict[str, Any]:
    """What an engine's sidecar says of its accuracy; empty where it says nothing, or is not there as it was written.

    No other file of the engine is looked at.
    """
    try:
        data = json.loads(bundle.asset(f"{asset.key}-sidecar").read_text(encoding="utf-8"))
        return dict(data.get("accuracy", {}))
    except (AssetError, OSError, ValueError, TypeError, AttributeError):
        return {}


def command(bundle: Bundle, target: str | None, precision: str | None = None, batch: int | None = None) -> str:
    """The command that builds an engine of this bundle."""
    words = ["stf-infer build", str(bundle.path), f"--target {target}"]
    if precision not in (None, "fp32"):
        words.append(f"--precision {precision}")
    if batch is not None:
        words.append(f"--tile-batch {batch}")
    return " ".join(words)


@contextlib.contextmanager
def staging(bundle: Bundle) -> Iterator[Path]:
    """An empty folder on the bundle's file system to compile in; it is gone afterwards.

    Raises:
        OutputError: The bundle cannot be written to.
    """
    home = bundle.path.resolve()
    if not os.access(home, os.W_OK):
        raise not_writable(bundle, "no permission to write")
    # Beside the bundle, so that a build that is killed leaves the bundle as it was; inside only where it must be.
    place = home.parent if os.access(home.parent, os.W_OK) else home
    _sweep(place, home.name)
    folder = place / f".{home.name}.{uuid.uuid4().hex[:8]}.building"
    try:
        folder.mkdir()
    except OSError as error:
        raise not_writable(bundle, error.strerror or str(error)) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(place: Path, name: str) -> None:
    """Remove what builds that were killed have left."""
    for old in place.glob(f".{name}.*.building"):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > _ABANDONED:
                shutil.rmtree(old, ignore_errors=True)


def add(
    bundle: Bundle,
    target: str,
    key: EngineKey,
    compiled: Compiled,
    folder: Path,
    *,
    proof: dict[str, Any],
    accuracy: dict[str, Any],
    built: dict[str, Any],
) -> StoredEngine:
    """Move a compiled engine into its bundle, in place of one with the same target, precision and batch.

    Args:
        bundle: The open bundle; it knows the engine afterwards.
        target: What it was built for.
        key: What it was built from and for.
        compiled: Its files and settings.
        folder: Where the files lie, on the bundle's file system; moved away.
        proof: What it made of the golden tile, or empty.
        accuracy: How far it is from fp32, or empty.
        built: When, by what and in which time.

    Raises:
        OutputError: The bundle cannot be written to; it is as it was before.
    """
    hashes = {name: sha256_of(folder / name) for name in compiled.files}
    sidecar = {
        "format": FORMAT,
        "target": target,
        "key": key.as_dict(),
        "files": [{"name": name, "sha256": digest} for name, digest in hashes.items()],
        "settings": compiled.settings,
        "proof": proof,
        "accuracy": accuracy,
        "built": built,
    }
    try:
        (folder / SIDECAR).write_text(json.dumps(sidecar, indent=2) + "\n", encoding="utf-8")
        for name in (*compiled.files, SIDECAR):
            flush(folder / name)
        digest = key.digest(*hashes.values(), json.dumps([compiled.settings, accuracy], sort_keys=True))
        home = bundle.path / FOLDER / target / f"{key.label}-{digest}"
        with changing(bundle):
            placed = _place(folder, home, hashes)
            try:
                named = _switch(bundle, target, key, home, compiled.files)
            except BaseException:
                if placed:
                    shutil.rmtree(home, ignore_errors=True)
                raise
            _prune(home.parent, named)
    except OSError as error:
        raise not_writable(bundle, error.strerror or str(error)) from error
    bundle.reload()
    return read(bundle, bundle.assets[asset_key(target, key.label)])


def _place(folder: Path, home: Path, hashes: dict[str, str]) -> bool:
    """Rename the folder to its home; whether that was needed.

    What lies there by the same name is the same engine, or a damaged one.
    """
    home.parent.mkdir(parents=True, exist_ok=True)
    if home.exists():
        if (home / SIDECAR).is_file() and all(_is(home / name, digest) for name, digest in hashes.items()):
            return False
        shutil.rmtree(home)
    folder.rename(home)
    return True


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and sha256_of(path) == digest


def remove(bundle: Bundle, asset: Asset) -> None:
    """Take an engine out of its bundle, with its files.

    Args:
        bundle: The open bundle; it does not know the engine afterwards.
        asset: The engine's main file.

    Raises:
        OutputError: The bundle cannot be written to; it is as it was before.
    """
    with changing(bundle):
        item = _item_without(bundle, asset.key)
        replace_item(bundle.path, item)
        folder = bundle.path / FOLDER / str(asset.target)
        _prune(folder, _named(item))
        for empty in (folder, folder.parent):
            with contextlib.suppress(OSError):  # other engines are left in it
                empty.rmdir()
    bundle.reload()


def _switch(bundle: Bundle, target: str, key: EngineKey, home: Path, files: tuple[str, ...]) -> set[str]:
    """Put an engine into ``item.json``; returns the paths that it names."""
    main = asset_key(target, key.label)
    item = _item_without(bundle, main)
    keys = [main, *(f"{main}-{number}" for number in range(1, len(files))), f"{main}-sidecar"]
    for name, file in zip(keys, (*files, SIDECAR), strict=True):
        item["assets"][name] = _entry(bundle.path, home / file, target, key, keys if name == main else None)
    replace_item(bundle.path, item)
    return _named(item)


def _item_without(bundle: Bundle, main: str) -> dict[str, Any]:
    """The item as it is on disk now, without an engine."""
    item = read_item(bundle.path)
    for name in [name for name in item["assets"] if name == main or name.startswith(f"{main}-")]:
        del item["assets"][name]
    return item


def _named(item: dict[str, Any]) -> set[str]:
    return {asset["href"] for asset in item["assets"].values()}


def _prune(folder: Path, named: set[str]) -> None:
    """Remove engines of a target that ``item.json`` does not name any more, or never did."""
    kept = {Path(href).parts[2] for href in named if href.startswith(f"{FOLDER}/{folder.name}/")}
    for old in folder.iterdir() if folder.is_dir() else ():
        if old.name not in kept and old.is_dir() and not old.is_symlink():
            shutil.rmtree(old, ignore_errors=True)


def _entry(root: Path, file: Path, target: str, key: EngineKey, keys: list[str] | None) -> dict[str, Any]:
    """An asset of an engine; the main one (``keys`` given) names the others."""
    what = f"Engine for {target}, {key.precision}" if keys else f"Belongs to the engine for {target}"
    return {
        "href": file.relative_to(root).as_posix(),
        "title": what,
        "type": "application/json" if file.name == SIDECAR else "application/octet-stream",
        "roles": ["stf:engine"],
        "file:size": file.stat().st_size,
        "file:checksum": SHA256_MULTIHASH + sha256_of(file),
        "stf:target": target,
        **({"stf:precision": key.precision, "stf:needs": keys[1:]} if keys else {}),
    }
