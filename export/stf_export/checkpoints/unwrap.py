# SPDX-License-Identifier: Apache-2.0
"""Finding a network's weights among what a training script saved.

A saved object may keep the state dict in containers (``{"epoch": 3, "state_dict": ...}``), put prefixes
before its keys (``module.encoder.0.weight``), and hold it more than once (an exponential moving average, a
discriminator). Each place where the network's keys occur is a :class:`Candidate`; the one that matches best
is taken.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

# Path components that wrappers of a whole network or of one of its parts leave in keys.
_WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
# What stands before all keys of a network that was an attribute of something else.
_HOLDERS = frozenset({"model", "net", "network", "generator", "ema_model", "online_model", "ema"})
_CONTAINERS = ("state_dict", "model_state_dict", "model", "generator", "params", "net", "weights")
_AVERAGED = re.compile(r"(?<![A-Za-z])(ema|swa|averag\w*)(?![a-z])|EMA|Averag")
_AVERAGE_COUNTER = "n_averaged"  # what torch.optim.swa_utils.AveragedModel adds to the keys
_DEPTH = 5  # Lightning: callbacks / name / ema_state_dict


@dataclass(frozen=True)
class Place:
    """A mapping of tensors in a saved object, and the containers around it."""

    where: tuple[str, ...]
    state: Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Candidate:
    """Tensors that may be the network's.

    Attributes:
        where: Containers around them.
        prefix: What was cut off before their keys.
        state: The tensors by what remains of their keys.
        outside: How many tensors of the same mapping do not have the prefix.
        wrapped: Wrapper components that were dropped within keys.
        averaged: Whether the names around these weights say that they are a moving average.
    """

    where: tuple[str, ...]
    prefix: str
    state: Mapping[str, torch.Tensor]
    outside: int = 0
    wrapped: tuple[str, ...] = ()
    averaged: bool = False

    @property
    def name(self) -> str:
        """Where it lies, for a message."""
        return " / ".join((*self.where, *([f"{self.prefix}*"] if self.prefix else []))) or "top level"

    @property
    def notes(self) -> list[str]:
        """What was taken off, in words."""
        notes = [f"unwrapped {name}" for name in self.where]
        if self.prefix:
            notes.append(f"dropped the prefix {self.prefix}")
        notes += [f"dropped {name}. from keys" for name in self.wrapped]
        if self.outside:
            notes.append(f"left out {self.outside} entries that are not under {self.prefix}")
        if self.averaged:
            notes.append("took the averaged (EMA) weights")
        return notes

    def same_as(self, other: Candidate) -> bool:
        """Whether both hold the same tensors."""
        return self.state.keys() == other.state.keys() and all(
            torch.equal(tensor, other.state[key]) for key, tensor in self.state.items()
        )


def places(content: Any) -> list[Place]:
    """Every mapping of tensors within a saved object, outermost first; optimiser states are left out."""
    return list(_walk(content, (), set()))


def _walk(content: Any, where: tuple[str, ...], seen: set[int]) -> Iterator[Place]:
    if not isinstance(content, Mapping) or len(where) > _DEPTH or (where and "optim" in where[-1].lower()):
        return
    if id(content) in seen:  # a pickle may hold a mapping in itself
        return
    seen.add(id(content))
    tensors = {
        key: value.detach()
        for key, value in content.items()
        if isinstance(key, str) and isinstance(value, torch.Tensor)
    }
    if tensors:
        yield Place(where, tensors)
    for key, value in content.items():
        yield from _walk(value, (*where, str(key)), seen)


def candidates(place: Place, wanted: Collection[str]) -> list[Candidate]:
    """Every way in which the keys of a place end with keys that a network wants.

    The prefixes are read off the keys themselves: whatever stands before a wanted key is one.
    """
    own = {component for key in wanted for component in key.split(".")}
    bare = _Bare.of(place, _WRAPPERS - own)
    prefixes = {prefix for key in bare.state for prefix, rest in _splits(key) if rest in wanted}
    return [bare.under(prefix) for prefix in sorted(prefixes)]


def generic(place: Place) -> Candidate:
    """A place without the prefixes that wrappers and holders are known to put before all keys."""
    bare = _Bare.of(place, _WRAPPERS)
    prefix = ""
    while True:
        rests = [key[len(prefix) :].partition(".") for key in bare.state]
        heads = {head for head, _, _ in rests}
        if len(heads) != 1 or not heads <= _HOLDERS or not all(tail for _, _, tail in rests):
            return bare.under(prefix)
        prefix += f"{heads.pop()}."


def rank(candidate: Candidate) -> tuple[int, int]:
    """Order of generic candidates: a container with a usual name first, then the one with most tensors."""
    usual = bool(not candidate.where or candidate.where[-1] in _CONTAINERS or candidate.averaged)
    return usual, len(candidate.state)


@dataclass(frozen=True)
class _Bare:
    """A place without wrapper components in its keys."""

    where: tuple[str, ...]
    state: Mapping[str, torch.Tensor]
    wrapped: tuple[str, ...]
    averaged: bool

    @classmethod
    def of(cls, place: Place, wrappers: Collection[str]) -> _Bare:
        state = {key: tensor for key, tensor in place.state.items() if key != _AVERAGE_COUNTER}
        bare = {_without(key, wrappers): tensor for key, tensor in state.items()}
        if len(bare) != len(state):  # two keys fell together: the components meant something
            bare, wrappers = state, ()
        met = {component for key in state for component in key.split(".")} & set(wrappers)
        averaged = len(state) != len(place.state) or any(map(_AVERAGED.search, place.where))
        return cls(place.where, bare, tuple(sorted(met)), averaged)

    def under(self, prefix: str) -> Candidate:
        state = {key[len(prefix) :]: tensor for key, tensor in self.state.items() if key.startswith(prefix)}
        return Candidate(
            self.where,
            prefix,
            state,
            outside=len(self.state) - len(state),
            wrapped=self.wrapped,
            averaged=self.averaged or bool(_AVERAGED.search(prefix)),
        )


def _without(key: str, components: Collection[str]) -> str:
    return ".".join(component for component in key.split(".") if component not in components)


def _splits(key: str) -> Iterator[tuple[str, str]]:
    """``a.b.c`` as ("", "a.b.c"), ("a.", "b.c"), ("a.b.", "c")."""
    start = 0
    while True:
        yield key[:start], key[start:]
        dot = key.find(".", start)
        if dot < 0:
            return
        start = dot + 1
