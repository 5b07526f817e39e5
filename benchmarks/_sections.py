# SPDX-License-Identifier: Apache-2.0
"""What docs/benchmarks.md shows of a benchmark: its outcome as a table, rather than all of its numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
Lines = list[str]


def cell(text: object) -> str:
    """A text as it can stand in a table, without the path of this tree."""
    return str(text).replace("|", "\\|").replace("\n", " ").replace(str(REPOSITORY) + os.sep, "")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Lines:
    """A table in Markdown."""
    marked = ["|" + "".join(f" {text} |" if (text := cell(one)) else " |" for one in row) for row in (head, *rows)]
    return [marked[0], "|" + "---|" * len(head), *marked[1:]]


def core(figures: dict[str, Any]) -> Lines:
    """Shares of memcpy, and instructions where they were counted."""
    counts = figures.get("instructions", {})
    rows = [
        (
            name,
            f"{one['share']:.0%} ({one['share_of_least']:.0%})",
            f"{one['gb_per_s']:.1f} of {one['memcpy_gb_per_s']:.1f}",
            f"{counts[name]:.1f}" if name in counts else "",
        )
        for name, one in figures["operations"].items()
    ]
    rows += [(name, "", "", f"{value:.1f}") for name, value in counts.items() if name.startswith(("noise", "starfm"))]
    told = f"{figures['bands']} bands, tiles of {figures['tile']}, {figures['rounds']} turns."
    head = ("operation", "share of memcpy, median (of the least times)", "GB/s", "instructions a number")
    return [told, "", *table(head, rows)]


def metrics(figures: dict[str, Any]) -> Lines:
    """How many times as fast as libraries, and the share of the read bandwidth."""
    speed = figures["speed"]
    told = f"{figures['bands']} x {figures['size']} x {figures['size']}, float32, {figures['rounds']} turns."
    names = {
        "libraries": "all metrics, over the fastest libraries",
        "libraries_and_uqi_by_hand": "the same, UQI by hand on SciPy's running means",
        "with_histogram": "with the histogram of errors",
    }
    rows = [
        (told_as, f"{speed[name]['median']:.1f} times ({speed[name]['of_least']:.1f})", _joined(speed[name]))
        for name, told_as in names.items()
    ]
    for name, one in speed["pixelwise_share_of_reading"].items():
        rows.append(
            (name, f"{one['median']:.0%} ({one['of_least']:.0%})", f"of {speed['read_gb_per_s']:.1f} GB/s read")
        )
    rows += [(f"memory beyond images of {side}", f"{mb:.1f} MB", "") for side, mb in figures["extra_mb"].items()]
    return [told, "", *table(("", "median (of the least times)", ""), rows)]


def _joined(one: dict[str, Any]) -> str:
    return f"{', '.join(one['composition'])}: {one['seconds']:.1f} s"


def networks(figures: dict[str, Any]) -> Lines:
    """Milliseconds of a tile or sample."""
    size = "The size that the tests export" if figures["small"] else "Published size"
    told = f"{size}; milliseconds of a tile or sample, median (least) of {figures['rounds']} turns."
    head = ("network", "parameters", "inputs", "ONNX Runtime", "OpenVINO")
    return [told, "", *table(head, map(_network, figures["networks"]))]


def _network(row: dict[str, Any]) -> tuple[str, ...]:
    if "reason" in row:
        return row["network"], "", f"**not measured**: {row['reason']}", "", ""
    inputs = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in row["tensors"].items())
    inputs += f"; {row['sampler']}" if row["sampler"] else ""
    times = []
    for target in ("onnxruntime-cpu", "openvino-cpu"):
        ms = row["ms"].get(target)
        times.append(f"{ms['p50']:.1f} ({ms['least']:.1f})" if ms else row["reasons"].get(target, ""))
    return row["network"], f"{row['parameters'] / 1e6:.2f} M", inputs, *times


def tiled(figures: list[dict[str, Any]]) -> Lines:
    """The largest difference to the untiled result, relative to its range, and the seam figure."""
    rows = [
        (one["network"], one["tile"], one["halo"], one["tiles"], f"{one['max_abs_over_range']:.1e}", _seam(one))
        for one in figures
    ]
    return table(("network", "tile", "halo", "tiles", "largest difference / range", "seam figure"), rows)


def _seam(one: dict[str, Any]) -> str:
    return "" if one["seam_ratio"] is None else f"{one['seam_ratio']:.3f}"


def overhead(figures: dict[str, Any]) -> Lines:
    """Wall time beside the engine's, and where the time went."""
    height, width, bands = figures["scene"]
    engine = figures["engine"]
    told = (
        f"{height} x {width} x {bands}, {figures['tiles']} tiles of {figures['tile']}, {engine['engine']} "
        f"{engine['precision']}, {figures['tiles_a_call']} tiles a call. Stages are seconds of work, side by side."
    )
    rows = []
    for one in figures["compressions"]:
        last = one["runs"][-1]
        alone = " and ".join(f"{ms:.0f}" for ms in last["engine_alone_ms_a_tile"])
        stages = ", ".join(f"{s['name']} {s['seconds']:.1f}" for s in last["stages"] if not s["waiting"])
        ratio = f"{one['ratio']:.3f} (target {one['target']})"
        rows.append((one["compress"], f"{one['wall_s']:.0f} s", f"{one['mpx_per_s']:.2f}", ratio, alone, stages))
    head = (
        "compression",
        "wall",
        "Mpx/s",
        "over the engine's time",
        "engine alone, ms a tile: before and after",
        "stages",
    )
    return [told, "", *table(head, rows)]


