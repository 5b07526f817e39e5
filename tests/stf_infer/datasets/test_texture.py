# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from stf_infer.datasets._texture import Grid, blur, line, smooth_noise, voronoi


@pytest.mark.parametrize("scale", [1.0, 12.0, 200.0])
def test_noise_is_standard_and_as_smooth_as_its_scale(scale):
    field = smooth_noise(np.random.default_rng(0), Grid.of(96, 80), scale)
    assert field.shape == (96, 80)
    assert abs(field.mean()) < 1e-4
    assert abs(field.std() - 1) < 1e-4
    step = np.abs(np.diff(field, axis=0)).mean()
    assert step * scale < 6
    assert step > 0


def test_octaves_add_detail():
    grid = Grid.of(128, 128)
    one, four = (smooth_noise(np.random.default_rng(0), grid, 64, octaves) for octaves in (1, 4))
    assert np.abs(np.diff(four)).mean() > 1.4 * np.abs(np.diff(one)).mean()


def test_voronoi_cells_are_convex_to_their_edge():
    grid = Grid.of(120, 150)
    y, x = (np.broadcast_to(a, grid.shape).astype(np.float32) for a in (grid.y, grid.x))
    cells = voronoi(np.random.default_rng(2), y, x, 30)
    assert 8 < len(np.unique(cells.index)) <= cells.count
    assert cells.edge.min() >= 0
    here, right = cells.index[:, :-1], cells.index[:, 1:]
    border = here != right
    assert cells.edge[:, :-1][border].max() < 1.0  # a pixel beside another cell is close to the edge
    far = cells.edge > 1.5
    assert (cells.index[1:, :][far[1:, :]] == cells.index[:-1, :][far[1:, :]]).all()


def test_line_covers_its_width():
    position = np.arange(-10, 11)
    for width in (0.4, 1.0, 3.0):
        assert line(np.abs(position - 0.3), width).sum() == pytest.approx(width, abs=0.35)
    assert line(np.array([5.0]), 1.0)[0] == 0


def test_blur_spreads_a_point_and_keeps_a_constant():
    point = np.zeros((5, 5))
    point[2, 2] = 1
    kernel = np.array([0.1, 0.8, 0.1])
    np.testing.assert_allclose(blur(point, 0.1)[1:4, 1:4], np.outer(kernel, kernel), rtol=1e-6)
    np.testing.assert_allclose(blur(np.full((2, 4, 3), 7.0), 0.2), 7, rtol=1e-6)
