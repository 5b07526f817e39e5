# SPDX-License-Identifier: Apache-2.0
"""Wall time of a whole scene against the engine's own time for the same tiles.

    python benchmarks/stream_overhead.py [--side 2745] [--tile 512] [--engine onnxruntime-cpu] [--repeat 3]

The engine alone runs the same number of tiles, with the same batch size and threads, in the same process, before and
after each scene; the ratio is scene wall time / mean of the two.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from _scene import write_big_scene

import stf_infer
from stf_export import export
from stf_infer.bundle import Bundle
from stf_infer.grid import Shape, TilePlan


def edcstfn_bundle(folder: Path, tile: int, coarse_grid: str) -> Bundle:
    """EDCSTFN with seeded random weights: the time does not depend on them."""
    from stf_export.networks import create

    torch.manual_seed(0)
    weights = folder / "edcstfn.pth"
    torch.save(create("edcstfn", bands=4, coarse_grid=coarse_grid).state_dict(), weights)
    return export(
        "edcstfn",
        weights,
        bands=("blue", "green", "red", "nir"),
        tile=tile,
        options={"coarse_grid": coarse_grid},
        out=folder / f"edcstfn-{coarse_grid}-{tile}.stf",
    )


def engine_seconds(model: stf_infer.Model, tiles: int, batch: int) -> float:
    """The engine alone on as many tiles as the scene has."""
    spec = model.spec
    rng = np.random.default_rng(0)
    inputs = {i.tensor: rng.random((batch, *spec.tensor_shape(i)), np.float32) for i in spec.inputs}
    model.engine.infer(inputs)
    began = time.perf_counter()
    for _ in range(-(-tiles // batch)):
        model.engine.infer(inputs)
    return (time.perf_counter() - began) * tiles / (-(-tiles // batch) * batch)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=2745)
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--engine", default=None)
    parser.add_argument("--coarse-grid", default="native", choices=("native", "fine"))
    parser.add_argument("--compress", default="none", choices=("none", "zstd", "deflate"))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = edcstfn_bundle(folder, args.tile, args.coarse_grid)
        source = None if args.compress == "none" else args.compress
        rasters = write_big_scene(folder / "scene", args.side, compress=source)
        tiles = len(TilePlan.for_scene(bundle.spec.tile, Shape(args.side, args.side)))
        ratios, walls, engines = [], [], []
        with stf_infer.open(bundle.path, engine=args.engine) as model:
            for _ in range(args.repeat):
                before = engine_seconds(model, tiles, args.batch)
                result = model.fuse(
                    folder / "out.tif", tile_batch=args.batch, compress=args.compress, overviews=False, **rasters
                )
                alone = (before + engine_seconds(model, tiles, args.batch)) / 2
                ratios.append(result.seconds / alone)
                walls.append(result.seconds)
                engines.append(alone)
            made = model.engine.describe()
    report = {
        "network": f"edcstfn, coarse_grid={args.coarse_grid}",
        "scene": [args.side, args.side, 4],
        "tile": args.tile,
        "tiles": tiles,
        "halo": bundle.spec.tile.halo,
        "engine": made,
        "compress": args.compress,
        "wall_s": statistics.median(walls),
        "engine_alone_s": statistics.median(engines),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
    }
    if args.json:
        print(json.dumps(report))
    else:
        for key, value in report.items():
            print(f"{key:15} {value}")


if __name__ == "__main__":
    main()
