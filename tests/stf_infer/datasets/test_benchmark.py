# SPDX-License-Identifier: Apache-2.0
"""Benchmark datasets: every layout and copy that is known, on miniature folders, and what can be wrong with one."""

from __future__ import annotations

import re
import shutil
from datetime import date, timedelta

import numpy as np
import pytest

from dataset_folders import DAYS, NAMES, PLACES, VARIANTS, images, make_folder, write_envi
from fakes import make_model, make_spec, write_tif
from stf_infer import datasets
from stf_infer.datasets import LAYOUTS
from stf_infer.errors import BandError, RasterError, UsageError
from stf_infer.metrics import compare


def spec_of(name, **options):
    return make_spec(bands=LAYOUTS[name].bands[::-1], coarse_grid="fine", **options)


def add_change(fine_t1, coarse_t1, coarse_t2):
    return fine_t1 + coarse_t2 - coarse_t1


def fused(data, name, references=1):
    one = data.tuples(references)[0]
    return one, make_model(spec_of(name), add_change).fuse(**one.inputs_of(spec_of(name)))


@pytest.mark.parametrize(("name", "variant"), VARIANTS, ids=lambda v: str(v))
def test_every_copy_of_every_dataset_is_read(tmp_path, name, variant):
    data = datasets.open(name, make_folder(tmp_path, name, variant))
    layout = LAYOUTS[name]
    assert data.name == name
    assert [pair.date for pair in data.pairs] == list(DAYS)
    assert data.unpaired == ()
    assert data.statements == datasets.Statements(layout.bands, layout.scale, None, layout.ratio)
    one, result = fused(data, name)
    truth = images(name, 2)[1][0].astype(np.float64) * layout.scale
    # The network wants the bands in another order than the files have: they are found by their names.
    np.testing.assert_allclose(result.array, truth[::-1], atol=1e-6)
    assert one.ratio == layout.ratio


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", LAYOUTS)
def test_folders_do_not_count(tmp_path, name, place):
    data = datasets.open(name, make_folder(tmp_path, name, place=place))
    assert [pair.date for pair in data.pairs] == list(DAYS)


def test_every_layout_has_a_miniature_and_says_what_it_is():
    assert set(NAMES) == set(LAYOUTS)
    for layout in LAYOUTS.values():
        for patterns, example in zip((layout.fine, layout.coarse), layout.examples, strict=True):
            assert any(re.fullmatch(p, example.removesuffix(".tif")) for p in patterns), layout.name
            other = layout.examples[patterns is layout.fine]
            assert not any(re.fullmatch(p, other.removesuffix(".tif")) for p in patterns), layout.name
        assert len(layout.bands) in (4, 6)
        assert layout.scale in (1e-4, 1 / 255, 1)


@pytest.mark.parametrize(("given", "meant"), [("cia", "CIA"), ("DX", "Daxing"), ("bc", "Butte"), ("wuhan", "Wuhan")])
def test_other_names(tmp_path, given, meant):
    assert datasets.open(given, make_folder(tmp_path, meant)).name == meant


def test_a_folder_of_folders(tmp_path):
    make_folder(tmp_path / "cia", "CIA")
    make_folder(tmp_path / "LGC", "LGC", 2)  # whose names CIA could have, too
    assert len(datasets.open("CIA", tmp_path).pairs) == 3


# Tuples ------------------------------------------------------------------------------------------------------


def test_tuples_of_one_reference(tmp_path):
    tuples = datasets.open("LGC", make_folder(tmp_path, "LGC")).tuples()
    assert [one.name for one in tuples] == ["2001-10-07 to 2001-10-16", "2001-10-16 to 2001-11-01"]
    assert list(tuples[0].inputs) == ["fine_t1", "coarse_t1", "coarse_t2"]
    assert tuples[1].dates == {"t1": DAYS[1], "t2": DAYS[2]}
    assert tuples[0].truth == tuples[1].inputs["fine_t1"]
    assert tuples[0].inputs["coarse_t2"] == tuples[1].inputs["coarse_t1"]
    assert tuples[0].truth not in tuples[0].inputs.values()


