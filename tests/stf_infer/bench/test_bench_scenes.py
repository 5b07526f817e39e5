# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pickle
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import rasterio
from affine import Affine
from skimage.filters import threshold_otsu

from bench_scene_support import BLOCK, BLOCK_PIXELS, NAMES, RATIO, ROLES, SHAPE, fields, write_fields
from dataset_folders import DAYS, make_folder
from fakes import UTM, grid_transform, make_spec, read_tif, write_tif
from stf_infer.bench import scenes
from stf_infer.bench.changes import _Histogram
from stf_infer.bench.result import SceneFacts
from stf_infer.bench.scene_files import mirror_file, rasters_of
from stf_infer.datasets import LAYOUTS
from stf_infer.errors import BandError, GridError, NodataError, OutputError, ScaleError, UsageError
from stf_infer.grid import Shape
from stf_infer.raster import Raster
from stf_infer.spec import Values


def scene_of(folder, paths, **options):
    inputs = {role: path for role, path in paths.items() if role != "truth"}
    return scenes.from_rasters("scene", inputs, paths.get("truth"), folder, **options)


def test_a_scene_says_what_it_is(tmp_path):
    scene = scene_of(tmp_path, write_fields(tmp_path))
    facts = scene.facts
    assert (facts.height, facts.width, facts.bands, facts.ratio) == (*SHAPE, NAMES, float(RATIO))
    assert (facts.unit, facts.data_range, facts.remark) == ("reflectance", 1.0, "")
    assert facts.inputs == {role: f"{role}.tif" for role in ROLES}
    assert facts.truth == "truth.tif"
    assert facts.stated == {}
    assert SceneFacts.model_validate_json(facts.model_dump_json()) == facts


def test_a_scene_can_be_sent_to_another_process(tmp_path):
    scene = scene_of(tmp_path, write_fields(tmp_path))
    assert pickle.loads(pickle.dumps(scene)) == scene


def test_the_pixels_that_changed_are_found(tmp_path):
    scene = scene_of(tmp_path, write_fields(tmp_path))
    valid, changed, unchanged = read_tif(scene.mask).astype(bool)
    block = np.zeros(SHAPE, bool)
    block[BLOCK] = True
    np.testing.assert_array_equal(changed, block)
    np.testing.assert_array_equal(unchanged, ~block)
    assert valid.all()
    assert 0.01 < scene.facts.change_threshold < 0.2
    every = SHAPE[0] * SHAPE[1]
    assert scene.facts.pixels == {"valid": every, "changed": BLOCK_PIXELS, "unchanged": every - BLOCK_PIXELS}


def test_the_threshold_is_that_of_another_implementation():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.gamma(2, 0.01, 50_000), rng.normal(0.2, 0.03, 5_000).clip(0)])
    rng.shuffle(values)
    histogram = _Histogram()
    for part in np.array_split(values, 37):
        histogram.add(part)
    assert histogram.total == 55_000
    assert histogram.parted() == pytest.approx(
        threshold_otsu(values, nbins=1024), abs=4 * values.max() / 1024
    )  # two bins


def test_a_stated_threshold_decides(tmp_path):
    scene = scene_of(tmp_path, write_fields(tmp_path), threshold=0.005)
    assert scene.facts.change_threshold == 0.005
    assert scene.facts.pixels["unchanged"] == 0


def test_nothing_changed_where_the_truth_is_the_reference(tmp_path):
    paths = write_fields(tmp_path)
    facts = scene_of(tmp_path, paths | {"truth": paths["fine_t1"]}).facts
    assert (facts.change_threshold, facts.pixels["changed"]) == (0.0, 0)


def test_a_pixel_counts_where_all_rasters_are_valid(tmp_path):
    images = fields()
    images["fine_t1"][0, 5, 7] = -1
    images["truth"][:, 60, 90] = -1
    images["coarse_t2"][1, 2, 3] = -1
    paths = write_fields(tmp_path, **{role: {"array": image, "nodata": -1} for role, image in images.items()})
    scene = scene_of(tmp_path, paths)
    expected = np.ones(SHAPE, bool)
    expected[5, 7] = expected[60, 90] = False
    expected[2 * RATIO : 3 * RATIO, 3 * RATIO : 4 * RATIO] = False
    np.testing.assert_array_equal(read_tif(scene.mask)[0], expected)
    assert scene.facts.pixels["valid"] == expected.sum()


def test_without_a_truth_nothing_is_written(tmp_path):
    paths = write_fields(tmp_path)
    del paths["truth"]
    scene = scene_of(tmp_path / "out", paths)
    assert (scene.truth, scene.mask, scene.facts.truth, scene.facts.change_threshold) == (None,) * 4
    assert not (tmp_path / "out").exists()
    assert scene.facts.inputs["fine_t1"] == str(paths["fine_t1"])


