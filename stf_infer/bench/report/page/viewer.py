# SPDX-License-Identifier: Apache-2.0
"""Pictures of a scene side by side, two of them under a slider, and predictions over truths band by band."""

from __future__ import annotations

import math

from ...result import Result
from ...scene_files import TRUTH
from .. import numbers
from ..tables import metric_format
from .choice import by_row, first_row, select, shown_rows
from .elements import Html, tag
from .pictures import RowPictures, ScenePictures
from .pixels import Density
from .plot import Axis, Plot

_TITLES = {"fine_t1": "Fine t1", "coarse_t2": "Coarse t2", "fine_t3": "Fine t3", TRUTH: "Fine t2"}
_TOLD = {"fine_t1": "input", "coarse_t2": "input", "fine_t3": "input", TRUTH: "truth"}


def viewer(result: Result, scene: str, seen: ScenePictures) -> Html | None:
    """The pictures of a scene; None where there is none."""
    if not seen.shared and not seen.rows:
        return None
    height, width = seen.size
    beside = tag("div", _panels(result, scene, seen), _legend(seen))
    parts = [tag("div", _slider(result, seen), beside, class_="look"), tag("p", _told(seen), class_="lead")]
    return tag("div", parts, class_="viewer", style=f"--ratio:{width}/{height}")


def _panels(result: Result, scene: str, seen: ScenePictures) -> Html:
    short = numbers.labels(result.rows)
    panels = [_panel(key, _TITLES[key], _TOLD[key], seen.shared[key]) for key in _TITLES if key in seen.shared]
    first = first_row(result)
    for k in shown_rows(result):
        row, own = result.rows[k], seen.rows.get(k)
        if own is None:
            text = tag(
                "p", f"No picture of {short[row.name]}: its result was not kept, or cannot be read.", class_="absent"
            )
            panels.append(tag("div", text, data_row=k, hidden=k != first))
            continue
        truth = next((q.truth for q in row.quality if q.scene == scene and q.truth), None)
        rmse = f"RMSE {metric_format('rmse')(truth.pooled.get('rmse'))}" if truth else ""
        panels.append(
            _panel("prediction", "Fine t2", f"by {short[row.name]}", own.prediction, data_row=k, hidden=k != first)
        )
        if own.error:
            panels.append(_panel("error", "Error", rmse, own.error, data_row=k, hidden=k != first))
    return tag("div", panels, class_="panels")


def _panel(key: str, title: str, told: str, address: str, **more: object) -> Html:
    picture = tag("img", src=address, alt=f"{title}, {told}", data_key=key)
    return tag("figure", picture, tag("figcaption", tag("b", title), " ", told), class_="panel", **more)


def _slider(result: Result, seen: ScenePictures) -> Html | None:
    """Two pictures over one another; a line that can be moved by hand, finger or arrow keys parts them."""
    short = numbers.labels(result.rows)
    own = [("prediction", "Fine t2, by the row")] if seen.rows else []
    own += [("error", "Error of the row")] if any(one.error for one in seen.rows.values()) else []
    options = [(key, f"{_TITLES[key]}, {_TOLD[key]}") for key in _TITLES if key in seen.shared] + own
    options += [(f"prediction:{k}", f"Fine t2, by {short[result.rows[k].name]}") for k in seen.rows]
    if len(options) < 2:
        return None
    left, right = _first_pair(seen)
    knob = tag(
        "input", type="range", min=0, max=100, step="any", value=50, aria_label="How much of the left picture is shown"
    )
    return tag(
        "div",
        tag(
            "div",
            select("", "Left", options, left, class_="left"),
            select("", "Right", options, right, class_="right"),
            class_="choices",
        ),
        tag(
            "div",
            tag("img", class_="under", alt=""),
            tag("img", class_="over", alt=""),
            tag("span", class_="tell tell-left"),
            tag("span", class_="tell tell-right"),
            tag("i", class_="line"),
            knob,
            class_="slider",
        ),
        class_="slide needs-script",
        hidden=True,
    )


def _first_pair(seen: ScenePictures) -> tuple[str, str]:
    if not seen.rows:
        return "fine_t1", next((key for key in _TITLES if key in seen.shared and key != "fine_t1"), "fine_t1")
    return "prediction", TRUTH if TRUTH in seen.shared else next(iter(seen.shared), "prediction")


def _legend(seen: ScenePictures) -> Html | None:
    if seen.highest is None:
        return None
    label = "absolute error, mean of the bands"
    return tag(
        "p",
        label,
        tag("span", "0"),
        tag("i", class_="heat"),
        tag("span", f"{seen.highest:g} {seen.unit}".rstrip() + " and more"),
        class_="scale",
    )


def _told(seen: ScenePictures) -> str:
    height, width = seen.size
    reduced = (
        f"reduced, each of its pixels is the mean of {seen.factor} x {seen.factor}" if seen.factor > 1 else "full size"
    )
    bands = ", ".join(seen.shown)
    text = f"Shown: {bands}, in one stretch for all pictures. {height} x {width} pixels, {reduced}. "
    return text + "Pictures are compressed; every figure comes from the rasters."


def scatter(result: Result, scene: str, seen: ScenePictures) -> Html | None:
    """Predicted over true values of each band, for each row; None where there is no truth."""

    def of(k: int, _: object) -> Html | None:
        own: RowPictures | None = seen.rows.get(k)
        return tag("div", [_density(*one) for one in own.densities], class_="bands") if own and own.densities else None

    return by_row(result, of, "There is no truth, or no result, to draw here.")


def _density(density: Density, address: str) -> Html:
    plot = Plot(290, 270, f"Predicted over true values, {density.band}", left=52, right=10, top=10, bottom=44)
    x = Axis(density.low, density.high, *plot.across)
    y = Axis(density.low, density.high, *plot.upward)
    plot.axes(x, y, "truth", "predicted")
    (left, right), (base, top) = plot.across, plot.upward
    box = {"x": float(left), "y": float(top), "width": float(right - left), "height": float(base - top)}
    plot.parts.append(tag("image", href=address, preserveAspectRatio="none", class_="density", **box))
    plot.line([(left, base), (right, top)], class_="equal")
    plot.line([(x(a), y(b)) for a, b in fitted_line(density)], class_="fit")
    return tag("figure", plot.drawn(), tag("figcaption", tag("b", density.band), " ", _fitted(density)))


def _fitted(density: Density) -> str:
    count = f"n = {density.pixels:,}"
    if math.isnan(density.slope):
        return f"no line: the truth has one value only, {count}"
    sign = "-" if density.intercept < 0 else "+"
    line = f"y = {density.slope:.3f} x {sign} {abs(density.intercept):.4f}"
    return f"{line}, r = {numbers.figure(density.correlation)}, {count}"


def fitted_line(density: Density) -> list[tuple[float, float]]:
    """Ends of the least-squares line within the axes; none where there is no line, or it lies outside."""
    low, high, slope, offset = density.low, density.high, density.slope, density.intercept
    if math.isnan(slope):
        return []
    if slope:
        ends = sorted(((low - offset) / slope, (high - offset) / slope))
    else:
        ends = [low, high] if low <= offset <= high else [high, low]
    first, last = max(low, ends[0]), min(high, ends[1])
    return [(first, offset + slope * first), (last, offset + slope * last)] if first < last else []
