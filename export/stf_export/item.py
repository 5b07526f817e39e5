# SPDX-License-Identifier: Apache-2.0
"""The description of a bundle: a STAC Item with the Machine Learning Model extension.

What a machine obeys stands in ``stf:contract``; the ``mlm:`` properties say the same in words that catalogues know.
Both extensions are written as their specifications read, see https://stac-extensions.github.io/mlm and /file.
"""

from __future__ import annotations

import datetime as dt
import os
import re
from pathlib import Path
from typing import Any

from stf_infer.bundle import FORMAT, SHA256_MULTIHASH, sha256_of
from stf_infer.samples.spec import SampleSpec
from stf_infer.spec import InputSpec, ModelSpec, Values

from .by_sample import item as by_sample
from .extras import need

MLM = "https://stac-extensions.github.io/mlm/v1.4.0/schema.json"
FILE = "https://stac-extensions.github.io/file/v2.1.0/schema.json"

_MODEL = "mlm:model"
_TASKS = ["regression", "super-resolution"]
_DIMENSIONS = ["batch", "bands", "height", "width"]


def make_item(
    spec: ModelSpec | SampleSpec,
    assets: dict[str, dict[str, Any]],
    extra: dict[str, Any],
    *,
    batch: int | None,
    parameters: int,
) -> dict[str, Any]:
    """The item of a bundle, as plain JSON values.

    Args:
        spec: The contract.
        assets: Assets by key, as :func:`make_asset` returns them.
        extra: Further properties (``stf:parity`` and so on).
        batch: Tiles or samples per run, None where that is free.
        parameters: Numbers in the weights.
    """
    pystac = need("pystac")
    words = by_sample.words(spec, batch) if isinstance(spec, SampleSpec) else _words(spec, batch)
    bands = words.get("bands", [])
    item = pystac.Item(
        id=spec.name,
        geometry=None,
        bbox=None,
        datetime=_now(),
        stac_extensions=[MLM, FILE],
        properties={
            "mlm:name": mlm_name(spec.name),
            "mlm:architecture": spec.network,
            "mlm:framework": "ONNX",
            "mlm:framework_version": need("onnx").__version__.partition("+")[0],
            "mlm:accelerator": None,
            "mlm:accelerator_constrained": False,
            "mlm:total_parameters": parameters,
            "mlm:pretrained": True,
            **words,
            **({"mlm:hyperparameters": spec.options} if spec.options else {}),
            "stf:format": FORMAT,
            "stf:contract": spec.model_dump(mode="json"),
            **extra,
        },
    )
    for key, asset in assets.items():
        # STAC allows bands of an item only where an asset has them too; the extension asks for those of the item.
        more = {"bands": bands} if bands and _MODEL in asset["roles"] else {}
        item.add_asset(key, pystac.Asset.from_dict({**asset, **more}))
    found: dict[str, Any] = item.to_dict(include_self_link=False, transform_hrefs=False)
    return found


def make_asset(path: Path, title: str, media_type: str, roles: list[str], **extra: Any) -> dict[str, Any]:
    """An asset of the bundle with its size and SHA-256."""
    return {
        "href": path.name,
        "title": title,
        "type": media_type,
        "roles": roles,
        "file:size": path.stat().st_size,
        "file:checksum": SHA256_MULTIHASH + sha256_of(path),
        **extra,
    }


def mlm_name(name: str) -> str:
    """A name as the extension allows it: it begins with a letter and ends with a letter or a digit."""
    kept = re.sub(r"[^a-zA-Z0-9_.\- ]", "-", name).strip("-_. ")
    if not kept[:1].isalpha():
        kept = f"stf-{kept}".rstrip("-")
    return kept if len(kept) > 2 else f"{kept}-network"


def _now() -> dt.datetime:
    """The time of the export; SOURCE_DATE_EPOCH makes two exports of the same network equal."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH", "")
    if fixed.isdigit():
        return dt.datetime.fromtimestamp(int(fixed), dt.timezone.utc)
    return dt.datetime.now(dt.timezone.utc).replace(microsecond=0)


def _words(spec: ModelSpec, batch: int | None) -> dict[str, Any]:
    """Properties of the item that say what a network of rasters wants and gives."""
    return {
        "description": _description(spec),
        "bands": [{"name": name} for name in _band_names(spec)],
        "mlm:tasks": _TASKS,
        "mlm:input": [_input(spec, one, batch) for one in spec.inputs],
        "mlm:output": [_output(spec, batch)],
    }


def _description(spec: ModelSpec) -> str:
    wants = ", ".join((*spec.roles, *(r.role for r in spec.also_read)))
    source = f" {spec.source}" if spec.source else ""
    return f"Spatiotemporal fusion network {spec.network}: predicts the fine image at t2 from {wants}.{source}"


def _band_names(spec: ModelSpec) -> list[str]:
    images = (*(i.bands for i in spec.inputs if i.grid != "noise"), spec.output.bands)
    return list(dict.fromkeys(b for bands in images for b in bands))


def _input(spec: ModelSpec, one: InputSpec, batch: int | None) -> dict[str, Any]:
    scaling = _value_scaling(one.values)
    words = f"{one.role} on the {one.grid} grid, {one.values.unit}{_clip_words(one.values)}"
    is_noise = one.grid == "noise"
    return {
        "name": one.tensor,
        "description": f"{one.role}: standard normal noise on the fine grid, draw {one.draw}" if is_noise else words,
        "bands": [] if is_noise else list(one.bands),
        "input": _structure(spec.tensor_shape(one), batch),
        **({"value_scaling": [scaling]} if scaling else {}),
    }


def _output(spec: ModelSpec, batch: int | None) -> dict[str, Any]:
    return {
        "name": spec.output.tensor,
        "description": f"the fine image at t2, {spec.output.values.unit} times {spec.output.values.scale:g} "
        f"plus {spec.output.values.offset:g}",
        "tasks": _TASKS,
        "bands": list(spec.output.bands),
        "result": _structure(spec.output_shape, batch),
    }


def _structure(shape: tuple[int, int, int], batch: int | None) -> dict[str, Any]:
    return {"shape": [batch or -1, *shape], "dim_order": _DIMENSIONS, "data_type": "float32"}


def _value_scaling(values: Values) -> dict[str, Any] | None:
    """One scaling object for all bands: ``physical * scale + offset`` in the extension's words, or None."""
    if values.offset != 0:
        return {"type": "z-score", "mean": -values.offset / values.scale, "stddev": 1 / values.scale}
    if values.scale != 1:
        return {"type": "scale", "value": 1 / values.scale}
    low, high = values.minimum, values.maximum
    if low is not None and high is not None:
        return {"type": "clip", "minimum": low, "maximum": high}
    if low is not None:
        return {"type": "clip-min", "minimum": low}
    return {"type": "clip-max", "maximum": high} if high is not None else None


def _clip_words(values: Values) -> str:
    if values.minimum is None and values.maximum is None:
        return ""
    low = "" if values.minimum is None else f"{values.minimum:g}"
    high = "" if values.maximum is None else f"{values.maximum:g}"
    return f", clipped to {low}..{high}"
