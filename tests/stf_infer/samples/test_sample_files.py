# SPDX-License-Identifier: Apache-2.0
"""Files: NetCDF through xarray, .npy and .npz without it; complete or not there."""

from __future__ import annotations

import json
import resource
import signal
import sys
import tracemalloc

import numpy as np
import pytest

from sample_support import AHEAD, histories, make_spec, model_of
from stf_infer import SampleArray
from stf_infer.errors import MissingExtraError, OutputError, SampleError, UsageError
from stf_infer.samples.spec import SampleValues
from stf_infer.samples.writers import SUFFIXES

xr = pytest.importorskip("xarray", reason="needs the extra xarray")
pytest.importorskip("h5netcdf", reason="needs the extra xarray")


@pytest.fixture
def model():
    return model_of(make_spec())


@pytest.fixture
def out(tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def listing(folder):
    return sorted(path.name for path in folder.iterdir())


def dataset(runs: int = 4):
    times = np.datetime64("2024-05-01", "ns") + np.arange(runs) * np.timedelta64(6, "h")
    return xr.Dataset(
        {
            "pm10": (("station", "run", "time"), histories(runs).transpose(2, 0, 1)),
            "bias": ("run", np.arange(runs) * 100.0),
        },
        coords={
            "run": times,
            "station": ["north", "south"],
            "latitude": ("station", [59.9, 41.9]),
            "quality": ("run", np.arange(runs)),
        },
    )


def netcdf(path, held, **options):
    held.to_netcdf(path, engine="h5netcdf", **options)
    return path


def test_netcdf_in_and_out(model, tmp_path, out):
    source = netcdf(tmp_path / "obs.nc", dataset())
    result = model.fuse(out / "fc.nc", history=f"{source}:pm10", bias=source)
    assert (result.path, result.array, result.data) == (out / "fc.nc", None, None)
    assert listing(out) == ["fc.nc"]
    with xr.open_dataset(out / "fc.nc") as written:
        found = written.forecast.load()
        assert set(written.data_vars) == {"forecast"}
        assert written.attrs["Conventions"].startswith("CF-")
        assert written.attrs["STF_BUNDLE"] == "persistence"
        assert written.attrs["STF_INPUTS"] == "history=obs.nc:pm10; bias=obs.nc"
        assert written.attrs["STF_BUNDLE_SHA256"] == "0" * 64
    direct = model.fuse(history=dataset().pm10, bias=dataset().bias).data
    xr.testing.assert_identical(found, direct)


def test_a_large_file_passes_through_in_regions(model, tmp_path, out, monkeypatch):
    monkeypatch.setattr("stf_infer.samples.run._HELD", 80)
    source = netcdf(tmp_path / "obs.nc", dataset(30))
    done = []
    model.fuse(out / "fc.nc", history=f"{source}:pm10", bias=0, tile_batch=2, progress=lambda *a: done.append(a))
    assert [n for n, _ in done] == [*range(7, 30, 7), 30]
    with xr.open_dataset(out / "fc.nc") as written:
        np.testing.assert_array_equal(written.forecast, histories(30)[:, -AHEAD:])


def test_packed_variables_are_unpacked(tmp_path):
    packed = {"pm10": {"dtype": "int16", "scale_factor": 0.5, "add_offset": 3.0, "_FillValue": np.int16(-1)}}
    held = dataset()
    held.pm10[0, 2, 1] = np.nan
    source = netcdf(tmp_path / "obs.nc", held, encoding=packed)
    model = model_of(make_spec(values=SampleValues(unit="ug m-3")))
    result = model.fuse(history=f"{source}:pm10", bias=0)
    assert np.isnan(result.array[2]).all()
    np.testing.assert_array_equal(result.array[1], histories(4)[1, -AHEAD:])
    # What is stated is meant for the numbers as they are stored; what the file says of missing ones stands.
    stated = model.fuse(history=SampleArray(f"{source}:pm10", scale=1), bias=0)
    assert np.isnan(stated.array[2]).all()
    np.testing.assert_array_equal(stated.array[1], (histories(4)[1, -AHEAD:] - 3) / 0.5)
    assert stated.data.run.dtype.kind == "M"


def test_the_variable_with_the_role_s_name_is_taken(model, tmp_path):
    held = dataset().rename(pm10="history")
    result = model.fuse(history=netcdf(tmp_path / "a.nc", held), bias=0)
    np.testing.assert_array_equal(result.array, histories(4)[:, -AHEAD:])


def test_a_dim_of_samples_without_coordinates(model, tmp_path, out):
    source = netcdf(tmp_path / "obs.nc", dataset().drop_vars(["run", "station", "quality", "latitude"]))
    model.fuse(out / "fc.nc", history=f"{source}:pm10", bias=0)
    with xr.open_dataset(out / "fc.nc") as written:
        assert written.forecast.dims == ("run", "ahead", "station")
        assert set(written.coords) == {"station"}


def test_bare_arrays_into_netcdf(model, out):
    model.fuse(out / "fc.nc", history=histories(4, 5), bias=0)
    with xr.open_dataset(out / "fc.nc") as written:
        assert written.forecast.dims == ("sample_1", "sample_2", "ahead", "station")
        np.testing.assert_array_equal(written.forecast, histories(4, 5)[..., -AHEAD:, :])


@pytest.mark.parametrize("runs", [0, 1])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_few_samples(model, out, runs, suffix):
    path = out / f"fc{suffix}"
    model.fuse(path, history=histories(runs), bias=0)
    if suffix == ".npy":
        found = np.load(path)
    elif suffix == ".npz":
        found = np.load(path)["forecast"]
    else:
        with xr.open_dataset(path, engine="h5netcdf") as written:
            found = written.forecast.values
    assert found.shape == (runs, AHEAD, 2)
    np.testing.assert_array_equal(found, histories(runs)[:, -AHEAD:])


def test_npy_and_npz_in_and_out(model, tmp_path, out):
    np.save(tmp_path / "h.npy", histories(3))
    np.savez(tmp_path / "b.npz", bias=np.arange(3), other=np.zeros(2))
    model.fuse(out / "fc.npy", history=tmp_path / "h.npy", bias=tmp_path / "b.npz")
    model.fuse(out / "fc.npz", history=str(tmp_path / "h.npy"), bias=f"{tmp_path}/b.npz:bias")
    expected = histories(3)[:, -AHEAD:] + np.arange(3, dtype=np.float32)[:, None, None]
    np.testing.assert_array_equal(np.load(out / "fc.npy"), expected)
    with np.load(out / "fc.npz") as held:
        np.testing.assert_array_equal(held["forecast"], expected)
        assert held["dims"].tolist() == ["sample", "ahead", "station"]
        assert json.loads(str(held["provenance"]))["STF_INPUTS"] == "history=h.npy; bias=b.npz:bias"


def test_npy_needs_no_xarray(model, tmp_path, out, monkeypatch):
    for name in ("xarray", "h5netcdf"):
        monkeypatch.setitem(sys.modules, name, None)
    np.save(tmp_path / "h.npy", histories(3))
    model.fuse(out / "fc.npz", history=tmp_path / "h.npy", bias=0)
    (tmp_path / "h.nc").write_bytes(b"x")
    for call in (
        lambda: model.fuse(history=tmp_path / "h.nc", bias=0),
        lambda: model.fuse(out / "a.nc", history=histories(), bias=0),
    ):
        with pytest.raises(MissingExtraError, match=r"stf-infer\[xarray\]"):
            call()
    assert listing(out) == ["fc.npz"]


def test_an_existing_result_is_replaced(model, out):
    (out / "fc.npy").write_bytes(b"old")
    model.fuse(out / "fc.npy", history=histories(2), bias=0)
    assert np.load(out / "fc.npy").shape == (2, AHEAD, 2)


def test_after_a_failure_the_old_result_is_there_and_nothing_else(model, out):
    (out / "fc.nc").write_bytes(b"old")
    (out / "fc.npy").write_bytes(b"old")

    def stop(done, total):
        raise KeyboardInterrupt

    for name in ("fc.nc", "fc.npy"):
        with pytest.raises(KeyboardInterrupt):
            model.fuse(out / name, history=histories(2), bias=0, progress=stop)
        assert (out / name).read_bytes() == b"old"
    assert listing(out) == ["fc.nc", "fc.npy"]


@pytest.mark.parametrize("suffix", [".nc", ".npy", ".npz"])
def test_a_full_disk_is_told_and_leaves_nothing(model, out, suffix, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    target = "named._VariableWriter" if suffix == ".nc" else "writers.StreamWriter"
    monkeypatch.setattr(f"stf_infer.samples.{target}.write", full)
    with pytest.raises(OutputError, match=r"No space left on device.*MB free"):
        model.fuse(out / f"fc{suffix}", history=histories(2), bias=0)
    assert listing(out) == []


@pytest.mark.parametrize("suffix", [".nc", ".npy", ".npz"])
@pytest.mark.parametrize("held", [5000, 10**7])
def test_a_limit_on_files_leaves_nothing(model, out, suffix, held, monkeypatch):
    """A disk that fills up while regions are written, or only when the file is closed."""
    monkeypatch.setattr("stf_infer.samples.run._HELD", held)
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(OutputError, match=r"cannot be written.*File too large \(\d+ MB free\).*Make room"):
            model.fuse(out / f"fc{suffix}", history=histories(7000), bias=0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert listing(out) == []


@pytest.mark.parametrize("suffix", [".nc", ".npy", ".npz"])
def test_a_folder_that_is_not_there(model, out, suffix):
    with pytest.raises(OutputError, match="cannot be written"):
        model.fuse(out / "none" / f"fc{suffix}", history=histories(2), bias=0)


def test_an_input_is_not_overwritten(model, tmp_path):
    np.save(tmp_path / "h.npy", histories(2))
    source = netcdf(tmp_path / "obs.nc", dataset())
    for path, given in ((tmp_path / "h.npy", tmp_path / "h.npy"), (source, f"{source}:pm10")):
        before = path.read_bytes()
        with pytest.raises(UsageError, match=r"overwrite an input.*history"):
            model.fuse(path, history=given, bias=0)
        assert path.read_bytes() == before


def test_a_destination_says_what_it_is(model, out):
    with pytest.raises(OutputError, match=r"fc\.tif.*\.npy, \.npz, \.nc"):
        model.fuse(out / "fc.tif", history=histories(2), bias=0)


def test_an_index_of_several_levels_cannot_be_stored(model, out):
    stacked = dataset().pm10.expand_dims(member=[0, 1]).stack(sample=("member", "run"))
    with pytest.raises(OutputError, match=r"cannot be stored in NetCDF.*reset_index"):
        model.fuse(out / "fc.nc", history=stacked, bias=0)
    assert listing(out) == []
    assert model.fuse(history=stacked, bias=0).data.sizes["sample"] == 8


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.nc", None, "A file is missing"),
        ("none.nc:pm10", None, "A file is missing"),
        ("bad.nc", b"no such format", "cannot be read as NetCDF"),
        ("bad.npy", b"no such format", "cannot be read as an array"),
        ("bad.npz", b"no such format", "cannot be read as an array"),
        ("h.csv", b"1,2,3", r"of this kind cannot be read.*\.npy, \.npz or NetCDF"),
    ],
)
def test_files_that_cannot_be_read(model, tmp_path, name, content, says):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SampleError, match=says):
        model.fuse(history=tmp_path / name, bias=0)


