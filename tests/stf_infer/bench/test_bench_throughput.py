# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from bench_scene_support import RATIO, SHAPE, write_fields
from fakes import add_coarse_change, make_model, make_spec, read_tif
from stf_infer.baselines import fuse_baseline
from stf_infer.bench import baseline_rows, scenes, throughput
from stf_infer.bench.on_scenes import Round, measure, over
from stf_infer.bench.result import Energy, Row
from stf_infer.errors import EngineError, NodataError
from stf_infer.fusion import FusionResult

PIXELS = SHAPE[0] * SHAPE[1]


@pytest.fixture
def scene(tmp_path):
    return a_scene(tmp_path)


def a_scene(folder, *without, name="one"):
    paths = write_fields(folder)
    truth = paths.pop("truth")
    return scenes.from_rasters(name, {r: p for r, p in paths.items() if r not in without}, truth, folder)


def adds_change(**options):
    return make_model(make_spec(32, **options), add_coarse_change)


# Throughput ---------------------------------------------------------------------------------------------------


def test_runs_are_measured_from_files_to_a_file(scene, tmp_path):
    image = tmp_path / "results" / "deep" / "fine_t2.tif"
    model = adds_change()
    fused = throughput.measure(
        partial(model.fuse, **scene.inputs_of(model.spec)), scene, image, repeats=3, tile_seconds=0.5
    )
    found = fused.throughput
    assert (found.scene, found.height, found.width, found.bands) == ("one", *SHAPE, 2)
    assert (found.tiles, found.engine_seconds) == (6, 3.0)
    assert len(found.seconds) == 3
    median = sorted(found.seconds)[1]
    assert found.megapixels_a_second == pytest.approx(PIXELS / 1e6 / median)
    assert found.scenes_an_hour == pytest.approx(3600 / median)
    assert found.peak_memory > 1e6
    assert (found.device_memory, found.energy.joules_a_megapixel) == (None, None)
    assert found.energy.note.startswith("not readable")
    assert {"read", "gather", "infer", "blend", "finalise", "write", "finish"} <= {s.name for s in found.stages}
    assert sum(span.end - span.start for span in found.spans if span.name == "infer") == pytest.approx(
        next(stage.seconds for stage in found.stages if stage.name == "infer")
    )
    assert min(span.start for span in found.spans) == 0
    assert fused.image == image
    assert read_tif(image).shape == (2, *SHAPE)


def test_the_figures_are_those_of_the_median_run(scene, tmp_path):
    took = iter([0.4, 0.1, 0.3, 0.2])
    metered = iter(range(4))

    def fuse(image, profile):
        profile.note("read", False, 0, 10, 1)
        return FusionResult(bands=("red",), pixels=2_000_000, tiles=5, seconds=next(took), seam_ratio=1.5)

    class Metered:
        def __init__(self, number):
            self.number = number

        def energy(self, pixels):
            return Energy(joules={"cpu": self.number}, joules_a_megapixel=self.number / (pixels / 1e6), note="")

    @contextmanager
    def meter():
        yield Metered(next(metered))

    fused = throughput.measure(fuse, scene, tmp_path / "x.tif", repeats=4, meter=meter, device_memory=lambda: 7)
    found = fused.throughput
    assert found.seconds == (0.4, 0.1, 0.3, 0.2)
    assert found.megapixels_a_second == pytest.approx(2 / 0.25)
    assert found.energy.joules == {"cpu": 3.0}  # the run of 0.2 s: the lower one of the two in the middle
    assert found.energy.joules_a_megapixel == 1.5
    assert (found.engine_seconds, found.device_memory, fused.seam) == (None, 7, 1.5)


def test_a_long_timeline_is_cut(scene, tmp_path):
    def fuse(image, profile):
        for number in range(5000):
            profile.note("infer", False, number, number + 1, 0)
        return FusionResult(pixels=1, seconds=1.0)

    found = throughput.measure(fuse, scene, tmp_path / "x.tif", repeats=1).throughput
    assert len(found.spans) == 2000
    assert found.stages[0].calls == 5000


# A row over scenes --------------------------------------------------------------------------------------------


def test_an_engine_is_measured_on_every_scene(tmp_path):
    both = [a_scene(tmp_path / name, name=name) for name in ("one", "two") if (tmp_path / name).mkdir() is None]
    said = []
    common = Round("blur | function fp32", tmp_path, repeats=2, say=said.append)
    found = measure(adds_change(), both, common)
    assert [one.scene for one in found.throughput] == ["one", "two"]
    assert [len(one.seconds) for one in found.throughput] == [2, 2]
    assert [one.image for one in found.quality] == [f"results/blur-function-fp32/{n}.tif" for n in ("one", "two")]
    # Coarse pixels hold the mean of what changed; blocks of the scene are whole coarse pixels.
    assert all(one.truth.pooled["rmse"] < 1e-6 for one in found.quality)
    assert found.notes == ()
    assert said == ["fusing one", "judging one", "fusing two", "judging two"]


