# SPDX-License-Identifier: Apache-2.0
"""The metrics' kernels for a device, run on the host block by block, against the sums of the CPU.

Sums agree to 1e-12: they are taken in other parts. Nothing here has run on a GPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cuda_emulation import OnDevice
from stf_infer import _core

EMPTY = np.array([0.0] * 9 + [np.inf, -np.inf])
# Around a block of 256 threads, a part of 8192 pixels, and 64 parts that are merged by 64 threads.
SIZES = [(1, 1), (1, 255), (1, 257), (64, 128), (64, 129), (3, 8192), (530, 1000)]
BINS = (-0.3, 0.25, 7)


@pytest.fixture
def cuda(emulated_cuda):
    return emulated_cuda


def images(bands: int, size: tuple[int, int], holes: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A prediction, its truth and a mask; with ``holes`` some values are not finite."""
    rng = np.random.default_rng(3)
    truth = (2 + rng.random((bands, *size))).astype(np.float32)
    prediction = (truth + 0.1 * rng.standard_normal(truth.shape)).astype(np.float32)
    if holes and size[1] > 1:
        prediction[0, 0, 0], truth[-1, -1, -1] = np.nan, -np.inf
    return prediction, truth, (rng.random(size) < 0.8).astype(np.uint8)


def on_host(prediction: np.ndarray, truth: np.ndarray, mask: Any, **outputs: Any) -> None:
    one, zero = np.ones(len(truth)), np.zeros(len(truth))
    scales = {"scale_p": one, "offset_p": zero, "scale_t": one, "offset_t": zero}
    _core.measure(prediction, truth, mask, **scales, **outputs)


def on_device(cuda: Any, name: str, prediction: np.ndarray, truth: np.ndarray, mask: Any, *arguments: Any) -> None:
    """Calls with every array as one on a device, and scratch that holds nothing good."""
    scratch = np.full(cuda.metrics_scratch(*truth.shape), np.nan)
    given = [OnDevice(a) if isinstance(a, np.ndarray) else a for a in (prediction, truth, mask, *arguments, scratch)]
    getattr(cuda, name)(*given)


def measured_pairs(cuda: Any, prediction: np.ndarray, truth: np.ndarray, mask: Any = None) -> tuple[np.ndarray, ...]:
    """Sums and counts of the CPU, and of the device."""
    out = [
        np.tile(EMPTY, (len(truth), 1)),
        np.zeros(3, np.int64),
        np.tile(EMPTY, (len(truth), 1)),
        np.zeros(3, np.int64),
    ]
    on_host(prediction, truth, mask, pairs=out[0], counts=out[1])
    on_device(cuda, "measure_pairs", prediction, truth, mask, out[2], out[3])
    return tuple(out)


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sums_of_pairs(cuda, size):
    bands = 1 if size[0] > 500 else 2
    prediction, truth, mask = images(bands, size)
    prediction, truth = prediction + np.float32(1000), truth + np.float32(1000)
    for wanted in (None, mask)[bands == 1 :]:  # the large one once
        cpu, cpu_counts, device, device_counts = measured_pairs(cuda, prediction, truth, wanted)
        np.testing.assert_allclose(device, cpu, rtol=1e-12, atol=1e-9)
        assert device_counts.tolist() == cpu_counts.tolist()


def test_flat_images_have_no_variance(cuda):
    flat = np.full((1, 90, 201), 0.3, np.float32)
    *_, device, counts = measured_pairs(cuda, flat, flat * 2)
    assert device[0, 3:6].tolist() == [0, 0, 0]
    assert counts.tolist() == [90 * 201, 0, 0]


def test_parts_without_a_pixel_that_counts(cuda):
    pair = np.ones((1, 4, 8192), np.float32), np.zeros((1, 4, 8192), np.float32)
    mask = np.zeros((4, 8192), np.uint8)
    cpu, cpu_counts, device, device_counts = measured_pairs(cuda, *pair, mask)
    assert device.tobytes() == cpu.tobytes()
    mask[2, 5000] = 1
    cpu, cpu_counts, device, device_counts = measured_pairs(cuda, *pair, mask)
    assert device.tobytes() == cpu.tobytes()
    assert device_counts.tolist() == cpu_counts.tolist() == [32768, 32767, 0]


