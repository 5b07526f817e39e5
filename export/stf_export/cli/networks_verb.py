# SPDX-License-Identifier: Apache-2.0
"""``stf-infer networks``: the zoo, and what can be done with each network."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import click

from stf_infer.cli._verb import Report, verb
from stf_infer.samples.spec import SampleSpec

from ..contract import Contract

if TYPE_CHECKING:
    from torch import nn

    from stf_infer.spec import RasterSpec, SceneStatistic

    from ..contract import AnyContract
    from ..networks.base import FusionNetwork

IMAGE = "image"
SAMPLES = "samples"
DEFINITION_ONLY = "definition only"
NOT_EXPORTABLE = "not exportable yet"


@click.command(short_help="List the networks that can be exported (extra: export).")
@verb
@click.argument("network", required=False)
def networks(network: str | None) -> Report:
    """List every network: family, inputs by role, tiles, options, status; with NETWORK its paper too."""
    from .. import networks as zoo
    from ..extras import need

    need("torch")
    listed = [described(name) for name in ([network] if network else zoo.names())]
    if network:
        return Report({"networks": listed}, lambda console: _show_one(console, listed[0]))
    return Report({"networks": listed}, lambda console: _show_all(console, listed))


def described(name: str) -> dict[str, Any]:
    """What a network wants, with its default options, and what can be done with it, as plain values.

    ``status`` is ``image`` (exported to a bundle, run on scenes), ``samples`` (exported to a bundle, run on arrays and
    NetCDF), ``definition only`` (a torch module that states no contract) or ``not exportable yet`` (its contract cannot
    be fulfilled by a bundle); ``reason`` says why.

    Raises:
        UnknownNetworkError: No such network.
    """
    import torch

    from .. import networks as zoo

    kind = zoo.network_class(name)
    about = kind.about
    with torch.device("meta"):  # sizes only: no memory, no random numbers
        network = zoo.create(name)
        contract, status, reason = _status(network)
    return {
        "name": name,
        "title": about.title,
        "family": about.family,
        "paper": about.paper,
        "doi": about.doi or None,
        "options": dict(about.options),
        "inputs": _inputs(network, contract),
        **_tiling(contract),
        "sampler": _sampler(contract),
        "status": status,
        "reason": reason,
    }


def _tiling(contract: AnyContract | None) -> dict[str, Any]:
    if not isinstance(contract, Contract):
        return {"tile": None, "mode": None, "halo": None, "ratio": None}
    wish = contract.tile
    return {"tile": wish.size or "auto", "mode": wish.mode, "halo": wish.halo, "ratio": contract.ratio}


def _sampler(contract: AnyContract | None) -> str | None:
    steps = contract.steps if isinstance(contract, Contract) else None
    return None if steps is None else steps.describe()


def _status(network: FusionNetwork) -> tuple[AnyContract | None, str, str]:
    from ..networks.diffusion.denoiser import Denoiser
    from ..sampled_contract import sampled
    from ..samplers import Sampler, resolve

    try:
        contract = network.contract()
    except TypeError:
        return None, DEFINITION_ONLY, "it states no contract"
    if isinstance(contract, SampleSpec):
        return contract, SAMPLES, ""
    if contract.sampler is not None:
        # A step takes a noisy image and a time, which the sampler supplies.
        assert isinstance(network, Denoiser)
        return sampled(contract, resolve(Sampler(), network.preset)), IMAGE, ""
    missing = _left_open(network.for_export(), contract)
    if missing:
        return contract, NOT_EXPORTABLE, f"forward needs {', '.join(missing)}, which a bundle cannot state"
    return contract, IMAGE, ""


def _left_open(module: nn.Module, contract: Contract) -> list[str]:
    """Parameters of ``forward`` that must be given and that no input of the contract is meant for."""
    stated = {name for spec in contract.inputs for name in (spec.role, spec.tensor)}
    return [
        name
        for name, parameter in inspect.signature(module.forward).parameters.items()
        if parameter.kind is not parameter.VAR_KEYWORD and parameter.default is parameter.empty and name not in stated
    ]


def _inputs(network: FusionNetwork, contract: AnyContract | None) -> list[dict[str, Any]]:
    if contract is None:
        names = inspect.signature(network.forward).parameters
        return [_listed(name) for name in names]
    if isinstance(contract, SampleSpec):
        return [{**_listed(one.role), "dims": {dim.name: dim.size for dim in one.dims}} for one in contract.inputs]
    only_read = [_listed(r.role, r, only_read=True) for r in contract.also_read]
    return [*(_listed(i.role, i, statistic=i.statistic) for i in contract.inputs), *only_read]


def _listed(
    role: str, raster: RasterSpec | None = None, *, statistic: SceneStatistic | None = None, only_read: bool = False
) -> dict[str, Any]:
    return {
        "role": role,
        "grid": raster and raster.grid,
        "from_coarse": raster and raster.from_coarse,
        "bands": raster and list(raster.bands),
        "statistic": statistic and statistic.model_dump(mode="json"),
        "only_read": only_read,
        "dims": None,
    }


def _show_all(console: Any, listed: list[dict[str, Any]]) -> None:
    from rich.table import Column, Table

    doi = Column("doi", no_wrap=True)
    table = Table("network", "family", "inputs", "tile", "options", doi, "status", box=None, pad_edge=False)
    for row in listed:
        options = " ".join(row["options"])
        table.add_row(row["name"], row["family"], _roles(row), _tile(row), options, row["doi"], row["status"])
    console.print(table)
    legend = "* on the coarse grid  ** a number for the whole scene  *** read only for such a number"
    console.print(legend, markup=False, highlight=False)
    console.print("One of them with paper and options: stf-infer networks NAME", markup=False, highlight=False)


def _show_one(console: Any, row: dict[str, Any]) -> None:
    link = f" https://doi.org/{row['doi']}" if row["doi"] else ""
    why = f": {row['reason']}" if row["reason"] else ""
    lines = [
        f"{row['name']}: {row['title']} ({row['family']})",
        f"{row['paper']}.{link}",
        f"status   {row['status']}{why}",
        f"tile     {_tile(row) or 'none'}",
        *(f"input    {i['role']}{_where(i)}" for i in row["inputs"]),
        *([f"sampler  {row['sampler']}"] if row["sampler"] else []),
        *(f"option   {name}: {meaning}" for name, meaning in row["options"].items()),
    ]
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _roles(row: dict[str, Any]) -> str:
    """Roles in one cell; a star marks the coarse grid, two a number of the whole scene, three what is only read."""
    marks = {"coarse": "*", "scene": "**"}
    return " ".join(i["role"] + _marks(i, marks) for i in row["inputs"])


def _marks(given: dict[str, Any], marks: dict[str, str]) -> str:
    if given["dims"] is not None:
        return f"({'x'.join(map(str, given['dims'].values()))})"
    return "***" if given["only_read"] else marks.get(given["grid"], "")


def _where(given: dict[str, Any]) -> str:
    if given["dims"] is not None:
        return f": {', '.join(f'{name} {size}' for name, size in given['dims'].items())}; any dims of samples beside"
    if given["grid"] is None:
        return ""
    through = f", interpolated from the coarse grid ({given['from_coarse']})" if given["from_coarse"] else ""
    place = "standard normal noise, drawn by the runtime" if given["grid"] == "noise" else f"{given['grid']} grid"
    if given["statistic"]:
        place = f"a number for the whole scene, {given['statistic']['rule']} of {', '.join(given['statistic']['of'])}"
    only = ", read only for a number of the scene" if given["only_read"] else ""
    return f": {place}{through}{only}; {', '.join(given['bands'])}"


def _tile(row: dict[str, Any]) -> str:
    if row["tile"] is None:
        return ""
    halo = "" if row["halo"] is None else f", halo {row['halo']}"
    return f"{row['tile']}, blend" if row["mode"] == "blend" else f"{row['tile']}{halo}"