def test_tuples_of_two_references(tmp_path):
    (one,) = datasets.open("LGC", make_folder(tmp_path, "LGC")).tuples(2)
    assert one.name == "2001-10-07, 2001-11-01 to 2001-10-16"
    assert list(one.inputs) == ["fine_t1", "coarse_t1", "coarse_t2", "fine_t3", "coarse_t3"]
    assert one.dates == {"t1": DAYS[0], "t2": DAYS[1], "t3": DAYS[2]}
    assert one.inputs["fine_t3"].data.name == "20011101_TM.tif"
    assert one.truth.data.name == "20011016_TM.tif"


def test_a_network_gets_the_roles_that_it_takes(tmp_path):
    data = datasets.open("AHB", make_folder(tmp_path, "AHB"))
    assert set(data.tuples(2)[0].inputs_of(spec_of("AHB", roles=("fine_t1", "coarse_t2")))) == {"fine_t1", "coarse_t2"}
    both = spec_of("AHB", roles=("fine_t1", "fine_t3", "coarse_t3", "coarse_t2"))
    with pytest.raises(UsageError, match=r"fine_t3, coarse_t3.*references=2"):
        data.tuples()[0].inputs_of(both)
    assert set(data.tuples(2)[0].inputs_of(both)) == {"fine_t1", "fine_t3", "coarse_t3", "coarse_t2"}
    with pytest.raises(UsageError, match=r"does not have: series") as error:
        data.tuples(2)[0].inputs_of(spec_of("AHB", roles=("fine_t1", "series")))
    assert error.value.fix is None


def test_bands_that_are_not_there_are_named(tmp_path):
    data = datasets.open("Wuhan", make_folder(tmp_path, "Wuhan"))
    with pytest.raises(BandError, match=r"swir1 not found.*_20011007.*blue, green, red, nir"):
        make_model(make_spec(bands=("red", "swir1"), coarse_grid="fine"), add_change).fuse(**data.tuples()[0].inputs)


def test_a_result_can_be_compared_with_the_truth(tmp_path):
    one = datasets.open("Daxing", make_folder(tmp_path, "Daxing")).tuples()[0]
    model = make_model(make_spec(bands=("nir", "red"), coarse_grid="fine"), add_change)
    model.fuse(tmp_path / "F2.tif", dtype="float32", **one.inputs)
    report = compare(tmp_path / "F2.tif", one.truth, data_range=1.0, ratio=one.ratio).report
    assert report.bands == ("nir", "red")
    assert report.pooled["rmse"] < 1e-7


def many(name):
    first = date(2001, 1, 1)
    return [first + timedelta(days=16 * n) for n in range(LAYOUTS[name].pairs)]


@pytest.mark.parametrize("name", ["CIA", "LGC", "Tianjin", "Wuhan"])
def test_parts_of_a_whole_dataset(tmp_path, name):
    data = datasets.open(name, make_folder(tmp_path, name, days=many(name)))
    split = LAYOUTS[name].training
    assert data.remark == ""
    assert len(data.tuples(part="training")) == split - 1
    assert data.tuples(part="test") == data.tuples()[split:]
    assert len(data.tuples(2, "test")) == LAYOUTS[name].pairs - split - 2


def test_parts_of_a_piece_of_a_dataset(tmp_path):
    data = datasets.open("CIA", make_folder(tmp_path, "CIA"))
    assert data.remark == "CIA: 3 of the 17 published pairs."
    assert data.tuples()[0].remark == data.remark
    with pytest.raises(UsageError, match=r"not known for these 3 pairs.*training=N"):
        data.tuples(part="test")
    data = datasets.open("CIA", tmp_path, training=1)
    assert [one.name for one in data.tuples(part="test")] == ["2001-10-16 to 2001-11-01"]
    with pytest.raises(UsageError, match=r"too few pairs.*Got: 1: 2001-10-07.*2 or more.*another part"):
        data.tuples(part="training")
    with pytest.raises(UsageError, match=r"no such part.*Got: tset"):
        data.tuples(part="tset")


