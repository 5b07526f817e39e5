# SPDX-License-Identifier: Apache-2.0
"""Does a state dict fit a network, key by key and shape by shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from stf_infer.errors import CheckpointError

from ..networks.bandwise import BandwiseNetwork
from ..networks.base import FusionNetwork
from .unwrap import Candidate, Place, candidates

_SHOWN = 10
# Counts batches in training only; PyTorch before 0.4.1 did not save it.
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Target:
    """What weights are wanted for: a network, or one band of a bandwise one.

    Attributes:
        network: The network.
        wanted: The state dict to be filled.
        bands: How many bands it is for; None if the network does not tell.
        title: What to call it in messages.
        part: Name of the part of the network, where it is for one.
    """

    network: nn.Module
    wanted: Mapping[str, torch.Tensor]
    bands: int | None
    title: str
    part: str | None = None

    @property
    def ignored(self) -> tuple[str, ...]:
        """What keys begin with that hold nothing trained."""
        return self.network.ignored if isinstance(self.network, FusionNetwork) else ()

    @property
    def derived(self) -> tuple[str, ...]:
        """Endings of keys that the network fills itself."""
        return self.network.derived if isinstance(self.network, FusionNetwork) else ()

    @classmethod
    def of(cls, network: nn.Module) -> Target:
        """A whole network, of the zoo or not."""
        if not isinstance(network, FusionNetwork):
            return cls(network, network.state_dict(), None, type(network).__name__)
        count = len(network.bands)
        return cls(network, network.state_dict(), count, f"{network.about.title} with {counted_bands(count)}")

    @classmethod
    def of_part(cls, network: FusionNetwork, part: str) -> Target:
        """A part that has a file of its own: a band of a bandwise network, a stage."""
        count = 1 if isinstance(network, BandwiseNetwork) else len(network.bands)
        title = f"{network.about.title}, {network.part_is_a} {part}"
        return cls(network, network.parts()[part].state_dict(), count, title, part)


@dataclass(frozen=True)
class Fit:
    """A candidate compared with what a network wants.

    The network fills keys with a ``derived`` ending itself; keys with an ``ignored`` beginning hold nothing trained.
    """

    candidate: Candidate
    wanted: Mapping[str, torch.Tensor]
    derived: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @cached_property
    def missing(self) -> list[str]:
        """Keys of the network that the candidate lacks."""
        optional = (_COUNTER, *self.derived)
        return [k for k in self.wanted if k not in self.candidate.state and not k.endswith(optional)]

    @cached_property
    def unexpected(self) -> list[str]:
        """Keys of the candidate that the network lacks."""
        return [k for k in self.candidate.state if k not in self.wanted and not k.startswith(self.ignored)]

    @property
    def left_out(self) -> list[str]:
        """Keys of the candidate that hold nothing trained."""
        return [k for k in self.candidate.state if k.startswith(self.ignored)] if self.ignored else []

    @property
    def state(self) -> dict[str, torch.Tensor]:
        """The candidate's tensors without those."""
        out = set(self.left_out)
        return {k: tensor for k, tensor in self.candidate.state.items() if k not in out}

    @cached_property
    def shapes(self) -> list[str]:
        """Keys whose shapes differ, with both shapes."""
        state = self.candidate.state
        return [
            f"{key} is {tuple(state[key].shape)}, not {tuple(own.shape)}"
            for key, own in self.wanted.items()
            if key in state and state[key].shape != own.shape and not key.endswith(self.derived)
        ]

    @property
    def exact(self) -> bool:
        """Whether every key and every shape agrees."""
        return not (self.missing or self.unexpected or self.shapes)

    @property
    def score(self) -> tuple[bool, float, int]:
        """Order of fits: exact, then the share of keys in common, then fewest shapes that differ."""
        return self.exact, self.share, -len(self.shapes)

    @property
    def share(self) -> float:
        """Keys in common over keys of either, 0 to 1."""
        common = len(self.candidate.state.keys() & self.wanted.keys())
        return common / (len(self.candidate.state) + len(self.wanted) - common)

    def complaint(self) -> str:
        """What differs, by name."""
        kinds = {"missing": self.missing, "unexpected": self.unexpected, "of another shape": self.shapes}
        return "; ".join(f"{len(names)} {kind}: {some(names)}" for kind, names in kinds.items() if names)


def choose(where: Sequence[Place], target: Target, ema: bool | None) -> Fit | None:
    """The candidate that fits best, or None where no key occurs at all.

    Raises:
        CheckpointError: Several different candidates fit, or the averaged weights are asked for and absent.
    """
    fits = [
        Fit(candidate, target.wanted, target.derived, target.ignored)
        for place in where
        for candidate in candidates(place, target.wanted)
    ]
    if ema is not None:
        fits = only(fits, ema, [fit.candidate.averaged for fit in fits])
    if not fits:
        return None
    exact = [fit for fit in fits if fit.exact]
    if not exact:
        return max(fits, key=lambda fit: fit.score)
    # Plain before averaged, so that equal copies are not called averaged.
    exact.sort(key=lambda fit: fit.candidate.averaged)
    require_one([fit.candidate for fit in exact])
    return exact[0]


def only(items: list[Any], ema: bool, averaged: Sequence[bool]) -> list[Any]:
    """The items that are (``ema``) or are not averaged.

    Raises:
        CheckpointError: There are items, but none of that kind.
    """
    kept = [item for item, is_averaged in zip(items, averaged, strict=True) if is_averaged == ema]
    if items and not kept:
        raise CheckpointError(
            f"The checkpoint holds {'no' if ema else 'only'} averaged (EMA) weights",
            got=f"ema={ema}",
            fix=f"Leave ema out, or say ema={not ema}",
        )
    return kept


def require_one(found: Sequence[Candidate]) -> None:
    """Refuse candidates that hold different weights.

    Raises:
        CheckpointError: There is more than one set of weights to choose from.
    """
    first = found[0]
    rivals = [other for other in found[1:] if not other.same_as(first)]
    if not rivals:
        return
    names = ", ".join(candidate.name for candidate in (first, *rivals))
    if {candidate.averaged for candidate in (first, *rivals)} == {False, True}:
        raise CheckpointError(
            "The checkpoint holds averaged (EMA) and last weights, and they differ",
            got=names,
            fix="Say ema=True for the averaged ones, ema=False for the last",
        )
    raise CheckpointError(
        "The checkpoint holds several sets of weights that could be meant, and they differ",
        got=names,
        fix="Save the one that is wanted on its own; if these are bands, name them all",
    )


def some(names: Sequence[str]) -> str:
    """The first few names and how many more there are."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def counted_bands(count: int) -> str:
    """A number of bands in words."""
    return f"{count} band{'s' if count != 1 else ''}"
