# SPDX-License-Identifier: Apache-2.0
"""Tiles of a bundle: stored whole or not at all, and refused where they are not what was stored."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from fakes import make_spec
from handmade_bundle import asset, edit_item, make_bundle
from stf_infer import item_file
from stf_infer.accuracy import procedural_tiles, store_tiles, tiles_of
from stf_infer.accuracy.tile_store import write_tiles
from stf_infer.bundle import Bundle
from stf_infer.errors import AssetError, OutputError


@pytest.fixture
def bundle(tmp_path):
    return Bundle.open(make_bundle(tmp_path / "net.stf"))


@pytest.fixture
def tiles(bundle):
    return replace(procedural_tiles(bundle.spec), source="real", labels=("fine_t1=a.tif",))


def files(bundle):
    return {p.name: p.read_bytes() for p in bundle.path.iterdir()}


def test_a_bundle_without_tiles_gets_procedural_ones(bundle):
    assert tiles_of(bundle).source == "procedural"


def test_tiles_come_back_and_the_bundle_is_the_same_one(bundle, tiles):
    before = bundle.sha256
    store_tiles(bundle, tiles)
    assert bundle.assets["tiles"].title == "4 real tiles, to compare reduced engines with fp32 on"
    for opened in (bundle, Bundle.open(bundle.path)):
        opened.verify()
        assert opened.sha256 == before
        found = tiles_of(opened)
        assert (found.source, found.labels, found.origins) == (tiles.source, tiles.labels, tiles.origins)
        for role, array in tiles.inputs.items():
            np.testing.assert_array_equal(found.inputs[role], array)


def test_new_tiles_replace_old_ones(bundle, tiles):
    store_tiles(bundle, tiles)
    store_tiles(bundle, tiles.first(2))
    assert len(list(bundle.path.glob("*tiles*"))) == 1
    assert len(tiles_of(Bundle.open(bundle.path))) == 2
    store_tiles(bundle, tiles.first(2))
    assert len(tiles_of(Bundle.open(bundle.path))) == 2


@pytest.mark.parametrize("before", [False, True])
def test_a_disk_that_is_full_leaves_the_bundle_as_it_was(bundle, tiles, monkeypatch, before):
    if before:
        store_tiles(bundle, tiles)
    kept = files(bundle)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(item_file, "item_text", full)
    with pytest.raises(OutputError, match=r"cannot be written to.*No space left on device"):
        store_tiles(bundle, tiles.first(1))
    assert files(bundle) == kept


def with_nan(tiles):
    fine = tiles.inputs["fine_t1"].copy()
    fine[0, 0, 3, 3] = np.nan
    return replace(tiles, inputs={**tiles.inputs, "fine_t1": fine})


WRONG = {
    "nan": (with_nan, "tiles of fine_t1 hold values that are not finite. Got: 1 values"),
    "role": (
        lambda t: replace(t, inputs={"fine_t0" if k == "fine_t1" else k: v for k, v in t.inputs.items()}),
        "tiles are not those of fake.*fine_t0.*Allowed: .*fine_t1",
    ),
    "missing": (
        lambda t: replace(t, inputs={k: v for k, v in t.inputs.items() if k != "fine_t1"}),
        "tiles are not those of fake",
    ),
    "bands": (
        lambda t: replace(t, inputs={**t.inputs, "fine_t1": t.inputs["fine_t1"][:, :1]}),
        r"tiles are not those of fake. Got: .*\(1, 32, 32\).*Allowed: .*\(2, 32, 32\)",
    ),
    "shape": (
        lambda t: replace(t, inputs={**t.inputs, "fine_t1": t.inputs["fine_t1"][..., :16]}),
        "tiles are not those of fake",
    ),
    "number": (
        lambda t: replace(t, inputs={**t.inputs, "fine_t1": t.inputs["fine_t1"][:3]}),
        "different numbers of tiles",
    ),
    "none": (lambda t: t.first(0), "different numbers of tiles, or none"),
    "type": (
        lambda t: replace(t, inputs={**t.inputs, "fine_t1": t.inputs["fine_t1"].astype(np.float64)}),
        "tiles of fine_t1 have another type. Got: float64. Allowed: float32",
    ),
    "source": (lambda t: replace(t, source="elsewhere"), "tiles come from nowhere known. Got: elsewhere"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_tiles_are_not_stored(bundle, tiles, wrong):
    change, says = WRONG[wrong]
    kept = files(bundle)
    with pytest.raises(AssetError, match=says):
        store_tiles(bundle, change(tiles))
    assert files(bundle) == kept


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_tiles_in_a_bundle_are_refused_with_the_command(bundle, tiles, wrong):
    """As another tool, or an older one, may have written them."""
    change, says = WRONG[wrong]
    path = bundle.path / "tiles.npz"
    write_tiles(path, change(tiles))
    edit_item(bundle.path, lambda item: item["assets"].update(tiles=asset(path)))
    with pytest.raises(AssetError, match=rf"{says}.*`stf-infer tiles {bundle.path} ...` cuts others"):
        tiles_of(Bundle.open(bundle.path))


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 not all of it"])
def test_a_file_that_is_none_is_refused_with_the_command(bundle, content):
    path = bundle.path / "tiles.npz"
    path.write_bytes(content)
    edit_item(bundle.path, lambda item: item["assets"].update(tiles=asset(path)))
    with pytest.raises(AssetError, match=r"The tiles cannot be read.*`stf-infer tiles "):
        tiles_of(Bundle.open(bundle.path))


def test_a_changed_byte_is_found(bundle, tiles):
    store_tiles(bundle, tiles)
    (path,) = bundle.path.glob("tiles-*.npz")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(AssetError, match=r"Asset tiles .* is not the file that was stored.*stf-infer tiles"):
        tiles_of(Bundle.open(bundle.path))
    path.unlink()
    with pytest.raises(AssetError, match=r"Asset tiles is missing.*stf-infer tiles"):
        tiles_of(Bundle.open(bundle.path))


def test_noise_is_not_stored(tmp_path):
    spec = make_spec(32, draws=(0, 1))
    bundle = Bundle.open(make_bundle(tmp_path / "net.stf"))
    bundle.spec = spec
    store_tiles(bundle, procedural_tiles(spec))
    assert "input_noise_0" not in np.load(next(bundle.path.glob("tiles-*.npz"))).files
    assert json.loads((bundle.path / "item.json").read_text())["assets"]["tiles"]["roles"] == ["stf:tiles"]
