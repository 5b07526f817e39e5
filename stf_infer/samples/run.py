# SPDX-License-Identifier: Apache-2.0
"""Samples stream through an engine: regions of them are read, run in batches, and written, one after the other."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..engines.base import Engine
from ..errors import EngineError
from .binding import Samples
from .convert import check_scale, to_network, to_physical
from .spec import SampleSpec

_log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
Region = tuple[slice, ...]

# Numbers of inputs and output that are held at once, unless one batch is more.
_HELD = 4 * 2**20


class Writer(Protocol):
    """Where results go; regions come in the order of their samples, without gaps."""

    def write(self, region: Region, values: np.ndarray) -> None:
        """Take the values of a region: its dims of samples, then the dims of the output."""


@dataclass
class SampleResult:
    """What a run did.

    Attributes:
        path: The file written, or None.
        array: The result where no path was given: dims of samples, then those of the output; physical float32 values,
            NaN where a sample was not run.
        data: The same numbers as an xarray DataArray with names and coordinates; None where no input was one.
        dims: Dims of samples and their lengths.
        samples: How many samples there are.
        skipped: Samples with a missing value in an input: not run.
        not_finite: Values that the network gave as NaN or infinite; they are NaN in the result.
        seconds: Wall time.
        engine_seconds: Time inside of the engine.
        provenance: Bundle, engine and precision that made the result.
    """

    path: Path | None = None
    array: np.ndarray | None = None
    data: Any = None
    dims: dict[str, int] = field(default_factory=dict)
    samples: int = 0
    skipped: int = 0
    not_finite: int = 0
    seconds: float = 0.0
    engine_seconds: float = 0.0
    provenance: dict[str, str] = field(default_factory=dict)

    @property
    def samples_per_second(self) -> float:
        """Samples per second of wall time."""
        return self.samples / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """All figures as plain values, without the numbers themselves."""
        shown = {name: value for name, value in vars(self).items() if name not in ("array", "data")}
        return {
            **shown,
            "path": None if self.path is None else str(self.path),
            "samples_per_s": self.samples_per_second,
        }


def regions(sizes: Sequence[int], most: int) -> Iterator[Region]:
    """Blocks of at most ``most`` samples, each without a gap in C order, that follow one another."""
    whole, inner = len(sizes), 1
    while whole and inner * sizes[whole - 1] <= most:
        whole -= 1
        inner *= sizes[whole]
    if not whole:
        yield tuple(slice(0, size) for size in sizes)
        return
    cut, step = whole - 1, max(1, most // max(inner, 1))
    rest = tuple(slice(0, size) for size in sizes[whole:])
    for outer in np.ndindex(*sizes[:cut]):
        for first in range(0, sizes[cut], step):
            one = slice(first, min(first + step, sizes[cut]))
            yield (*(slice(i, i + 1) for i in outer), one, *rest)


def run(
    spec: SampleSpec,
    samples: Samples,
    engine: Engine,
    writer: Writer,
    *,
    batch: int,
    progress: Progress | None = None,
) -> SampleResult:
    """Run all samples. Memory holds one region, whose size does not depend on the number of samples.

    Args:
        spec: The contract.
        samples: Its inputs, bound.
        engine: The open engine.
        writer: Takes the results.
        batch: Samples in one engine call.
        progress: Called with (samples done, samples in all).

    Raises:
        SampleError, ScaleError: Numbers of an input cannot be used.
        EngineError: The engine failed, or gave not one finite value.
    """
    began = time.perf_counter()
    for bound in samples.inputs:
        check_scale(bound.spec, bound.source)
    sizes = tuple(samples.sizes.values())
    numbers = math.prod(spec.output_shape) + sum(math.prod(t.shape) for t in spec.tensors)
    result = SampleResult(dims=dict(samples.sizes), samples=math.prod(sizes))
    done = 0
    for region in regions(sizes, max(batch, _HELD // numbers)) if result.samples else ():
        lengths = tuple(part.stop - part.start for part in region)
        values = _run_region(spec, samples, engine, region, lengths, batch, result)
        writer.write(region, values.reshape(*lengths, *spec.output_shape))
        done += math.prod(lengths)
        if progress:
            progress(done, result.samples)
    _check_result(spec, result, engine)
    result.seconds = time.perf_counter() - began
    return result


def _run_region(
    spec: SampleSpec,
    samples: Samples,
    engine: Engine,
    region: Region,
    lengths: tuple[int, ...],
    batch: int,
    result: SampleResult,
) -> np.ndarray:
    """Physical values of a region, ``(N, *dims)``."""
    where = dict(zip(samples.sizes, region, strict=True))
    # An axis in front, so that one sample alone can be indexed like many.
    grid = (1, *lengths)
    usable = np.ones(grid, bool)
    feeds = {}
    for bound in samples.inputs:
        values, measured = to_network(bound.spec, bound.source, bound.read(where))
        usable &= np.asarray(measured.all(axis=tuple(range(len(lengths), measured.ndim))))
        feeds[bound.spec.tensor] = np.broadcast_to(values[None], (*grid, *bound.spec.shape))
    wanted = np.flatnonzero(usable)
    result.skipped += usable.size - wanted.size
    physical = np.full((usable.size, *spec.output_shape), np.nan, np.float32)
    for first in range(0, wanted.size, batch):
        chosen = wanted[first : first + batch]
        places = np.unravel_index(chosen, grid)
        began = time.perf_counter()
        given = engine.infer({name: np.ascontiguousarray(values[places]) for name, values in feeds.items()})
        result.engine_seconds += time.perf_counter() - began
        found = to_physical(spec.output, given[spec.output.tensor])
        finite = np.isfinite(found)
        result.not_finite += finite.size - int(np.count_nonzero(finite))
        found[~finite] = np.nan
        physical[chosen] = found
    return physical


def _check_result(spec: SampleSpec, result: SampleResult, engine: Engine) -> None:
    values = (result.samples - result.skipped) * math.prod(spec.output_shape)
    if values and result.not_finite == values:
        raise EngineError(
            "The network gave no finite value at all",
            got=engine.describe()["engine"],
            fix="`stf-infer check` proves a bundle and an engine; check the scale of the inputs",
        )
    if result.skipped:
        _log.warning(
            "%d of %d samples have a missing value in an input; they became NaN", result.skipped, result.samples
        )
    if result.not_finite:
        _log.warning("%d of %d values are not finite; they became NaN", result.not_finite, values)
