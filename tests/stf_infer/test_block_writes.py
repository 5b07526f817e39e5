# SPDX-License-Identifier: Apache-2.0
"""The file gets whole blocks, each of them once: a block that is written again leaves a gap where it was."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import rasterio

from fakes import make_model, make_spec
from pipeline_support import inputs
from stf_infer.journal import Journal
from stf_infer.layout import BLOCK
from stf_infer.storage import CompressName

HEIGHT, WIDTH = 2 * BLOCK + 77, BLOCK + 90


@pytest.mark.parametrize("rule", [{"halo": 4}, {"mode": "blend", "overlap": 24}], ids=["exact", "blend"])
@pytest.mark.parametrize("compress", ["none", "zstd"])
@pytest.mark.parametrize("batch", [1, 7])
def test_every_block_is_written_once(tmp_path, monkeypatch, rule, compress: CompressName, batch):
    handed, add = [], Journal.add
    monkeypatch.setattr(Journal, "add", lambda journal, block: (handed.append(block.shape), add(journal, block))[1])
    given, out = inputs(HEIGHT, WIDTH), tmp_path / "out.tif"
    model = make_model(make_spec(128, coarse_grid="fine", **rule), lambda fine_t1, **_: fine_t1 * 1)
    model.fuse(out, compress=compress, overviews=False, tile_batch=batch, **given)
    assert handed == [(2, BLOCK, WIDTH), (2, BLOCK, WIDTH), (2, 77, WIDTH)]
    with rasterio.open(out) as written:
        np.testing.assert_allclose(written.read(), given["fine_t1"].data, atol=1e-6)
        assert written.block_shapes == [(BLOCK, BLOCK)] * 2
        places = sorted(
            (int(written.get_tag_item(f"BLOCK_OFFSET_{x}_{y}", "TIFF", bidx=band)), size)
            for band in written.indexes
            for (y, x), _ in written.block_windows(band)
            if (size := int(written.get_tag_item(f"BLOCK_SIZE_{x}_{y}", "TIFF", bidx=band)))
        )
    assert len(places) == 2 * 3 * 2
    gaps = [after - (place + size) for (place, size), (after, _) in pairwise(places)]
    assert max(gaps) < 100
    assert out.stat().st_size - sum(size for _, size in places) < 10_000
