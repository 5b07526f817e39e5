# SPDX-License-Identifier: Apache-2.0
"""``stf-infer export``: a trained network to a bundle."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from stf_infer.accuracy import recorded
from stf_infer.cli._verb import Report, verb
from stf_infer.errors import UsageError
from stf_infer.samples.spec import SampleSpec

from ._parse import parse_bands, parse_options, parse_weights
from ._progress import progress_line
from ._reduction import reduced_lines, reduction_from, reduction_options
from ._sampler import sampler_from, sampler_options

if TYPE_CHECKING:
    from stf_infer.bundle import Bundle


@click.command(short_help="Turn a trained network into a bundle (extra: export).")
@verb
@click.argument("network", required=False)
@click.option(
    "--weights", multiple=True, metavar="[PART=]FILE", help="Trained weights; a file for each band or stage if need be."
)
@click.option("--bands", metavar="A,B,...|N", help="Names of the bands in the network's order, or how many.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="An option of the network.")
@sampler_options
@click.option("--module", metavar="PACKAGE.MODULE:FACTORY", help="A torch module of your own, with --contract.")
@click.option("--onnx", metavar="FILE", help="An ONNX file of your own, with --contract.")
@click.option("--contract", metavar="FILE", help="What it wants and gives; see `stf-infer contract --template`.")
@click.option("--tile", type=click.IntRange(min=1), help="Rows and columns of a tile in fine pixels.  [default: 256]")
@click.option("-o", "--output", required=True, metavar="NAME.stf", help="The bundle to write.")
@click.option("--name", help="Name of the bundle.  [default: that of the folder]")
@click.option(
    "--tolerance",
    type=float,
    help="Largest difference to torch, over the output's range.  [default: 1e-5, as the network states; sampled 1e-4]",
)
@click.option("--ema/--no-ema", default=None, help="Averaged weights or the last ones, where a checkpoint has both.")
@click.option("--force", is_flag=True, help="Replace a bundle that is there already.")
@click.option(
    "--precision", metavar="P,...", help="Write these as well: fp16, bf16, int8. `stf-infer reduce` adds them later."
)
@reduction_options
def export(
    network: str | None,
    weights: tuple[str, ...],
    bands: str | None,
    options: tuple[str, ...],
    module: str | None,
    onnx: str | None,
    contract: str | None,
    ema: bool | None,
    output: str,
    precision: str | None,
    budget: str | None,
    calibration: str | None,
    keep: tuple[str, ...],
    no_migration: bool,
    **common: Any,
) -> Report:
    """Turn a trained network into a bundle: NETWORK of the zoo, a module or an ONNX file of your own.

    How the network may be tiled is measured, and the graph is compared with the network before the bundle is written.
    """
    from .. import exporter

    _one_source(network, module, onnx, contract)
    sampler = sampler_from(common)
    common = {key: value for key, value in common.items() if value is not None}
    if sampler is not None:
        common["sampler"] = sampler
    if (reduction := reduction_from(precision, budget, calibration, keep, no_migration)) is not None:
        common["reduction"] = reduction
    started = time.monotonic()
    with progress_line() as progress:
        common |= {"out": output, "progress": progress}
        if network is not None:
            files = parse_weights(weights)
            if files is None:
                raise UsageError("No weights are given", fix=f"stf-infer export {network} --weights FILE ...")
            bundle = exporter.export(
                network,
                files,
                bands=parse_bands(bands),
                options=parse_options(options),
                ema=ema,
                **common,
            )
        elif module is not None:
            _refuse("--module", bands=bands)
            bundle = exporter.export_module(
                module,
                str(contract),
                weights=parse_weights(weights),
                options=parse_options(options),
                ema=ema,
                **common,
            )
        else:
            _refuse("--onnx", bands=bands, weights=weights, option=options, sampler=sampler, ema=ema)
            bundle = exporter.export_onnx(str(onnx), str(contract), **common)
    data = _summary(bundle, time.monotonic() - started)
    return Report(data, lambda console: _show(console, data))


def _one_source(network: str | None, module: str | None, onnx: str | None, contract: str | None) -> None:
    given = {"NETWORK": network, "--module": module, "--onnx": onnx}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise UsageError("Exactly one network is exported", got=" and ".join(named) or "none", allowed=", ".join(given))
    if network is None and contract is None:
        raise UsageError(
            f"{named[0]} needs a contract",
            fix="Give --contract FILE; `stf-infer contract --template` prints one to fill in",
        )
    if network is not None and contract is not None:
        raise UsageError("A network of the zoo has its own contract", fix="Leave --contract out, or use --module")


def _refuse(door: str, **options: Any) -> None:
    for name, value in options.items():
        if value not in (None, ()):
            raise UsageError(f"--{name} has no meaning with {door}", fix="State it in the contract, or leave it out")


def _summary(bundle: Bundle, seconds: float) -> dict[str, Any]:
    spec = bundle.spec
    sampler = None if isinstance(spec, SampleSpec) else spec.sampler
    return {
        "bundle": str(bundle.path),
        "sha256": bundle.sha256,
        "bytes": sum(f.stat().st_size for f in Path(bundle.path).rglob("*") if f.is_file()),
        "seconds": round(seconds, 2),
        "network": spec.network,
        "roles": list(spec.roles),
        "tile": None if isinstance(spec, SampleSpec) else spec.tile.model_dump(),
        "sampler": sampler.describe() if sampler else None,
        "graph": bundle.properties["stf:graph"],
        "parity": bundle.parity,
        "reduced": {precision: record.as_dict() for precision, record in recorded(bundle).items()},
        "notes": bundle.properties.get("stf:notes", []),
        "next": f"stf-infer check {bundle.path}",
    }


def _show(console: Any, data: dict[str, Any]) -> None:
    parity, graph = data["parity"], data["graph"]
    lines = [
        *([f"sampler {data['sampler']}"] if data["sampler"] else []),
        *_tile_lines(data["tile"]),
        f"graph of {graph['nodes']} operators ({graph['nodes_before']} before it was simplified)",
        f"parity {parity['relative']:.1e} of the output's range against {parity['reference']} "
        f"(allowed {parity['tolerance']:.0e})",
        *reduced_lines(data["reduced"]),
        f"{data['bundle']}: {data['bytes'] / 1e6:.2f} MB in {data['seconds']:.0f} s. Next: {data['next']}",
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _tile_lines(tile: dict[str, Any] | None) -> list[str]:
    if tile is None:
        return ["takes samples, whole: there are no tiles"]
    size = f"{tile['height']} x {tile['width']}"
    rule = f"halo {tile['halo']}" if tile["mode"] == "exact" else f"overlap {tile['overlap']}"
    return [
        f"tile {size}, stride {tile['stride']}, {tile['mode']}, {rule}",
        *(f"  because: {why}" for why in tile["because"]),
    ]
