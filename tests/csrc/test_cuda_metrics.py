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


def gaussian(size: int) -> np.ndarray:
    weights = np.exp(-0.5 * (np.arange(size) - size // 2) ** 2 / 1.5**2)
    return weights / weights.sum()


WINDOWS = {
    "gaussian 11": ("ssim", gaussian(11), False),
    "uniform 7": ("ssim", np.ones(7), True),
    "uqi": ("uqi", np.ones(8), True),
    "uniform 11": ("ssim", np.ones(11), True),
    "gaussian 1": ("ssim", gaussian(1), False),
    "uniform 5": ("ssim", np.ones(5), True),  # from here on of a size that is no kernel's own
    "gaussian 63": ("ssim", gaussian(63), False),
}


def windows(cuda: Any, name: str, pair: Any, mask: Any = None, begin: tuple[int, int] = (0, 0)) -> tuple[Any, ...]:
    """Totals and counts of the CPU, and of the device, of windows that begin at ``begin`` or below and right of it."""
    kind, taps, uniform = WINDOWS[name]
    height, width = pair[0].shape[1:]
    ranges = [(first, max(n - len(taps) + 1, first)) for first, n in zip(begin, (height, width), strict=True)]
    index = (kind, taps, uniform, 1e-4, 9e-4, *ranges)
    bands = len(pair[0])
    cpu, cpu_count, device, count = np.zeros((1, bands)), np.zeros(1, np.int64), np.zeros(bands), np.zeros(1, np.int64)
    on_host(*pair, mask, indices=[index], window_totals=cpu, window_counts=cpu_count)
    on_device(cuda, "measure_windows", *pair, mask, index, device, count)
    return cpu[0], cpu_count[0], device, count[0]


@pytest.mark.parametrize("name", WINDOWS)
@pytest.mark.parametrize("more", [(0, 0), (1, 0), (0, 1), (63, 0), (64, 2)], ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_windows(cuda, name, more, masked):
    """One window, one more along either side, a whole tile of 64 rows, and one row more."""
    size = len(WINDOWS[name][1])
    prediction, truth, mask = images(2, (size + more[0], size + more[1]), holes=masked)
    if masked:
        mask[:] = 1
        mask[-1, -1] = mask[size // 2, 0] = 0
    cpu, cpu_count, device, count = windows(cuda, name, (prediction, truth), mask if masked else None)
    assert count == cpu_count
    np.testing.assert_allclose(device, cpu, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", ["gaussian 11", "uniform 7", "uqi", "uniform 5"])
def test_windows_of_several_tiles(cuda, name):
    """More columns than a block has threads, from a row and column on, around pixels that do not count."""
    prediction, truth, mask = images(1, (80, 270))
    mask[:] = 1
    mask[40:43, 100:102] = 0
    for begin in ((0, 0), (3, 9)):
        cpu, cpu_count, device, count = windows(cuda, name, (prediction, truth), mask, begin)
        assert count == cpu_count
        np.testing.assert_allclose(device, cpu, rtol=1e-12)


def test_windows_where_no_pixel_counts_and_where_none_fits(cuda):
    prediction, truth, _ = images(2, (20, 20))
    *_, device, count = windows(cuda, "uqi", (prediction, truth), np.zeros((20, 20), np.uint8))
    assert device.tolist() == [0, 0]
    assert count == 0
    *_, device, count = windows(cuda, "gaussian 63", (prediction, truth))
    assert device.tolist() == [0, 0]
    assert count == 0


@pytest.mark.parametrize("name", ["uqi", "gaussian 11"])
def test_flat_windows_are_equal_to_themselves(cuda, name):
    """Their variance is zero and not almost so: the quality is that of the means alone."""
    flat = np.full((1, 30, 200), 0.3, np.float32)
    flat[0, :, 90:] = 0.7
    cpu, _, device, count = windows(cuda, name, (flat, flat))
    np.testing.assert_allclose(device, count, rtol=1e-14)
    cpu, _, device, count = windows(cuda, name, (flat, 2 * flat))
    np.testing.assert_allclose(device, cpu, rtol=1e-12)


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
    index = ("ssim", np.ones(3), True, 1e-4, 9e-4, (0, 1), (0, 2))
    sums = [image, image, None, index, OnDevice(np.zeros(2)), OnDevice(np.zeros(1, int)), scratch]
    for at, value, message in (
        (0, "psnr", "index is 'psnr'; ssim or uqi is wanted"),
        (1, np.ones(4), r"taps has shape \(4\); an odd number for ssim"),
        (1, np.ones(65), r"taps has shape \(65\); at most 63 on a device"),
        (5, (0, 2), r"windows of 3 cannot begin in the rows \[0, 2\) of 3"),
        (6, (1, 3), r"windows of 3 cannot begin in the columns \[1, 3\) of 4"),
    ):
        refused("measure_windows", sums, 3, (*index[:at], value, *index[at + 1 :]), message)
    refused("measure_windows", sums, 4, OnDevice(np.zeros(3)), r"window_totals has shape \(3\); \(2,\) is wanted")
    refused("measure_windows", sums, 5, OnDevice(np.zeros(2, int)), r"window_count has shape \(2\)")
    with pytest.raises(ValueError, match="there are 0 bands of 4 x 1 pixels"):
        cuda.metrics_scratch(0, 4, 1)
