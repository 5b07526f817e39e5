# SPDX-License-Identifier: Apache-2.0
"""DataArrays: dims by name, labels, coordinates."""

from __future__ import annotations

import numpy as np
import pytest

from sample_support import AHEAD, histories, make_spec, model_of
from stf_infer import SampleArray
from stf_infer.errors import DimError, SampleError
from stf_infer.samples.spec import SampleValues

xr = pytest.importorskip("xarray", reason="needs the extra xarray")


def array(*runs: int, **coords):
    names = ("run", "member")[: len(runs)]
    return xr.DataArray(histories(*runs), dims=(*names, "time", "station"), coords=coords)


@pytest.mark.parametrize(
    "order",
    [
        ("run", "member", "time", "station"),
        ("station", "time", "member", "run"),
        ("time", "run", "station", "member"),
    ],
)
def test_dims_may_come_in_any_order(order):
    history = array(4, 5)
    result = model_of(make_spec()).fuse(history=history.transpose(*order), bias=0)
    expected = history.isel(time=slice(-AHEAD, None)).rename(time="ahead")
    assert result.data.dims == (*[name for name in order if name in ("run", "member")], "ahead", "station")
    xr.testing.assert_equal(result.data.drop_vars("station").transpose(*expected.dims), expected)
    np.testing.assert_array_equal(result.data.values, result.array)


def test_inputs_that_lack_a_dim_of_samples_are_the_same_along_it():
    bias = xr.DataArray([10.0, 20.0, 30.0], dims="scenario", coords={"scenario": ["a", "b", "c"]})
    history = array(4, run=[2, 4, 6, 8])
    data = model_of(make_spec()).fuse(history=history, bias=bias).data
    assert data.sizes == {"run": 4, "scenario": 3, "ahead": 2, "station": 2}
    np.testing.assert_array_equal(data.sel(scenario="b").values, data.sel(scenario="a").values + 10)
    one = model_of(make_spec()).fuse(history=history.sel(run=6), bias=20).data
    xr.testing.assert_equal(one.drop_vars("run"), data.sel(run=6, scenario="b").drop_vars(["run", "scenario"]))


def test_coordinates_of_samples_are_kept():
    times = np.datetime64("2024-05-01", "ns") + np.arange(4) * np.timedelta64(1, "D")
    history = array(
        4,
        2,
        run=times,
        member=["x", "y"],
        latitude=(("run", "member"), np.arange(8.0).reshape(4, 2)),
        leap=("run", [True, False, True, False]),
        model="ERA",
        height=("station", [10.0, 20.0]),
        time=[-2, -1, 0],
    )
    data = model_of(make_spec()).fuse(history=history, bias=0).data
    for name in ("run", "member", "latitude", "leap", "model", "height"):
        xr.testing.assert_equal(data[name].variable, history[name].variable)
    assert "time" not in data.coords
    assert list(data.station.values) == ["north", "south"]


def test_a_coordinate_on_which_inputs_disagree_is_left_out():
    history = array(3, quality=("run", [1, 2, 3]), place="sea")
    bias = xr.DataArray(np.zeros(3), dims="run", coords={"quality": ("run", [1, 2, 4]), "place": "sea"})
    data = model_of(make_spec()).fuse(history=history, bias=bias).data
    assert "quality" not in data.coords
    assert data.place == "sea"


def test_samples_with_other_numbers_are_refused():
    bias = xr.DataArray(np.zeros(3), dims="run", coords={"run": [1, 2, 4]})
    model = model_of(make_spec())
    with pytest.raises(DimError, match=r"other coordinates along run.*bias.*xarray\.align"):
        model.fuse(history=array(3, run=[1, 2, 3]), bias=bias)
    assert model.engine.batch_sizes == []
    model.fuse(history=array(3, run=[1, 2, 4]), bias=bias)
    model.fuse(history=array(3), bias=bias)


# Labels -------------------------------------------------------------------------------------------------------


def test_places_are_found_by_their_labels():
    history = array(3, station=["south", "NORTH "], height=("station", [1.0, 2.0]))
    data = model_of(make_spec()).fuse(history=history, bias=0).data
    np.testing.assert_array_equal(data.values, histories(3)[:, -AHEAD:, ::-1])
    assert data.station.values.tolist() == ["NORTH ", "south"]
    assert data.height.values.tolist() == [2.0, 1.0]


def test_of_more_places_the_network_s_are_taken():
    wide = xr.concat([array(3), array(3) + 1000], dim="station").assign_coords(station=["a", "south", "b", "north"])
    data = model_of(make_spec()).fuse(history=wide, bias=0).data
    np.testing.assert_array_equal(data.values, wide.values[:, -AHEAD:, [3, 1]])


