# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import stf_export
import stf_infer
from stf_export.contract import TileWish
from stf_infer.errors import (
    ExportError,
    TilePlanError,
)
from tiny_networks import OneInput, contract_for

ONE = contract_for({"fine_t1": "fine"})


def one_layer():
    return OneInput(nn.Conv2d(2, 2, 3, padding=1))


def listing(folder):
    return sorted(p.name for p in folder.iterdir())


class CoreOnly(nn.Module):
    """Means over 5 x 5 pixels, and nothing but zeros within 2 pixels of a tile's edges."""

    def forward(self, fine_t1: torch.Tensor) -> torch.Tensor:
        return nn.functional.pad(nn.functional.avg_pool2d(fine_t1, 5, stride=1), (2, 2, 2, 2))


def core_only(halo=2, size=7, **wish):
    return contract_for({"fine_t1": "fine"}, tile=TileWish(size=size, halo=halo, predicts="core", **wish))


def test_a_stated_halo_is_taken_and_checked(tmp_path):
    """Of a tile of 7 no core could be measured: three pixels are all it predicts."""
    bundle = stf_export.export_module(CoreOnly(), core_only(), out=tmp_path / "n.stf")
    tile = bundle.spec.tile
    assert (tile.mode, tile.stride, tile.halo, tile.predicts) == ("exact", 1, 2, "core")
    assert bundle.properties["stf:probe"]["reach"] == {}
    assert bundle.properties["stf:probe"]["seam"] <= 1e-6
    assert bundle.properties["stf:notes"] == []  # what tiles share is not computed twice
    fine = np.random.default_rng(0).random((2, 20, 30)).astype(np.float32)
    with stf_infer.open(bundle.path, engine="onnxruntime-cpu") as model:
        result = model.fuse(fine_t1=fine).array
    around = np.pad(fine, ((0, 0), (2, 2), (2, 2)), mode="symmetric")
    right = nn.functional.avg_pool2d(torch.from_numpy(around), 5, stride=1).numpy()
    np.testing.assert_allclose(result, right, atol=1e-6)


def test_a_stated_halo_that_is_too_small_is_found_out(tmp_path):
    with pytest.raises(ExportError, match=r"disagree outside of the halo that the contract states \(1\)"):
        stf_export.export_module(CoreOnly(), core_only(halo=1, size=9), out=tmp_path / "n.stf")
    assert listing(tmp_path) == []


def test_a_stated_stride_that_is_too_small_is_found_out(tmp_path):
    blocks = OneInput(nn.AvgPool2d(2), nn.Upsample(scale_factor=2))
    stated = TileWish(size=16, halo=2, stride=2)
    bundle = stf_export.export_module(
        blocks, contract_for({"fine_t1": "fine"}, tile=stated), out=tmp_path / "right.stf"
    )
    assert (bundle.spec.tile.stride, bundle.spec.tile.predicts) == (2, "tile")
    wrong = contract_for({"fine_t1": "fine"}, tile=TileWish(size=16, halo=2))
    with pytest.raises(ExportError, match="Tiles shifted by 1 disagree"):
        stf_export.export_module(blocks, wrong, out=tmp_path / "wrong.stf")


@pytest.mark.parametrize(("size", "stride"), [(5, 1), (8, 4)])
def test_a_stated_halo_that_leaves_nothing_to_check_is_refused(tmp_path, size, stride):
    with pytest.raises(TilePlanError, match=f"cores must overlap.*tiles from {4 + stride + 1}"):
        stf_export.export_module(CoreOnly(), core_only(size=size, stride=stride), out=tmp_path / "n.stf")
