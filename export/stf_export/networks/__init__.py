# SPDX-License-Identifier: Apache-2.0
"""The zoo: published spatiotemporal-fusion networks, defined once, in their family's folder.

    names()                                  every network
    create("edcstfn", bands=4, references=2) an nn.Module that takes its inputs by role
    about("edcstfn")                         paper, family, options

Importing this package does not import torch; building a network does.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from stf_infer.errors import ExportError, UnknownNetworkError

if TYPE_CHECKING:
    from .base import About, FusionNetwork

# name: module and class below this package
_ZOO = {
    "mfdgcn": "others.mfdgcn:MFDGCN",
    "cnnlstm": "sequence.cnnlstm:CNNLSTM",
    "mgsfformer": "transformer.mgsfformer:MGSFformer",
    "swinstfm": "transformer.swinstfm:SwinSTFM",
    "ttsfnet": "transformer.ttsfnet:TTSFNet",
    "unetlstm": "sequence.lunet:UNetLSTM",
    "multitask_lunet": "sequence.lunet:MultitaskLUNet",
    "dcstfn": "cnn.dcstfn:DCSTFN",
    "deltaweave": "cnn.deltaweave:DeltaWeave",
    "diffstsf": "diffusion.diffstsf:DiffSTSF",
    "densestf": "cnn.densestf:DenseSTF",
    "ecpw_stfn": "cnn.ecpw_stfn:ECPWSTFN",
    "edcstfn": "cnn.edcstfn:EDCSTFN",
    "mustfn": "cnn.mustfn:MUSTFN",
    "dstfnet": "others.dstfnet:DSTFNet",
    "sdcs": "others.sdcs:SDCS",
    "stf_egfa": "cnn.stf_egfa:STFEGFA",
    "stfdcnn": "cnn.stfdcnn:STFDCNN",
    "stfmlp": "others.stfmlp:StfMLP",
    "stfnet": "cnn.stfnet:StfNet",
    "ganstfm": "gan.ganstfm:GANSTFM",
    "mlffgan": "gan.mlffgan:MLFFGAN",
    "stfdiff": "diffusion.stfdiff:STFDiff",
}

# Names for a plain band count: what the field's data sets hold in this order.
COMMON_BANDS = {
    1: ("band_1",),
    3: ("green", "red", "nir"),
    4: ("blue", "green", "red", "nir"),
    6: ("blue", "green", "red", "nir", "swir1", "swir2"),
}


def names() -> tuple[str, ...]:
    """Names of all networks, in alphabetical order."""
    return tuple(sorted(_ZOO))


def network_class(name: str) -> type[FusionNetwork]:
    """The class behind a name.

    Raises:
        UnknownNetworkError: No such network; the message names the nearest one.
    """
    if name not in _ZOO:
        near = difflib.get_close_matches(name, _ZOO, n=1, cutoff=0.4)
        raise UnknownNetworkError(
            "There is no network of that name",
            got=name,
            allowed=", ".join(names()),
            fix=f"Did you mean {near[0]}" if near else None,
        )
    module, _, attribute = _ZOO[name].partition(":")
    found: type[FusionNetwork] = getattr(importlib.import_module(f".{module}", __name__), attribute)
    return found


def about(name: str) -> About:
    """Paper, family and options of a network."""
    return network_class(name).about


def create(name: str, *, bands: int | Sequence[str] | None = None, **options: Any) -> FusionNetwork:
    """Build a network with random weights, in evaluation mode.

    Args:
        name: One of :func:`names`.
        bands: Band names, or how many; None takes the network's own default.
        options: The network's own options (``about(name).options``).

    Raises:
        UnknownNetworkError: No such network.
        ExportError: An option is unknown or its value is not allowed.
    """
    kind = network_class(name)
    unknown = sorted(set(options) - set(kind.about.options))
    if unknown:
        raise ExportError(
            f"{name} has no option of that name",
            got=", ".join(unknown),
            allowed=", ".join(kind.about.options) or "none",
        )
    if bands is not None:
        options["bands"] = band_names(bands)
    network = kind(**options)
    network.eval()
    return network


def band_names(bands: int | Sequence[str]) -> tuple[str, ...]:
    """Names for a band count (``band_1`` and so on where the count has no usual names), or the names given."""
    if isinstance(bands, int):
        return COMMON_BANDS.get(bands, tuple(f"band_{i + 1}" for i in range(bands)))
    return tuple(bands)
