# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import rasterio

from stf_infer.errors import BandError, OutputError
from stf_infer.picture import (
    INK,
    PAPER,
    Panel,
    composite,
    heat,
    sheet,
    shown_bands,
    stretch,
    text_width,
    write,
    write_png,
)


def test_true_colour_where_it_is_there():
    assert shown_bands(("blue", "green", "red", "nir")) == [2, 1, 0]
    assert shown_bands(("b1", "b2", "b3", "b4")) == [0, 1, 2]
    assert shown_bands(("nir",)) == [0, 0, 0]
    assert shown_bands(("red", "nir", "swir1")) == [2, 1, 0]
    assert shown_bands(("green", "red", "nir")) == [2, 1, 0]
    with pytest.raises(BandError):
        shown_bands(())


def test_composite_maps_black_and_white_points():
    image = np.array([[[0.1, 0.3, np.nan]]], np.float32).repeat(3, axis=0)
    low, high = np.full(3, 0.1, np.float32), np.full(3, 0.3, np.float32)
    picture = composite(image, ("red", "green", "blue"), low, high)
    assert picture.shape == (1, 3, 3)
    assert picture[0].tolist() == [[0] * 3, [255] * 3, [128] * 3]


def test_stretch_ignores_outliers_and_nan():
    image = np.linspace(0, 1, 10_000, dtype=np.float32).reshape(1, 100, 100).copy()
    image[0, 0, 0], image[0, 0, 1] = 50.0, np.nan
    low, high = stretch(image, ("nir",))
    assert abs(high[0] - 0.995) < 0.005
    assert -0.15 < low[0] < 0.05


def test_white_is_one_for_true_colour_and_each_band_s_own_for_false_colours():
    image = np.stack([np.linspace(0, top, 400, dtype=np.float32).reshape(20, 20) for top in (0.1, 0.4, 0.2)])
    _, white = stretch(image, ("red", "green", "blue"))
    assert len(set(white.tolist())) == 1
    _, white = stretch(image, ("red", "nir", "swir1"))
    np.testing.assert_allclose(white, (0.2, 0.4, 0.1), rtol=0.02)


def test_heat_rises_in_brightness():
    picture = heat(np.array([[0.0, 0.02, 0.05, 0.1, 7.0, np.nan]]), 0.1)[0].astype(int)
    brightness = picture[:4].sum(1)
    assert (np.diff(brightness) > 0).all()
    assert (picture[4] == picture[3]).all()
    assert (picture[5] == 128).all()


@pytest.mark.parametrize("character", [chr(c) for c in range(33, 127)])
def test_every_character_leaves_ink_inside_its_box(character):
    canvas = np.full((40, 60, 3), 255, np.uint8)
    end = write(canvas, character, 10, 28)
    inked = np.argwhere((canvas < 160).all(-1))
    assert len(inked) > 2
    assert inked[:, 1].min() >= 8
    assert inked[:, 1].max() <= end == 10 + text_width(character)
    assert inked[:, 0].min() >= 28 - 14
    assert inked[:, 0].max() <= 28 + 6


def test_letters_differ():
    drawn = set()
    for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.,:-+=/()%_|'":
        canvas = np.full((20, 20, 3), 255, np.uint8)
        write(canvas, c, 4, 14)
        drawn.add(canvas.tobytes())
    assert len(drawn) >= 62 + 13 - 2  # the letter O and the digit 0, I and | may look alike


def test_text_is_cut_at_the_canvas():
    canvas = np.full((10, 12, 3), 255, np.uint8)
    write(canvas, "overlong", 4, 9)
    assert (canvas < 255).any()


def test_sheet_places_panels_in_rows():
    red, blue = (np.full((20, 30, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
    made = sheet([[Panel(red, "a"), Panel(blue, "b", "note")], [Panel(blue, "c")]], side=60)
    is_red, is_blue = (made == (255, 0, 0)).all(-1), (made == (0, 0, 255)).all(-1)
    assert is_red.sum() == 60 * 40
    assert is_blue.sum() == 2 * 60 * 40
    assert tuple(made[-1, -1]) == PAPER
    assert (np.abs(made.astype(int) - INK).max(-1) < 40).any()
    assert sheet([[Panel(red, "a")]], scale=(0.1, "reflectance")).shape[0] > sheet([[Panel(red, "a")]]).shape[0]


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_png_reads_back(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    write_png(tmp_path / "p.png", picture)
    with rasterio.open(tmp_path / "p.png") as png:
        np.testing.assert_array_equal(np.moveaxis(png.read(), 0, -1), picture)
    assert [p.name for p in tmp_path.iterdir()] == ["p.png"]
    with pytest.raises(OutputError, match="picture cannot be written"):
        write_png(tmp_path / "missing" / "p.png", picture)
