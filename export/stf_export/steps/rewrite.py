# SPDX-License-Identifier: Apache-2.0
"""Store tuned time steps in a bundle whose graph is one step: the graph stays, the description changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from stf_infer.bundle import GOLDEN, ITEM, Bundle, item_text
from stf_infer.engines import open_engine
from stf_infer.engines.host_loop import HostLoop
from stf_infer.golden import golden_noise

from .. import bundle_writer
from ..item import make_asset
from .calibration import Tuned


def store(bundle: Bundle, tuned: Tuned, out: str | Path | None = None, *, force: bool = False) -> Bundle:
    """Write a bundle with tuned time steps, whole or not at all.

    The golden tile is made anew, by an engine that computes in fp32: what it proves is that others give the same. What
    the export compared with torch was the graph, and that is copied as it is, with all engines that were built of it.

    Args:
        bundle: The bundle that was tuned.
        tuned: What was found for it.
        out: Where to; None replaces the bundle itself.
        force: Replace another bundle that is at ``out`` already.

    Raises:
        AssetError: A file of the bundle is not what was exported.
        OutputError: The bundle cannot be written; what was there is still there.
        EngineError: No engine can make the golden tile.
    """
    bundle.verify()
    in_place = out is None or (Path(out).exists() and Path(out).samefile(bundle.path))
    target = bundle.path.resolve() if out is None or in_place else Path(out)
    inputs, _ = bundle.golden()
    arrays = {**{f"input_{role}": array for role, array in inputs.items()}, "output": _sample(bundle, tuned, inputs)}
    with bundle_writer.staging(target, force=force or in_place) as folder:
        shutil.copytree(bundle.path, folder, dirs_exist_ok=True)
        golden = folder / bundle.assets[GOLDEN].href
        np.savez_compressed(golden, **arrays)  # type: ignore[arg-type]  # no array is called allow_pickle
        item = json.loads((folder / ITEM).read_text(encoding="utf-8"))
        item["properties"]["stf:contract"]["sampler"] = tuned.sampler.model_dump(mode="json")
        item["properties"]["stf:tuned"] = tuned.as_dict()
        fresh = make_asset(golden, "", "", [])
        item["assets"][GOLDEN] |= {key: fresh[key] for key in ("file:size", "file:checksum")}
        (folder / ITEM).write_text(item_text(item), encoding="utf-8")
    return Bundle.open(target)


def _sample(bundle: Bundle, tuned: Tuned, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """The golden tile through the tuned time steps, ``(C, H, W)``."""
    with open_engine(bundle, precision="fp32") as engine:
        assert isinstance(engine, HostLoop), "only a loop on the host is tuned"
        engine.sampler = tuned.sampler
        feed = {tensor.name: inputs[tensor.role][None] for tensor in bundle.spec.tensors}
        return engine.infer(feed, golden_noise(bundle.spec))[bundle.spec.output.tensor][0]