@pytest.mark.parametrize("size", SIZES[:-1], ids=str)
@pytest.mark.parametrize("bands", [2, 5])
@pytest.mark.parametrize("masked", [False, True])
def test_angles(cuda, size, bands, masked):
    prediction, truth, mask = images(bands, size)
    prediction[:, 0, size[1] // 2] = 0  # a spectrum without a direction
    cpu, cpu_counts, device, counts = np.zeros(1), np.zeros(2, np.int64), np.array([0.5]), np.array([2, 3])
    wanted = mask if masked else None
    on_host(prediction, truth, wanted, angle_total=cpu, angle_counts=cpu_counts)
    on_device(cuda, "measure_angles", prediction, truth, wanted, device, counts)
    # The CPU takes most angles from a difference of products, which is good to 1e-11.
    np.testing.assert_allclose(device - 0.5, cpu, rtol=1e-11, atol=1e-15)
    assert (counts - [2, 3]).tolist() == cpu_counts.tolist()


@pytest.mark.parametrize("size", SIZES[:-1], ids=str)
@pytest.mark.parametrize("bins", [BINS, (0.0, 1e-3, 1), (-1.0, 1.0, 2046), (-1.0, 1.0, 2047)], ids=str)
def test_errors(cuda, size, bins):
    """Of more bins than a block counts by itself, too."""
    prediction, truth, mask = images(2, size)
    prediction[0, 0, -1] = truth[0, 0, -1]
    cpu, device = np.zeros((2, bins[2] + 2), np.int64), np.ones((2, bins[2] + 2), np.int64)
    on_host(prediction, truth, mask, bins=bins, errors=cpu)
    on_device(cuda, "measure_errors", prediction, truth, mask, bins, device)
    assert (device - 1).tolist() == cpu.tolist()


def test_sums_of_a_device_merge_with_those_of_the_host(cuda):
    prediction, truth, _ = images(2, (40, 50))
    whole, part = np.tile(EMPTY, (2, 1)), np.tile(EMPTY, (2, 1))
    on_host(prediction, truth, None, pairs=whole)
    on_host(prediction[:, :13], truth[:, :13], None, pairs=part)
    rest = np.ascontiguousarray(prediction[:, 13:]), np.ascontiguousarray(truth[:, 13:])
    on_device(cuda, "measure_pairs", *rest, None, part, np.zeros(3, np.int64))
    np.testing.assert_allclose(part, whole, rtol=1e-12, atol=1e-9)


def test_what_the_metrics_are_asked_with(cuda):
    image, pairs, counts = (OnDevice(a) for a in (np.ones((2, 3, 4), np.float32), np.zeros((2, 11)), np.zeros(3, int)))
    scratch, size = OnDevice(np.zeros(cuda.metrics_scratch(2, 3, 4))), cuda.metrics_scratch(2, 3, 4)
    given = [image, image, None, pairs, counts, scratch]

    def refused(call: str, good: list[Any], at: int, value: Any, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            getattr(cuda, call)(*[value if k == at else a for k, a in enumerate(good)])

    other = OnDevice(np.ones((2, 4, 3), np.float32))
    refused("measure_pairs", given, 1, other, r"truth has shape \(2, 4, 3\); prediction has \(2, 3, 4\)")
    refused("measure_pairs", given, 0, OnDevice(np.ones((3, 4), np.float32)), r"prediction has shape \(3, 4\)")
    refused("measure_pairs", given, 0, OnDevice(np.ones((2, 3, 4))), "prediction has type <f8")
    refused("measure_pairs", given, 2, OnDevice(np.ones((4, 3), np.uint8)), r"mask has shape \(4, 3\)")
    refused("measure_pairs", given, 2, OnDevice(np.ones((3, 4), bool)), r"mask has type \|b1")
    refused("measure_pairs", given, 3, OnDevice(np.zeros((1, 11))), r"pairs has shape \(1, 11\); \(2, 11\) is wanted")
    refused("measure_pairs", given, 4, OnDevice(np.zeros(2, int)), r"counts has shape \(2\); \(3,\) is wanted")
    short = OnDevice(np.zeros(size - 1))
    refused("measure_pairs", given, 5, short, rf"scratch has shape \({size - 1}\); \({size},\) or more is wanted")
    angles = [image, image, None, OnDevice(np.zeros(1)), OnDevice(np.zeros(2, int)), scratch]
    refused("measure_angles", angles, 3, OnDevice(np.zeros(2)), r"angle_total has shape \(2\); \(1,\) is wanted")
    refused("measure_angles", angles, 4, counts, r"angle_counts has shape \(3\); \(2,\) is wanted")
    errors = [image, image, None, (0.0, 1.0, 3), OnDevice(np.zeros((2, 5), int)), scratch]
    for bins in ((1.0, 1.0, 3), (2.0, 1.0, 3), (np.nan, 1.0, 3), (0.0, np.inf, 3), (0.0, 1.0, 0)):
        refused("measure_errors", errors, 3, bins, f"bins are {bins[2]} from ")
    refused("measure_errors", errors, 4, OnDevice(np.zeros((2, 4), int)), r"errors has shape \(2, 4\); \(2, 5\)")
    with pytest.raises(ValueError, match="there are 0 bands of 4 x 1 pixels"):
        cuda.metrics_scratch(0, 4, 1)
