# SPDX-License-Identifier: Apache-2.0
"""Pictures of rasters without a plotting library: colour composites, error maps, titled panels, a PNG.

Pictures are uint8 arrays of shape ``(H, W, 3)``.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from .errors import BandError, OutputError

PAPER, INK, PALE = (250, 250, 248), (28, 30, 34), (110, 114, 120)

# From no error to the largest one; evenly spaced and rising in brightness.
_HEAT = ((8, 6, 28), (66, 16, 98), (146, 34, 108), (215, 64, 70), (248, 142, 28), (252, 228, 120))

_TRUE_COLOUR = ("red", "green", "blue")

_GAP, _TITLE, _CAP = 14, 34, 12  # pixels: between panels, above each, height of a capital letter


@dataclass(frozen=True)
class Panel:
    """A picture ``(H, W, 3)`` with a title and, in a paler ink, a note behind it."""

    picture: np.ndarray
    title: str
    note: str = ""


def composite(
    image: np.ndarray, bands: Sequence[str], low: np.ndarray | None = None, high: np.ndarray | None = None
) -> np.ndarray:
    """True colour where red, green and blue are there, else false colours (one band: grey).

    Args:
        image: ``(C, H, W)``; NaN is shown as a neutral grey.
        bands: Names of the bands.
        low: Value of each shown band that becomes black, from :func:`stretch`; None measures this image.
        high: Value that becomes white.

    Raises:
        BandError: No band.
    """
    shown = image[shown_bands(bands)].astype(np.float32)
    if low is None or high is None:
        low, high = stretch(image, bands)
    span = np.maximum(high - low, 1e-6)[:, None, None]
    bright = np.clip((shown - low[:, None, None]) / span, 0, 1) ** 0.8
    picture = np.where(np.isfinite(shown), bright * 255, 128).astype(np.uint8)
    return np.ascontiguousarray(np.moveaxis(picture, 0, -1))


def shown_bands(bands: Sequence[str]) -> list[int]:
    """Positions of the three bands that a composite shows, as red, green and blue."""
    if not bands:
        raise BandError("There is no band to show")
    for shown in (_TRUE_COLOUR, ("swir1", "nir", "red"), ("nir", "red", "green")):
        if set(shown) <= set(bands):
            return [list(bands).index(name) for name in shown]
    return [0, 1, 2] if len(bands) > 2 else [0, 0, 0]


def stretch(image: np.ndarray, bands: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Black and white point of each shown band, from percentiles 0.5 and 99.5 of the finite values.

    Black is a little lower than the darkest pixels. White is one for all bands of true colour, so that bare soil stays
    brown; false colours have a white of their own each.
    """
    low, high = np.nanpercentile(image[shown_bands(bands)].reshape(3, -1), (0.5, 99.5), axis=1)
    white = np.full(3, high.mean(), np.float32) if set(_TRUE_COLOUR) <= set(bands) else high.astype(np.float32)
    return (low - 0.1 * (white - low)).astype(np.float32), white


def heat(values: np.ndarray, highest: float) -> np.ndarray:
    """A map of values from 0 to ``highest``, dark to bright; NaN is grey. ``(H, W)`` to ``(H, W, 3)``."""
    position = np.clip(np.nan_to_num(values / highest), 0, 1)
    steps = np.linspace(0, 1, len(_HEAT))
    colours = [np.interp(position, steps, [stop[k] for stop in _HEAT]) for k in range(3)]
    picture = np.stack(colours, axis=-1)
    picture[~np.isfinite(values)] = 128
    return picture.astype(np.uint8)