def test_a_scene_that_lacks_a_role_is_left_out_with_the_reason(tmp_path):
    found = measure(adds_change(), [a_scene(tmp_path, "coarse_t2")], Round("row", tmp_path))
    assert (found.throughput, found.quality) == ((), ())
    (note,) = found.notes
    assert note.startswith("one left out: ")
    assert "--coarse-t2" in note


def test_a_scene_without_the_bands_is_left_out_with_the_reason(scene, tmp_path):
    (note,) = measure(adds_change(bands=("red", "green")), [scene, scene], Round("row", tmp_path)).notes
    assert note.startswith("one and 1 more left out: ")
    assert "green not found" in note


def failing(error):
    def fails(**_):
        raise error

    return make_model(make_spec(32), fails)


def test_an_engine_that_fails_is_an_error_and_leaves_no_file(scene, tmp_path):
    with pytest.raises(EngineError, match="The device is gone"):
        measure(failing(EngineError("The device is gone")), [scene], Round("row", tmp_path))
    assert list((tmp_path / "results" / "row").iterdir()) == []


def test_a_scene_that_fails_is_a_note_and_the_others_go_on(tmp_path, scene):
    model = adds_change()

    def prepare(one):
        def fails(image, profile):
            raise NodataError("Nothing is valid", got=image.name)

        return fails if one is not scene else partial(model.fuse, **scene.inputs_of(model.spec))

    other = replace(scene, facts=scene.facts.model_copy(update={"name": "two"}))
    found = over([other, scene], prepare, Round("row", tmp_path))
    assert [one.scene for one in found.throughput] == ["one"]
    assert found.notes == ("two failed: Nothing is valid. Got: two.tif.",)


def test_results_are_measured_against_fp32(scene, tmp_path):
    exact = measure(adds_change(), [scene], Round("fp32", tmp_path))
    off = make_model(make_spec(32), lambda **inputs: add_coarse_change(**inputs) + 0.01)
    references = {"one": tmp_path / exact.quality[0].image}
    (found,) = measure(off, [scene], Round("int8", tmp_path, references=references)).quality
    assert found.fp32.pooled["rmse"] == pytest.approx(0.01, abs=1e-6)
    assert exact.quality[0].fp32 is None


@pytest.mark.parametrize("seed", [0, 5])
def test_a_diffusion_network_sees_the_noise_of_the_seed(scene, tmp_path, seed):
    model = make_model(make_spec(32, draws=(0,)), lambda fine_t1, noise_0, **_: fine_t1 + noise_0 / 1000)
    image = tmp_path / measure(model, [scene], Round("row", tmp_path), seed=seed).quality[0].image
    expected = model.fuse(seed=seed, **scene.inputs_of(model.spec)).array
    np.testing.assert_allclose(read_tif(image), expected, atol=1e-6)


# Baselines ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", baseline_rows.BASELINES)
def test_every_baseline_is_a_row(scene, tmp_path, name):
    row = baseline_rows.measure(name, [scene], Round("", tmp_path, repeats=2), threads=1)
    assert (row.name, row.kind, row.network, row.failure) == (f"baseline | {name}", "baseline", name, None)
    assert len(row.throughput[0].seconds) == 2
    assert row.throughput[0].engine_seconds is None
    figures = row.quality[0]
    assert figures.image == f"results/baseline-{name}/one.tif"
    if name == "copy":  # every pixel keeps its value of t1: what changed is the error
        assert figures.changed.pooled["rmse"] == pytest.approx(0.2, abs=1e-6)
        assert figures.unchanged.pooled["rmse"] == pytest.approx(0.01, abs=1e-6)
    alone = fuse_baseline(name, ratio=RATIO, threads=1, **scene.inputs).array
    np.testing.assert_allclose(read_tif(tmp_path / figures.image), alone, atol=1e-6)
    assert Row.model_validate_json(row.model_dump_json()) == row


def test_a_baseline_without_its_rasters_is_a_row_with_the_reason(tmp_path):
    scene = a_scene(tmp_path, "coarse_t1", "coarse_t2")
    row = baseline_rows.measure("change", [scene], Round("", tmp_path))
    assert row.failure == "one left out: The baseline change takes coarse_t1, coarse_t2 too. Got: fine_t1."
    assert baseline_rows.measure("copy", [scene], Round("", tmp_path)).failure is None
    assert baseline_rows.measure("copy", [], Round("", tmp_path)).failure == "There is no scene"