def test_the_bands_that_truth_and_fine_share_count(tmp_path):
    truth = np.concatenate([np.zeros((1, *SHAPE), np.float32), fields()["truth"][::-1]])
    scene = scene_of(tmp_path, write_fields(tmp_path, truth={"array": truth, "names": ("blue", "nir", "red")}))
    assert scene.facts.bands == NAMES
    assert scene.facts.pixels["changed"] == BLOCK_PIXELS


def test_bands_that_networks_predict_are_compared(tmp_path):
    paths = write_fields(tmp_path)
    scene = scene_of(tmp_path, paths, bands=("NIR",))
    assert scene.facts.bands == ("nir",)
    assert {role: raster.bands for role, raster in scene.compared.items()} == dict.fromkeys(ROLES, (2,))
    assert {raster.bands for raster in scene.inputs.values()} == {None}
    del paths["truth"]
    assert scene_of(tmp_path, paths, bands=("nir",)).compared == scene.compared
    assert scene_of(tmp_path, paths, bands=("nir", "blue")).facts.bands == NAMES


@pytest.mark.parametrize(("names", "bands"), [(("swir1", "swir2"), 2), (None, 3)])
def test_a_truth_of_other_bands_is_refused(tmp_path, names, bands):
    truth = fields()["truth"][[0, 1, 1][:bands]]
    with pytest.raises(BandError, match=r"The truth shows other bands than fine_t1.*--bands truth="):
        scene_of(tmp_path, write_fields(tmp_path, truth={"array": truth, "names": names}))


# The truth's grid ---------------------------------------------------------------------------------------------


def shifted_truth(tmp_path, pixels):
    """The truth, a wider image of which the scene is a part that begins ``pixels`` from its corner."""
    wide = np.pad(fields()["truth"], ((0, 0), (4, 4), (4, 4)), mode="edge")
    return write_fields(
        tmp_path, truth={"array": wide, "transform": grid_transform() * Affine.translation(-pixels, -pixels)}
    )


@pytest.mark.parametrize("pixels", [4, 3.5])
def test_a_truth_on_another_grid_is_refused_and_a_warp_offered(tmp_path, pixels):
    with pytest.raises(GridError) as caught:
        scene_of(tmp_path, shifted_truth(tmp_path, pixels))
    text = str(caught.value)
    assert "The truth does not lie on the grid of fine_t1" in text
    assert "72 x 104 pixels" in text
    assert "64 x 96 pixels" in text
    assert "--warp-truth" in text


def test_a_truth_is_warped_where_that_is_wanted(tmp_path):
    scene = scene_of(tmp_path, shifted_truth(tmp_path, 4), warp_truth=True)
    np.testing.assert_array_equal(read_tif(scene.truth.data), fields()["truth"])
    assert scene.facts.pixels["changed"] == BLOCK_PIXELS
    assert scene.facts.truth == "scenes/scene/fine_t2_truth_warped.tif"
    assert "The truth was warped onto the grid of fine_t1." in scene.facts.remark


def test_a_finer_truth_is_averaged_onto_the_grid(tmp_path):
    fine = fields()["truth"].repeat(2, 1).repeat(2, 2)
    scene = scene_of(tmp_path, write_fields(tmp_path, truth={"array": fine, "pixel": 15.0}), warp_truth=True)
    np.testing.assert_allclose(read_tif(scene.truth.data), fields()["truth"], atol=1e-6)


def test_a_truth_that_covers_a_part_leaves_the_rest_out(tmp_path):
    half = fields()["truth"][:, :32]
    scene = scene_of(tmp_path, write_fields(tmp_path, truth={"array": half}), warp_truth=True)
    assert scene.facts.pixels["valid"] == 32 * SHAPE[1]
    assert np.isnan(read_tif(scene.truth.data)[:, 32:]).all()


@pytest.mark.parametrize("role", ["truth", "coarse_t2"])
def test_rasters_of_another_place_are_refused(tmp_path, role):
    far = Affine.translation(1e6, 0)
    pixel = 120.0 if role.startswith("coarse") else 30.0
    paths = write_fields(tmp_path, **{role: {"transform": far * grid_transform(pixel)}})
    with pytest.raises(GridError, match=f"{role} does not overlap fine_t1"):
        scene_of(tmp_path, paths, warp_truth=True)


def test_rasters_that_share_no_valid_pixel_are_refused(tmp_path):
    images = fields()
    images["fine_t1"][:, :32] = np.nan
    images["truth"][:, 32:] = np.nan
    paths = write_fields(tmp_path, **{role: {"array": images[role]} for role in ("fine_t1", "truth")})
    with pytest.raises(NodataError, match="Not one pixel of a scene is valid in all of its rasters"):
        scene_of(tmp_path, paths)
    assert not (tmp_path / "scenes/scene/mask.tif").exists()


