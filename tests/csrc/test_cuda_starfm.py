# SPDX-License-Identifier: Apache-2.0
"""STARFM's kernels for a device, run on the host block by block: every bit is that of the CPU's operation.

The CPU's is proved against a plain NumPy STARFM. Nothing here has run on a GPU, whose logarithm may differ in its last
bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cuda_emulation import OnDevice
from stf_infer import _core

RULE = (0.05, 0.003, 0.003, 1e-4)


@pytest.fixture
def cuda(emulated_cuda):
    return emulated_cuda


def images(size: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    base = rng.random(size)
    return [(base + 0.05 * rng.standard_normal(size)).astype(np.float32) for _ in range(3)]


# Around a block of 32 x 8, and windows that are cut on every side or are larger than the image.
@pytest.mark.parametrize("size", [(1, 1), (1, 33), (9, 31), (17, 70), (30, 32)], ids=str)
@pytest.mark.parametrize("radius", [0, 1, 7, 40])
@pytest.mark.parametrize("weight", ["logarithm", "product"])
def test_starfm(cuda, size, radius, weight):
    given, cpu, device = images(size), np.zeros(size, np.float32), np.zeros(size, np.float32)
    _core.starfm(*given, radius, *RULE, weight, cpu)
    scratch = np.full(cuda.starfm_scratch(*size, radius), np.nan, np.float32)
    cuda.starfm(*map(OnDevice, given), radius, *RULE, weight, OnDevice(device), OnDevice(scratch))
    assert device.tobytes() == cpu.tobytes()


def test_what_starfm_is_asked_with(cuda):
    image, wrong = OnDevice(np.ones((3, 4), np.float32)), OnDevice(np.ones((4, 3), np.float32))
    size = cuda.starfm_scratch(3, 4, 2)
    scratch = OnDevice(np.zeros(size, np.float32))
    good: list[Any] = [image, image, image, 2, *RULE, "product", image, scratch]
    for at, value, message in (
        (0, OnDevice(np.ones((1, 3, 4), np.float32)), r"fine_t1 has shape \(1, 3, 4\); 2 dimensions are wanted"),
        (1, wrong, r"coarse_t1 has shape \(4, 3\); fine_t1 has \(3, 4\)"),
        (2, OnDevice(np.ones((3, 4))), "coarse_t2 has type <f8; <f4 is wanted"),
        (3, -1, "radius is -1; 0 or more is wanted"),
        (4, -0.5, "similar is -0.5"),
        (5, np.nan, "fine_coarse is nan"),
        (6, -1.0, "coarse_coarse is -1"),
        (7, 0.0, "step is 0; more than 0 is wanted"),
        (8, "cubic", "weight is 'cubic'; logarithm or product is wanted"),
        (9, wrong, r"out has shape \(4, 3\)"),
        (9, OnDevice(np.ones((3, 4), np.float32), data=(4096, True)), "out is read-only"),
        (10, OnDevice(np.zeros(size - 1, np.float32)), rf"scratch has shape \({size - 1}\); \({size},\) or more"),
    ):
        with pytest.raises(ValueError, match=message):
            cuda.starfm(*[value if k == at else a for k, a in enumerate(good)])
    with pytest.raises(ValueError, match="there are 0 x 4 pixels"):
        cuda.starfm_scratch(0, 4, 1)
    with pytest.raises(ValueError, match="radius is -1"):
        cuda.starfm_scratch(3, 4, -1)
