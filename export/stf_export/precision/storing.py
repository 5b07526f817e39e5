# SPDX-License-Identifier: Apache-2.0
"""Reduced graphs in a bundle.

    reduced/<precision>-<digest>/model.onnx        and model.onnx.data, where the weights lie beside it

The folder's name changes with the content, and ``item.json`` is replaced at once: a bundle is at every moment what it
was before or what it is after.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

from stf_infer.accuracy import Accuracy, Budget, record
from stf_infer.bundle import TILES, Bundle, sha256_of
from stf_infer.item_file import changing, flush, read_item, replace_item

from ..bundle_writer import MODEL, MODEL_KEY, graph_assets

FOLDER = "reduced"
PROPERTY = "stf:reduced"


def asset_key(precision: str) -> str:
    """Key of the graph of a precision in ``item.json``."""
    return f"model-{precision}"


def store_graph(
    bundle: Bundle, precision: str, folder: Path, accuracy: Accuracy, budget: Budget, facts: dict[str, Any]
) -> None:
    """Move a reduced graph into its bundle, in place of one of the same precision.

    Args:
        bundle: The open bundle; it knows the graph afterwards.
        precision: Of the graph.
        folder: Where ``model.onnx`` lies, on the bundle's file system; moved away.
        accuracy: How far it is from fp32.
        budget: What it was held to.
        facts: How it was made, for ``stf:reduced``.

    Raises:
        OutputError: The bundle cannot be written to; it is as it was before.
    """
    with changing(bundle):
        files = sorted(folder.iterdir())
        for path in files:
            flush(path)
        digest = hashlib.sha256("".join(sha256_of(path) for path in files).encode()).hexdigest()[:8]
        home = bundle.path / FOLDER / f"{precision}-{digest}"
        key = asset_key(precision)
        title = f"The network, {precision}"
        assets = graph_assets(folder, MODEL, key, title, **{"stf:precision": precision})
        for asset in assets.values():
            asset["href"] = f"{FOLDER}/{home.name}/{asset['href']}"
        home.parent.mkdir(exist_ok=True)
        fresh = not home.exists()
        if fresh:
            folder.rename(home)
        try:
            item = read_item(bundle.path)
            for name in (key, f"{key}-data"):
                item["assets"].pop(name, None)
            bands = item["assets"].get(MODEL_KEY, {}).get("bands")
            item["assets"] |= {n: {**a, "bands": bands} if bands and n == key else a for n, a in assets.items()}
            item["properties"].setdefault(PROPERTY, {})[precision] = facts
            held = bundle.assets.get(TILES)
            record(item, precision, accuracy, budget, "" if held is None else held.sha256)
            replace_item(bundle.path, item)
        except BaseException:
            if fresh:
                shutil.rmtree(home, ignore_errors=True)
            raise
        _prune(bundle.path, item)
    bundle.reload()


def _prune(root: Path, item: dict[str, Any]) -> None:
    """Remove graphs that ``item.json`` does not name any more."""
    named = {asset["href"].split("/")[1] for asset in item["assets"].values() if asset["href"].startswith(f"{FOLDER}/")}
    for old in (root / FOLDER).iterdir():
        if old.name not in named and old.is_dir() and not old.is_symlink():
            shutil.rmtree(old, ignore_errors=True)
