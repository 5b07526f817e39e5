# SPDX-License-Identifier: Apache-2.0
"""Results with names: an xarray DataArray, or a NetCDF file that grows region by region."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import is_dataarray
from ..errors import DimError, OutputError
from .files import need_xarray
from .run import Region

if TYPE_CHECKING:
    from .binding import Bound, Samples
    from .spec import SampleSpec


def coordinates(spec: SampleSpec, samples: Samples) -> dict[str, Any]:
    """Coordinates of the result, as xarray takes them.

    Those of dims of samples come from the inputs; where two inputs disagree about one that is no index, it is left
    out. Those of the output's dims come from an input that has the dim, or else are the contract's labels.

    Raises:
        DimError: Two inputs number the samples along a dim otherwise.
    """
    found: dict[str, Any] = {}
    dropped = set()
    for bound in samples.inputs:
        if not is_dataarray(bound.source.array):
            continue
        for name, coordinate in _own_coordinates(spec, bound).items():
            known = found.setdefault(name, coordinate)
            if known.equals(coordinate):
                continue
            if name in coordinate.dims:
                raise DimError(
                    f"Inputs have other coordinates along {name}",
                    got=f"{bound.spec.role}: {bound.source.label}",
                    fix="Bring them onto the same ones, as by xarray.align(a, b, join='inner')",
                )
            dropped.add(name)
    for dim in spec.output.dims:
        if dim.labels and dim.name not in found:
            found[dim.name] = (dim.name, list(dim.labels))
    return {name: coordinate for name, coordinate in found.items() if name not in dropped}


def _own_coordinates(spec: SampleSpec, bound: Bound) -> dict[str, Any]:
    """Coordinates of an input that the result has a place for, in the network's order."""
    array = bound.source.array.isel(bound.picks)
    axes = {dim.name for dim in spec.output.dims} | set(bound.sample_sizes)
    return {
        str(name): coordinate.variable
        for name, coordinate in array.coords.items()
        # What has the name of an axis must lie along it; a number that was picked from one does not.
        if set(coordinate.dims) <= axes and (name not in axes or coordinate.dims == (name,))
    }


def data_array(spec: SampleSpec, samples: Samples, array: np.ndarray) -> Any:
    """The result as a DataArray.

    Raises:
        DimError: As :func:`coordinates`.
    """
    import xarray

    return xarray.DataArray(
        array,
        dims=result_dims(spec, samples),
        coords=coordinates(spec, samples),
        name=spec.output.variable,
        attrs=_attributes(spec),
    )


def result_dims(spec: SampleSpec, samples: Samples) -> tuple[str, ...]:
    """Names of the axes of a result."""
    return (*samples.sizes, *(dim.name for dim in spec.output.dims))


def _attributes(spec: SampleSpec) -> dict[str, str]:
    unit = spec.output.values.unit
    return {"long_name": f"{spec.output.variable} of {spec.network}", **({"units": unit} if unit else {})}


class _VariableWriter:
    def __init__(self, variable: Any) -> None:
        self._variable = variable

    def write(self, region: Region, values: np.ndarray) -> None:
        """Take the values of a region."""
        with _as_os_error():
            self._variable[(*region, ...)] = values


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    """What the system says to HDF5, out of what HDF5 makes of it: pages of text, often as a RuntimeError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        said = re.search(r"errno = (\d+)", str(error))
        if said:
            raise OSError(int(said[1]), os.strerror(int(said[1]))) from error
        if type(error) is RuntimeError:
            raise OSError(str(error)) from error
        raise


@contextlib.contextmanager
def netcdf(
    partial: Path, spec: SampleSpec, samples: Samples, provenance: Mapping[str, str]
) -> Iterator[_VariableWriter]:
    """A NetCDF-4 file: coordinates as xarray writes them, and one variable that takes regions.

    Raises:
        OutputError: The coordinates cannot be stored.
        DimError: As :func:`coordinates`.
        OSError: The file cannot be written.
        MissingExtraError: xarray or h5netcdf is not installed.
    """
    need_xarray()
    import h5netcdf

    held = coordinates(spec, samples)
    if spec.output.variable in held:
        raise OutputError(
            "A coordinate of an input has the name of the result", got=spec.output.variable, fix="Rename or drop it"
        )
    _write_coordinates(partial, held, provenance)
    with _as_os_error():
        file = h5netcdf.File(partial, "r+")
    try:
        yield _VariableWriter(_new_variable(file, spec, samples))
    except BaseException:
        with contextlib.suppress(OSError, RuntimeError):  # the error that came first is the one to be told
            file.close()
        raise
    # What is still in HDF5's buffers is written here.
    with _as_os_error():
        file.close()


def _write_coordinates(partial: Path, held: Mapping[str, Any], provenance: Mapping[str, str]) -> None:
    import xarray

    skeleton = xarray.Dataset(coords=held, attrs={"Conventions": "CF-1.10", **provenance})
    try:
        with _as_os_error():
            skeleton.to_netcdf(partial, engine="h5netcdf", format="NETCDF4")
    except OSError:
        raise
    except Exception as error:  # whatever cannot be encoded, by many names
        raise OutputError(
            "The coordinates of the inputs cannot be stored in NetCDF",
            got=error,
            fix="Drop those that are not needed, as by drop_vars, or reset_index for an index of several levels",
        ) from error


def _new_variable(file: Any, spec: SampleSpec, samples: Samples) -> Any:
    """The variable of the result, in a file that holds its coordinates."""
    dims = result_dims(spec, samples)
    lengths = {**samples.sizes, **{dim.name: dim.size for dim in spec.output.dims}}
    for name in dims:
        if name not in file.dimensions:
            file.dimensions[name] = lengths[name]
    variable = file.create_variable(spec.output.variable, dims, np.float32, fillvalue=np.float32(np.nan))
    variable.attrs.update(_attributes(spec))
    if "coordinates" in file.attrs:  # where xarray keeps them while there is no variable to name them
        variable.attrs["coordinates"] = file.attrs["coordinates"]
        del file.attrs["coordinates"]
    return variable
