# SPDX-License-Identifier: Apache-2.0
"""``stf-infer info``: show what a bundle wants and gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from ._verb import Report, verb

if TYPE_CHECKING:
    from ..bundle import Bundle
    from ..diffusion import SamplerSpec
    from ..spec import InputSpec, ModelSpec, RasterSpec, TileRule, Values


@click.command(short_help="Show what a bundle wants and gives.")
@verb
@click.argument("bundle", metavar="NAME.stf")
def info(bundle: str) -> Report:
    """Show roles, bands or dims, units, tile rule, parity, accuracy and files of NAME.stf. `check` verifies them."""
    from ..bundle import Bundle

    opened = Bundle.open(bundle)
    return Report(_data(opened), lambda console: _show(console, opened))


def _data(bundle: Bundle) -> dict[str, Any]:
    from ..engines.store import batch_of, entries
    from ._accuracy_info import accuracies

    properties = bundle.properties
    return {
        "bundle": str(bundle.path),
        "sha256": bundle.sha256,
        "format": properties["stf:format"],
        "contract": bundle.spec.model_dump(mode="json"),
        "precisions": list(bundle.precisions),
        "engines": [
            {"target": a.target, "precision": a.precision, "batch": batch_of(a), "asset": a.key}
            for a in entries(bundle)
        ],
        "accuracy": accuracies(bundle),
        "parity": bundle.parity,
        "probe": properties.get("stf:probe", {}),
        "graph": properties.get("stf:graph", {}),
        "reduced": properties.get("stf:reduced", {}),
        "created": {"at": properties.get("datetime"), **properties.get("stf:created", {})},
        "notes": properties.get("stf:notes", []),
        "parameters": properties.get("mlm:total_parameters"),
        "assets": {
            key: {"href": asset.href, "bytes": asset.size, "sha256": asset.sha256, "title": asset.title}
            for key, asset in bundle.assets.items()
        },
    }


def _show(console: Any, bundle: Bundle) -> None:
    from rich.markup import escape
    from rich.table import Table

    from ..samples.spec import SampleSpec
    from ._accuracy_info import accuracy_table
    from ._sample_info import sample_table

    spec, data = bundle.spec, _data(bundle)
    if isinstance(spec, SampleSpec):
        about, table, tile, sampler = "takes samples", sample_table(spec), None, None
    else:
        about, table, tile, sampler = f"ratio {spec.ratio}", _raster_table(spec), spec.tile, spec.sampler
    console.print(f"[bold]{escape(spec.name)}[/]  {escape(spec.network)}, {about}", highlight=False)
    if spec.source:
        console.print(escape(spec.source), highlight=False)
    console.print()
    console.print(table)
    console.print()

    facts = Table.grid(padding=(0, 2))
    for name, words in _facts(data, tile, sampler):
        facts.add_row(name, escape(words))
    console.print(facts)
    console.print()

    if data["accuracy"]:
        console.print(accuracy_table(data["accuracy"]))
        console.print()

    files = Table("file", "what", "size", "SHA-256", box=None, pad_edge=False)
    for key, asset in bundle.assets.items():
        size = "?" if asset.size is None else f"{asset.size / 1e6:.2f} MB"
        files.add_row(key, escape(asset.title), size, asset.sha256[:12])
    console.print(files)


def _raster_table(spec: ModelSpec) -> Any:
    from rich.table import Table

    rasters = Table("role", "bands", "grid", "unit", "network value", "tile", box=None, pad_edge=False)
    for one in spec.inputs:
        shape = " x ".join(map(str, spec.tensor_shape(one)))
        rasters.add_row(one.role, ", ".join(one.bands), _grid_words(one), *_unit_and_value(one), shape)
    for raster in spec.also_read:
        what = (_grid_words(raster), raster.values.unit, "only for numbers of the scene", "")
        rasters.add_row(raster.role, ", ".join(raster.bands), *what)
    out, shape = spec.output, " x ".join(map(str, spec.output_shape))
    rasters.add_row("[bold]fine_t2[/]", ", ".join(out.bands), "fine", out.values.unit, _value_words(out.values), shape)
    return rasters


def _facts(data: dict[str, Any], tile: TileRule | None, sampler: SamplerSpec | None) -> list[tuple[str, str]]:
    facts = [] if tile is None else [("tile", _tile_words(tile)), *(("because", why) for why in tile.because)]
    if reach := data["probe"].get("reach"):
        facts.append(("reach", ", ".join(f"{role} {pixels} px" for role, pixels in reach.items())))
    if (seam := data["probe"].get("seam")) is not None:
        facts.append(("seam", f"overlapping tiles differ by {seam:.1e} of the output's range at most"))
    if parity := data["parity"]:
        facts.append(
            (
                "parity",
                f"{parity['relative']:.1e} of the range against {parity['reference']}, {parity['tiles']} "
                f"{'samples' if tile is None else 'tiles'}",
            )
        )
    if sampler is not None:
        facts.append(("sampler", sampler.describe()))
    facts.append(("precisions", ", ".join(data["precisions"])))
    if engines := data["engines"]:
        facts.append(("engines", ", ".join(f"{e['target']} {e['precision']} b{e['batch']}" for e in engines)))
    if data["parameters"] is not None:
        facts.append(("weights", f"{data['parameters']:,} numbers"))
    if graph := data["graph"]:
        facts.append(("graph", f"{graph['nodes']} operators, {graph['nodes_before']} before it was simplified"))
    facts += [(precision, _reduced_words(one)) for precision, one in data["reduced"].items()]
    if options := data["contract"]["options"]:
        facts.append(("options", ", ".join(f"{k}={v}" for k, v in options.items())))
    facts.append(("created", ", ".join(f"{k} {v}" for k, v in data["created"].items() if v)))
    facts.append(("identity", data["sha256"]))
    facts += [("note", note) for note in data["notes"]]
    return facts


def _reduced_words(one: dict[str, Any]) -> str:
    """What a reduced graph is made of."""
    words = [f"{one.get('share', 0):.1%} of the multiply-adds reduced"]
    if islands := one.get("islands"):
        named = ", ".join([*islands[:3], *(["..."] if len(islands) > 3 else [])])
        words.append(f"{len(islands)} layers in fp32 for the budget's sake ({named})")
    if kept := one.get("kept"):
        words.append(f"{len(kept)} to be kept")
    if "calibration" in one:
        words.append(f"calibrated by {one['calibration']}")
    return ", ".join(words)


def _tile_words(tile: TileRule) -> str:
    how = f"halo {tile.halo}: tiled equals untiled" if tile.mode == "exact" else f"blended over {tile.overlap} pixels"
    border = "; only the core is predicted" if tile.predicts == "core" else ""
    return f"{tile.height} x {tile.width}, origins at multiples of {tile.stride}, {how}{border}"


def _grid_words(one: RasterSpec) -> str:
    return f"coarse to fine, {one.from_coarse}" if one.from_coarse else one.grid


def _unit_and_value(one: InputSpec) -> tuple[str, str]:
    if one.statistic is not None:
        return "", f"{one.statistic.rule} of {', '.join(one.statistic.of)}"
    if one.grid == "noise":
        return "", f"standard normal, draw {one.draw}"
    return one.values.unit, _value_words(one.values)


def _value_words(values: Values) -> str:
    words = "as it is"
    if values.scale != 1 or values.offset != 0:
        words = f"x {values.scale:g}" + (f" {values.offset:+g}" if values.offset else "")
    low, high = values.minimum, values.maximum
    if low is not None or high is not None:
        limits = f"{'' if low is None else f'{low:g}'}..{'' if high is None else f'{high:g}'}"
        words += f", clipped to {limits}"
    return words
