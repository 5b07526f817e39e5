# SPDX-License-Identifier: Apache-2.0
"""Tiles that stay on a real GPU (``nox -s gpu``): every bit of a result is that of tiles which do not.

Without a GPU the same comparison is made with stand-ins, in ``tests/stf_infer/test_device_tiles.py``.
"""

from __future__ import annotations

import shutil

import pytest

import gpu_support
from device_support import check_equal, rasters
from pipeline_support import aoi
from stf_infer import Bundle
from stf_infer.device_tiles import where_tiles_live
from stf_infer.engines import build, machine
from stf_infer.model import Model

TARGETS = [target for target in gpu_support.targets() if target.startswith("tensorrt-")]


@pytest.mark.gpu
@pytest.mark.parametrize("target", TARGETS or ["tensorrt"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float32"])
@pytest.mark.parametrize("network", ["blur", "noisy"])
@pytest.mark.parametrize("area", [None, (100, 900, 33, 777)])
def test_tiles_on_the_gpu_and_on_the_host(target, dtype, network, area, request, tmp_path):
    if not machine.gpus():
        pytest.skip("no NVIDIA GPU, or no driver for it")
    if why := gpu_support.standing(target):
        pytest.skip(f"{target}: {why}")
    bundle = Bundle.open(shutil.copytree(request.getfixturevalue(f"{network}_bundle"), tmp_path / "net.stf"))
    build(bundle, target)
    given = rasters(dtype, (1000, 800))
    call = {"aoi": aoi(*area)} if area else {}
    with Model(Bundle.open(bundle.path), engine=target) as model:
        if not where_tiles_live(model.engine, 1, "auto").kernels:
            pytest.skip(where_tiles_live(model.engine, 1, "auto").told)
        for batch in (1, None):
            results = [model.fuse(tiles_on=where, tile_batch=batch, **call, **given) for where in ("host", "device")]
            check_equal(*results)
