# SPDX-License-Identifier: Apache-2.0
"""Numbers of the whole scene, computed by the runtime and handed to every tile."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from fakes import block_mean, make_model, make_spec, smooth_field
from stf_infer.raster import Raster
from stf_infer.scene import Scene
from stf_infer.scene_scalars import RULES, Means
from stf_infer.spec import InputSpec, ModelSpec, SceneStatistic, Values

ROLES = ("coarse_t1", "coarse_t2", "coarse_t3", "fine_t1", "fine_t3")
COARSE = ROLES[:3]
VALUES = Values(scale=2.0, offset=-1.0)


def spec_with(rule: str, bands: tuple[str, ...], tile: int = 32) -> ModelSpec:
    spec = make_spec(tile, roles=ROLES, values=VALUES)
    scalar = InputSpec(
        role="weight", tensor="weight", bands=bands, grid="scene", statistic=SceneStatistic(rule=rule, of=COARSE)
    )
    return ModelSpec(**{**spec.model_dump(), "inputs": (*spec.inputs, scalar)})


def rasters(height: int = 101, width: int = 83) -> dict[str, np.ndarray]:
    fine = {role: smooth_field(2, height, width, seed) for seed, role in enumerate(("fine_t1", "fine_t3"))}
    coarse = {role: block_mean(smooth_field(2, height, width, 7 + n), 4) for n, role in enumerate(COARSE)}
    return {**fine, **coarse}


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("tile", [16, 32, 128])
def test_every_tile_gets_the_number_of_the_scene(rule, tile):
    bands = ("red", "nir") if rule == "switched-absolute-change" else ("all",)
    given = rasters()
    expected = RULES[rule](Means.of([given[role] * 2.0 - 1.0 for role in COARSE]))
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
            {"statistic": SceneStatistic(rule="switched-mean-change", of=("coarse_t1", "fine_t9"))},
            "fine_t9, which is no",
        ),
    ],
)
def test_a_contract_that_contradicts_itself_is_refused(changed, message):
    spec = spec_with("switched-mean-change", ("all",))
    scalar = {**spec.input("weight").model_dump(), **changed}
    with pytest.raises(ValidationError, match=message):
        ModelSpec(**{**spec.model_dump(), "inputs": (*spec.inputs[:-1], scalar)})


def test_an_unknown_rule_is_refused():
    with pytest.raises(ValidationError, match="switched-mean-change"):
        SceneStatistic(rule="median", of=COARSE)
