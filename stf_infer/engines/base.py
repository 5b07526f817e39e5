# SPDX-License-Identifier: Apache-2.0
"""What an engine is: something compiled for one target that turns a batch of named tiles (or samples) into another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..errors import EngineError

if TYPE_CHECKING:
    from ..bundle import Bundle
    from .device_session import DeviceSession


@dataclass(frozen=True)
class EngineInfo:
    """One backend as it stands on this machine.

    Attributes:
        name: Target name, as ``--engine`` and ``--target`` take it.
        usable: Whether it can be run here.
        version: Version of the backend's library, or empty.
        precisions: What it computes in.
        reason: Why it cannot be run here, or empty.
        extra: The extra that installs it.
        builds: Whether ``stf-infer build`` can make an engine of it here, also where it cannot be run.
        devices: What it would run on here.
    """

    name: str
    usable: bool
    version: str = ""
    precisions: tuple[str, ...] = ("fp32",)
    reason: str = ""
    extra: str = ""
    builds: bool = False
    devices: tuple[str, ...] = ()


@cache
def package_version(*packages: str) -> str:
    """Version of the first of these packages that is installed, or empty."""
    for package in packages:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return ""


def milliseconds(seconds: float) -> str:
    """A time for a person: three figures, and whole milliseconds above a second."""
    return f"{seconds * 1e3:.0f} ms" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


# Waits for the outputs of a batch that was begun, by tensor.
Outputs = Callable[[], dict[str, np.ndarray]]


class Noise(Protocol):
    """Where a loop on the host takes the noise of its steps from, such as :class:`stf_infer.noise.TileNoise`."""

    def draw(self, step: int, bands: int) -> np.ndarray:
        """Draw number ``step`` for every tile of the batch: float32 ``(N, bands, H, W)``."""
        ...


def batches_of(inputs: Mapping[str, np.ndarray], size: int) -> Iterator[dict[str, np.ndarray]]:
    """A batch in batches of one size; the last tile fills the last one up. Whole batches are not copied."""
    tiles = len(next(iter(inputs.values())))
    for first in range(0, tiles, size):
        if first + size <= tiles:
            yield {name: array[first : first + size] for name, array in inputs.items()}
        else:
            numbers = np.minimum(np.arange(first, first + size), tiles - 1)
            yield {name: array[numbers] for name, array in inputs.items()}


class Engine(ABC):
    """A compiled network, open; a context manager.

    Not thread-safe unless a subclass says so: one thread calls :meth:`infer` at a time.

    Args:
        bundle: The open bundle.
        threads: CPU threads the engine may use; None leaves it to the backend.
    """

    name: str
    fixed_batch: int | None = None  # set by open_impl where the graph takes one number of tiles only
    max_batch: int | None = None  # ... where it takes no more than this many
    preferred_batch: int = 1  # tiles in a call that suit it best
    ahead: int = 0  # calls that may wait in it while another one is computed, see start()
    remedy: str = ""  # how a batch that is too large is made possible
    choice: str = ""  # why this engine was taken, for logs and results
    has_device_clock: bool = False  # whether a device says by itself how long it computed
    holds_tiles: bool = False  # whether tiles can stay on its device before it and after it
    _device_log: list[float] | None = None

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        self.spec = bundle.spec
        self._open = False
        self.open_impl(bundle, threads)
        self._open = True

    @abstractmethod
    def open_impl(self, bundle: Bundle, threads: int | None) -> None:
        """Load and compile."""

    @abstractmethod
    def infer_impl(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run one batch whose names and shapes have been checked."""

    @abstractmethod
    def close_impl(self) -> None:
        """Free what the backend holds."""

    def describe(self) -> dict[str, str]:
        """Name, backend version, precision and device: what is stored with every result."""
        return {"engine": self.name, "precision": "fp32"}

    def infer(self, inputs: Mapping[str, np.ndarray], noise: Noise | None = None) -> dict[str, np.ndarray]:
        """Run one batch.

        Args:
            inputs: Tensor name: array in network values, of the contract's type; tiles are float32 ``(N, C, h, w)``.
                N is free, the rest static.
            noise: Where draws come from that are no inputs; asked only where a sampler is looped here and draws.

        Returns:
            Tensor name: float32 array, of tiles ``(N, C, H, W)``.

        Raises:
            EngineError: The engine is closed, an input is missing or of another shape, the backend fails, or what it
                gives is not the output of the contract.
        """
        tiles = self._checked_tiles(inputs)
        return self._checked_outputs(self.infer_tiles(inputs, tiles, noise), tiles)

    def start(self, inputs: Mapping[str, np.ndarray], noise: Noise | None = None) -> Outputs:
        """Begin with one batch, and do not wait for it where the backend can be given more than it computes at once.

        Args:
            inputs: As for :meth:`infer`; not to be written to before the outputs are there.
            noise: As for :meth:`infer`.

        Returns:
            What waits for the outputs and gives them, to be called once. Of :attr:`ahead` + 1 batches that were begun
            the first has to be waited for before another one is begun.

        Raises:
            EngineError: As for :meth:`infer`, here or when the outputs are waited for.
        """
        outputs = self.infer(inputs, noise)
        return lambda: outputs

    def _checked_tiles(self, inputs: Mapping[str, np.ndarray]) -> int:
        """How many tiles a batch has, if its names and shapes are those of the contract."""
        if not self._open:
            raise EngineError("The engine is closed", got=self.name, fix="Open it again")
        for _, tensor, shape, _ in self.spec.tensors:
            if tensor not in inputs:
                raise EngineError("An input is missing", got=", ".join(inputs), allowed=tensor)
            got = inputs[tensor].shape
            if not got or got[0] < 1 or got[1:] != shape:
                raise EngineError(f"The input {tensor} has another shape", got=got, allowed=("N", *shape))
        self.check_batch(got[0])
        return int(got[0])

    def _checked_outputs(self, outputs: dict[str, np.ndarray], tiles: int) -> dict[str, np.ndarray]:
        """What the backend gave, if it is the output of the contract."""
        name, expected = self.spec.output.tensor, (tiles, *self.spec.output_shape)
        found = outputs[name].shape if name in outputs else f"only {', '.join(outputs)}"
        if found != expected:
            raise EngineError(f"The output {name} is not what the contract says", got=found, allowed=expected)
        return outputs

    def check_batch(self, tiles: int) -> None:
        """Refuse more tiles in a call than the engine was built for.

        Raises:
            EngineError: They are more.
        """
        if self.max_batch is not None and tiles > self.max_batch:
            raise EngineError(
                f"The batch is larger than the engine {self.name} was built for",
                got=f"{tiles} tiles",
                allowed=f"1 to {self.max_batch}",
                fix=self.remedy or None,
            )

    def trial(self, inputs: Mapping[str, np.ndarray]) -> None:
        """One call for the sake of its time and memory; a loop on the host does one of its steps."""
        self.infer(inputs)

    def log_device_time(self, log: list[float] | None) -> None:
        """Write down what the device itself says of every call from now on; does nothing where it has no clock.

        Args:
            log: Gets the seconds of the network alone, without copies, one number a call of its graph; None ends it.
        """
        self._device_log = log

    def device(self) -> DeviceSession:
        """A run whose arrays stay on the engine's device, where :attr:`holds_tiles` says that they can."""
        raise EngineError("The engine takes tiles from the host's memory", got=self.name)

    def infer_tiles(
        self, inputs: Mapping[str, np.ndarray], tiles: int, noise: Noise | None = None
    ) -> dict[str, np.ndarray]:
        """All tiles, unchecked: in one call, or in calls of the number that the graph takes, the last one filled up."""
        size = self.fixed_batch
        if size is None or size == tiles:
            return self.infer_impl(inputs)
        parts = [self.infer_impl(part) for part in batches_of(inputs, size)]
        return {name: np.concatenate([part[name] for part in parts])[:tiles] for name in parts[0]}

    def close(self) -> None:
        """Free the engine; closing twice does no harm."""
        if self._open:
            self._open = False
            self.close_impl()

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
