# SPDX-License-Identifier: Apache-2.0
"""Loading trained weights, safely and strictly.

    load_into(network, "best.pth")                     any readable file, into any module
    load_into(network, {"green": "green.hdf5", ...})   one file a band, or a stage
    load_state("best.pth").state                       the tensors alone

Safely: only safetensors, pickles that PyTorch's ``weights_only`` unpickler accepts, and HDF5 datasets are
read; a file that needs code is refused. Strictly: every key and shape must agree, after containers and
prefixes are taken off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from stf_infer.errors import CheckpointError

from ..networks.bandwise import BandwiseNetwork
from ..networks.base import FusionNetwork
from .advice import require_exact
from .files import Contents, read
from .fit import Target, choose, only, require_one, some
from .untold import settle
from .unwrap import Place, generic, places, rank

__all__ = ["Checkpoint", "load_into", "load_state"]


@dataclass(frozen=True)
class Checkpoint:
    """Weights out of a file.

    Attributes:
        state: Tensors by key; floating ones in float32, others as they were.
        notes: What was done on the way: containers and prefixes taken off, precision raised.
    """

    state: dict[str, torch.Tensor]
    notes: list[str] = field(default_factory=list)


def load_state(path: str | Path, *, ema: bool | None = None) -> Checkpoint:
    """The weights in a file, without a network to compare them with.

    The container with a usual name is taken (``state_dict``, ``model`` and so on), else the mapping with most
    tensors; prefixes that wrappers put before all keys are dropped. The datasets of a Keras file come by
    their path.

    Args:
        path: safetensors, PyTorch state dict or Keras HDF5.
        ema: As in :func:`load_into`.

    Raises:
        CheckpointError: The file cannot be read or holds no weights.
        UnsafeCheckpointError: Loading it would run code.
    """
    contents = read(path)
    if contents.kind == "keras":
        arrays = {key: torch.from_numpy(np.asarray(array)) for key, array in contents.content.items()}
        return _as_float32(arrays, ["read a Keras file"])
    found = [generic(place) for place in _places(contents.content, contents.name)]
    if ema is not None:
        found = only(found, ema, [candidate.averaged for candidate in found])
    best = max(rank(candidate) for candidate in found)
    equals = [candidate for candidate in found if rank(candidate) == best]
    equals.sort(key=lambda candidate: candidate.averaged)
    require_one(equals)
    return _as_float32(equals[0].state, equals[0].notes)


def load_into(
    network: nn.Module,
    source: str | Path | Mapping[str, str | Path] | Mapping[str, torch.Tensor],
    *,
    ema: bool | None = None,
    said: Collection[str] | None = None,
) -> list[str]:
    """Load weights into a network; nothing is changed unless everything fits.

    Among all mappings of tensors in the file, and all prefixes that stand before keys of this network in
    them, the place that has most in common with the network is taken. It must then have exactly the network's
    keys and shapes. What lies elsewhere (a discriminator, an optimiser) is left out.

    Args:
        network: A network of the zoo or any other module.
        source: A file; for a network whose bands or stages are trained one by one also a file for each by name; or a
            state dict.
        ema: True takes exponentially averaged weights, False the last ones. None takes whichever the file
            has; where it has both and they differ, the choice is the user's, since the results differ.
        said: Names of the options that somebody has stated. Of the others, one that the weights do not tell is
            refused, or noted where its published value may be assumed. None: the network is as it was meant.

    Returns:
        What was done on the way, as sentences for a log.

    Raises:
        CheckpointError: The file cannot be read, or the weights do not fit: keys are listed by name, with the
            network that the weights look like or the number of bands they were made for; or an option has to be
            stated.
        UnsafeCheckpointError: Loading it would run code.
    """
    if isinstance(source, Mapping) and not any(isinstance(value, torch.Tensor) for value in source.values()):
        return _load_parts(network, dict(source), ema, said)  # type: ignore[arg-type]
    contents = Contents("state dict", "torch", source) if isinstance(source, Mapping) else read(source)
    if contents.kind == "keras" and isinstance(network, BandwiseNetwork) and len(network.bands) > 1:
        raise CheckpointError(
            "A Keras file holds one band",
            got=f"{contents.name} for {', '.join(network.bands)}",
            fix="Give one file for each band, by name",
        )
    checkpoint = _fit(Target.of(network), contents, ema)
    notes = checkpoint.notes + settle(network, [contents.kind], said)
    _assign(network, checkpoint)
    return notes


def _load_parts(
    network: nn.Module, files: dict[str, str | Path], ema: bool | None, said: Collection[str] | None
) -> list[str]:
    parts = network.parts() if isinstance(network, FusionNetwork) else {}
    if not isinstance(network, FusionNetwork) or not parts:
        raise CheckpointError(
            f"{Target.of(network).title} has one set of weights for all bands",
            got=", ".join(files) or "no file",
            fix="Give one file",
        )
    if set(files) != set(parts):
        raise CheckpointError(
            f"The weights must be given for exactly the {network.part_is_a}s of the network",
            got=", ".join(files) or "no file",
            allowed=", ".join(parts),
        )
    contents = {part: read(files[part]) for part in parts}
    found = {part: _fit(Target.of_part(network, part), contents[part], ema) for part in parts}
    notes = [f"{part}: {note}" for part, checkpoint in found.items() for note in checkpoint.notes]
    notes += settle(network, [one.kind for one in contents.values()], said)
    for part, checkpoint in found.items():
        _assign(parts[part], checkpoint)
    return notes


def _fit(target: Target, contents: Contents, ema: bool | None) -> Checkpoint:
    """The weights for a target, with exactly its keys and shapes."""
    notes = []
    saved = contents.content
    if contents.kind == "keras":
        saved = _from_keras(target.network, contents)
        notes.append("converted from Keras")
    where = _places(saved, contents.name)
    fit = require_exact(choose(where, target, ema), target, where, contents.name)
    if fit.left_out:
        notes.append(f"left out what holds nothing trained: {some(fit.left_out)}")
    checkpoint = _as_float32(fit.state, notes + fit.candidate.notes)
    broken = [key for key, tensor in checkpoint.state.items() if tensor.isnan().any()]
    if broken:
        raise CheckpointError(
            "The weights hold NaN: the training had diverged",
            got=f"{contents.name}: {some(broken)}",
            fix="Take an earlier checkpoint",
        )
    return checkpoint


def _from_keras(network: nn.Module, contents: Contents) -> dict[str, torch.Tensor]:
    if not isinstance(network, FusionNetwork):
        raise CheckpointError(
            "Only a network of the zoo can say how Keras named its layers",
            got=contents.name,
            allowed="a PyTorch state dict or safetensors",
        )
    return network.keras_to_torch(contents.content)


def _places(saved: Any, name: str) -> list[Place]:
    found = places(saved)
    if found:
        return found
    held = some([str(key) for key in saved]) if isinstance(saved, Mapping) else f"a {type(saved).__name__}"
    raise CheckpointError(
        "The checkpoint holds no tensors by name",
        got=f"{name} with {held or 'nothing in it'}",
        allowed="a state dict, alone or in a container",
    )


def _as_float32(state: Mapping[str, torch.Tensor], notes: list[str]) -> Checkpoint:
    """Floating tensors in float32, others untouched."""
    changed: Counter[torch.dtype] = Counter()
    out = {}
    for key, tensor in state.items():
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            changed[tensor.dtype] += 1
            tensor = tensor.to(torch.float32)
        out[key] = tensor
    verbs = {True: "upcast", False: "rounded"}
    more = [
        f"{verbs[dtype.itemsize < 4]} {count} entries from {str(dtype).removeprefix('torch.')}"
        for dtype, count in changed.items()
    ]
    return Checkpoint(out, notes + more)


def _assign(module: nn.Module, checkpoint: Checkpoint) -> None:
    # What a fit may lack are counters of training batches: the module keeps its own.
    module.load_state_dict({**module.state_dict(), **checkpoint.state}, strict=True)
