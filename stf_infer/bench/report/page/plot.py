# SPDX-License-Identifier: Apache-2.0
"""Axes, ticks, marks and labels as SVG. Colours come from the page's style sheet: they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from .elements import Html, number, tag

# Rows are told apart by colour and shape: eight colours of Okabe and Ito (2008), which colour-blind people tell apart.
COLOURS = 8
_SHAPES: tuple[str, ...] = ("circle", "square", "diamond", "up", "down")
_LETTER = 6.6  # width of a letter at the size of labels, on average
_LINE = 15


@dataclass(frozen=True)
class Axis:
    """Values to coordinates.

    Attributes:
        low: Where it begins; likewise ``high``, where it ends.
        start: Coordinate of ``low``; likewise ``stop``, of ``high``.
        logarithmic: Whether equal ratios are equally long.
        marked: Values that get a tick; empty: round ones.
    """

    low: float
    high: float
    start: float
    stop: float
    logarithmic: bool = False
    marked: tuple[float, ...] = ()

    def __call__(self, value: float) -> float:
        """Coordinate of a value."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log(low), math.log(high), math.log(value)
        return self.start + (value - low) / (high - low) * (self.stop - self.start)

    @property
    def ticks(self) -> list[float]:
        """Values along it that are written."""
        if self.marked:
            return list(self.marked)
        return _decades(self.low, self.high) if self.logarithmic else _steps(self.low, self.high)


def axis_for(
    values: Iterable[float], start: float, stop: float, *, logarithmic: bool = False, zero: bool = False
) -> Axis:
    """An axis that holds all values with room at its ends; ``zero`` makes it begin at 0."""
    known = list(values)
    low, high = min(known), max(known)
    if logarithmic:
        room = max((high / low) ** 0.12, 1.25)
        return Axis(low / room, high * room, start, stop, logarithmic=True)
    if zero:
        return Axis(0, high * 1.12 or 1, start, stop)
    room = 0.15 * (high - low) or 0.1 * abs(high) or 1
    return Axis(low - room, high + room, start, stop)


def written(tick: float) -> str:
    """A round value as it stands at an axis."""
    return f"{tick:,.0f}" if 1e4 <= abs(tick) < 1e7 else f"{tick:.4g}"


