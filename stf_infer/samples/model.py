# SPDX-License-Identifier: Apache-2.0
"""A bundle of a network that takes samples, with an engine: open it, fuse arrays or NetCDF files with it, close it."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..opened import OpenBundle, check_batch
from .array import SampleArray
from .binding import Samples, bind
from .named import coordinates, data_array, netcdf, result_dims
from .run import Progress, SampleResult, Writer, run
from .spec import SampleSpec
from .writers import ArrayWriter, check_suffix, npy, npz, refuse_inputs, replacing

# Networks of this kind are small: one sample at a time would spend its time between the calls.
BATCH = 64


@dataclass(frozen=True)
class SampleEstimate:
    """A run that has not been made.

    Attributes:
        dims: Dims of samples and their lengths.
        samples: How many samples there are.
        calls: Engine calls at most.
        shape: Shape of the result.
        output_bytes: Its size.
        inputs: Role: how its array is understood.
    """

    dims: dict[str, int]
    samples: int
    calls: int
    shape: tuple[int, ...]
    output_bytes: int
    inputs: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """All figures as plain values."""
        return asdict(self)


class SampleModel(OpenBundle):
    """An open bundle of a network that takes samples; a context manager. One thread fuses at a time."""

    @property
    def spec(self) -> SampleSpec:
        """The contract of the network."""
        spec = self.bundle.spec
        assert isinstance(spec, SampleSpec), "stf_infer.open returns a Model for a bundle of rasters"
        return spec

    def fuse(
        self,
        output: str | Path | None = None,
        *,
        tile_batch: int = BATCH,
        progress: Progress | None = None,
        **inputs: Any,
    ) -> SampleResult:
        """Run every sample.

        Axes with names (a DataArray, NetCDF, or a :class:`SampleArray` with ``dims``) are matched with the contract by
        name; all others are dims of samples. A bare array ends with the dims of the contract and begins with dims of
        samples. Inputs that lack a dim of samples are the same for all samples along it. Samples with a missing value
        (NaN, masked, nodata) in any input are not run and become NaN.

        Args:
            output: File to write: ``.nc``, ``.npz`` or ``.npy``; None returns the result as an array.
            tile_batch: Samples in one engine call.
            progress: Called with (samples done, samples in all).
            **inputs: One array a role: a NumPy array, a DataArray, a path (``FILE`` or ``FILE:VARIABLE``), or a
                :class:`SampleArray` that states dims, scale, offset or nodata.

        Returns:
            Figures of the run, with the array where no output was named. Memory beyond the result and the arrays that
            were handed in does not depend on the number of samples.

        Raises:
            UsageError, SampleError, DimError, ScaleError: An input cannot be used.
            EngineError: The engine cannot be opened or fails.
            OutputError: The result cannot be written. After any error nothing is at the destination that was not
                there before.
            MissingExtraError: NetCDF is read or written, and xarray is not installed.
        """
        check_batch(tile_batch)
        path = None if output is None else Path(output)
        if path is not None:
            check_suffix(path)
        with self._bound(inputs) as (samples, given):
            self._engine_for(tile_batch)
            provenance = self._provenance(given)
            shape = (*samples.sizes.values(), *self.spec.output_shape)
            if path is None:
                writer = ArrayWriter(shape)
                result = self._run(samples, writer, tile_batch, progress)
                result.array = writer.array
                if samples.has_names:
                    result.data = data_array(self.spec, samples, writer.array)
            else:
                refuse_inputs(path, given)
                began = time.perf_counter()
                tags = {f"STF_{name.upper()}": value for name, value in provenance.items()}
                with replacing(path) as partial, self._writer(path, partial, samples, shape, tags) as to_file:
                    result = self._run(samples, to_file, tile_batch, progress)
                result.path, result.seconds = path, time.perf_counter() - began
            result.provenance = provenance
            return result

    def estimate(self, *, tile_batch: int = BATCH, **inputs: Any) -> SampleEstimate:
        """What :meth:`fuse` would do with these inputs; nothing is run."""
        check_batch(tile_batch)
        with self._bound(inputs) as (samples, given):
            number = math.prod(samples.sizes.values())
            shape = (*samples.sizes.values(), *self.spec.output_shape)
            return SampleEstimate(
                dims=dict(samples.sizes),
                samples=number,
                calls=-(-number // tile_batch),
                shape=shape,
                output_bytes=4 * math.prod(shape),
                inputs={role: array.label for role, array in given.items()},
            )

    @contextmanager
    def _bound(self, inputs: Mapping[str, Any]) -> Iterator[tuple[Samples, dict[str, SampleArray]]]:
        """The inputs, open and matched, and what the user stated about each."""
        given = {role: SampleArray.of(value) for role, value in inputs.items() if value is not None}
        with ExitStack() as stack:
            samples = bind(self.spec, given, stack)
            if samples.has_names:
                coordinates(self.spec, samples)  # refused before anything is run
            yield samples, given

    def _run(self, samples: Samples, writer: Writer, batch: int, progress: Progress | None) -> SampleResult:
        return run(self.spec, samples, self.engine, writer, batch=batch, progress=progress)

    @contextmanager
    def _writer(
        self, path: Path, partial: Path, samples: Samples, shape: tuple[int, ...], tags: dict[str, str]
    ) -> Iterator[Writer]:
        """The writer that the destination's name asks for."""
        if path.suffix == ".npy":
            with npy(partial, shape) as to_npy:
                yield to_npy
        elif path.suffix == ".npz":
            with npz(partial, self.spec.output.variable, shape, result_dims(self.spec, samples), tags) as to_npz:
                yield to_npz
        else:
            with netcdf(partial, self.spec, samples, tags) as to_netcdf:
                yield to_netcdf

    def _provenance(self, given: Mapping[str, SampleArray]) -> dict[str, str]:
        """What is stored with a result: bundle, engine, precision, version, inputs."""
        from .. import __version__

        return {
            "version": __version__,
            "bundle": self.spec.name,
            "bundle_sha256": self.bundle.sha256,
            "network": self.spec.network,
            **self._made_by(),
            "inputs": "; ".join(
                f"{role}={'array' if array.file is None else Path(array.file).name}" for role, array in given.items()
            ),
        }
