# SPDX-License-Identifier: Apache-2.0
"""A disk that fills up: an error with exit code 2, and nothing left at the destination."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio

from fakes import make_model, make_spec
from stf_infer.errors import OutputError

SIZE = 2_000_000


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A folder on a file system of two megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    if not shutil.which("mount") or os.geteuid() != 0:
        pytest.skip("needs the right to mount a small file system")
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)], capture_output=True)
    if made.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {made.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextlib.contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Writes beyond the limit fail, as on a full disk, for this process."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def fuse(path: Path, side: int, **options: object) -> None:
    """Noise, which does not compress: about ``6 * side ** 2`` bytes."""
    fine = np.random.default_rng(0).random((2, side, side)).astype(np.float32)
    model = make_model(make_spec(256, roles=("fine_t1",), ratio=1), lambda fine_t1: fine_t1)
    model.fuse(path, fine_t1=fine, **options)


# The sides are such that the rows do not fit, the last rows, the overviews, or the copy that becomes the COG.
LAYOUTS = [
    *(("gtiff", compress, side) for compress in ("none", "zstd") for side in (520, 560, 700, 1200)),
    ("cog", "zstd", 450),
    ("cog", "zstd", 505),
    ("cog", "deflate", 560),
    ("cog", "none", 480),
]


@pytest.mark.parametrize(("format", "compress", "side"), LAYOUTS)
@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_leaves_nothing(small_disk, format, compress, side, existing):
    destination = small_disk / "out.tif"
    if existing:
        destination.write_bytes(b"something else")
    with pytest.raises(OutputError, match=r"cannot be written.*out\.tif.*MB free.*Make room") as caught:
        fuse(destination, side, format=format, compress=compress)
    assert caught.value.exit_code == 2
    assert [p.name for p in small_disk.iterdir()] == (["out.tif"] if existing else [])
    if existing:
        assert destination.read_bytes() == b"something else"


@pytest.mark.parametrize(("side", "fits"), [(560, True), (655, False), (665, False), (675, False)])
def test_overviews_that_do_not_fit_are_noticed(small_disk, side, fits):
    """The rows fit (int16, at 3.8 bytes a pixel), and the overviews do not: GDAL would leave holes in them."""
    destination = small_disk / "out.tif"
    if not fits:
        fuse(destination, side, dtype="int16", overviews=False)
        destination.unlink()
        with pytest.raises(OutputError):
            fuse(destination, side, dtype="int16")
        assert list(small_disk.iterdir()) == []
        return
    fuse(destination, side, dtype="int16")
    with rasterio.open(destination, overview_level=0) as reduced:
        assert (reduced.read() != reduced.nodata).all()


def test_a_full_disk_and_resume_keeps_only_what_can_be_continued(small_disk, monkeypatch):
    monkeypatch.setattr("stf_infer.output._CHECKPOINT_EVERY", 0.0)
    with pytest.raises(OutputError):
        fuse(small_disk / "out.tif", 1200, resume=True)
    left = {p.name for p in small_disk.iterdir()}
    assert left in (set(), {".out.tif.partial.tif", ".out.tif.partial.json"})


@pytest.mark.parametrize(("format", "compress"), [("gtiff", "zstd"), ("gtiff", "none"), ("cog", "deflate")])
def test_a_limit_on_files_leaves_nothing(tmp_path, format, compress):
    """The same without the right to mount anything."""
    with files_no_larger_than(1_000_000), pytest.raises(OutputError, match="cannot be written"):
        fuse(tmp_path / "out.tif", 700, format=format, compress=compress)
    assert list(tmp_path.iterdir()) == []


def test_what_fits_is_written(small_disk):
    fuse(small_disk / "out.tif", 300)
    assert [p.name for p in small_disk.iterdir()] == ["out.tif"]
