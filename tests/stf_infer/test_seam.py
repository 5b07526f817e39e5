# SPDX-License-Identifier: Apache-2.0
"""The seam figure on images whose gradients are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stf_infer.grid import Shape, TileAxis, TilePlan
from stf_infer.seam import SeamMeter

PLAN = TilePlan(TileAxis(40, 16, halo=2), TileAxis(52, 16, halo=2))
ALL = np.ones((40, 52), np.uint8)
RAMP = np.add.outer(np.arange(40), np.arange(52))[None].astype(np.float32)


def figure(
    image: np.ndarray, valid: np.ndarray = ALL, *, blocks: tuple[int, ...] = (40,), left: int = 0
) -> float | None:
    """The ratio after feeding the image in blocks of these many rows."""
    meter, first = SeamMeter(PLAN), 0
    for rows in blocks:
        if first >= 40:
            break
        meter.feed(image[:, first : first + rows], valid[first : first + rows], first, left)
        first += rows
    return meter.ratio


def with_steps(height: float) -> np.ndarray:
    """A ramp of slope 1 with an extra step at every cut between cores."""
    image = RAMP.copy()
    for start, _ in PLAN.y.cores[1:]:
        image[:, start:] += height
    for start, _ in PLAN.x.cores[1:]:
        image[:, :, start:] += height
    return image


@pytest.mark.parametrize(("height", "ratio"), [(0, 1), (1, 2), (4, 5), (-2, 1)])
def test_the_figure_is_the_gradient_at_cuts_over_that_elsewhere(height, ratio):
    assert figure(with_steps(height)) == pytest.approx(ratio)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 15), min_size=3, max_size=12).filter(lambda b: sum(b) >= 40))
def test_blocks_of_rows_do_not_matter(blocks):
    rng = np.random.default_rng(0)
    image, valid = rng.random((2, 40, 52)).astype(np.float32), (rng.random((40, 52)) < 0.8).astype(np.uint8)
    assert figure(image, valid, blocks=tuple(blocks)) == pytest.approx(figure(image, valid))


def test_what_is_not_valid_does_not_count():
    image, valid = with_steps(0), ALL.copy()
    image[:, 20:25, 10:30], valid[20:25, 10:30] = 1e6, 0
    assert figure(image, valid) == pytest.approx(1)


def test_columns_may_begin_anywhere():
    image = with_steps(3)
    assert figure(image[:, :, 7:45], ALL[:, 7:45], left=7) == pytest.approx(4)


@pytest.mark.parametrize("image", [np.zeros_like(RAMP), np.full_like(RAMP, 5)])
def test_without_a_gradient_there_is_no_figure(image):
    assert figure(image) is None


def test_without_a_cut_there_is_no_figure():
    meter = SeamMeter(TilePlan(TileAxis(16, 16), TileAxis(16, 16)))
    meter.feed(RAMP[:, :16, :16], ALL[:16, :16], 0)
    assert meter.ratio is None


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.integers(0, 30), st.integers(1, 22))
def test_windows_are_all_that_is_looked_at(height, left, width):
    """And they are never more pixels than is said."""
    image = np.random.default_rng(0).random((2, 40, 52)).astype(np.float32)
    whole, parts, seen = SeamMeter(PLAN), SeamMeter(PLAN), []
    for first in range(0, 40, height):
        rows, valid = (array[..., first : first + height, left : left + width] for array in (image, ALL))
        windows = parts.windows(Shape(*valid.shape), first, left)
        held = {at: rows[:, at.y0 : at.y1, at.x0 : at.x1] for at in windows}
        seen.append(sum(at.shape.pixels for at in windows))
        whole.feed(rows, valid, first, left)
        parts.look(held.__getitem__, valid, first, left)
    assert parts.ratio == whole.ratio
    assert max(seen) <= whole.most_pixels(Shape(height, width), left)
