# SPDX-License-Identifier: Apache-2.0
"""What a target is: a backend on a device. It says how it stands here, compiles engines, and opens them."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import EngineError, UsageError
from .base import Engine, EngineInfo
from .key import EngineKey, graph_of, onnx_hash, tile_of

if TYPE_CHECKING:
    from ..bundle import Bundle
    from .store import StoredEngine

Say = Callable[[str], None]


@dataclass(frozen=True)
class Option:
    """An option of a target's compiler.

    Attributes:
        name: As ``--option NAME=VALUE`` takes it.
        help: What it does, in one line.
        default: Its value where it is not given; its type is the option's.
        choices: The values that are allowed, where they can be listed.
        minimum: The smallest value of a number.
    """

    name: str
    help: str
    default: Any
    choices: tuple[str, ...] = ()
    minimum: int = 0

    def parse(self, value: Any) -> Any:
        """A value as it was typed or given.

        Raises:
            UsageError: It is none of the allowed ones.
        """
        if isinstance(self.default, bool):
            words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
            if str(value).lower() in words:
                return words[str(value).lower()]
            raise UsageError(f"The option {self.name} cannot be understood", got=value, allowed="yes, no")
        if isinstance(self.default, int):
            if str(value).isdigit() and int(value) >= self.minimum:
                return int(value)
            raise UsageError(f"The option {self.name} is no number", got=value, allowed=f"{self.minimum} or more")
        if self.choices and value not in self.choices:
            raise UsageError(f"The option {self.name} has no such value", got=value, allowed=", ".join(self.choices))
        return str(value)


@dataclass(frozen=True)
class Job:
    """One engine to compile.

    Attributes:
        bundle: The open bundle.
        graph: The verified ONNX file.
        precision: What to compute in.
        batch: Tiles in a call.
        options: All options of the target, completed.
        folder: An empty folder for what is compiled.
        say: Called with a line at every step.
    """

    bundle: Bundle
    graph: Path
    precision: str
    batch: int
    options: dict[str, Any]
    folder: Path
    say: Say


@dataclass(frozen=True)
class Compiled:
    """What a compiler made.

    Attributes:
        files: Names of the files in the job's folder, exactly as the backend wrote them; the main one first.
        settings: What has to be known to open them.
    """

    files: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)


class Target(ABC):
    """A backend on a device.

    Attributes:
        name: As ``--target`` and ``--engine`` take it.
        options: What its compiler can be told.
        executed: Precisions in which it computes an fp32 graph by itself; any other must be in the graph.
        opens_graph: Whether it can run a bundle of which nothing was built for it.
        batch: Tiles in a call where nobody says how many.
        bounded: Whether an engine takes no more tiles in a call than it was built for.
    """

    name: str
    options: tuple[Option, ...] = ()
    executed: tuple[str, ...] = ()
    opens_graph: bool = False
    batch: int = 1
    bounded: bool = False

    @abstractmethod
    def probe(self) -> EngineInfo:
        """How it stands on this machine; imports no backend."""

    @abstractmethod
    def compile(self, job: Job) -> Compiled:
        """Compile an engine.

        Raises:
            EngineError: The backend refuses; the message carries its reason.
        """

    @abstractmethod
    def open(self, bundle: Bundle, stored: StoredEngine | None, precision: str, threads: int | None) -> Engine:
        """Open an engine that was built, or the graph itself.

        Args:
            bundle: The open bundle.
            stored: The engine, its key found to be right; None compiles the graph in memory.
            precision: What to compute in, where the graph is opened.
            threads: CPU threads; None leaves it to the backend.

        Raises:
            EngineError: The backend refuses.
        """

    def backend(self) -> str:
        """The library that compiles, with its version."""
        return f"{self.name.partition('-')[0]} {self.probe().version}"

    @abstractmethod
    def device(self, options: Mapping[str, Any]) -> str:
        """What an engine with these options is compiled for on this machine."""

    def key(self, bundle: Bundle, precision: str, batch: int, options: Mapping[str, Any]) -> EngineKey:
        """The key of an engine as it would be built here."""
        return EngineKey(
            onnx=onnx_hash(bundle, graph_of(bundle, precision, self.executed)),
            backend=self.backend(),
            device=self.device(options),
            precision=precision,
            tile=tile_of(bundle),
            batch=batch,
            flags={o.name: options[o.name] for o in self.options if options[o.name] != o.default},
        )

    def differences(self, stored: EngineKey, here: EngineKey) -> tuple[str, ...]:
        """Parts in which a stored engine differs from what this machine and bundle need."""
        return stored.differences(here)

    def complete(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """All options, with their defaults where none are given.

        Raises:
            UsageError: An option that the target does not have, or a value that it does not allow.
        """
        known = {o.name: o for o in self.options}
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                raise UsageError(
                    f"The target {self.name} has no option of that name",
                    got=name,
                    allowed=", ".join(known) or "none",
                    fix=f"Did you mean {near[0]}?" if near else None,
                )
        return {name: option.parse(given[name]) if name in given else option.default for name, option in known.items()}

    def check_precision(self, precision: str) -> None:
        """Refuse a precision that the target does not compute in here.

        Raises:
            EngineError: It does not; the message names those that it does.
        """
        allowed = self.probe().precisions
        if precision not in allowed:
            raise EngineError(
                f"The target {self.name} does not compute in {precision} on this device",
                got=precision,
                allowed=", ".join(allowed),
                fix="Take one of these, or another target: `stf-infer engines` lists what each computes in",
            )


class PluginTarget(Target):
    """A module with ``probe()`` and ``open_engine(bundle, threads)``, registered as an entry point.

    It opens bundles as they are, and has nothing to build. A plug-in that builds is a :class:`Target` itself.
    """

    opens_graph = True

    def __init__(self, name: str, module: Any) -> None:
        self.name, self._module = name, module

    def probe(self) -> EngineInfo:
        """What the module says, under the name it is registered by."""
        from dataclasses import replace

        info: EngineInfo = replace(self._module.probe(), name=self.name)
        return info

    def compile(self, job: Job) -> Compiled:
        """Nothing can be built: told as an error."""
        raise EngineError(f"The target {self.name} opens bundles as they are; there is nothing to build")

    def open(self, bundle: Bundle, stored: StoredEngine | None, precision: str, threads: int | None) -> Engine:
        """Hand the bundle to the module."""
        engine: Engine = self._module.open_engine(bundle, threads)
        return engine

    def device(self, options: Mapping[str, Any]) -> str:
        """Not known."""
        return ""
