# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from itertools import pairwise
from typing import get_args

import pytest

from golden_support import read_golden
from stf_export.samplers import SpacingName, timesteps
from stf_export.samplers.spacing import check_timesteps
from stf_infer.errors import ExportError

SPACINGS = get_args(SpacingName)


@pytest.mark.parametrize(
    ("spacing", "wanted"),
    [
        ("leading", (750, 500, 250, 0)),
        ("trailing", (999, 749, 499, 249)),
        ("linspace", (999, 666, 333, 0)),
        ("stfdiff", (999, 749, 499, 249)),
        ("guided", (750, 500, 250, 0)),
    ],
)
def test_four_of_a_thousand(spacing: str, wanted: tuple[int, ...]):
    assert timesteps(spacing, 4, 1000) == wanted


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize(("schedule", "total"), [("linear1000", 1000), ("cosine100", 100)])
@pytest.mark.parametrize("steps", [1, 4, 8, 10, 20])
def test_lists_of_the_golden_file(spacing: str, schedule: str, total: int, steps: int):
    wanted = read_golden("ddim_trajectories").arrays[f"timesteps__{schedule}__{spacing}__N{steps}"]
    assert timesteps(spacing, steps, total) == tuple(wanted)


@pytest.mark.parametrize("steps", [4, 10])
def test_lists_of_stfdiff(steps: int):
    *wanted, end = read_golden("stfdiff_ddim").arrays[f"timesteps_n{steps}"]
    assert timesteps("stfdiff", steps, 100) == tuple(wanted)
    assert end == -1


def test_the_grid_of_stfdiff_is_cut_toward_zero():
    # -1, 13.28, 27.57, ... 99 for seven steps
    assert timesteps("stfdiff", 7, 100) == (99, 84, 70, 56, 41, 27, 13)


def test_the_grid_of_diffstsf():
    assert timesteps("guided", 250, 1000) == tuple(range(996, -1, -4))


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("total", [1, 7, 100])
def test_every_number_of_steps(spacing: str, total: int):
    for steps in range(1, total + 1):
        try:
            found = timesteps(spacing, steps, total)
        except ExportError:
            assert spacing == "guided"
            continue
        assert len(found) == steps
        assert all(later < earlier for earlier, later in pairwise(found))
        assert 0 <= found[-1] <= found[0] < total
    assert timesteps(spacing, total, total) == tuple(range(total - 1, -1, -1))


def test_one_step():
    found = {spacing: timesteps(spacing, 1, 100) for spacing in SPACINGS}
    assert found == {"leading": (0,), "trailing": (99,), "linspace": (0,), "stfdiff": (99,), "guided": (0,)}


def test_a_number_without_a_whole_stride_names_those_that_have_one():
    with pytest.raises(ExportError, match="250 or 334"):
        timesteps("guided", 300, 1000)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [0, 101])
def test_more_steps_than_were_trained(spacing: str, steps: int):
    with pytest.raises(ExportError, match="1 to 100"):
        timesteps(spacing, steps, 100)


def test_an_unknown_spacing_names_the_known_ones():
    with pytest.raises(ExportError, match=", ".join(SPACINGS)):
        timesteps("uniform", 4, 100)


def test_steps_given_one_by_one():
    assert check_timesteps([99, 40, 3], 100) == (99, 40, 3)
    for wrong in ([], [100, 3], [5, -1], [3, 40], [40, 40]):
        with pytest.raises(ExportError, match="from 99 down to 0"):
            check_timesteps(wrong, 100)