def _steps(low: float, high: float, count: int = 5) -> list[float]:
    raw = (high - low) / count
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * k for k in (1, 2, 2.5, 5, 10) if power * k >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [k * step for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _decades(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for within in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        ticks = [k * 10.0**p for p in powers for k in within if low <= k * 10.0**p <= high]
        if len(ticks) >= 3:
            return ticks
    return _steps(low, high)


@dataclass
class Plot:
    """A rectangle with axes, in which marks and labels are placed; text that finds no room goes elsewhere.

    Attributes:
        width: Of the whole picture, in pixels of a page that is wide enough; likewise ``height``.
        title: For those who do not see it.
        left: Room left of the rectangle; likewise ``right``, ``top``, ``bottom``.
    """

    width: float
    height: float
    title: str
    left: float = 58
    right: float = 16
    top: float = 14
    bottom: float = 46
    parts: list[Html] = field(default_factory=list)
    _taken: list[tuple[float, float, float, float]] = field(default_factory=list)

    @property
    def across(self) -> tuple[float, float]:
        """Left and right end of the rectangle."""
        return self.left, self.width - self.right

    @property
    def upward(self) -> tuple[float, float]:
        """Bottom and top end of the rectangle."""
        return self.height - self.bottom, self.top

    def axes(self, x: Axis, y: Axis, x_label: str, y_label: str) -> None:
        """Draw ticks, grid lines and what the axes are."""
        (left, right), (base, top) = self.across, self.upward
        for tick in y.ticks:
            at = y(tick)
            self.parts.append(tag("line", class_="grid", x1=left, x2=right, y1=at, y2=at))
            self.text(left - 7, at + 4, written(tick), class_="tick", anchor="end")
        self.below(x, x_label)
        middle = number((base + top) / 2)
        self.text(13, (base + top) / 2, y_label, class_="axis", anchor="middle", transform=f"rotate(-90 13 {middle})")

    def below(self, x: Axis, label: str) -> None:
        """Draw the horizontal axis."""
        base, top = self.upward
        for tick in x.ticks:
            at = x(tick)
            self.parts.append(tag("line", class_="grid", x1=at, x2=at, y1=base, y2=float(top)))
            self.text(at, base + 17, written(tick), class_="tick", anchor="middle")
        self.text(sum(self.across) / 2, self.height - 8, label, class_="axis", anchor="middle")

    def text(self, x: float, y: float, words: str, *, anchor: str = "start", **more: object) -> None:
        """Write a line of text."""
        self.parts.append(tag("text", words, x=float(x), y=float(y), text_anchor=anchor, **more))

    def line(self, points: Sequence[tuple[float, float]], **more: object) -> None:
        """Draw straight lines from point to point."""
        self.parts.append(tag("polyline", points=" ".join(f"{number(x)},{number(y)}" for x, y in points), **more))

    def mark(self, x: float, y: float, row: int, told: str, look: str = "") -> None:
        """Draw the mark of a row; ``told`` is shown to who points at it, ``look`` is ``faint``, ``ring`` or nothing."""
        self._taken.append((x - 7, y - 7, x + 7, y + 7))
        self.parts.append(mark(x, y, row, told, look))

    def label(self, x: float, y: float, words: str) -> None:
        """Write the name of a mark where it covers nothing, near it; a line leads there where it is not beside it."""
        wide, (left, right), (base, top) = len(words) * _LETTER, self.across, self.upward
        places = [(x + 11, y + 4), (x - 11 - wide, y + 4), (x - wide / 2, y - 12), (x - wide / 2, y + 20)]
        for k in range(1, 15):
            for down in (k * _LINE, -k * _LINE):
                places += [(x + 16, y + 4 + down), (x - 16 - wide, y + 4 + down)]
        for at, line in places:
            box = (at - 2, line - 12, at + wide + 2, line + 3)
            inside = left <= box[0] and box[2] <= right + self.right and top - 6 <= box[1] and box[3] <= base
            if inside and not any(_overlap(box, other) for other in self._taken):
                break
        else:
            return
        self._taken.append(box)
        if (at, line) not in places[:4]:
            end = at - 2 if at > x else at + wide + 2
            self.line([(x, y), (end, line - 4)], class_="lead")
        self.text(at, line, words, class_="name")

    def drawn(self) -> Html:
        """The finished picture."""
        view = f"0 0 {number(self.width)} {number(self.height)}"
        style = f"max-width:{number(self.width * 1.3)}px"
        return tag("svg", tag("title", self.title), self.parts, viewBox=view, role="img", style=style)


def mark(x: float, y: float, row: int, told: str = "", look: str = "") -> Html:
    """The mark of a row, around a point."""
    shape, look = _SHAPES[row // COLOURS % len(_SHAPES)], f"mark c{row % COLOURS} {look}".rstrip()
    title = tag("title", told) if told else None
    if shape == "circle":
        return tag("circle", title, class_=look, cx=float(x), cy=float(y), r=6)
    corners = {
        "square": ((-5, -5), (5, -5), (5, 5), (-5, 5)),
        "diamond": ((0, -7), (7, 0), (0, 7), (-7, 0)),
        "up": ((0, -6), (6, 5), (-6, 5)),
        "down": ((0, 6), (6, -5), (-6, -5)),
    }[shape]
    points = " ".join(f"{number(x + dx)},{number(y + dy)}" for dx, dy in corners)
    return tag("polygon", title, class_=look, points=points)


def legend(names: Sequence[tuple[int, str]]) -> Html:
    """Marks of rows with their names."""
    entries = [
        tag("span", tag("svg", mark(8, 8, row), viewBox="0 0 16 16", width=16, height=16, aria_hidden="true"), name)
        for row, name in names
    ]
    return tag("p", entries, class_="legend")


def figure(drawing: Html, caption: str, **more: object) -> Html:
    """A drawing with what it says below it."""
    return tag("figure", drawing, tag("figcaption", caption) if caption else None, **more)


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
