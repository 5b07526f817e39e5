# SPDX-License-Identifier: Apache-2.0
"""The curve of steps against quality as a picture: an SVG file, written without a plotting library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from stf_infer.errors import OutputError, UsageError

from .curve import Curve

_WIDTH, _HEIGHT = 460, 330  # of one panel, in units of the picture
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 56, 52  # margins inside of it
_INK, _PALE, _GRID = "#1c1e22", "#6e7278", "#d9d9d4"
_COLOURS = {"to truth": "#b3372c", "to all steps": "#23618f", "seconds per Mpx": "#3d7a46"}

Spot = tuple[int, float, bool]  # steps, a figure, and whether the time steps follow a rule
Line = tuple[str, list[Spot]]


def check_plot(path: str | Path) -> Path:
    """The path of a picture that can be written.

    Raises:
        UsageError: It does not end with ``.svg``.
    """
    path = Path(path)
    if path.suffix.lower() != ".svg":
        raise UsageError("The plot is written as SVG", got=path, allowed="FILE.svg")
    return path


def write_plot(path: str | Path, curve: Curve) -> None:
    """Draw RMSE and seconds over the number of steps, two panels side by side; a ring is the bundle's own time steps.

    Raises:
        OutputError: The file cannot be written.
    """
    points = curve.points
    near = [(p.steps, p.to_all["rmse"], p.follows_a_rule) for p in points if p.to_all]
    right = [(p.steps, p.to_truth["rmse"], p.follows_a_rule) for p in points if p.to_truth]
    errors: list[Line] = [line for line in (("to all steps", near), ("to truth", right)) if line[1]]
    times: list[Line] = [("seconds per Mpx", [(p.steps, p.seconds_per_mpx, p.follows_a_rule) for p in points])]
    rings = "" if all(p.follows_a_rule for p in points) else ", rings: the bundle's own"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * _WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="12" fill="{_INK}">',
        f'<rect width="{2 * _WIDTH}" height="{_HEIGHT}" fill="#fafaf8"/>',
        _text(_LEFT, 20, f"{curve.name}: {curve.sampler}", size=12),
        *(_panel(0, f"RMSE{rings}", errors, logarithmic=False) if errors else ()),
        *_panel(_WIDTH, f"seconds per Mpx, {curve.engine}", times, logarithmic=True),
        "</svg>",
    ]
    try:
        Path(path).write_text("\n".join(parts) + "\n", encoding="utf-8")
    except OSError as error:
        raise OutputError("The plot cannot be written", got=f"{path}: {error.strerror}") from error


def _panel(left: float, title: str, lines: Sequence[Line], *, logarithmic: bool) -> list[str]:
    """One diagram; steps run along a logarithmic axis."""
    steps = sorted({n for _, line in lines for n, *_ in line})
    values = [value for _, line in lines for _, value, _ in line]
    ticks = _log_ticks(min(values), max(values)) if logarithmic else _ticks(max(values))
    low, high = ticks[0], ticks[-1]
    x0, x1, y0, y1 = left + _LEFT, left + _WIDTH - _RIGHT, _HEIGHT - _BOTTOM, _TOP
    span = max(math.log2(steps[-1] / steps[0]), 1.0)

    def x(n: int) -> float:
        return x0 + (x1 - x0) * math.log2(n / steps[0]) / span

    def y(value: float) -> float:
        share = math.log(value / low) / math.log(high / low) if logarithmic else (value - low) / (high - low)
        return y0 + (y1 - y0) * share

    parts = [_text(x0, y1 - 12, title, colour=_PALE)]
    for tick in ticks:
        parts.append(f'<path d="M{x0} {y(tick):.1f}H{x1}" stroke="{_GRID}"/>')
        parts.append(_text(x0 - 8, y(tick) + 4, f"{tick:g}", anchor="end"))
    shown = -math.inf
    for n in steps:
        parts.append(f'<path d="M{x(n):.1f} {y0}v5" stroke="{_PALE}"/>')
        if x(n) - shown > 22:  # tuned steps may lie close to others
            parts.append(_text(x(n), y0 + 20, str(n), anchor="middle"))
            shown = x(n)
    parts.append(_text((x0 + x1) / 2, y0 + 40, "steps", anchor="middle", colour=_PALE))
    for number, (name, line) in enumerate(lines):
        colour = _COLOURS[name]
        corners = " ".join(f"{x(n):.1f},{y(value):.1f}" for n, value, ruled in line if ruled)
        parts.append(f'<polyline points="{corners}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        for n, value, ruled in line:
            look = f'r="3" fill="{colour}"' if ruled else f'r="5" fill="none" stroke="{colour}" stroke-width="1.6"'
            parts.append(f'<circle cx="{x(n):.1f}" cy="{y(value):.1f}" {look}/>')
        if len(lines) > 1:
            parts.append(_text(x1 - 84 * number, y1 - 12, name, anchor="end", colour=colour))
    return parts


def _text(x: float, y: float, words: str, *, anchor: str = "start", colour: str = _INK, size: int = 12) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {place} fill="{colour}" font-size="{size}">{escape(words)}</text>'


def _ticks(highest: float) -> list[float]:
    """Round numbers from 0 to above the highest value."""
    highest = max(highest, 1e-12)
    step = 10.0 ** math.floor(math.log10(highest))
    step *= next(share for share in (0.1, 0.2, 0.5, 1, 2) if highest <= 6 * share * step)
    return [round(step * k, 12) for k in range(math.ceil(highest / step) + 1)]


def _log_ticks(lowest: float, highest: float) -> list[float]:
    """Powers of ten, and one step more at either end, around the values."""
    low, high = math.floor(math.log10(lowest)), math.ceil(math.log10(highest))
    return [10.0**power for power in range(low, max(high, low + 1) + 1)]