def test_pickled_objects_are_not_loaded(model, tmp_path):
    np.save(tmp_path / "h.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(SampleError, match="cannot be read as an array"):
        model.fuse(history=tmp_path / "h.npy", bias=0)


def test_which_variable_is_meant(model, tmp_path):
    source = netcdf(tmp_path / "obs.nc", dataset())
    with pytest.raises(SampleError, match=r"does not say which.*pm10, bias.*history=.*obs\.nc:NAME"):
        model.fuse(history=source, bias=0)
    with pytest.raises(SampleError, match=r"no array of that name.*pm25.*Allowed: pm10, bias"):
        model.fuse(history=f"{source}:pm25", bias=0)
    np.savez(tmp_path / "h.npz", a=histories(2), b=histories(2))
    with pytest.raises(SampleError, match=r"does not say which.*a, b"):
        model.fuse(history=tmp_path / "h.npz", bias=0)


def test_a_file_whose_name_has_a_colon(model, tmp_path):
    np.save(tmp_path / "12:00.npy", histories(2))
    assert model.fuse(history=tmp_path / "12:00.npy", bias=0).samples == 2


# Names and memory ---------------------------------------------------------------------------------------------


def test_the_name_of_a_tensor_may_mean_something_to_a_file(tmp_path, out):
    spec = make_spec()
    spec = spec.model_copy(update={"output": spec.output.model_copy(update={"tensor": "dense/out:0"})})
    for name in ("fc.nc", "fc.npz"):
        model_of(spec).fuse(out / name, history=histories(2), bias=0)
    with xr.open_dataset(out / "fc.nc") as written:
        assert list(written.data_vars) == ["dense_out_0"]
    assert "dense_out_0" in np.load(out / "fc.npz")


def test_a_coordinate_with_the_name_of_the_result(model, out):
    history = dataset().pm10.assign_coords(forecast=("run", np.arange(4)))
    with pytest.raises(OutputError, match=r"has the name of the result.*forecast"):
        model.fuse(out / "fc.nc", history=history, bias=0)
    assert listing(out) == []


@pytest.mark.parametrize("suffix", [".npy", ".nc"])
def test_memory_does_not_grow_with_the_samples(model, tmp_path, out, suffix, monkeypatch):
    monkeypatch.setattr("stf_infer.samples.run._HELD", 10_000)

    def peak(samples):
        source = tmp_path / f"{samples}{suffix}"
        if suffix == ".npy":
            np.save(source, histories(samples))
        else:
            dims = ("run", "time", "station")
            netcdf(source, xr.Dataset({"history": (dims, histories(samples))}))
        tracemalloc.start()
        model.fuse(out / f"fc{suffix}", history=source, bias=0)
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    peak(10)  # imports, and whatever libraries keep
    small, large = peak(5_000), peak(50_000)
    assert large < 1.2 * small + 100_000
    assert large < 50_000 * 6 * 4  # the input alone
