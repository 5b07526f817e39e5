# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

import stf_infer
from lower_support import graph
from precision_support import bundle_of
from step_bundle import make_step_bundle
from stf_export import export_onnx, reduce
from stf_export.precision import METHODS, PRECISIONS
from stf_infer.accuracy import Tiles, recorded, store_tiles
from stf_infer.accuracy.procedural import procedural_tiles
from stf_infer.bundle import Bundle
from stf_infer.engines import machine
from stf_infer.errors import AssetError, ExportError, OutputError, UsageError
from tiny_networks import contract_for

RNG = np.random.default_rng(11)


def kernel(out: int, given: int, size: int = 1) -> np.ndarray:
    return (RNG.normal(size=(out, given, size, size)) / np.sqrt(given) / size).astype(np.float32)


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """Four convolutions beside a straight way, as networks that predict a change are built."""
    nodes = """a = Conv<pads=[1, 1, 1, 1]>(fine_t1, w0)
    b = Relu(a)
    c = Conv<pads=[1, 1, 1, 1]>(b, w1)
    d = Relu(c)
    e = Conv(d, w2)
    f = Relu(e)
    g = Conv(f, w3)
    fine_t2 = Add(fine_t1, g)"""
    nodes = "\n".join(line.strip() for line in nodes.splitlines())
    weights = {"w0": kernel(8, 2, 3), "w1": kernel(8, 8, 3), "w2": kernel(8, 8), "w3": kernel(2, 8) / 4}
    return bundle_of(tmp_path_factory.mktemp("plain"), nodes, weights).path


@pytest.fixture(scope="module")
def trap(tmp_path_factory) -> Path:
    """Between two convolutions 500 is added and taken away again: a half rounds there to a quarter."""
    nodes = """a = Conv(fine_t1, w0)
    b = Add(a, many)
    c = Abs(b)
    d = Sub(c, many)
    e = Conv(d, w1)
    f = Relu(e)
    fine_t2 = Conv(f, w2)"""
    nodes = "\n".join(line.strip() for line in nodes.splitlines())
    weights = {"w0": kernel(8, 2), "w1": kernel(8, 8), "w2": kernel(2, 8), "many": 500.0}
    return bundle_of(tmp_path_factory.mktemp("trap"), nodes, weights).path


def copy(bundle: Path, folder: Path) -> Bundle:
    return Bundle.open(shutil.copytree(bundle, folder / "net.stf"))


