# SPDX-License-Identifier: Apache-2.0
"""Two benches, row by row: what became faster, slower, better or worse, and how sure that is.

A figure's change is the factor by which it became worse: after / before where less is better, before / after where
more is. It counts as a regression where the factor lies beyond 1 + tolerance: for times the whole interval of
:func:`~stf_infer.bench.bootstrap.ratio_of_medians`, since they scatter; for memory and accuracy the figure itself,
since the same inputs give the same pixels. Improvements are judged alike, by 1 / (1 + tolerance).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..errors import UsageError
from .bootstrap import CONFIDENCE, ratio_of_medians
from .machines import differences
from .result import Latency, Quality, Result, Row, Throughput
from .tolerance import METRICS, tolerances

Verdict = Literal["worse", "better", "same", "unclear"]

_METRIC_NAMES = {"rmse": "rmse", "sam": "sam_deg", "ssim": "ssim", "ergas": "ergas"}
_MORE_IS_BETTER = ("throughput", "ssim")
# Metrics that differ by less are rounding of sums: of no meaning, however large their ratio is.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Change:
    """One figure of one row in both benches.

    Attributes:
        row: Name of the row.
        scene: Name of the scene; empty for calls of an engine alone.
        kind: What the tolerance is looked up by: latency, throughput, memory, rmse, sam, ssim, ergas.
        figure: What it is, with its unit.
        before: Its value, in that unit; likewise ``after``.
        ratio: after / before.
        low: The lower end of the ratio's interval; likewise ``high``; None where it has none.
        tolerance: Share by which it may become worse.
        verdict: ``unclear``: the interval holds the tolerance.
    """

    row: str
    scene: str
    kind: str
    figure: str
    before: float
    after: float
    ratio: float
    low: float | None
    high: float | None
    tolerance: float
    verdict: Verdict


@dataclass(frozen=True)
class Comparison:
    """What changed between two benches.

    Attributes:
        changes: Of every figure that both have.
        newly_failed: Rows that could be measured before and cannot now, and why; each is a regression.
        only_before: Rows that the later bench does not have; likewise ``only_after``.
        warnings: Why figures may differ for other reasons: another machine, other tiles, noise.
        confidence: Of the intervals.
    """

    changes: tuple[Change, ...]
    newly_failed: Mapping[str, str]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    warnings: tuple[str, ...]
    confidence: float = CONFIDENCE

    @property
    def regressions(self) -> tuple[Change, ...]:
        """Figures that became worse beyond their tolerance."""
        return tuple(change for change in self.changes if change.verdict == "worse")

    @property
    def passed(self) -> bool:
        """Whether nothing regressed."""
        return not self.regressions and not self.newly_failed

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "passed": self.passed}


def compare(
    before: Result,
    after: Result,
    *,
    tolerance: Mapping[str, float] | None = None,
    same_machine: bool = False,
) -> Comparison:
    """Compare two benches; rows and scenes are matched by name.

    Args:
        before: What counts as good.
        after: What is judged.
        tolerance: From :func:`~stf_infer.bench.tolerance.tolerances`; None: 5 % of everything.
        same_machine: Refuse benches of machines that differ, instead of warning.

    Raises:
        UsageError: No row is in both, a name is there twice, or the machines differ and must not.
    """
    allowed = dict(tolerance) if tolerance is not None else tolerances(())
    old, new = _by_name(before), _by_name(after)
    shared = [name for name in old if name in new]
    if not shared:
        raise UsageError(
            "The two benches have no row in common",
            got=f"{_listed(old)} and {_listed(new)}",
            fix="Bench the same bundles",
        )
    apart = differences(before.machine, after.machine)
    if apart and same_machine:
        raise UsageError(
            "The two benches are of different machines",
            got="; ".join(apart),
            fix="Leave out --same-machine to be warned only",
        )
    warnings = [f"The machines differ: {text}." for text in apart]
    for when, result in (("before", before), ("after", after)):
        warnings += [f"Noise {when}: {text}" for text in result.machine.warnings]
    warnings += _scenes_apart(before, after)
    changes: list[Change] = []
    failed = {}
    for name in shared:
        if new[name].failure is not None:
            if old[name].failure is None:
                failed[name] = new[name].failure or ""
        elif old[name].failure is None:
            changes += _changes(old[name], new[name], allowed, warnings)
    return Comparison(
        changes=tuple(changes),
        newly_failed=failed,
        only_before=tuple(name for name in old if name not in new),
        only_after=tuple(name for name in new if name not in old),
        warnings=tuple(warnings),
    )


def _by_name(result: Result) -> dict[str, Row]:
    rows = {row.name: row for row in result.rows}
    if len(rows) < len(result.rows):
        names = [row.name for row in result.rows]
        twice = sorted({name for name in names if names.count(name) > 1})
        raise UsageError("Names of rows are not unique", got=", ".join(twice))
    return rows


def _listed(rows: Mapping[str, Row]) -> str:
    return ", ".join(rows) or "no row"


def _scenes_apart(before: Result, after: Result) -> Iterator[str]:
    """Scenes of one name that are not the same scene."""
    old = {scene.name: scene for scene in before.scenes}
    for scene in after.scenes:
        other = old.get(scene.name)
        if other and (other.height, other.width, other.bands) != (scene.height, scene.width, scene.bands):
            yield f"Scene {scene.name} is another one: {_size(other)} before, {_size(scene)} after."


def _size(scene: Any) -> str:
    return f"{scene.height} x {scene.width} pixels of {len(scene.bands)} bands"


def _changes(old: Row, new: Row, allowed: Mapping[str, float], warnings: list[str]) -> Iterator[Change]:
    known = old.bundle_sha256 and new.bundle_sha256
    if known and old.bundle_sha256 != new.bundle_sha256:
        warnings.append(f"{new.name}: the bundle is not the same.")
    if (old.tile, old.halo) != (new.tile, new.halo):
        told = " before, ".join(f"tile {row.tile}, halo {row.halo}" for row in (old, new))
        warnings.append(f"{new.name}: times of a tile are not compared, for tiles differ: {told} after.")
    else:
        for figure, one, other in (
            ("p50 ms/tile", old.latency, new.latency),
            ("device p50 ms/tile", old.on_device, new.on_device),
        ):
            if one and other:
                yield _latency(new.name, figure, one, other, allowed, warnings)
    runs = {run.scene: run for run in old.throughput}
    for run in new.throughput:
        if run.scene in runs and (run.height, run.width) == (runs[run.scene].height, runs[run.scene].width):
            yield from _throughput(new.name, runs[run.scene], run, allowed)
    found = {quality.scene: quality for quality in old.quality}
    for quality in new.quality:
        if quality.scene in found:
            yield from _quality(new.name, found[quality.scene], quality, allowed)


def _latency(
    row: str, figure: str, old: Latency, new: Latency, allowed: Mapping[str, float], warnings: list[str]
) -> Change:
    if (old.batch, old.threads) != (new.batch, new.threads):
        told = " before, ".join(f"batch {one.batch}, threads {one.threads or 'by choice'}" for one in (old, new))
        warnings.append(f"{row}: {told} after.")
    interval = ratio_of_medians(new.tile.samples, old.tile.samples)
    return _judged(row, "", "latency", figure, old.tile.p50 * 1e3, new.tile.p50 * 1e3, allowed, interval, scatters=True)


def _throughput(row: str, old: Throughput, new: Throughput, allowed: Mapping[str, float]) -> Iterator[Change]:
    interval = ratio_of_medians(old.seconds, new.seconds)  # of speeds: the inverse of that of times
    values = old.megapixels_a_second, new.megapixels_a_second
    yield _judged(row, new.scene, "throughput", "Mpx/s", *values, allowed, interval, scatters=True)
    for figure, one, other in (
        ("peak MiB", old.peak_memory, new.peak_memory),
        ("device MiB", old.device_memory, new.device_memory),
    ):
        if one is not None and other is not None:
            yield _judged(row, new.scene, "memory", figure, one / 2**20, other / 2**20, allowed)


def _quality(row: str, old: Quality, new: Quality, allowed: Mapping[str, float]) -> Iterator[Change]:
    # Without a truth, the distance from fp32 is all there is to judge by.
    part = "truth" if old.truth and new.truth else "fp32"
    one, other = getattr(old, part), getattr(new, part)
    if not one or not other:
        return
    for kind in METRICS:
        values = one.pooled.get(_METRIC_NAMES[kind]), other.pooled.get(_METRIC_NAMES[kind])
        if all(value is not None and math.isfinite(value) for value in values):
            figure = kind.upper() + (" deg" if kind == "sam" else "") + (" to fp32" if part == "fp32" else "")
            yield _judged(row, new.scene, kind, figure, *values, allowed)


def _judged(
    row: str,
    scene: str,
    kind: str,
    figure: str,
    before: float,
    after: float,
    allowed: Mapping[str, float],
    interval: tuple[float, float] | None = None,
    *,
    scatters: bool = False,
) -> Change:
    tolerance = allowed[kind]
    ratio = _ratio(after, before)
    low, high = interval or (None, None)
    factors = [_worse_by(kind, one, before, after) for one in (interval or (ratio,))]
    if scatters and interval is None:  # measured once
        verdict: Verdict = "unclear"
    elif not scatters and abs(after - before) <= _ROUNDING:
        verdict = "same"
    elif min(factors) > 1 + tolerance:
        verdict = "worse"
    elif max(factors) < 1 / (1 + tolerance):
        verdict = "better"
    elif max(factors) <= 1 + tolerance and min(factors) >= 1 / (1 + tolerance):
        verdict = "same"
    else:
        verdict = "unclear"
    return Change(row, scene, kind, figure, before, after, ratio, low, high, tolerance, verdict)


def _ratio(after: float, before: float) -> float:
    if before:
        return after / before
    return 1.0 if after == before else math.inf


def _worse_by(kind: str, ratio: float, before: float, after: float) -> float:
    """The factor by which a figure became worse, of a ratio after / before."""
    if kind not in _MORE_IS_BETTER:
        return ratio
    if after <= 0 or before <= 0:  # no ratio says which is better
        return math.inf if after < before else 0.0 if after > before else 1.0
    return 1 / ratio
