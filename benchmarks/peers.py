# SPDX-License-Identifier: Apache-2.0
"""The same scene and weights through what a user would write or install instead, each in a process of its own.

    python benchmarks/peers.py [--side 2752] [--tile 512] [--rounds 3] [--only NAME ...] [--out FILE.json]

Three 4-band int16 rasters on one grid, uncompressed, through EDCSTFN, into an int16 GeoTIFF:

    loop-onnxruntime   rasterio windows with the network's halo, one after the other, ONNX Runtime in fp32
    loop-openvino      the same with OpenVINO at its own defaults (bf16 where the processor has it)
    monai              SlidingWindowInferer on the torch network, whole rasters in memory
    stf-fp32           stf-infer on ONNX Runtime in fp32
    terratorch         its tiled_inference on the torch network, whole rasters in memory (see below)
    stf                stf-infer with what it picks of fp32 and engines for OpenVINO in bf16 and int8 within the
                       budget, built before

monai and terratorch take part where they are installed. terratorch imports torchvision and 20 other packages that its
tiler does not use: `pip install --no-deps terratorch tqdm` is enough, the file of the tiler is loaded on its own. It
mirrors the rasters at the scene's border, where the network pads with zeros: a ring as wide as the halo differs.

The loops take the plain torch export of the network. All run in turns, so that other work on the machine meets all of
them. Printed are medians of wall time (from the start of reading to the finished file, engine open), peak resident
memory of the process, the difference to the fp32 result, and stf's ratio to each, pair by pair.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from _scene import write_big_scene
from memory import watched
from rasterio.windows import Window

ROLES = ("coarse_t1", "fine_t1", "coarse_t2")
PEERS = ("loop-onnxruntime", "loop-openvino", "monai", "terratorch", "stf-fp32", "stf")

# What has to be found for those that the project does not install itself, and what puts it there.
NEEDS = {
    "monai": (("monai",), "pip install monai"),
    "terratorch": (("terratorch", "tqdm"), "pip install --no-deps terratorch tqdm"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=2752)
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PEERS, default=[name for name in PEERS if not lacking(name)])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps({"seconds": run(args.child, args.folder, args.tile)}))
        return
    for name in args.only:
        if lacking(name):
            parser.error(f"{name} lacks {', '.join(lacking(name))}: {NEEDS[name][1]}")
    with tempfile.TemporaryDirectory() as name:
        report = compare(Path(name), args)
    show(report)
    if args.out:
        args.out.write_text(json.dumps(report, indent=2) + "\n")


def lacking(name: str) -> list[str]:
    """Modules of a peer that are not installed."""
    modules, _ = NEEDS.get(name, ((), ""))
    return [module for module in modules if importlib.util.find_spec(module) is None]


def compare(folder: Path, args: argparse.Namespace) -> dict[str, object]:
    """Prepare scene and networks, run every peer in every round, and gather figures."""
    from stf_infer.engines.machine import cores, cpu

    prepare(folder, args.side, args.tile)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in args.only}
    for _ in range(args.rounds):
        for name in args.only:
            found[name].append(in_a_process(name, folder, args.tile))
    reference = read(folder / ("stf-fp32.tif" if "stf-fp32" in args.only else f"{args.only[0]}.tif"))
    return {
        "machine": str(cpu()),
        "cores": cores(),
        "scene": [args.side, args.side, 4],
        "tile": args.tile,
        "peers": {
            name: {
                "seconds": [one["seconds"] for one in runs],
                "mpx_per_s": args.side**2 / 1e6 / statistics.median(one["seconds"] for one in runs),
                "peak_mb": max(one["peak_mb"] for one in runs),
                "relative_rms": relative_rms(read(folder / f"{name}.tif"), reference),
            }
            for name, runs in found.items()
        },
    }


def prepare(folder: Path, side: int, tile: int) -> None:
    """Rasters on one grid, a bundle with engines of less than fp32, and the plain torch export."""
    import torch
    from _edcstfn import edcstfn_bundle, with_engine

    import stf_infer
    from stf_export.networks import create
    from stf_infer.errors import StfError

    coarse = write_big_scene(folder / "scene", side)
    for number, role in enumerate(("coarse_t1", "coarse_t2")):
        stretch(coarse["fine_t1"], folder / "scene" / f"{role}_fine.tif", number)
    bundle = edcstfn_bundle(folder, tile, "fine")
    network = create("edcstfn", bands=4, coarse_grid="fine").eval()
    network.load_state_dict(torch.load(folder / "edcstfn.pth", weights_only=True))
    torch.onnx.export(
        network,
        tuple(torch.rand(1, 4, tile, tile) for _ in ROLES),
        folder / "plain.onnx",
        dynamo=True,
        input_names=list(ROLES),
        output_names=["fine_t2"],
        verbose=False,
    )
    for precision in ("bf16", "int8"):
        try:
            bundle = with_engine(bundle, precision)
        except StfError as error:
            print(f"no {precision} engine: {error}", file=sys.stderr)
    (folder / "facts.json").write_text(json.dumps({"bundle": str(bundle.path), "halo": bundle.spec.tile.halo}))
    with stf_infer.open(bundle.path) as model:  # measured once, before anything is timed
        print(f"stf takes {model.engine.describe()['engine']}: {model.engine.choice}", file=sys.stderr)


def stretch(like: Path, path: Path, seed: int) -> None:
    """A raster like another one whose pixels are a little off, row block by row block: a coarse image made fine."""
    rng = np.random.default_rng(seed)
    with rasterio.open(like) as source, rasterio.open(path, "w", **source.profile) as out:
        out.scales, out.descriptions = source.scales, source.descriptions
        for _, window in source.block_windows(1):
            pixels = source.read(window=window)
            out.write(np.clip(pixels + rng.integers(-200, 200, pixels.shape), 0, 10000).astype(np.int16), window=window)


def in_a_process(name: str, folder: Path, tile: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", name, "--folder", str(folder), "--tile", str(tile)]
    said, peak = watched(command)
    return {**json.loads(said.splitlines()[-1]), "peak_mb": peak / 1024}


# What is compared ----------------------------------------------------------------------------------------------


def run(name: str, folder: Path, tile: int) -> float:
    """Fuse the scene in this process; wall time with the engine open."""
    facts = json.loads((folder / "facts.json").read_text())
    rasters = {role: folder / "scene" / (f"{role}.tif" if role == "fine_t1" else f"{role}_fine.tif") for role in ROLES}
    out = folder / f"{name}.tif"
    if name.startswith("stf"):
        return stf(facts["bundle"], rasters, out, None if name == "stf" else "onnxruntime-cpu")
    if name in ("monai", "terratorch"):
        tiler = monai_tiler if name == "monai" else terratorch_tiler
        return torch_network(tiler(tile, facts["halo"]), folder / "edcstfn.pth", rasters, out, tile)
    infer = onnxruntime_network if name == "loop-onnxruntime" else openvino_network
    return loop(infer(folder / "plain.onnx"), rasters, out, tile, facts["halo"])


def stf(bundle: str, rasters: dict[str, Path], out: Path, engine: str | None) -> float:
    import stf_infer

    with stf_infer.open(bundle, engine=engine, precision=None if engine is None else "fp32") as model:
        assert model.engine
        began = time.perf_counter()
        model.fuse(out, compress="none", overviews=False, **rasters)
        return time.perf_counter() - began


Network = Callable[[dict[str, np.ndarray]], np.ndarray]


def onnxruntime_network(graph: Path) -> Network:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    return lambda tiles: session.run(None, tiles)[0]


def openvino_network(graph: Path) -> Network:
    import openvino

    model = openvino.Core().compile_model(str(graph), "CPU")
    return lambda tiles: model(tiles)[0]


def loop(infer: Network, rasters: dict[str, Path], out: Path, tile: int, halo: int) -> float:
    """A careful loop over windows: halo, last tile shifted back, int16 in and out."""
    infer({role: np.zeros((1, 4, tile, tile), np.float32) for role in ROLES})
    began = time.perf_counter()
    sources = {role: rasterio.open(path) for role, path in rasters.items()}
    like = sources["fine_t1"]
    with rasterio.open(out, "w", **like.profile) as target:
        for (y0, core_y0, core_y1), (x0, core_x0, core_x1) in cores_of(like.height, like.width, tile, halo):
            window = Window(x0, y0, tile, tile)
            tiles = {
                role: source.read(window=window)[None].astype(np.float32) * 1e-4 for role, source in sources.items()
            }
            predicted = infer(tiles)[0, :, core_y0 - y0 : core_y1 - y0, core_x0 - x0 : core_x1 - x0]
            stored = np.round(predicted * 10000).astype(np.int16)
            target.write(stored, window=Window(core_x0, core_y0, core_x1 - core_x0, core_y1 - core_y0))
    for source in sources.values():
        source.close()
    return time.perf_counter() - began


def cores_of(height: int, width: int, tile: int, halo: int) -> Iterator[tuple[tuple[int, int, int], ...]]:
    """Origin and core of every tile, along both axes."""
    axes = []
    for length in (height, width):
        origins = [*range(0, length - tile, tile - 2 * halo), length - tile]
        bounds = [0, *(origin + halo for origin in origins[1:]), length]
        axes.append([(origin, bounds[n], bounds[n + 1]) for n, origin in enumerate(origins)])
    return ((y, x) for y in axes[0] for x in axes[1])


# A network of all bands at once, and the whole image: how a tiler is called.
Tiler = Callable[[Callable[[Any], Any], Any], Any]


def monai_tiler(tile: int, halo: int) -> Tiler:
    from monai.inferers import SlidingWindowInferer

    inferer = SlidingWindowInferer(roi_size=(tile, tile), sw_batch_size=1, overlap=2 * halo / tile)
    return lambda network, image: inferer(image, network)


def terratorch_tiler(tile: int, halo: int) -> Tiler:
    """Its function, with a stand-in for what it imports and does not call."""
    place = next(Path(folder) / "terratorch" for folder in sys.path if (Path(folder) / "terratorch").is_dir())
    stand_in = types.ModuleType("terratorch.models.utils")
    stand_in.pad_images = None  # type: ignore[attr-defined]
    sys.modules |= {name: types.ModuleType(name) for name in ("terratorch", "terratorch.models")}
    sys.modules[stand_in.__name__] = stand_in
    spec = importlib.util.spec_from_file_location("terratorch_tiler", place / "tasks" / "tiled_inference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    given = {"crop": tile, "stride": tile - 2 * halo, "delta": halo, "batch_size": 1, "blend_overlaps": False}
    return lambda network, image: module.tiled_inference(network, image, **given)


def torch_network(tiler: Tiler, weights: Path, rasters: dict[str, Path], out: Path, tile: int) -> float:
    import torch

    from stf_export.networks import create

    network = create("edcstfn", bands=4, coarse_grid="fine").eval()
    network.load_state_dict(torch.load(weights, weights_only=True))
    with torch.inference_mode():
        network(*torch.zeros(3, 1, 4, tile, tile))
        began = time.perf_counter()
        images = []
        for role in ROLES:
            with rasterio.open(rasters[role]) as source:
                images.append(torch.from_numpy(source.read().astype(np.float32) * 1e-4))
                profile = source.profile
        predicted = tiler(lambda x: network(x[:, :4], x[:, 4:8], x[:, 8:]), torch.cat(images)[None])
        stored = np.round(predicted[0].numpy() * 10000).astype(np.int16)
        with rasterio.open(out, "w", **profile) as target:
            target.write(stored)
        return time.perf_counter() - began


# Figures -------------------------------------------------------------------------------------------------------


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as source:
        return source.read()


def relative_rms(found: np.ndarray, reference: np.ndarray) -> float:
    """RMS difference over RMS value, all bands; whole scenes, row block by row block."""
    difference = total = 0.0
    for first in range(0, found.shape[1], 256):
        a, b = (image[:, first : first + 256].astype(np.float64) for image in (found, reference))
        difference += float(np.square(a - b).sum())
        total += float(np.square(b).sum())
    return (difference / total) ** 0.5


def show(report: dict[str, object]) -> None:
    peers = report["peers"]
    print(f"{report['machine']}, {report['cores']} cores; {report['scene']}, tiles of {report['tile']}")
    ours = peers.get("stf", {}).get("seconds", [])
    for name, one in peers.items():
        pairs = [theirs / mine for theirs, mine in zip(one["seconds"], ours, strict=False)]
        ratio = f"stf {statistics.median(pairs):.2f} x ({min(pairs):.2f} to {max(pairs):.2f})" if pairs else ""
        print(
            f"{name:18} {statistics.median(one['seconds']):8.2f} s  {one['mpx_per_s']:6.2f} Mpx/s  "
            f"{one['peak_mb']:6.0f} MB  {one['relative_rms']:.1e} off fp32  {ratio}"
        )


if __name__ == "__main__":
    main()
