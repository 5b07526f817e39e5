# SPDX-License-Identifier: Apache-2.0
"""``stf-infer contract``: contract files to start from."""

from __future__ import annotations

from typing import Any

import click

from stf_infer.cli._verb import Report, verb
from stf_infer.errors import UsageError

from ._parse import parse_bands, parse_options


@click.command(short_help="Print a template of a contract file.")
@verb
@click.option("--template", is_flag=True, help="A commented file to fill in.")
@click.option("--kind", type=click.Choice(["rasters", "samples"]), help="With --template: what it takes.  [rasters]")
@click.option("--network", metavar="NAME", help="The contract of a network of the zoo.")
@click.option("--bands", metavar="A,B,...|N", help="With --network: names of the bands, or how many.")
@click.option("--option", "options", multiple=True, metavar="NAME=VALUE", help="With --network: its own options.")
def contract(
    template: bool, kind: str | None, network: str | None, bands: str | None, options: tuple[str, ...]
) -> Report:
    """Print a contract file: the template, or what a network of the zoo wants and gives."""
    from .. import contract_toml

    if template == (network is not None):
        raise UsageError("Which contract shall be printed?", allowed="--template, or --network NAME")
    if template:
        if bands or options:
            raise UsageError("The template takes no bands and no options", fix="They belong to --network NAME")
        text = contract_toml.template(kind or "rasters")
    elif kind:
        raise UsageError("A network of the zoo takes what it takes", got=f"--kind {kind}", fix="Leave --kind out")
    else:
        text = contract_toml.to_toml(_contract_of(str(network), bands, options))

    def show(console: Any) -> None:
        # Not through rich, which would wrap lines and read brackets as markup.
        click.echo(text, nl=False)

    return Report({"toml": text}, show)


def _contract_of(network: str, bands: str | None, options: tuple[str, ...]) -> Any:
    from .. import networks
    from ..extras import need

    need("torch")
    return networks.create(network, bands=parse_bands(bands), **parse_options(options)).contract()