def test_labels_that_do_not_match_are_refused():
    with pytest.raises(DimError, match=r"otherwise than the network: south not found.*north, west.*Allowed: north, s"):
        model_of(make_spec()).fuse(history=array(3, station=["north", "west"]), bias=0)
    twice = xr.concat([array(3), array(3)[..., :1]], dim="station").assign_coords(station=["north", "south", "north"])
    with pytest.raises(DimError, match="a name stands there twice"):
        model_of(make_spec()).fuse(history=twice, bias=0)


@pytest.mark.parametrize("labels", [["station 1", "station_2"], [7, 3], [0.5, 0.25]])
def test_places_that_are_only_counted_go_by_their_order(labels):
    data = model_of(make_spec()).fuse(history=array(3, station=labels), bias=0).data
    np.testing.assert_array_equal(data.values, histories(3)[:, -AHEAD:])
    assert data.station.values.tolist() == labels


@pytest.mark.parametrize("stations", [("series_1", "series_2"), 2])
def test_a_network_that_only_counts_takes_any_names(stations):
    data = model_of(make_spec(stations=stations)).fuse(history=array(3, station=["oslo", "rome"]), bias=0).data
    assert data.station.values.tolist() == ["oslo", "rome"]
    np.testing.assert_array_equal(data.values, histories(3)[:, -AHEAD:])


# Attributes ---------------------------------------------------------------------------------------------------


def test_the_result_has_a_name_and_a_unit():
    data = model_of(make_spec(output=SampleValues(unit="mm"))).fuse(history=array(2), bias=0).data
    assert (data.name, data.attrs["units"]) == ("forecast", "mm")


def test_undecoded_attributes_are_obeyed_and_what_is_stated_wins():
    stored = array(3).astype(np.int16).assign_attrs(scale_factor=0.5, add_offset=1.0, _FillValue=np.int16(7))
    spec = make_spec(values=SampleValues(unit="mm"))
    result = model_of(spec).fuse(history=stored, bias=0)
    assert np.isnan(result.array[:, 0, 0]).tolist() == [False, True, False]
    np.testing.assert_array_equal(result.array[0], stored[0, -AHEAD:] * 0.5 + 1)
    result = model_of(spec).fuse(history=SampleArray(stored, scale=2), bias=0)
    np.testing.assert_array_equal(result.array[0], stored[0, -AHEAD:] * 2)


@pytest.mark.parametrize(
    ("unit", "warned"), [("mm", False), (" MM", False), ("inch", True), (None, False), ("", False)]
)
def test_another_unit_is_told(unit, warned, caplog):
    history = array(2) if unit is None else array(2).assign_attrs(units=unit)
    model_of(make_spec(values=SampleValues(unit="mm"))).fuse(history=history, bias=0)
    assert ("history is in inch, and the network wants mm" in caplog.text) == warned


def test_another_spelling_of_kelvin_is_no_other_unit(caplog):
    model_of(make_spec(values=SampleValues(unit="kelvin"))).fuse(
        history=(array(2) + 280).assign_attrs(units="K"), bias=0
    )
    assert caplog.text == ""


# What is refused ----------------------------------------------------------------------------------------------


def test_a_dataset_is_no_array():
    with pytest.raises(SampleError, match=r"is a Dataset.*a, b.*history=dataset\[NAME\]"):
        model_of(make_spec()).fuse(history=xr.Dataset({"a": array(2), "b": array(2)}), bias=0)


def test_one_of_several_places_does_not_stand_along_its_dim():
    """Taken by isel from a dim of length 1, the coordinate is a number; the result has the dim again."""
    spec = make_spec(stations=1)
    history = array(2).isel(station=0).assign_coords(station="north")
    data = model_of(spec).fuse(history=history, bias=0).data
    assert data.sizes == {"run": 2, "ahead": 2, "station": 1}


def test_dims_may_be_renamed_on_the_way():
    history = array(2).rename(time="hour")
    result = model_of(make_spec()).fuse(history=SampleArray(history, dims=("run", "time", "station")), bias=0)
    assert result.data.dims == ("run", "ahead", "station")
    clash = history.assign_coords(time=("run", [1, 2]), hour=[1, 2, 3])
    with pytest.raises(DimError, match="cannot be renamed"):
        model_of(make_spec()).fuse(history=SampleArray(clash, dims=("run", "time", "station")), bias=0)
