# SPDX-License-Identifier: Apache-2.0
"""Numbers of the whole scene, computed by the runtime and handed to every tile."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from fakes import UTM, block_mean, grid_transform, make_model, make_spec, smooth_field
from stf_infer.errors import NodataError, UsageError
from stf_infer.raster import Raster
from stf_infer.scene import Scene
from stf_infer.scene_scalars import RULES, Means
from stf_infer.spec import InputSpec, ModelSpec, RasterSpec, SceneStatistic, Values

ROLES = ("coarse_t1", "coarse_t2", "coarse_t3", "fine_t1", "fine_t3")
COARSE = ROLES[:3]
PER_BAND = {"switched-absolute-change", "mean-of-dates", "standard-deviation"}
ONE_IMAGE = {"standard-deviation"}
VALUES = Values(scale=2.0, offset=-1.0)


def looked_at(rule: str) -> tuple[str, ...]:
    return COARSE[:1] if rule in ONE_IMAGE else COARSE


def spec_with(rule: str, bands: tuple[str, ...], tile: int = 32) -> ModelSpec:
    spec = make_spec(tile, roles=ROLES, values=VALUES)
    scalar = InputSpec(
        role="weight",
        tensor="weight",
        bands=bands,
        grid="scene",
        statistic=SceneStatistic(rule=rule, of=looked_at(rule)),
    )
    return ModelSpec(**{**spec.model_dump(), "inputs": (*spec.inputs, scalar)})


def rasters(height: int = 101, width: int = 83) -> dict[str, np.ndarray]:
    fine = {role: smooth_field(2, height, width, seed) for seed, role in enumerate(("fine_t1", "fine_t3"))}
    coarse = {role: block_mean(smooth_field(2, height, width, 7 + n), 4) for n, role in enumerate(COARSE)}
    return {**fine, **coarse}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("tile", [16, 32, 128])
def test_every_tile_gets_the_number_of_the_scene(rule, tile):
    bands = ("red", "nir") if rule in PER_BAND else ("all",)
    given = rasters()
    expected = RULES[rule](Means.of([given[role] * 2.0 - 1.0 for role in looked_at(rule)]))
    seen = []

    def network(fine_t1, fine_t3, weight, **_):
        seen.append(weight)
        return weight * fine_t1 + (1 - weight) * fine_t3

    result = make_model(spec_with(rule, bands, tile), network).fuse(tile_batch=3, **given)
    assert all(w.shape[1:] == (len(bands), 1, 1) for w in seen)
    for weight in np.concatenate(seen)[:, :, 0, 0]:
        np.testing.assert_allclose(weight, expected, rtol=1e-6)
    share = expected[:, None, None]
    np.testing.assert_allclose(result.array, share * given["fine_t1"] + (1 - share) * given["fine_t3"], atol=1e-6)


def test_pixels_without_a_measurement_do_not_count():
    given = rasters()
    holed = given["coarse_t2"].copy()
    holed[:, 3:9, 4:11] = -9999
    valid = holed[0] != -9999
    expected = RULES["switched-absolute-change"](Means.of([given[role] * 2.0 - 1.0 for role in COARSE], valid))
    with Scene(
        spec_with("switched-absolute-change", ("red", "nir")), {**given, "coarse_t2": Raster(holed, nodata=-9999)}
    ) as scene:
        np.testing.assert_allclose(scene.scalars["weight"][:, 0, 0], expected, rtol=1e-6)


# Rasters that are only read ------------------------------------------------------------------------------


def spec_with_levels(tile: int = 32) -> ModelSpec:
    """Means over two dates of the fine image and three of the coarse one; the tiles see t1 and t2 only."""
    spec = make_spec(tile, values=VALUES)
    levels = {"fine_mean": ("fine_t1", "fine_t3"), "coarse_mean": COARSE}
    scalars = [
        InputSpec(
            role=name,
            tensor=name,
            bands=("red", "nir"),
            grid="scene",
            statistic=SceneStatistic(rule="mean-of-dates", of=of),
        )
        for name, of in levels.items()
    ]
    read = [
        RasterSpec(role="fine_t3", bands=("red", "nir"), values=VALUES),
        RasterSpec(role="coarse_t3", bands=("red", "nir"), grid="coarse", values=VALUES),
    ]
    return ModelSpec(**{**spec.model_dump(), "inputs": (*spec.inputs, *scalars), "also_read": read})


def levels_of(fine_t1, coarse_t1, coarse_t2, fine_mean, coarse_mean):
    """What the tiles are given, where it can be seen: the levels in the result, one in each band."""
    return np.concatenate([0 * fine_t1[:, :1] + fine_mean[:, 1:], 0 * fine_t1[:, :1] + coarse_mean[:, :1]], axis=1)


def test_levels_are_means_over_dates_that_no_tile_sees():
    given = rasters()
    result = make_model(spec_with_levels(), levels_of).fuse(tile_batch=2, **given)
    means = {role: image.mean(axis=(1, 2), dtype=np.float64) for role, image in given.items()}
    np.testing.assert_allclose(result.array[0], (means["fine_t1"][1] + means["fine_t3"][1]) / 2, atol=1e-6)
    np.testing.assert_allclose(result.array[1], np.mean([means[role][0] for role in COARSE]), atol=1e-6)


def test_what_is_only_read_is_warped_and_scaled_and_makes_no_pixel_invalid():
    given = rasters(96, 80)
    stored = np.rint(given["fine_t3"] * 10_000).astype(np.int16)
    stored[:, 20:60, 10:70] = -9999  # a cloud at t3
    counted = np.ones((96, 80), bool)
    counted[20:60, 10:70] = False
    half = block_mean(given["coarse_t3"], 2)  # pixels twice as large
    place = {"crs": UTM, "transform": grid_transform()}
    with Scene(
        spec_with_levels(),
        {
            **given,
            "fine_t1": Raster(given["fine_t1"], **place),
            "fine_t3": Raster(stored, scale=1e-4, nodata=-9999, **place),
            "coarse_t3": Raster(half, crs=UTM, transform=grid_transform(240)),
        },
        any_ratio=True,
    ) as scene:
        assert set(scene.readers) == {"fine_t1", "coarse_t1", "coarse_t2"}
        fine_mean, coarse_mean = (scene.scalars[name][:, 0, 0] for name in ("fine_mean", "coarse_mean"))
    dates = [given["fine_t1"][:, counted], stored[:, counted] * 1e-4]
    np.testing.assert_allclose(fine_mean, 2 * np.mean(dates, axis=(0, 2)) - 1, atol=1e-6)
    expected = 2 * np.mean([given[role].mean(axis=(1, 2)) for role in COARSE], axis=0) - 1
    np.testing.assert_allclose(coarse_mean, expected, atol=2e-3)

    holed = {**given, "fine_t3": Raster(stored, scale=1e-4, nodata=-9999)}
    assert make_model(spec_with_levels(), levels_of).fuse(**holed).valid_fraction == 1


def test_what_is_only_read_must_be_given():
    given = rasters()
    del given["coarse_t3"]
    with pytest.raises(UsageError, match="Give --coarse-t3"):
        Scene(spec_with_levels(), given)


def test_a_number_of_pixels_that_are_never_valid_at_once_is_refused():
    given = rasters()
    left, right = given["fine_t1"].copy(), given["fine_t3"].copy()
    left[:, :, 40:], right[:, :, :40] = np.nan, np.nan
    with pytest.raises(NodataError, match=r"fine_mean is a number of the scene.*fine_t1: .*fine_t3: "):
        make_model(spec_with_levels(), levels_of).fuse(**{**given, "fine_t1": left, "fine_t3": right})


def test_a_number_of_the_scene_is_no_raster_that_a_user_gives():
    spec = spec_with("switched-mean-change", ("all",))
    assert [i.role for i in spec.rasters] == list(ROLES)
    assert [i.role for i in spec.scalars] == ["weight"]
    assert spec.tensor_shape(spec.input("weight")) == (1, 1, 1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"grid": "fine"}, "needs a statistic, and no other grid"),
        ({"statistic": None}, "needs a statistic, and no other grid"),
        (
            {"statistic": SceneStatistic(rule="switched-mean-change", of=("coarse_t1", "coarse_t2", "fine_t9"))},
            "fine_t9, which is no input and not also_read",
        ),
    ],
)
def test_a_contract_that_contradicts_itself_is_refused(changed, message):
    spec = spec_with("switched-mean-change", ("all",))
    scalar = {**spec.input("weight").model_dump(), **changed}
    with pytest.raises(ValidationError, match=message):
        ModelSpec(**{**spec.model_dump(), "inputs": (*spec.inputs[:-1], scalar)})


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"role": "coarse_t4"}, "coarse_t4 is read, and no statistic looks at it"),
        ({"role": "fine_t1"}, "a role is named twice"),
        ({"bands": ("red",)}, "coarse_mean is computed from rasters with different numbers of bands"),
    ],
)
def test_what_is_only_read_is_looked_at_once(changed, message):
    spec = spec_with_levels()
    more = spec.also_read[1].model_copy(update=changed)
    kept = spec.also_read[:1] if "bands" in changed else spec.also_read
    with pytest.raises(ValidationError, match=message):
        ModelSpec(**{**spec.model_dump(), "also_read": (*kept, more)})


@pytest.mark.parametrize("rule", ["switched-absolute-change", "switched-mean-change"])
@pytest.mark.parametrize("of", [COARSE[:2], ROLES[:4]])
def test_a_rule_of_three_dates_takes_three(rule, of):
    with pytest.raises(ValidationError, match=f"{rule} looks at 3 rasters, not {len(of)}"):
        SceneStatistic(rule=rule, of=of)


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValidationError, match="switched-mean-change"):
        SceneStatistic(rule="median", of=COARSE)


def test_the_deviation_is_numpy_s():
    image = np.random.default_rng(0).normal(300, 5, (2, 40, 30))
    found = RULES["standard-deviation"](Means.of([image]))
    np.testing.assert_allclose(found, image.std(axis=(1, 2)), rtol=1e-9)