def sheet(rows: Sequence[Sequence[Panel]], *, side: int = 512, scale: tuple[float, str] | None = None) -> np.ndarray:
    """Panels in rows, each under its title.

    Args:
        rows: Rows of panels; a short row leaves its end empty.
        side: Pixels of the longer side of a panel; pictures are resized by repeating or leaving out pixels.
        scale: Highest value of the error maps and its unit: draws a colour bar below.
    """
    tall, wide = rows[0][0].picture.shape[:2]
    height, width = (max(1, round(side * n / max(tall, wide))) for n in (tall, wide))
    across = max(len(row) for row in rows)
    bottom = 44 if scale else 0
    canvas = np.full(
        (len(rows) * (height + _TITLE) + _GAP + bottom, across * (width + _GAP) + _GAP, 3), PAPER, np.uint8
    )
    for r, row in enumerate(rows):
        for c, panel in enumerate(row):
            y, x = r * (height + _TITLE) + _TITLE, _GAP + c * (width + _GAP)
            canvas[y : y + height, x : x + width] = _resized(panel.picture, height, width)
            end = write(canvas, panel.title, x, y - 11)
            write(canvas, panel.note, end + 10, y - 11, ink=PALE)
    if scale:
        _colour_bar(canvas, *scale)
    return canvas


def _resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    rows = np.arange(height) * picture.shape[0] // height
    columns = np.arange(width) * picture.shape[1] // width
    return picture[rows[:, None], columns]


