# SPDX-License-Identifier: Apache-2.0
"""Networks of the zoo that take samples: what a bundle gives for arrays and NetCDF against what torch gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import stf_infer
from stf_infer.bundle import Bundle

TOLERANCE = 1e-4  # of the output's range
MANY, FEW = 3, 2


def check_arrays(bundle: Bundle, network: nn.Module, options: Mapping[str, Any]) -> float:
    """Six samples of bare arrays give what torch gives, but for one with a missing value, which is NaN.

    Returns:
        The largest difference over the output's range.
    """
    given, expected = _samples(bundle, network, options, (MANY, FEW))
    first = bundle.spec.roles[0]
    given[first][(1, 0, *(0 for _ in given[first].shape[2:]))] = np.nan
    with stf_infer.open(bundle.path, engine="onnxruntime-cpu", threads=2) as model:
        result = model.fuse(tile_batch=4, **given)
    assert result.array.shape == expected.shape
    assert (result.samples, result.skipped, result.not_finite) == (MANY * FEW, 1, 0)
    assert np.isnan(result.array[1, 0]).all()
    kept = np.ones((MANY, FEW), bool)
    kept[1, 0] = False
    return _close(result.array[kept], expected[kept])


def check_files(bundle: Bundle, network: nn.Module, options: Mapping[str, Any], folder: Path) -> None:
    """NetCDF with dims in another order, and an input that is the same for all members, gives what torch gives."""
    xarray = pytest.importorskip("xarray", reason="needs the extra xarray")
    pytest.importorskip("h5netcdf", reason="needs the extra xarray")
    spec = bundle.spec
    given, _ = _samples(bundle, network, options, (MANY, FEW))
    *_, last = spec.roles
    if len(spec.roles) > 1:
        given[last] = np.broadcast_to(given[last][:, :1], given[last].shape)
    expected = _by_torch(network, spec, options, given)
    variables = {}
    for one in spec.inputs:
        dims = ("day", "member", *(dim.name for dim in one.dims))
        array = xarray.DataArray(given[one.role], dims=dims, coords={"day": [10, 20, 30], "member": ["a", "b"]})
        if one.role == last and len(spec.roles) > 1:
            array = array.isel(member=0, drop=True)
        variables[one.role] = array.transpose(*reversed(array.dims))
    for role, variable in variables.items():  # each in a file of its own: dims of inputs may have other labels
        variable.rename(role).to_netcdf(folder / f"{role}.nc", engine="h5netcdf")
    with stf_infer.open(bundle.path, engine="onnxruntime-cpu", threads=2) as model:
        model.fuse(folder / "out.nc", **{role: folder / f"{role}.nc" for role in variables})
    with xarray.open_dataset(folder / "out.nc") as written:
        found = written[spec.output.tensor]
        assert written.attrs["STF_NETWORK"] == spec.network
        assert found.member.values.tolist() == ["a", "b"]
        order = ("day", "member", *(dim.name for dim in spec.output.dims))
        _close(found.transpose(*order).values, expected)
        for dim in spec.output.dims:
            assert not dim.labels or found[dim.name].values.tolist() == list(dim.labels)


def _samples(
    bundle: Bundle, network: nn.Module, options: Mapping[str, Any], leading: tuple[int, ...]
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Physical inputs by role, and the physical output by torch."""
    rng, given = np.random.default_rng(5), {}
    for one in bundle.spec.inputs:
        shape = (*leading, *one.shape)
        if one.dtype == "float32":
            standard = rng.uniform(-1, 1, shape)
            given[one.role] = standard * np.asarray(options.get("deviations", 1)) + np.asarray(options.get("means", 0))
        else:
            # One input of the zoo is of whole numbers: a slot of the day and a day of the week, side by side.
            given[one.role] = np.stack([rng.integers(0, n, shape[:-1]) for n in (options["slots"], 7)], axis=-1)
    return given, _by_torch(network, bundle.spec, options, given)


def _by_torch(network: nn.Module, spec: Any, options: Mapping[str, Any], given: Mapping[str, np.ndarray]) -> np.ndarray:
    tensors, leading = {}, (MANY, FEW)
    for one in spec.inputs:
        values = given[one.role]
        if one.dtype == "float32":
            values = (values - np.asarray(options.get("means", 0))) / np.asarray(options.get("deviations", 1))
        tensors[one.role] = torch.from_numpy(np.ascontiguousarray(values.reshape(-1, *one.shape).astype(one.dtype)))
    with torch.no_grad():
        output = network(**tensors).numpy()
    physical = output * options.get("output_deviations", 1) + options.get("output_means", 0)
    return physical.reshape(*leading, *spec.output_shape)


def _close(found: np.ndarray, expected: np.ndarray) -> float:
    assert expected.max() > expected.min()
    relative = float(np.abs(found - expected).max() / (expected.max() - expected.min()))
    assert relative <= TOLERANCE
    return relative