@pytest.mark.parametrize("references", [0, 3])
def test_other_numbers_of_references(tmp_path, references):
    with pytest.raises(UsageError, match="one or two references"):
        datasets.open("LGC", make_folder(tmp_path, "LGC")).tuples(references)


def test_two_references_need_three_pairs(tmp_path):
    data = datasets.open("LGC", make_folder(tmp_path, "LGC", days=DAYS[:2]))
    with pytest.raises(UsageError, match=r"Got: 2: .*Allowed: 3 or more.*Complete the folder"):
        data.tuples(2)


# Files -------------------------------------------------------------------------------------------------------


def test_pixels_as_the_first_publisher_wrote_them(tmp_path):
    make_folder(tmp_path, "CIA", write=write_envi, suffixes=(".bil", ".int"), place="a folder a sensor and date")
    data = datasets.open("CIA", tmp_path)
    assert [pair.coarse_date for pair in data.pairs] == [day + timedelta(days=1) for day in DAYS]
    truth = images("CIA", 2)[1][0] * 1e-4
    np.testing.assert_allclose(fused(data, "CIA")[1].array, truth[::-1], atol=1e-6)


def test_raw_pixels_without_a_header(tmp_path):
    make_folder(tmp_path, "CIA", write=write_envi, suffixes=(".bil", ".int"), header=False)
    with pytest.raises(RasterError, match=r"without a header.*agd66\.bil.*agd66\.hdr beside it"):
        datasets.open("CIA", tmp_path)


def test_copies_of_a_file_are_one_file(tmp_path):
    make_folder(tmp_path / "train", "CIA")
    shutil.copytree(tmp_path / "train", tmp_path / "refs")
    make_folder(tmp_path / "raw", "CIA", write=write_envi, suffixes=(".bil", ".int"))
    data = datasets.open("CIA", tmp_path)
    assert [pair.fine.data.suffix for pair in data.pairs] == [".tif"] * 3
    assert data.unpaired == ()


