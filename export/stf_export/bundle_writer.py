# SPDX-License-Identifier: Apache-2.0
"""Write a bundle: whole, or not at all.

Everything is built in a folder beside the destination, whose name begins with a dot, and renamed when it is complete.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stf_infer.bundle import GOLDEN, ITEM, item_text
from stf_infer.errors import OutputError
from stf_infer.samples.spec import SampleSpec
from stf_infer.spec import ModelSpec

from .item import make_asset, make_item
from .onnx_graph import GraphFacts
from .samples import Tile

MODEL = "model.onnx"
GOLDEN_FILE = "golden.npz"
MODEL_KEY = "model-fp32"
# The network's conditions, where it is one step of a sampling that is looped on the host.
ENCODER = "encoder.onnx"
ENCODER_KEY = "encoder-fp32"


@contextlib.contextmanager
def staging(out: str | Path, *, force: bool = False) -> Iterator[Path]:
    """A folder to build a bundle in; it becomes ``out`` when the block ends without an error.

    Args:
        out: Where the bundle shall be.
        force: Replace a bundle that is there already.

    Raises:
        OutputError: Something is there that may not be replaced, or the folder cannot be written.
    """
    out = Path(out)
    refuse_to_replace(out, force)
    folder = out.parent / f".{out.name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise OutputError("The bundle cannot be written here", got=f"{out.parent}: {error.strerror}") from error
    try:
        yield folder
        refuse_to_replace(out, force)
        _move(folder, out)
    except OSError as error:
        raise OutputError("The bundle cannot be written", got=f"{out}: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_description(
    folder: Path,
    spec: ModelSpec | SampleSpec,
    inputs: Tile,
    output: np.ndarray,
    facts: GraphFacts,
    extra: dict[str, Any],
) -> None:
    """Write the golden tile and ``item.json`` beside a graph that is already in the folder.

    Args:
        folder: Where ``model.onnx`` lies.
        spec: The contract.
        inputs: The golden tile, ``(C, h, w)``, or sample: network values by role.
        output: What the network made of it, without a batch axis.
        facts: What the graph is.
        extra: Further properties of the item.
    """
    arrays = {**{f"input_{role}": array for role, array in inputs.items()}, "output": output.astype(np.float32)}
    np.savez_compressed(folder / GOLDEN_FILE, **arrays)  # type: ignore[arg-type]  # no array is called allow_pickle
    item = make_item(spec, _assets(folder), extra, batch=facts.batch, parameters=facts.parameters)
    (folder / ITEM).write_text(item_text(item), encoding="utf-8")


def _assets(folder: Path) -> dict[str, dict[str, Any]]:
    encoder = graph_assets(folder, ENCODER, ENCODER_KEY, "The encoder of the conditions, float32")
    title = "One step of the network, float32" if encoder else "The network, float32"
    needs = [ENCODER_KEY] if encoder else []
    return {
        **graph_assets(folder, MODEL, MODEL_KEY, title, needs, **{"stf:precision": "fp32"}),
        **encoder,
        GOLDEN: make_asset(
            folder / GOLDEN_FILE, "A tile or sample in and out, to prove an engine", "application/zip", ["stf:golden"]
        ),
    }


def graph_assets(
    folder: Path, name: str, key: str, title: str, needs: Sequence[str] = (), **extra: Any
) -> dict[str, dict[str, Any]]:
    """A graph and the weights beside it, as far as they are there."""
    if not (folder / name).exists():
        return {}
    weights = folder / f"{name}.data"
    needs = [*([f"{key}-data"] if weights.exists() else []), *needs]
    extra = {"mlm:artifact_type": "onnx", **extra, **({"stf:needs": needs} if needs else {})}
    media = "application/octet-stream"
    assets = {key: make_asset(folder / name, title, f"{media}; framework=onnx", ["mlm:model"], **extra)}
    if weights.exists():
        assets[f"{key}-data"] = make_asset(weights, f"Weights of {title[0].lower()}{title[1:]}", media, ["mlm:weights"])
    return assets


def refuse_to_replace(out: Path, force: bool) -> None:
    """Do nothing if a bundle may be written at ``out``.

    Raises:
        OutputError: Something is there, and ``force`` is not given or it is no bundle.
    """
    if not os.path.lexists(out):
        return
    if not force:
        raise OutputError("Something is at the destination already", got=out, fix="Replace it with --force")
    if out.is_symlink() or not (out / ITEM).is_file():
        raise OutputError("What is at the destination is no bundle, and is not replaced", got=out)


def _move(folder: Path, out: Path) -> None:
    if not os.path.lexists(out):
        folder.rename(out)
        return
    old = folder.with_suffix(".old")
    out.rename(old)
    try:
        folder.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
