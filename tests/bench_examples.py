# SPDX-License-Identifier: Apache-2.0
"""Results of benches that never ran, with small rasters: what reports are made from in tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import from_origin

from stf_infer.bench.result import (
    Distribution,
    Energy,
    Figures,
    Latency,
    Machine,
    Quality,
    Result,
    Row,
    SceneFacts,
    Span,
    Stage,
    Throughput,
)

BANDS = ("blue", "green", "red", "nir")
SIDE, RATIO = 48, 8
NOTHING_FOUND: dict[str, object] = {"load": None, "first_call": None, "latency": None}
NOTHING_FOUND |= {"sweep": (), "throughput": (), "quality": ()}
UGLY = '<img src=x onerror=alert(1)> & "it\'s" | `co` *de*'


def distribution(p50: float, *, n: int = 60, seed: int = 0, spread: float = 0.03) -> Distribution:
    """Positive numbers around ``p50`` with a tail to the slow side, their median exactly ``p50``."""
    noise = np.random.default_rng(seed).gamma(2.0, spread, n)
    samples = p50 * (1 + noise) / np.median(1 + noise)
    points = np.percentile(samples, (50, 90, 99))
    return Distribution(
        n=n,
        p50=points[0],
        p90=points[1],
        p99=points[2],
        maximum=samples.max(),
        mean=samples.mean(),
        samples=tuple(samples.tolist()),
    )


def latency(p50: float, *, batch: int = 1, threads: int | None = None, n: int = 60, seed: int = 0) -> Latency:
    found = distribution(p50, n=n, seed=seed)
    return Latency(batch=batch, threads=threads, warm_up=12, stable=True, tile=found)


def throughput(scene: str = "demo", *, tile_seconds: float = 0.01, joules: float | None = None) -> Throughput:
    tiles, wall = 9, 9 * tile_seconds * 1.2
    read, infer, write = 0.2 * wall, wall / 1.2, 0.3 * wall
    stages = (
        Stage(thread="reader", name="read", waiting=False, calls=3, seconds=read, bytes=10**6),
        Stage(thread="reader", name="wait for engine", waiting=True, calls=3, seconds=wall - read, bytes=0),
        Stage(thread="engine", name="infer", waiting=False, calls=9, seconds=infer, bytes=0),
        Stage(thread="writer", name="write", waiting=False, calls=3, seconds=write, bytes=10**6),
    )
    step = wall / 9
    spans = [Span(thread="reader", name="read", waiting=False, start=0, end=read)]
    spans += [
        Span(thread="engine", name="infer", waiting=False, start=i * step, end=(i + 0.9) * step) for i in range(9)
    ]
    spans += [Span(thread="writer", name="write", waiting=False, start=wall * 0.7, end=wall)]
    megapixels = SIDE * SIDE / 1e6
    note = "not readable: no counter here" if joules is None else "package, RAPL"
    return Throughput(
        scene=scene,
        height=SIDE,
        width=SIDE,
        bands=len(BANDS),
        seconds=(wall * 0.99, wall, wall * 1.02),
        tiles=tiles,
        engine_seconds=tiles * tile_seconds,
        megapixels_a_second=megapixels / wall,
        scenes_an_hour=3600 / wall,
        stages=stages,
        spans=tuple(spans),
        peak_memory=300 << 20,
        device_memory=None,
        energy=Energy(
            joules={} if joules is None else {"package-0": joules},
            joules_a_megapixel=None if joules is None else joules / megapixels,
            note=note,
        ),
    )


def figures(rmse: float, *, bands: tuple[str, ...] = BANDS, notes: tuple[str, ...] = ()) -> Figures:
    pooled = {
        "rmse": rmse, "mae": 0.7 * rmse, "bias": -0.1 * rmse, "aad": 0.7 * rmse, "mse": rmse**2, "nrmse": rmse / 0.2,
        "cc": 1 - 2 * rmse, "pcc": 1 - 2 * rmse, "r2": 1 - 4 * rmse, "psnr": -20 * float(np.log10(max(rmse, 1e-12))),
        "ssim": 1 - rmse, "uqi": 1 - 3 * rmse, "sam_deg": 90 * rmse, "sam_rad": 1.5 * rmse, "ergas": 60 * rmse,
    }  # fmt: skip
    one = {name: value for name, value in pooled.items() if name not in ("sam_deg", "sam_rad", "ergas")}
    per_band = {band: {**one, "rmse": rmse * (1 + i / 10)} for i, band in enumerate(bands)}
    return Figures(pooled=pooled, per_band=per_band, pixels=SIDE * SIDE, notes=notes)


def quality(rmse: float, *, scene: str = "demo", fp32: float | None = None, image: str | None = None) -> Quality:
    return Quality(
        scene=scene,
        truth=figures(rmse),
        fp32=None if fp32 is None else figures(fp32),
        changed=figures(1.6 * rmse),
        unchanged=figures(0.8 * rmse),
        seam=1.02,
        image=image,
    )


def engine_row(name: str = "demo | openvino-cpu fp32", *, p50: float = 0.01, rmse: float = 0.02, **more: object) -> Row:
    """A row of an engine, whole; ``more`` replaces fields."""
    network, _, rest = name.partition(" | ")
    target, _, precision = rest.partition(" ")
    known = {
        "name": name,
        "bundle": "demo.stf",
        "network": network,
        "target": target,
        "precision": precision or "fp32",
        "engine": f"{target} 1.2, compiled",
        "tile": (32, 32),
        "halo": 6,
        "load": 0.2,
        "first_call": 3 * p50,
        "latency": latency(p50),
        "sweep": (latency(0.9 * p50, batch=4), latency(1.8 * p50, threads=1)),
        "throughput": (throughput(tile_seconds=p50),),
        "quality": (quality(rmse),),
    }
    return Row.model_validate({**known, **more})


def baseline_row(name: str = "copy fine_t1", *, rmse: float = 0.05, **more: object) -> Row:
    known = {"name": name, "kind": "baseline", "network": name, "quality": (quality(rmse),)}
    return Row.model_validate({**known, **more})


def scene(name: str = "demo", **more: object) -> SceneFacts:
    known = {
        "name": name,
        "inputs": {"coarse_t1": "c1.tif", "fine_t1": "f1.tif", "coarse_t2": "c2.tif"},
        "truth": "truth.tif",
        "height": SIDE,
        "width": SIDE,
        "bands": BANDS,
        "ratio": RATIO,
        "unit": "reflectance",
        "data_range": 1.0,
        "change_threshold": 0.02,
        "remark": "Coarse images are simulated.",
    }
    return SceneFacts.model_validate({**known, **more})


def result(*rows: Row, scenes: tuple[SceneFacts, ...] | None = None, **more: object) -> Result:
    known = {
        "package": "0.1.0",
        "measured": "2026-11-25T12:00:00Z",
        "seconds": 12.5,
        "command": ("python", "-m", "stf_infer.bench", "--out", "my results"),
        "settings": {"engines": ["openvino-cpu"], "rounds": 60, "latency": {"seconds": 1.0}, "seed": None},
        "machine": machine(),
        "scenes": (scene(),) if scenes is None else scenes,
        "rows": rows,
    }
    return Result.model_validate({**known, **more})


def machine(**more: object) -> Machine:
    known = {
        "system": "Linux 6.1",
        "cpu": "An Example of a CPU",
        "features": ("avx2", "fma"),
        "cores": 2,
        "memory": 8 << 30,
        "libraries": {"openvino": "2025.1", "numpy": "2.1"},
        "readings": {"clock_mhz": {"before": 2500.0, "after": 2450.0}},
        "noise": {"steal": 0.01},
        "warnings": ("Another process took 40 % of a core.",),
    }
    return Machine.model_validate({**known, **more})


def whole() -> Result:
    """Two precisions, a baseline, and a row that failed for an ugly reason."""
    return result(
        engine_row(),
        engine_row("demo | openvino-cpu int8", p50=0.004, rmse=0.021, quality=(quality(0.021, fp32=0.002),)),
        engine_row("demo | tensorrt-sm89 fp16", failure=f"no GPU {UGLY}", **NOTHING_FOUND),
        baseline_row(),
    )


def with_rasters(folder: Path, *, scale: float | None = None) -> Result:
    """The same with a truth, inputs and predictions on disk.

    The prediction of row k is the truth plus 0.01 (k + 1), so every figure of a picture is known.
    """
    rng = np.random.default_rng(3)
    shape = (len(BANDS), SIDE, SIDE)
    fine_t1 = (0.1 + 0.3 * rng.random(shape)).astype(np.float32)
    truth = fine_t1 + np.float32(0.05)
    coarse = fine_t1.reshape(len(BANDS), SIDE // RATIO, RATIO, SIDE // RATIO, RATIO).mean((2, 4))
    raster(folder / "f1.tif", fine_t1, scale=scale)
    raster(folder / "truth.tif", truth, scale=scale)
    raster(folder / "c1.tif", coarse, pixel=10.0 * RATIO, scale=scale)
    raster(folder / "c2.tif", coarse + np.float32(0.05), pixel=10.0 * RATIO, scale=scale)
    before = whole()
    rows = []
    for k, row in enumerate(before.rows):
        if row.failure is None:
            image = f"images/{k}.tif"
            raster(folder / image, truth + np.float32(0.01 * (k + 1)))
            row = row.model_copy(update={"quality": (row.quality[0].model_copy(update={"image": image}),)})
        rows.append(row)
    return before.model_copy(update={"rows": tuple(rows)})


def raster(path: Path, values: np.ndarray, *, pixel: float = 10.0, scale: float | None = None) -> None:
    """A GeoTIFF with names of bands; uint16 where a scale is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = values.astype(np.float32) if scale is None else np.rint(values / scale).astype(np.uint16)
    count, height, width = stored.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=count, dtype=stored.dtype, crs="EPSG:32633",
        transform=from_origin(500_000, 4_000_000, pixel, pixel),
    ) as dataset:  # fmt: skip
        dataset.write(stored)
        dataset.descriptions = BANDS[:count]
        if scale is not None:
            dataset.scales = (scale,) * count
