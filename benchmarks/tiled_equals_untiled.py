# SPDX-License-Identifier: Apache-2.0
"""Largest difference of a tiled scene from the network run on the whole scene at once, over the output's range.

    python benchmarks/tiled_equals_untiled.py [--dcstfn BAND=FILE ...] [--tiles 128 208 256] [--height 397 --width 421]

Each network is exported at every tile size and runs a procedural scene through the pipeline and ONNX Runtime; the
whole scene goes through torch. EDCSTFN has seeded random weights; DCSTFN takes its trained Keras files where given.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

import stf_infer
from stf_export import export, networks
from stf_export.checkpoints import load_into
from stf_infer.datasets import procedural_scene
from stf_infer.sampling import interpolation, mirrored

RATIO = 16
NETWORKS = (("dcstfn", {"variant": "keras"}), ("edcstfn", {"references": 1}), ("edcstfn", {"references": 2}))


def whole_scene(network: torch.nn.Module, images: Mapping[str, np.ndarray], scale: float) -> np.ndarray:
    """The network on the whole scene, at once; fine sides are mirrored to whole coarse pixels where it needs them."""
    fine = images["fine_t1"]
    height, width = fine.shape[1:]
    contract = network.contract()
    on_coarse = any(i.grid == "coarse" for i in contract.inputs)
    feed = {}
    for spec in contract.inputs:
        image = images[spec.role]
        if spec.from_coarse:
            image = interpolated(image, height, width, spec.from_coarse)
        elif spec.grid == "fine" and on_coarse:
            rows, columns = (mirrored(np.arange(-(-n // RATIO) * RATIO), n, RATIO) for n in (height, width))
            image = image[:, rows][:, :, columns]
        feed[spec.role] = torch.from_numpy(np.ascontiguousarray(image * scale, np.float32))[None]
    with torch.inference_mode():
        output: np.ndarray = network.for_export()(**feed)[0].numpy()
    return output[:, :height, :width] / scale


def interpolated(coarse: np.ndarray, height: int, width: int, rule: str) -> np.ndarray:
    """The coarse image on the fine grid, in coordinates of the whole scene, by plain NumPy."""
    for axis, length in ((1, height), (2, width)):
        first, weight = interpolation(0, length, coarse.shape[axis], RATIO, rule)  # type: ignore[arg-type]
        shape = [1, 1, 1]
        shape[axis] = length
        above = np.take(coarse, first, axis)
        below = np.take(coarse, np.minimum(first + 1, coarse.shape[axis] - 1), axis)
        coarse = above + weight.reshape(shape) * (below - above)
    return coarse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dcstfn", nargs="*", default=[], metavar="BAND=FILE", help="trained Keras files")
    parser.add_argument("--tiles", type=int, nargs="+", default=[128, 208, 256])
    parser.add_argument("--height", type=int, default=397)
    parser.add_argument("--width", type=int, default=421)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    files = dict(pair.split("=", 1) for pair in args.dcstfn)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for network, options in NETWORKS:
            bands = tuple(files) if files and network == "dcstfn" else ("green", "red", "nir")
            made = networks.create(network, bands=bands, **options)
            weights: object = files
            if not files or network != "dcstfn":
                torch.manual_seed(0)
                made = networks.create(network, bands=bands, **options)
                weights = folder / f"{network}.pth"
                torch.save(made.state_dict(), weights)
            load_into(made, weights)
            images = scene_images(args.height, args.width, bands)
            scale = made.contract().output.values.scale
            right = whole_scene(made, images, scale)
            extent = float(right.max() - right.min())
            for tile in args.tiles:
                label = f"{network}-{options.get('references', 1)}ref-{tile}"
                bundle = export(network, weights, bands=bands, tile=tile, options=options, out=folder / f"{label}.stf")
                with stf_infer.open(bundle.path, engine="onnxruntime-cpu") as model:
                    roles = {i.role: images[i.role] for i in model.spec.rasters}
                    result = model.fuse(**roles)
                worst = float(np.abs(result.array - right).max())
                rows.append(
                    {
                        "network": f"{network} {options or ''}".strip(),
                        "tile": tile,
                        "halo": bundle.spec.tile.halo,
                        "tiles": result.tiles,
                        "max_abs_over_range": worst / extent,
                        "seam_ratio": result.seam_ratio,
                    }
                )
                if not args.json:
                    print(rows[-1], flush=True)
    if args.json:
        print(json.dumps(rows))


def scene_images(height: int, width: int, bands: tuple[str, ...]) -> dict[str, np.ndarray]:
    """A procedural scene cut to sides that are multiples of nothing; t3 is another season of the same land."""
    side = -(-max(height, width) // RATIO) * RATIO
    known = ("blue", "green", "red", "nir")
    scene = procedural_scene(21, side, side, ratio=RATIO, bands=bands if set(bands) <= set(known) else known)
    rows, columns = -(-height // RATIO), -(-width // RATIO)
    return {
        "fine_t1": scene.fine_t1[:, :height, :width],
        "fine_t3": scene.fine_t2[:, :height, :width],
        "coarse_t1": scene.coarse_t1[:, :rows, :columns],
        "coarse_t2": scene.coarse_t2[:, :rows, :columns],
        "coarse_t3": (scene.coarse_t2 * 0.9 + 0.01)[:, :rows, :columns].astype(np.float32),
    }


if __name__ == "__main__":
    main()