def test_two_images_of_a_day(tmp_path):
    make_folder(tmp_path / "AHB", "AHB")
    make_folder(
        tmp_path / "Daxing", "Daxing", write=lambda path, image, pixel: write_tif(path, image // 2, pixel=pixel)
    )
    with pytest.raises(UsageError, match=r"claim to be the image of 2001-10-16.*AHB.*Daxing.*skip="):
        datasets.open("Tianjin", tmp_path)
    assert len(datasets.open("Tianjin", tmp_path, skip=["Daxing"]).pairs) == 3
    make_folder(tmp_path / "AHB", "AHB", 1)  # 2001-10-7 is now there as 2001-10-07 too
    with pytest.raises(UsageError, match="claim to be the image"):
        datasets.open("Tianjin", tmp_path, skip=["Daxing"])


def test_products_of_other_methods_are_left_out(tmp_path):
    make_folder(tmp_path, "CIA")
    shutil.copytree(tmp_path / "Landsat", tmp_path / "CSBS")
    for path in (tmp_path / "CSBS").iterdir():
        path.rename(path.with_name(f"MOD09GA_A{'2001280' if '1007' in path.name else '2001306'}.sur_refl.tif"))
    assert [p.coarse.data.parent.name for p in datasets.open("CIA", tmp_path).pairs] == ["MODIS"] * 3


def test_files_of_other_names_are_left_alone(tmp_path):
    make_folder(tmp_path, "Butte")
    for other in ("S2_20011007_sam.tif", "S2_20011007_KMeans-5.tif", "S3_20011007_real.tif.aux.xml", "README.md"):
        (tmp_path / other).write_text("no raster")
    assert len(datasets.open("Butte", tmp_path).pairs) == 3


def test_images_without_a_partner(tmp_path):
    make_folder(tmp_path, "Butte", days=[*DAYS, date(2001, 12, 1)])
    lost = tmp_path / "Landsat" / "S2_20011016.tif"
    lost.unlink()
    data = datasets.open("Butte", tmp_path)
    assert [pair.date for pair in data.pairs] == [DAYS[0], DAYS[2], date(2001, 12, 1)]
    assert [path.name for path in data.unpaired] == ["S3_20011016_real.tif"]


def test_images_of_a_pair_are_the_nearest(tmp_path):
    days = [date(2015, 5, 1), date(2015, 5, 9), date(2015, 5, 17)]
    make_folder(tmp_path, "AHB", days=days)
    for path in sorted((tmp_path / "MODIS").iterdir()):
        y, m, d = map(int, path.stem[2:].split("-"))
        path.rename(path.with_name(f"M_{date(y, m, d) - timedelta(days=3)}.tif"))
    data = datasets.open("AHB", tmp_path)
    assert [(pair.date - pair.coarse_date).days for pair in data.pairs] == [3, 3, 3]
    with pytest.raises(UsageError, match=r"no pair.*at most 2 day"):
        datasets.open("AHB", tmp_path, apart=2)


def test_no_such_folder(tmp_path):
    with pytest.raises(UsageError, match=r"folder of LGC is missing.*nowhere.*20040416_TM"):
        datasets.open("LGC", tmp_path / "nowhere")


def test_an_empty_folder(tmp_path):
    with pytest.raises(UsageError, match=r"no pair.*Got: no raster in .*Allowed: fine files like G_20180109\.tif"):
        datasets.open("Wuhan", tmp_path)


def test_a_folder_of_something_else(tmp_path):
    make_folder(tmp_path, "Butte")
    with pytest.raises(UsageError, match=r"no pair.*S2_20011007\.tif.* and 1 more in .*L_2015-6-21\.tif"):
        datasets.open("AHB", tmp_path)


def test_one_date_only(tmp_path):
    make_folder(tmp_path, "LGC", days=DAYS[:1])
    with pytest.raises(UsageError, match=r"holds one pair only.*fine: 2001-10-07; coarse: 2001-10-07"):
        datasets.open("LGC", tmp_path)


@pytest.mark.parametrize(("lost", "left"), [("Landsat", "fine: none; coarse: 2001"), ("MODIS", "coarse: none")])
def test_one_sensor_only(tmp_path, lost, left):
    shutil.rmtree(make_folder(tmp_path, "LGC") / lost)
    with pytest.raises(UsageError, match=f"no pair.*{left}"):
        datasets.open("LGC", tmp_path)


@pytest.mark.parametrize(("name", "bad"), [("LGC", "20041316_TM"), ("CIA", "MOD09GA_A2001366"), ("AHB", "L_2015-2-30")])
def test_names_with_impossible_dates(tmp_path, name, bad):
    make_folder(tmp_path, name)
    (tmp_path / f"{bad}.tif").write_bytes(b"")
    with pytest.raises(UsageError, match=f"holds no date.*{bad}"):
        datasets.open(name, tmp_path)


@pytest.mark.parametrize(
    ("given", "offer"), [("Taijin", "Did you mean Tianjin?"), ("CAI", "CIA"), ("imperal", "Imperial"), ("xyzzy", None)]
)
def test_unknown_names(tmp_path, given, offer):
    with pytest.raises(UsageError, match=r"No dataset of that name.*CIA, LGC, AHB") as error:
        datasets.open(given, tmp_path)
    assert (offer or "Did you mean") in str(error.value) if offer else error.value.fix is None


def test_unknown_statements(tmp_path):
    with pytest.raises(UsageError, match=r"no such statement.*Got: gain.*Allowed: bands, scale"):
        datasets.open("CIA", tmp_path, gain=2)


def test_names_of_ones_own(tmp_path):
    make_folder(tmp_path, "LGC")
    for path in tmp_path.rglob("*.tif"):
        path.rename(path.with_name(f"my-{path.name}"))
    with pytest.raises(UsageError, match="no pair"):
        datasets.open("LGC", tmp_path)
    data = datasets.open(
        "LGC",
        tmp_path,
        fine=r"my-(?P<y>\d{4})(?P<m>\d\d)(?P<d>\d\d)_TM",
        coarse=[r"my-MOD09GA_A(?P<y>\d{4})(?P<j>\d{3})\.sur_refl"],
    )
    assert len(data.pairs) == 3
