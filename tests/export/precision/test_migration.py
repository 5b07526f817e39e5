# SPDX-License-Identifier: Apache-2.0
"""Ranges of channels: the graph computes what it did, bit by bit, and 8 bits lose less."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from lower_support import graph as onnx_graph
from precision_support import bundle_of, run, source
from stf_export.precision import migration, reduce
from stf_export.precision.channel_paths import paths
from stf_export.precision.integers import products, quantise
from stf_export.precision.layers import layers_of
from stf_export.precision.migration import factors_of, migrate
from stf_export.precision.typed import Source
from stf_infer.bundle import Bundle
from stf_infer.cli import main

RNG = np.random.default_rng(9)
IMAGE, TOKENS = (1, 4, 8, 8), (1, 16, 4)


def weight(*shape, uneven=True):
    """Channels that differ by up to a factor of 64, along the first axis of shapes with several."""
    made = RNG.normal(size=shape)
    return made * np.geomspace(1, 64, shape[0]).reshape(-1, *[1] * (len(shape) - 1)) if uneven else made


# Nodes from x to y, weights, the shape of x, and how many products read channels that are brought to like ranges.
KERNEL = {"w": weight(6, 4, 3, 3), "b": weight(6), "v": weight(3, 6, 3, 3, uneven=False)}
DENSE = {"w": weight(4, 6).T[:, :4].T, "b": weight(6), "v": weight(6, 5, uneven=False)}
NORM = {"g": weight(4), "b": weight(4), "v": weight(4, 5, uneven=False), "u": weight(4, 5, uneven=False)}
REACHED = {
    "products in a row": ("a = Conv(x, w, b)\ny = Conv(a, v)", KERNEL, IMAGE, 1),
    "rectified": ("a = Conv(x, w, b)\nc = Relu(a)\ny = Conv(c, v)", KERNEL, IMAGE, 1),
    "leaky": ("a = Conv(x, w, b)\nc = LeakyRelu<alpha=0.25>(a)\ny = Conv(c, v)", KERNEL, IMAGE, 1),
    "slopes of channels": (
        "a = Conv(x, w, b)\nc = PRelu(a, k)\ny = Conv(c, v)", {**KERNEL, "k": weight(6, 1, 1)}, IMAGE, 1),
    "padded": (
        'a = Conv(x, w, b)\nc = Relu(a)\nd = Pad<mode="reflect">(c, p)\ny = Conv(d, v)',
        {**KERNEL, "p": np.array([0, 0, 1, 1, 0, 0, 1, 1])}, IMAGE, 1),
    "padded with zeros": (
        "a = Conv(x, w, b)\nc = Pad(a, p)\ny = Conv(c, v)",
        {**KERNEL, "p": np.array([0, 0, 1, 1, 0, 0, 1, 1])}, IMAGE, 1),
    "pooled": ("a = Conv(x, w)\nc = MaxPool<kernel_shape=[2, 2]>(a)\ny = Conv(c, v)", KERNEL, IMAGE, 1),
    "enlarged": (
        'a = Conv(x, w, b)\nc = Resize<mode="linear">(a, , k)\ny = Conv(c, v)',
        {**KERNEL, "k": np.array([1.0, 1, 2, 2])}, IMAGE, 1),
    "transposed convolutions": (
        "a = ConvTranspose<strides=[2, 2]>(x, w, b)\nc = Relu(a)\ny = ConvTranspose(c, v)",
        {"w": weight(4, 6, 2, 2), "b": weight(6), "v": weight(6, 3, 2, 2)}, IMAGE, 1),
    "dense": ("a = MatMul(x, w)\nc = Add(b, a)\nd = Relu(c)\ny = MatMul(d, v)", DENSE, TOKENS, 1),
    "Gemm": ("a = Gemm(x, w, b)\nc = Relu(a)\ny = Gemm<transB=1>(c, v)",
             {"w": weight(4, 6), "b": weight(6), "v": weight(5, 6)}, (7, 4), 1),
    "norm of two": (
        "a = LayerNormalization<axis=-1>(x, g, b)\nc = MatMul(a, v)\nd = MatMul(a, u)\ny = Add(c, d)", NORM, TOKENS, 2),
    "norm of windows": (
        """a = LayerNormalization<axis=-1>(x, g, b)
        r = Reshape(a, s)
        t = Transpose<perm=[0, 2, 1, 3]>(r)
        h = Gather<axis=1>(t, i)
        y = MatMul(h, v)""",
        {**NORM, "s": np.array([1, 4, 4, 4]), "i": np.array([2, 0])}, TOKENS, 1),
    "norm of a channel": (
        "a = InstanceNormalization(x, g, b)\ny = Conv(a, k)",
        {**NORM, "k": weight(3, 4, 1, 1)}, IMAGE, 1),
    "tokens of an image": (
        "a = Conv(x, w, b)\nr = Reshape(a, s)\nt = Transpose<perm=[0, 2, 1]>(r)\ny = MatMul(t, k)",
        {**KERNEL, "s": np.array([1, 6, 36]), "k": weight(6, 5)}, IMAGE, 1),
    "split": (
        "a = Conv(x, w, b)\nc, d = Split<axis=2, num_outputs=2>(a)\ne = Conv(c, v)\nf = Conv(d, v)\ny = Add(e, f)",
        KERNEL, IMAGE, 2),
}  # fmt: skip
NOT_REACHED = {
    "added to": ("a = Conv(x, w)\nc = Add(a, a)\ny = Conv(c, v)", KERNEL, IMAGE),
    "read by others": ("a = Conv(x, w)\nc = Conv(a, v)\nd = Exp(a)\nm = ReduceMax(d)\ny = Add(c, m)", KERNEL, IMAGE),
    "curved": ("a = Conv(x, w, b)\nc = Sigmoid(a)\ny = Conv(c, v)", KERNEL, IMAGE),
    "padded with a number": (
        "a = Conv(x, w)\nc = Pad(a, p, k)\ny = Conv(c, v)",
        {**KERNEL, "p": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "k": np.float32(1)}, IMAGE),
    "padded channels": (
        "a = Conv(x, w)\nc = Pad(a, p)\ny = Conv(c, k)",
        {**KERNEL, "p": np.array([0, 1, 0, 0, 0, 1, 0, 0]), "k": weight(3, 8, 1, 1)}, IMAGE),
    "groups": (
        "a = Conv(x, w)\ny = Conv<group=2>(a, k)", {**KERNEL, "k": weight(4, 3, 1, 1)}, IMAGE),
    "mixed": (
        "a = MatMul(x, w)\nr = Reshape(a, s)\ny = MatMul(r, k)",
        {**DENSE, "s": np.array([1, 32, 3]), "k": weight(3, 5)}, TOKENS),
    "summed over pixels": ("a = Conv(x, w)\ny = MatMul(a, k)", {**KERNEL, "k": weight(6, 5)}, IMAGE),
    "joined": ("a = Conv(x, w)\nc = Concat<axis=1>(a, a)\ny = Conv(c, k)", {**KERNEL, "k": weight(3, 12, 1, 1)}, IMAGE),
    "attention": ("a = MatMul(x, w)\nt = Transpose<perm=[0, 2, 1]>(a)\ny = MatMul(a, t)", DENSE, TOKENS),
    "cropped": (
        """a = Conv(x, w)
        c = Resize<mode="linear", coordinate_transformation_mode="tf_crop_and_resize">(a, r, k)
        y = Conv(c, v)""",
        {**KERNEL, "r": np.array([0.0, 0, 0, 0, 1, 1, 2, 2]), "k": np.array([1.0, 1, 1, 1])}, IMAGE),
}  # fmt: skip


def graph(tmp_path, nodes, weights, shape):
    return source(tmp_path, "\n".join(line.strip() for line in nodes.splitlines()), weights, {"x": shape})


def migrated(given, x):
    """The graph with like ranges, and how many channels were changed."""
    model = given.fresh()
    found = paths(model, {str(node.name) for node in products(model)})
    largest = {}
    for name, axis in {tensor for path in found for tensor in path.tensors}:
        plain = given.fresh()
        (value,) = [v for node in plain.graph for v in node.outputs if v.name == name]
        plain.graph.outputs[:] = [value]
        largest[name] = np.abs(np.moveaxis(run(plain, x=x), axis, 0)).reshape(value.shape[axis], -1).max(axis=1)
    return model, migrate(model, found, largest)


@pytest.mark.parametrize("name", REACHED)
def test_the_graph_computes_what_it_did_bit_by_bit(tmp_path, name):
    nodes, weights, shape, reached = REACHED[name]
    given = graph(tmp_path, nodes, weights, shape)
    found = paths(given.fresh(), {str(node.name) for node in products(given.fresh())})
    assert sum(len(path.readers) for path in found) == reached
    x = RNG.normal(size=shape)
    model, changed = migrated(given, x)
    assert changed > 0
    np.testing.assert_array_equal(run(model, x=x), run(given.fresh(), x=x))


@pytest.mark.parametrize("name", NOT_REACHED)
def test_channels_that_something_else_reads_are_left(tmp_path, name):
    given = graph(tmp_path, *NOT_REACHED[name])
    assert paths(given.fresh(), {str(node.name) for node in products(given.fresh())}) == []


def test_nothing_is_done_for_products_that_stay(tmp_path):
    nodes, weights, shape, _ = REACHED["rectified"]
    assert paths(graph(tmp_path, nodes, weights, shape).fresh(), ()) == []


@pytest.mark.parametrize(
    ("values", "weights", "factors"),
    [
        ((16, 1), (1, 1), (1, 1 / 4)),  # the square root of the ratio, the largest channel as it was
        ((4, 4), (1, 1 / 16), (1 / 4, 1)),
        ((8, 8), (1, 1), (1, 1)),
        ((8, 0, 2), (1, 1, 1), (1, 1, 1 / 2)),  # a dead channel
        ((8, 4, 8), (1, 0, 1), (1, 1, 1)),
        ((1, 1e-9), (1, 1), (1, 1 / 64)),  # as good as dead
        ((0, 0), (1, 1), (1, 1)),
    ],
)
def test_the_formula(values, weights, factors):
    np.testing.assert_array_equal(factors_of(np.array(values, float), np.array(weights, float)), factors)


def test_8_bits_lose_less(tmp_path):
    """One channel is 64 times as large as another; the small one is read by weights that are as large."""
    w, v = weight(16, 4, 1, 1), weight(3, 16, 1, 1, uneven=False) / np.geomspace(1, 64, 16).reshape(1, -1, 1, 1)
    given = graph(tmp_path, "a = Conv(x, w)\nc = Relu(a)\ny = Conv(c, v)", {"w": w, "v": v}, (1, 4, 16, 16))
    x = RNG.normal(size=(1, 4, 16, 16))
    right = run(given.fresh(), x=x)

    def off(model):
        (last,) = [node for node in model.graph if node.op_type == "Conv" and node.outputs[0].name == "y"]
        copy = model.clone()
        (value,) = [value for node in copy.graph for value in node.outputs if value.name == "c"]
        copy.graph.outputs[:] = [value]
        quantise(model, {str(last.name)}, {"c": float(np.abs(run(copy, x=x)).max())})
        return np.sqrt(np.mean((run(model, x=x) - right) ** 2))

    assert off(migrated(given, x)[0]) < off(given.fresh()) / 3


def test_what_several_layers_share_stays_one(tmp_path):
    """A network that runs over two images with the same weights."""
    nodes = """a = Conv(x, w, b)
    c = Relu(a)
    d = Conv(c, v)
    n = Neg(x)
    e = Conv(n, w, b)
    f = Relu(e)
    h = Conv(f, v)
    y = Add(d, h)"""
    given = graph(tmp_path, nodes, KERNEL, IMAGE)
    x = RNG.normal(size=IMAGE)
    model, changed = migrated(given, x)
    assert changed > 0
    assert len(model.graph.initializers) == 3
    np.testing.assert_array_equal(run(model, x=x), run(given.fresh(), x=x))


def test_layers_keep_their_names(tmp_path):
    proto = onnx_graph("a = Conv(x, w, b)\ny = Conv(a, v)", KERNEL, {"x": IMAGE})
    names = {"w": "enc.0.weight", "b": "enc.0.bias", "v": "dec.weight"}
    for node in proto.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    for tensor in proto.graph.initializer:
        tensor.name = names[tensor.name]
    onnx.save(proto, tmp_path / "graph.onnx")
    given = Source(tmp_path / "graph.onnx")
    assert [layer.name for layer in layers_of(given.fresh())] == ["enc.0", "dec"]
    model, _ = migrated(given, RNG.normal(size=IMAGE))
    assert [layer.name for layer in layers_of(model)] == [layer.name for layer in layers_of(given.fresh())]


@pytest.fixture(scope="module")
def uneven(tmp_path_factory):
    """A bundle of four convolutions, of which the middle ones have channels that differ."""
    nodes = """a = Conv<pads=[1, 1, 1, 1]>(fine_t1, w)
    b = Relu(a)
    c = Conv<pads=[1, 1, 1, 1]>(b, v)
    d = Relu(c)
    e = Conv<pads=[1, 1, 1, 1]>(d, u)
    f = Relu(e)
    fine_t2 = Conv(f, t)"""
    rng = np.random.default_rng(2)
    sizes = np.geomspace(1, 64, 8)
    weights = {
        "w": rng.normal(size=(8, 2, 3, 3)) * sizes.reshape(-1, 1, 1, 1),
        "v": rng.normal(size=(8, 8, 3, 3)) * sizes.reshape(-1, 1, 1, 1) / sizes.reshape(1, -1, 1, 1),
        "u": rng.normal(size=(8, 8, 3, 3)) / sizes.reshape(1, -1, 1, 1),
        "t": rng.normal(size=(2, 8, 1, 1)),
    }
    nodes = "\n".join(line.strip() for line in nodes.splitlines())
    return bundle_of(tmp_path_factory.mktemp("uneven"), nodes, {k: v.astype(np.float32) for k, v in weights.items()})


def test_it_is_not_used_where_it_costs_more_than_it_gains(uneven, monkeypatch):
    """Factors the wrong way round: small channels are made smaller."""
    without = reduce(uneven, "int8", budget="none", migrate=False)
    right = migration.factors_of
    monkeypatch.setattr(migration, "factors_of", lambda *largest: 1 / right(*largest))
    lines: list[str] = []
    report = reduce(uneven, "int8", budget="none", progress=lines.append)
    assert any(line.startswith("as channels are: ") for line in lines)
    assert report.accuracy == without.accuracy
    assert Bundle.open(uneven.path).properties["stf:reduced"]["int8"]["migrated"] == 0


def test_reducing_uses_it_unless_it_is_told_not_to(uneven, tmp_path):
    with_it = reduce(uneven, "int8", budget="none")
    stated = Bundle.open(uneven.path).properties["stf:reduced"]["int8"]
    assert stated["migrated"] >= 8
    done = CliRunner().invoke(
        main, ["reduce", str(uneven.path), "--precision", "int8", "--budget", "none", "--no-migration", "--json"]
    )
    assert done.exit_code == 0, done.output
    without = json.loads(done.stdout)["reduced"][0]
    assert Bundle.open(uneven.path).properties["stf:reduced"]["int8"]["migrated"] == 0
    assert with_it.accuracy.worst[1] < max(without["accuracy"]["rmse"]) / 2