# Values and ratio ---------------------------------------------------------------------------------------------


def test_integers_without_a_scale_are_refused(tmp_path):
    paths = write_fields(tmp_path, truth={"array": (fields()["truth"] * 1e4).astype(np.int16)})
    with pytest.raises(ScaleError, match="--scale truth="):
        scene_of(tmp_path, paths)


def test_what_is_stated_is_kept_and_can_be_stated_again(tmp_path):
    stored = (fields()["fine_t1"] * 1e4).round().astype(np.int16)
    paths = write_fields(tmp_path, fine_t1={"array": stored, "names": None})
    given = Raster(paths["fine_t1"], scale=1e-4, names=NAMES, crs=UTM, transform=grid_transform())
    scene = scene_of(tmp_path, paths | {"fine_t1": given})
    assert scene.facts.pixels["changed"] == BLOCK_PIXELS
    assert list(scene.facts.stated) == ["fine_t1"]
    again = rasters_of(SceneFacts.model_validate_json(scene.facts.model_dump_json()), tmp_path)
    with again["fine_t1"].open() as dataset:
        assert dataset.descriptions == NAMES
        assert dataset.crs == rasterio.CRS.from_string(UTM)
    assert again["fine_t1"].scale == 1e-4
    assert again["truth"] == Raster(str(paths["truth"]))


def test_arrays_become_files(tmp_path):
    paths = write_fields(tmp_path)
    hidden = np.zeros(SHAPE, bool)
    hidden[3, 4] = True
    image = np.ma.MaskedArray((fields()["fine_t1"] * 1e4).round().astype(np.int16), np.stack([hidden, hidden]))
    given = Raster(image, scale=1e-4, names=NAMES, crs=UTM, transform=grid_transform())
    scene = scene_of(tmp_path, paths | {"fine_t1": given})
    assert scene.facts.inputs["fine_t1"] == "scenes/scene/fine_t1.tif"
    assert scene.facts.stated == {}
    np.testing.assert_array_equal(read_tif(scene.mask)[0], ~hidden)
    with rasterio.open(tmp_path / scene.facts.inputs["fine_t1"]) as written:
        assert written.scales == (1e-4, 1e-4)
        assert written.descriptions == NAMES


def test_an_array_has_to_say_where_it_lies(tmp_path):
    with pytest.raises(Exception, match="does not say where it lies"):
        scene_of(tmp_path, write_fields(tmp_path) | {"coarse_t1": fields()["coarse_t1"]})


def test_coarse_images_on_fine_pixels_are_taken_to_be_of_the_usual_ratio(tmp_path):
    coarse = {
        role: {"array": fields()[role].repeat(RATIO, 1).repeat(RATIO, 2), "pixel": 30.0}
        for role in ("coarse_t1", "coarse_t2")
    }
    paths = write_fields(tmp_path, **coarse)
    facts = scene_of(tmp_path, paths).facts
    assert (facts.ratio, "the ratio is taken to be 16" in facts.remark) == (16.0, True)
    assert scene_of(tmp_path, paths, usual_ratio=20).facts.ratio == 20
    facts = scene_of(tmp_path, paths, ratio=RATIO).facts
    assert (facts.ratio, facts.remark) == (4.0, "")


def test_other_units_are_measured_over_the_span_of_the_truth(tmp_path):
    kelvin = {role: {"array": image * 100 + 270} for role, image in fields().items()}
    facts = scene_of(tmp_path, write_fields(tmp_path, **kelvin), unit="kelvin").facts
    truth = kelvin["truth"]["array"]
    assert facts.data_range == pytest.approx(float(truth.max() - truth.min()), rel=1e-5)
    assert "The data range is the span of the truth" in facts.remark


# Which bundles fit --------------------------------------------------------------------------------------------


def test_bundles_that_do_not_fit_are_refused_with_the_reason(tmp_path):
    scene = scene_of(tmp_path, write_fields(tmp_path))
    assert scene.refusal(make_spec(32)) is None
    assert set(scene.inputs_of(make_spec(32, roles=("fine_t1", "coarse_t2")))) == {"fine_t1", "coarse_t2"}
    assert "--fine-t3" in str(scene.refusal(make_spec(32, roles=("fine_t1", "coarse_t2", "fine_t3"))))
    assert "swir1 not found" in str(scene.refusal(make_spec(32, bands=("red", "swir1"))))
    assert "does not fit the ratio" in str(scene.refusal(make_spec(32, ratio=16, stride=16)))
    assert "kelvin" in str(scene.refusal(make_spec(32, values=Values(unit="kelvin"))))