def _colour_bar(canvas: np.ndarray, highest: float, unit: str) -> None:
    height, width = canvas.shape[:2]
    long, y = min(360, width // 3), height - 38
    x = width - _GAP - long
    canvas[y : y + 12, x : x + long] = heat(np.linspace(0, highest, long)[None], highest)
    write(canvas, "0", x, y + 30, cap=9, ink=PALE)
    label = f"{highest:g} {unit}"
    write(canvas, label, x + long - text_width(label, 9), y + 30, cap=9, ink=PALE)
    label = "absolute error, mean of the bands"
    write(canvas, label, x - 12 - text_width(label, 9), y + 10, cap=9, ink=PALE)


def write_png(path: str | Path, picture: np.ndarray) -> None:
    """Write a picture as PNG.

    Raises:
        OutputError: The file cannot be written.
    """
    try:
        Path(path).write_bytes(encoded(picture))
    except OSError as error:
        raise OutputError("The picture cannot be written", got=f"{path}: {error.strerror}") from error


def encoded(picture: np.ndarray, driver: str = "PNG", **options: int) -> bytes:
    """A picture as the bytes of a file.

    Args:
        picture: uint8 ``(H, W, 3)``, or ``(H, W, 4)`` with opacity.
        driver: GDAL's name of the format.
        options: Creation options of the driver.
    """
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.io import MemoryFile

    height, width, count = picture.shape
    shape = {"count": count, "height": height, "width": width}
    with warnings.catch_warnings(), MemoryFile() as memory:
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with memory.open(driver=driver, dtype="uint8", **shape, **options) as image:
            image.write(np.moveaxis(picture, -1, 0))
        return bytes(memory.read())


def round_up(value: float) -> float:
    """The next round number: 1, 1.5, 2, 3, 4, 5, 6 or 8 times a power of ten."""
    power = 10.0 ** np.floor(np.log10(max(value, 1e-6)))
    return float(next(power * step for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if power * step >= value * 0.999))


# Lettering -----------------------------------------------------------------------------------------------
#
# A plotter's alphabet: every letter is a few polylines. A point is two digits, x from 0 to 4 and y from 0 to 8:
# capitals stand on y = 2 and reach to 8, small letters to 6, tails go down to 0.

_BOWL = "4536160503123243"
_LETTERS = {
    "A": "022842 1434", "B": "02083847463505 3544433202", "C": "4738180703123243", "D": "02082846442202",
    "E": "48080242 0535", "F": "480802 0535", "G": "47381807031232434525", "H": "0208 4248 0545", "I": "0208",
    "J": "3833221203", "K": "0208 4804 1542", "L": "080242", "M": "0208254842", "N": "02084248",
    "O": "123243473818070312", "P": "02083847463505", "Q": "123243473818070312 2442", "R": "02083847463505 2542",
    "S": "473818070615354443321203", "T": "0848 2822", "U": "080312324348", "V": "082248", "W": "0812263248",
    "X": "0248 0842", "Y": "082548 2522", "Z": "08480242",
    "a": f"4642 {_BOWL}", "b": "0802 0516364543321203", "c": _BOWL, "d": f"4842 {_BOWL}", "e": f"0444{_BOWL}",
    "f": "38281712 0636", "g": f"4641301001 {_BOWL}", "h": "0802 0516364542", "i": "0602 0808", "j": "161100 1818",
    "k": "0802 3604 1532", "l": "0802", "m": "0602 05162522 25364542", "n": "0602 0516364542",
    "o": "163645433212030516", "p": "0600 0516364543321203", "q": f"4640 {_BOWL}", "r": "0602 051636",
    "s": "45361605143443321203", "t": "18132232 0636", "u": "0603123243 4642", "v": "062246", "w": "0612253246",
    "x": "0246 0642", "y": "0622 462210", "z": "06460242",
    "0": "123243473818070312", "1": "062822", "2": "07183847460242", "3": "0718384746354443321203 1535",
    "4": "32380444", "5": "48080516364543321203", "6": "4738180703123243443505", "7": "084812",
    "8": "15060718384746351504031232434435", "9": "03123243473818070615 1545",
    ".": "0202", ",": "0201", ":": "0202 0505", "-": "0535", "+": "0545 2723", "=": "0444 0646", "/": "0248",
    "(": "18060412", ")": "08161402", "%": "0248 0707 4343", "_": "0141", "|": "0108", "'": "0806",
}  # fmt: skip


def write(
    canvas: np.ndarray, text: str, x: float, baseline: float, *, cap: int = _CAP, ink: tuple[int, ...] = INK
) -> int:
    """Draw a line of text into the canvas, in place.

    Args:
        canvas: uint8 ``(H, W, 3)``.
        text: ASCII; a character that has no letter is drawn as a box.
        x: Column where it starts.
        baseline: Row on which the letters stand.
        cap: Height of a capital letter in pixels.
        ink: Colour.

    Returns:
        The column where it ends.
    """
    unit = cap / 6
    for character in text:
        strokes, advance = _strokes(character)
        for stroke in strokes:
            points = stroke * (unit, -unit) + (x, baseline + 2 * unit)
            for start, end in pairwise(points):
                _stroke(canvas, start, end, 0.5 * max(1.2, 0.13 * cap), ink)
        x += advance * unit
    return round(x)


def text_width(text: str, cap: int = _CAP) -> int:
    """Columns that a line of text takes."""
    return round(sum(_strokes(character)[1] for character in text) * cap / 6)


def _strokes(character: str) -> tuple[list[np.ndarray], float]:
    """Polylines ``(n, 2)`` of x and y, and how far the next letter is away."""
    if character == " ":
        return [], 3.0
    drawn = _LETTERS.get(character, "0208484202").split()
    lines = [np.array([int(d) for d in stroke], float).reshape(-1, 2) for stroke in drawn]
    return lines, max(line[:, 0].max() for line in lines) + 2.0


def _stroke(canvas: np.ndarray, start: np.ndarray, end: np.ndarray, half: float, ink: tuple[int, ...]) -> None:
    reach = half + 1
    x0, y0 = np.floor(np.minimum(start, end) - reach).astype(int).clip(0)
    x1, y1 = np.ceil(np.maximum(start, end) + reach).astype(int) + 1
    patch = canvas[y0:y1, x0:x1]
    y, x = np.mgrid[y0 : y0 + patch.shape[0], x0 : x0 + patch.shape[1]] + 0.0
    along = end - start
    if not along.any():
        half *= 1.35  # a dot alone looks smaller than a line
    share = ((x - start[0]) * along[0] + (y - start[1]) * along[1]) / max(float(along @ along), 1e-9)
    share = np.clip(share, 0, 1)
    distance = np.hypot(x - start[0] - share * along[0], y - start[1] - share * along[1])
    cover = np.clip(half + 0.5 - distance, 0, 1)[..., None]
    patch[:] = np.rint(patch * (1 - cover) + np.array(ink) * cover).astype(np.uint8)
