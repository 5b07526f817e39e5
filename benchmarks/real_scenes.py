# SPDX-License-Identifier: Apache-2.0
"""A trained DCSTFN bundle on real Landsat/MODIS pairs, beside the two baselines.

    python benchmarks/real_scenes.py dcstfn.stf --shared FOLDER

FOLDER holds ``data/kranj_landsat_modis_2020`` (Landsat 8 and MODIS, three dates) and ``data/landsat7_p15r32_2002``
(two Landsat 7 dates; the coarse images are block means of the fine ones). The bundle wants green, red and nir.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import rasterio
from rich.console import Console
from rich.table import Table

import stf_infer
from stf_infer.baselines import copy_reference
from stf_infer.raster import Raster

BANDS = (2, 3, 4)  # green, red, nir of blue, green, red, nir, swir1, swir2
# Landsat 7 comes as 8-bit numbers without gains for both dates; 1/400 puts them where reflectances are.
DN_SCALE = 0.0025
SHOWN = ("rmse", "cc", "r2", "ssim", "sam_deg", "ergas")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rows = []
    with stf_infer.open(args.bundle) as model:
        for label, fine_t1, coarse_t1, coarse_t2, truth in cases(args.shared / "data", model.spec.ratio):
            result = model.fuse(fine_t1=fine_t1, coarse_t1=coarse_t1, coarse_t2=coarse_t2)
            reference = model_reference(fine_t1)
            change = coarse_change_on_fine(model, fine_t1, coarse_t1, coarse_t2)
            for method, prediction in (
                ("fine_t1", copy_reference(reference)),
                ("fine_t1 + coarse change", reference + change),
                (model.spec.name, result.array),
            ):
                report = stf_infer.metrics.evaluate(
                    prediction, truth, data_range=1.0, ratio=model.spec.ratio, bands=model.spec.output.bands
                )
                rows.append({"scene": label, "method": method, **report.as_dict()})
    if args.json:
        print(json.dumps(rows, default=str))
        return
    table = Table("scene", "method", *SHOWN, "R2 by band")
    for row in rows:
        by_band = " ".join(f"{b['r2']:.3f}" for b in row["per_band"].values())
        table.add_row(row["scene"], row["method"], *(f"{row['pooled'][m]:.4f}" for m in SHOWN), by_band)
    Console(width=140).print(table)


def cases(data: Path, ratio: int):
    """Label, the three inputs and the truth (reflectance, NaN where there is none) of each real case."""
    kranj = data / "kranj_landsat_modis_2020"
    fine = {day: next((kranj / "landsat_filled").glob(f"2020{day}_*.tif")) for day in ("068", "077", "093")}
    coarse = {day: next((kranj / "modis_filled").glob(f"2020{day}_*.tif")) for day in ("068", "077", "093")}
    for before, after in (("068", "077"), ("077", "093")):
        yield (
            f"Kranj {before} to {after}",
            Raster(fine[before], bands=BANDS, scale=1e-4),
            Raster(coarse[before], bands=BANDS),
            Raster(coarse[after], bands=BANDS),
            read(fine[after], BANDS, 1e-4),
        )
    july, november = sorted((data / "landsat7_p15r32_2002").glob("etm_*.tif"))
    t1, t2 = (read(path, BANDS, DN_SCALE) for path in (july, november))
    side = t1.shape[1] // ratio * ratio
    t1, t2 = t1[:, :side, :side], t2[:, :side, :side]
    yield "Landsat 7 July to November", Raster(t1), block_mean(t1, ratio), block_mean(t2, ratio), t2


def read(path: Path, bands: tuple[int, ...], scale: float) -> np.ndarray:
    """Physical values, NaN where there is no measurement."""
    with rasterio.open(path) as source:
        return source.read(bands, masked=True).astype(np.float32).filled(np.nan) * np.float32(scale)


def block_mean(image: np.ndarray, ratio: int) -> Raster:
    """The coarse image that the fine one would give a perfect coarse sensor."""
    c, h, w = image.shape
    return Raster(image.reshape(c, h // ratio, ratio, w // ratio, ratio).mean((2, 4)))


def model_reference(fine_t1: Raster) -> np.ndarray:
    """fine_t1 as physical values."""
    if isinstance(fine_t1.data, np.ndarray):
        return fine_t1.data
    return read(fine_t1.data, BANDS, fine_t1.scale or 1.0)


def coarse_change_on_fine(model: stf_infer.Model, fine_t1: Raster, coarse_t1: Raster, coarse_t2: Raster) -> np.ndarray:
    """``coarse_t2 - coarse_t1`` interpolated to the fine grid (C, H, W), from the coarse grid the network sees."""
    from stf_infer.baselines import interpolate_coarse
    from stf_infer.scene import Scene

    with Scene(model.spec, {"fine_t1": fine_t1, "coarse_t1": coarse_t1, "coarse_t2": coarse_t2}) as scene:
        images = {}
        for role in ("coarse_t1", "coarse_t2"):
            layer = scene.layers[role]
            pixels, _ = layer.read(0, layer.grid.shape.height)
            images[role] = pixels * layer.scaling.scale[:, None, None] + layer.scaling.offset[:, None, None]
        change = interpolate_coarse(images["coarse_t2"] - images["coarse_t1"], model.spec.ratio)
    return change[:, : scene.shape.height, : scene.shape.width]


if __name__ == "__main__":
    main()