def test_a_truth_without_the_bands_of_the_result_refuses_a_bundle(tmp_path):
    scene = scene_of(tmp_path, write_fields(tmp_path, truth={"array": fields()["truth"][:1], "names": ("red",)}))
    assert scene.facts.bands == ("red",)
    assert "truth" in str(scene.refusal(make_spec(32)))
    assert replace(scene, truth=None).refusal(make_spec(32)) is None


# Where scenes come from ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", [64, 512, 530])
def test_the_procedural_scene_has_any_side(tmp_path, side):
    scene = scenes.procedural(tmp_path, side)
    assert (scene.facts.height, scene.facts.width, scene.facts.ratio) == (side, side, 16.0)
    assert scene.facts.pixels["valid"] == side**2
    with rasterio.open(tmp_path / scene.facts.inputs["coarse_t1"]) as coarse:
        assert coarse.shape == (-(-side // 16),) * 2
    assert ("mirrored" in scene.facts.remark) == (side > 512)
    assert ("cut" in scene.facts.remark) == (side < 512)


def test_a_mirrored_file_holds_the_small_one_and_its_mirror(tmp_path):
    small = write_tif(tmp_path / "small.tif", np.arange(6, dtype=np.int16).reshape(1, 2, 3), nodata=-1, scale=0.5)
    path = mirror_file(small, tmp_path / "large.tif", Shape(5, 7))
    np.testing.assert_array_equal(
        read_tif(path)[0],
        [
            [0, 1, 2, 2, 1, 0, 0],
            [3, 4, 5, 5, 4, 3, 3],
            [3, 4, 5, 5, 4, 3, 3],
            [0, 1, 2, 2, 1, 0, 0],
            [0, 1, 2, 2, 1, 0, 0],
        ],
    )
    with rasterio.open(path) as large:
        assert (large.nodata, large.scales, large.transform) == (-1, (0.5,), grid_transform())


def test_a_side_that_is_too_small_is_refused(tmp_path):
    with pytest.raises(UsageError, match="32 or more"):
        scenes.procedural(tmp_path, 16)


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "scenes").write_text("in the way")
    with pytest.raises(OutputError):
        scenes.procedural(tmp_path, 64)


def test_names_that_differ_have_files_of_their_own(tmp_path):
    scene = scene_of(tmp_path, write_fields(tmp_path))
    rows = ["demo | openvino-cpu int8", "demo | openvino-cpu int8 #2", "/a/demo | x fp32", "/a-demo | x fp32", "Ä", "Ö"]
    assert len({scene.result_path(tmp_path, row) for row in rows}) == len(rows)
    assert scene.result_path(tmp_path, rows[0]) == tmp_path / "results/demo-openvino-cpu-int8/scene.tif"
    assert all(
        scene.result_path(tmp_path, row).resolve().parent.parent == tmp_path / "results" for row in (*rows, "..")
    )


def test_a_folder_of_rasters_named_by_role(tmp_path):
    paths = write_fields(tmp_path)
    inputs, truth = scenes.from_folder(tmp_path)
    assert ({role: raster.data for role, raster in inputs.items()}, truth) == ({r: paths[r] for r in inputs}, None)
    assert set(inputs) == set(ROLES)
    paths["truth"].rename(tmp_path / scenes.TRUTH_FILE)
    assert scenes.from_folder(tmp_path)[1] == Raster(tmp_path / scenes.TRUTH_FILE)


@pytest.mark.parametrize("exists", [True, False])
def test_a_folder_without_a_scene_is_refused(tmp_path, exists):
    with pytest.raises(UsageError, match=r"fine_t1\.tif"):
        scenes.from_folder(tmp_path if exists else tmp_path / "missing")


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_dataset_gives_scenes(tmp_path, name):
    root, out = make_folder(tmp_path / "data", name), tmp_path / "out"
    found = scenes.from_dataset(name, root, out)
    assert [scene.facts.name for scene in found] == [f"{name} {a} to {b}" for a, b in pairwise(DAYS)]
    first = found[0].facts
    layout = LAYOUTS[name]
    assert (first.ratio, first.bands, first.data_range) == (layout.ratio, layout.bands, 1.0)
    assert first.stated["truth"]["scale"] == layout.scale
    assert first.stated["fine_t1"]["names"] == list(layout.bands)
    assert set(first.inputs) == set(ROLES)


def test_a_dataset_gives_scenes_of_two_references_and_so_many(tmp_path):
    root = make_folder(tmp_path / "data", "CIA")
    (scene,) = scenes.from_dataset("CIA", root, tmp_path, references=2)
    assert set(scene.facts.inputs) == {*ROLES, "fine_t3", "coarse_t3"}
    assert len(scenes.from_dataset("CIA", root, tmp_path, limit=1)) == 1