def content(folder: Path) -> dict[str, str]:
    """SHA-256 of everything in a folder."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision(plain, tmp_path, precision):
    bundle = copy(plain, tmp_path)
    lines: list[str] = []
    report = reduce(bundle, precision, budget="rmse=3%,sam=1deg", progress=lines.append)
    assert bundle.precisions.keys() == {"fp32", precision}
    bundle.verify()
    graph = onnx.load(report.path)
    assert {i.type.tensor_type.elem_type for i in (*graph.graph.input, *graph.graph.output)} == {1}
    assert [i.name for i in (*graph.graph.input, *graph.graph.output)] == ["fine_t1", "fine_t2"]
    stated = bundle.properties["stf:reduced"][precision]
    assert stated["share"] == pytest.approx(report.share, abs=1e-4)
    assert stated["islands"] == list(report.islands) == []
    assert ("calibration" in stated) == (precision == "int8")
    assert stated["measured"].endswith(f"rounded to {precision}")
    found = recorded(bundle)[precision]
    assert found.proven
    assert found.accuracy == report.accuracy
    assert 0 < found.accuracy.worst[1] < 0.03
    assert any("trial 1" in line for line in lines)
    assert "procedural" in report.notes[0]
    json.dumps(report.as_dict())
    # First and last layers stay in 8 bits' case: a fifth of the work.
    assert report.share == (pytest.approx(640 / (144 + 640 + 16)) if precision == "int8" else 1)


def test_fp16_is_nearer_than_bf16_and_int8(plain, tmp_path):
    bundle = copy(plain, tmp_path)
    off = {p: reduce(bundle, p, budget="none").accuracy.worst[1] for p in PRECISIONS}
    assert off["fp16"] < off["bf16"] / 4
    assert off["fp16"] < off["int8"] / 4
    assert not any(record.proven for record in recorded(bundle).values())


def test_an_engine_opens_what_was_written(plain, tmp_path):
    bundle = copy(plain, tmp_path)
    report = reduce(bundle, "int8", budget="rmse=3%,sam=1deg")
    from stf_infer.accuracy import compare, tiles_of
    from stf_infer.engines import registry

    target = registry.target("onnxruntime-cpu")
    with target.open(bundle, None, "fp32", 1) as right, target.open(bundle, None, "int8", 1) as engine:
        found = compare(bundle.spec, right, engine, tiles_of(bundle))
    assert found.worst[1] == pytest.approx(report.accuracy.worst[1], rel=0.1)


@pytest.mark.parametrize("calibration", METHODS)
def test_every_calibration(plain, tmp_path, calibration):
    bundle = copy(plain, tmp_path)
    report = reduce(bundle, "int8", budget="rmse=5%,sam=2deg", calibration=calibration)
    assert bundle.properties["stf:reduced"]["int8"]["calibration"] == calibration
    assert report.accuracy.worst[1] < 0.05


def test_the_planted_trap_becomes_an_island(trap, tmp_path):
    bundle = copy(trap, tmp_path)
    free = reduce(bundle, "fp16", budget="none")
    assert free.accuracy.worst[1] > 0.02
    report = reduce(bundle, "fp16", budget="rmse=0.5%,sam=0.2deg")
    assert report.accuracy.worst[1] < 0.005
    assert report.share == 1  # none of the convolutions
    (island,) = report.islands
    assert "add" in island.lower() or "node" in island
    graph = onnx.load(report.path).graph
    kept = {n.op_type for n in graph.node if n.op_type in ("Add", "Abs", "Sub")}
    types = {i.name: i.data_type for i in graph.initializer}
    assert kept == {"Add", "Abs", "Sub"}
    assert sorted(set(types.values())) == [1, 10]


def test_a_layer_that_is_to_be_kept_is_kept(plain, tmp_path):
    bundle = copy(plain, tmp_path)
    names = [n.name for n in onnx.load(bundle.asset("model-fp32")).graph.node if n.op_type == "Conv"]
    report = reduce(bundle, "int8", budget="none", keep=[names[1]])
    assert report.share == pytest.approx(64 / 800)
    assert bundle.properties["stf:reduced"]["int8"]["kept"] == [names[1]]
    with pytest.raises(ExportError, match="is to be kept"):
        reduce(bundle, "int8", keep=names[1:3])
    with pytest.raises(UsageError, match="no such layer"):
        reduce(bundle, "fp16", keep=["nothing"])


def test_over_the_budget_nothing_changes(plain, tmp_path):
    bundle = copy(plain, tmp_path)
    reduce(bundle, "fp16", budget="none")
    before = content(bundle.path)
    for precision in PRECISIONS:
        with pytest.raises(ExportError) as error:
            reduce(bundle, precision, budget="rmse=1e-7")
        text = str(error.value)
        assert "allowed 1e-05%" in text or "in fp32" in text
        assert "worst" in text
        assert "red" in text or "nir" in text
        assert "--budget" in text
    assert content(bundle.path) == before
    assert [path.name for path in tmp_path.iterdir()] == ["net.stf"]


def test_a_second_reduction_replaces_the_first(plain, tmp_path):
    bundle = copy(plain, tmp_path)
    first = reduce(bundle, "int8", budget="none")
    second = reduce(bundle, "int8", budget="none", calibration="entropy")
    third = reduce(bundle, "fp16", budget="none")
    assert not first.path.exists()
    assert second.path.exists()
    assert third.path.exists()
    again = reduce(Bundle.open(bundle.path), "int8", budget="none", calibration="entropy")
    assert again.path == second.path
    bundle.reload()
    bundle.verify()
    assert list(bundle.precisions) == ["fp32", "fp16", "int8"]
    with stf_infer.open(bundle.path, engine="onnxruntime-cpu"):
        pass


def test_what_is_measured_on_are_the_tiles_of_the_bundle(plain, tmp_path):
    bundle = copy(plain, tmp_path)
    tiles = procedural_tiles(bundle.spec, 2, seed=3)
    store_tiles(bundle, Tiles(tiles.inputs, "real", ("fine_t1=F1.tif",), tiles.origins))
    report = reduce(bundle, "int8", budget="none")
    assert (report.notes, report.accuracy.source, report.accuracy.tiles) == ((), "real", 2)
    assert recorded(bundle)["int8"].tiles == bundle.assets["tiles"].sha256


def test_tiles_with_nan_are_refused(plain, tmp_path):
    bundle = copy(plain, tmp_path)
    tiles = procedural_tiles(bundle.spec, 2)
    store_tiles(bundle, tiles)
    before = content(bundle.path)
    broken = {role: np.where(array > 0.1, np.nan, array).astype(np.float32) for role, array in tiles.inputs.items()}
    import stf_export.precision.reducing as reducing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reducing, "tiles_of", lambda _: _checked(Tiles(broken, "real", (), tiles.origins), bundle))
        with pytest.raises(AssetError, match="not finite"):
            reduce(bundle, "int8")
    assert content(bundle.path) == before


def _checked(tiles: Tiles, bundle: Bundle) -> Tiles:
    tiles.check(bundle.spec)
    return tiles


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"precision": "fp8"}, "fp16, bf16, int8"),
        ({"precision": "fp32"}, "fp16, bf16, int8"),
        ({"precision": "int8", "calibration": "mse"}, "minmax, percentile, entropy"),
        ({"precision": "fp16", "trials": 0}, "1 or more"),
        ({"precision": "fp16", "budget": "rmse=much"}, "budget"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_run(plain, arguments, words):
    with pytest.raises(UsageError, match=words):
        reduce(plain, **arguments)


def test_loops_on_the_host_are_refused(tmp_path):
    with pytest.raises(ExportError, match="--loop graph"):
        reduce(make_step_bundle(tmp_path / "loop.stf"), "fp16")


def test_a_disk_that_refuses_leaves_the_bundle(plain, tmp_path, monkeypatch):
    bundle = copy(plain, tmp_path)
    before = content(bundle.path)
    from stf_export.precision import storing

    def refuse(*_) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storing, "replace_item", refuse)
    with pytest.raises(OutputError, match="No space left"):
        reduce(bundle, "fp16", budget="none")
    assert content(bundle.path) == before


def test_a_network_without_products_is_refused(tmp_path):
    bundle = bundle_of(tmp_path, "a = Neg(fine_t1)\nfine_t2 = Neg(a)\n".replace("Neg(a)", "Mul(a, k)"), {"k": 2.0})
    for precision in PRECISIONS:
        with pytest.raises(ExportError, match="product"):
            reduce(bundle, precision)


def test_a_network_of_large_numbers_is_refused_in_fp16_and_fits_into_bf16(tmp_path):
    """Values times 30000: what is between the first and the last layer leaves fp16 no room."""
    nodes = (
        "a = Mul(fine_t1, up)\nb = Conv(a, w0)\nc = Relu(b)\nd = Conv(c, w0)\ne = Mul(d, down)\nfine_t2 = Conv(e, w1)"
    )
    weights = {"up": 3e4, "down": 1e-4, "w0": np.eye(2)[:, :, None, None] * 1.5, "w1": np.eye(2)[:, :, None, None]}
    bundle = bundle_of(tmp_path, nodes, weights)
    with pytest.raises(ExportError, match=r"cannot hold: .* reaches 2.22e\+04"):
        reduce(bundle, "fp16", budget="rmse=10%")
    report = reduce(bundle, "bf16", budget="rmse=10%")
    assert report.share == 1
    assert reduce(bundle, "fp16", budget="none").share == pytest.approx(1 / 3)
    assert bundle.properties["stf:reduced"]["fp16"]["unfit"]


def test_weights_inverse_to_a_change_hold_where_there_is_none(tmp_path):
    """EDCSTFN's and STF-EGFA's way to weigh two dates: 1 / (|change| + 1e-8), of which fp16 knows neither."""
    nodes = """a = Conv(fine_t1, w)
    n = Neg(a)
    da = Abs(a)
    db = Abs(n)
    ea = Add(da, eps)
    eb = Add(db, eps)
    ia = Div(one, ea)
    ib = Div(one, eb)
    s = Add(ia, ib)
    wa = Div(ia, s)
    p = Mul(wa, a)
    q = Add(p, a)
    fine_t2 = Conv(q, w)"""
    nodes = "\n".join(line.strip() for line in nodes.splitlines())
    bundle = bundle_of(tmp_path, nodes, {"w": np.eye(2)[:, :, None, None], "eps": 1e-8, "one": 1.0})
    tiles = procedural_tiles(bundle.spec, 2)
    still = {role: np.concatenate([array, 0 * array[:1]]) for role, array in tiles.inputs.items()}
    store_tiles(bundle, Tiles(still, "real", (), (*tiles.origins, (0, 0))))
    report = reduce(bundle, "fp16")
    assert (report.accuracy.not_finite, report.share) == (0, 1)
    assert report.accuracy.worst[1] < 1e-3


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_written_builds_for_a_gpu(plain, tmp_path, precision):
    pytest.importorskip("tensorrt_rtx", reason="needs the extra tensorrt-rtx")
    from tensorrt_support import build

    assert build(reduce(copy(plain, tmp_path), precision, budget="none").path) > 0


def test_openvino_computes_what_the_emulation_says(plain, tmp_path):
    """It rounds bf16 graphs where they say so, in kernels of its own: an engine that the figures can be held to."""
    openvino = pytest.importorskip("openvino", reason="needs the extra openvino")
    if not machine.cpu().has_bf16:
        pytest.skip("the processor has no bf16, and OpenVINO computes bf16 graphs in fp32")
    bundle = copy(plain, tmp_path)
    report = reduce(bundle, "bf16", budget="none")
    core = openvino.Core()
    inputs, golden = bundle.golden()
    model = core.compile_model(core.read_model(report.path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    found = model({"fine_t1": inputs["fine_t1"][None]})["fine_t2"][0]
    off = np.sqrt(np.mean((found - golden) ** 2, (1, 2)) / np.mean(golden**2, (1, 2)))
    assert off.max() == pytest.approx(report.accuracy.worst[1], rel=0.5)


def test_weights_beside_a_reduced_graph_are_assets_too(plain, tmp_path, monkeypatch):
    from stf_export import onnx_graph

    monkeypatch.setattr(onnx_graph, "WEIGHTS_INSIDE", 1000)
    monkeypatch.setattr(onnx_graph, "_SMALL", 100)
    bundle = copy(plain, tmp_path)
    report = reduce(bundle, "fp16", budget="none")
    assert bundle.assets["model-fp16"].needs == ("model-fp16-data",)
    assert bundle.asset("model-fp16-data").parent == report.path.parent
    bundle.verify()
    monkeypatch.undo()
    reduce(bundle, "fp16", budget="none")
    assert "model-fp16-data" not in bundle.assets
    assert not report.path.parent.exists()
    bundle.verify()


def test_the_item_stays_one_that_catalogues_read(plain, tmp_path):
    schema = pytest.importorskip("stac_model.schema")
    bundle = copy(plain, tmp_path)
    for precision in PRECISIONS:
        reduce(bundle, precision, budget="none")
    item = json.loads((bundle.path / "item.json").read_bytes())
    properties = {key: value for key, value in item["properties"].items() if key.startswith("mlm:")}
    schema.MLModelProperties.model_validate(properties)
    fp32, *others = (item["assets"][key] for key in ("model-fp32", *(f"model-{p}" for p in PRECISIONS)))
    for asset in others:
        assert asset.keys() == fp32.keys()
        assert {k: asset[k] for k in ("type", "roles", "bands")} == {k: fp32[k] for k in ("type", "roles", "bands")}


def test_a_graph_that_takes_one_tile_at_a_time(tmp_path):
    shape = (1, 2, 16, 16)
    model = graph(
        "a = Conv(fine_t1, w)\nb = Conv(a, w)\nfine_t2 = Conv(b, w)",
        {"w": np.eye(2)[:, :, None, None] / 3},
        {"fine_t1": shape},
        ("fine_t2",),
    )
    onnx.save(model, tmp_path / "given.onnx")
    bundle = export_onnx(tmp_path / "given.onnx", contract_for({"fine_t1": "fine"}), tile=16, out=tmp_path / "net.stf")
    for precision in PRECISIONS:
        report = reduce(bundle, precision, budget="rmse=5%", calibration="percentile")
        assert report.accuracy.tiles == 4