def memory(figures: dict[str, Any]) -> Lines:
    """Peak memory at each side."""
    rows = [
        (one["side"], f"{one['peak_rss_mb']:.0f} MB", f"{one['wall_s']:.1f} s", f"{one['mpx_per_s']:.1f}")
        for one in figures["scenes"]
    ]
    head = ("side", "peak memory", "wall", "Mpx/s")
    return [*table(head, rows), "", f"The last is {figures['peak_ratio']:.3f} times the first."]


def steps(figures: dict[str, Any]) -> Lines:
    """One graph beside its two rivals, by engine."""
    rows = [
        (
            name,
            f"{one['unrolled_s'] * 1e3:.0f} ms",
            f"{one['faster_than_stepwise']:.2f} times",
            f"{one['faster_than_authors']:.1f} times",
            f"{one['largest_difference']:.1e}",
        )
        for name, one in figures["engines"].items()
    ]
    head = ("engine", "all steps in one graph", "faster than calls of a step", "than the authors' steps", "differs by")
    return [f"{figures['network']}, tiles of {figures['tile']}.", "", *table(head, rows)]


def peers(figures: dict[str, Any]) -> Lines:
    """Each way beside ours, which is the last."""
    found = figures["peers"]
    ours = found["stf"]["seconds"]
    rows = []
    for name, one in found.items():
        ratios = sorted(theirs / mine for theirs, mine in zip(one["seconds"], ours, strict=True))
        faster = "" if name == "stf" else f"{ratios[len(ratios) // 2]:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        off = f"{one['relative_rms']:.1e}"
        rows.append((name, f"{one['mpx_per_s']:.2f}", f"{one['peak_mb']:.0f} MB", off, faster))
    scene = " x ".join(map(str, figures["scene"]))
    head = ("", "Mpx/s", "peak memory", "off fp32", "stf is faster by, turn by turn")
    return [f"{scene}, tiles of {figures['tile']}.", "", *table(head, rows)]


def engines(figures: dict[str, Any]) -> Lines:
    """What `run` takes, over plain exports."""
    rows = []
    for name, one in figures["networks"].items():
        made = f"{one['engine']['engine']} {one['engine']['precision']}, {one['tiles_a_call']} a call"
        ratios = [_quartiles(one[over]["run"]) for over in ("over_onnxruntime", "over_plain_openvino") if over in one]
        off = one.get("accuracy", {}).get("run", {}).get("short", "")
        rows.append((f"{name} {one['tile']}", made, *ratios, *[""] * (2 - len(ratios)), off))
    head = ("network, tile", "`run` takes", "over ONNX Runtime fp32", "over plain OpenVINO", "off fp32")
    return ["Median over the turns (quartiles).", "", *table(head, rows)]


def _quartiles(one: dict[str, float]) -> str:
    return f"{one['median']:.2f} ({one['quartile_1']:.2f} to {one['quartile_3']:.2f})"


SECTIONS: dict[str, Callable[[Any], Lines]] = {
    one.__name__: one for one in (core, metrics, networks, tiled, overhead, memory, steps, peers, engines)
}
