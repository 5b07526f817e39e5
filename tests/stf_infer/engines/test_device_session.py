# SPDX-License-Identifier: Apache-2.0
"""Arrays on a device, streams that wait for one another, and memory that is given back. PyCUDA is a stand-in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fake_cuda import FakeCuda
from stf_infer.engines.device_session import DeviceArray, DeviceSession
from stf_infer.errors import EngineError


class Opened:
    """A session on a stand-in whose streams are late, or early where that is said."""

    def __init__(self, **given: Any) -> None:
        self.cuda = FakeCuda((8, 7), **given)
        self.cuda.init()
        context = self.cuda.Device(0).retain_primary_context()
        context.push()
        work = self.cuda.Stream()
        context.pop()
        self.session = DeviceSession(self.cuda, context, work, lambda addresses, tiles: None)

    def value(self, array: DeviceArray, stream: Any) -> np.ndarray:
        """What a stream finds in an array, once it has come to the end of its queue."""
        here, there = self.session.pinned(array.shape, array.dtype), self.session.event()
        self.session.download(here, array, stream)
        self.session.record(there, stream)
        self.session.wait_for(there)
        return here.copy()


@pytest.fixture
def opened():
    made = Opened()
    yield made
    made.session.close()
    assert (made.cuda.memory, made.cuda.stack) == ({}, [])


# Arrays --------------------------------------------------------------------------------------------------------------


def test_parts_of_an_array_are_those_of_numpy(opened):
    numbers = np.arange(2 * 5 * 3, dtype=np.int16).reshape(2, 5, 3)
    array = opened.session.constant(numbers)
    for part in (np.s_[:], np.s_[1:], np.s_[0], np.s_[1], np.s_[1:1], np.s_[2:1]):
        got, wanted = array[part], numbers[part]
        assert (got.shape, got.nbytes, got.dtype) == (wanted.shape, wanted.nbytes, wanted.dtype)
        if wanted.size:
            assert got.address - array.address == wanted.ctypes.data - numbers.ctypes.data
            np.testing.assert_array_equal(opened.value(got, opened.session.work), wanted)
    rows = array[1][2:4]
    np.testing.assert_array_equal(opened.value(rows, opened.session.work), numbers[1, 2:4])
    np.testing.assert_array_equal(opened.value(rows.shaped(6), opened.session.work), numbers[1, 2:4].reshape(6))
    assert [part.address for part in array] == [array[0].address, array[1].address]
    assert len(array) == 2


def test_an_array_says_what_kernels_ask(opened):
    array = opened.session.array((4, 6), np.uint8)[2:]
    assert array.__cuda_array_interface__ == {
        "version": 3,
        "shape": (2, 6),
        "typestr": "|u1",
        "data": (array.address, False),
    }


def test_a_part_does_not_reach_past_the_memory(opened):
    array = opened.session.array((4, 6), np.float32)
    assert array[:1].shaped(2, 12).nbytes == array.nbytes  # the memory is there, whatever part was taken
    with pytest.raises(AssertionError, match=r"\(25,\) of float32 at byte 0 is more than 96 bytes"):
        array.shaped(25)
    with pytest.raises(AssertionError, match="at byte 24 is more than 96 bytes"):
        array[1:].shaped(4, 6)


# Order ---------------------------------------------------------------------------------------------------------------


def test_constants_are_there_for_rows_and_for_kernels(opened):
    session = opened.session
    for stream in (session.work, session.up):
        array = session.constant(np.array([3.5, -1]))
        np.testing.assert_array_equal(opened.value(array, stream), [3.5, -1])


@pytest.mark.parametrize("early", [(), (0,), (1,), (0, 1)])
def test_a_stream_waits_for_an_event_of_another(early):
    opened = Opened(early=early)
    session = opened.session
    there, staged, event = session.array((4,)), session.pinned((4,)), session.event()
    staged[:] = 7
    session.let_wait(session.up, event)  # not recorded: nothing to wait for
    session.upload(there, staged, session.up)
    session.record(event, session.up)
    session.let_wait(session.work, event)
    copy = session.array((4,))
    session.copy(copy, there, session.work)
    session.clear(there[:2], session.work)
    np.testing.assert_array_equal(opened.value(copy, session.work), [7, 7, 7, 7])
    np.testing.assert_array_equal(opened.value(there, session.work), [0, 0, 7, 7])
    session.close()


# Ends ----------------------------------------------------------------------------------------------------------------


def test_memory_that_does_not_suffice_is_counted_to_the_end(opened):
    session = opened.session
    opened.cuda.limit = 3_000_000
    session.array((500_000,))
    session.check_memory()
    session._free = 3_000_000
    session.array((500_000,))
    session.constant(np.zeros(250_000))
    session.zeros((10, 10))
    with pytest.raises(EngineError) as caught:
        session.check_memory()
    assert caught.value.got == "6.0 MB are needed and 3.0 MB are free"


def test_everything_is_freed_where_a_stream_fails_at_the_end():
    opened = Opened()
    session = opened.session
    array, staged = session.array((4,)), session.pinned((4,))
    session.upload(array, staged, session.up)

    def broken() -> None:
        raise opened.cuda.Error("an illegal memory access was encountered")

    with session:
        session.launch(lambda stream: opened.cuda.streams[stream].put(broken), stream=session.work)
    assert opened.cuda.memory == {}


def test_what_the_device_says_is_an_error_of_ours(opened):
    def refuse(*arguments: Any, stream: int) -> None:
        raise RuntimeError("no CUDA device can be used")

    with pytest.raises(EngineError, match=r"The GPU failed while tiles were on it. Got: no CUDA device can be used"):
        opened.session.launch(refuse, stream=opened.session.work)
