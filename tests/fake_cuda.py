# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for ``pycuda.driver`` and ``stf_infer._cuda``.

They keep the rules that a real run would break on: addresses are of memory that was allocated and not freed, a context
is current in the thread where memory is used, copies in a stream are of pinned memory, and copies and kernels wait for
their stream, as streams do for events.
"""

from __future__ import annotations

import threading
import types
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np


class Error(Exception):
    pass


class OutOfMemory(Error):
    pass


class Record:
    """An event at one place in a stream: the work before it has to be done for it to be reached."""

    def __init__(self, stream: Stream) -> None:
        self.stream, self.at = stream, None

    def reach(self) -> None:
        while self.at is None:
            self.stream.step()


class Stream:
    """Work that is done when somebody waits for it, or as soon as it may be where the stream is early.

    On a device anything between the two can happen: what is right with late streams, early ones and every mixture waits
    for all that it has to wait for.
    """

    def __init__(self, cuda: FakeCuda) -> None:
        cuda.need_context()
        self.cuda, self.handle, self.early = cuda, id(self), len(cuda.streams) in cuda.early
        self.work: deque[Callable[[], None] | Record] = deque()
        self._at_work = False
        cuda.streams[self.handle] = self

    def put(self, step: Callable[[], None] | Record) -> None:
        with self.cuda.lock:
            self.cuda.need_context()
            self.work.append(step)
            self.cuda.settle()

    def step(self) -> None:
        """Do the first piece of work, and before it what that waits for."""
        assert self.work, "an event is waited for that nothing leads to"
        assert not self._at_work, "two streams wait for one another"
        self._at_work = True
        try:
            first = self.work.popleft()
            first.reach() if isinstance(first, Record) else first()
        finally:
            self._at_work = False

    def go_on(self) -> bool:
        """Do what does not have to wait for another stream; whether anything was done."""
        done = False
        while self.work and not (isinstance(self.work[0], Record) and self.work[0].at is None):
            self.step()
            done = True
        return done

    def synchronize(self) -> None:
        with self.cuda.lock:
            self.cuda.need_context()
            while self.work:
                self.step()
            self.cuda.settle()

    def wait_for_event(self, event: Event) -> None:
        if event.last is not None:
            self.put(event.last)


class Event:
    """Notes the device's clock, in milliseconds, when the stream comes to it."""

    def __init__(self, cuda: FakeCuda) -> None:
        cuda.need_context()
        self.cuda, self.last = cuda, None

    def record(self, stream: Stream) -> None:
        record = self.last = Record(stream)
        stream.put(lambda: setattr(record, "at", self.cuda.clock))

    def synchronize(self) -> None:
        with self.cuda.lock:
            self.cuda.need_context()
            if self.last is not None:
                self.last.reach()
            self.cuda.settle()

    def time_till(self, other: Event) -> float:
        assert self.last is not None
        assert other.last is not None
        assert self.last.at is not None
        assert other.last.at is not None, "the stream has not come to the event"
        return other.last.at - self.last.at


class FakeCuda(types.ModuleType):
    """``pycuda.driver`` with devices of the capabilities given.

    Args:
        capabilities: Of each device.
        limit: Bytes of memory of a device.
        early: Numbers of the streams, as they are made, that do their work as early as they may.
    """

    Error, MemoryError = Error, OutOfMemory

    def __init__(self, *capabilities: tuple[int, int], limit: int = 1 << 40, early: tuple[int, ...] = ()) -> None:
        super().__init__("pycuda.driver")
        self.memory: dict[int, np.ndarray] = {}
        self.pinned: list[np.ndarray] = []
        self.streams: dict[int, Stream] = {}
        self.limit, self.early, self.initialised, self.detached = limit, early, False, 0
        self.clock = 0.0  # a kernel takes as many milliseconds as it has tiles, a copy takes 100
        self.uploads: list[int] = []  # bytes of every copy
        self.downloads: list[int] = []
        self.peak = 0  # bytes of the device that were taken at once
        self.lock = threading.RLock()
        self._local = threading.local()
        cuda = self

        class Device:
            def __init__(self, number: int) -> None:
                assert cuda.initialised
                self.number = number

            @staticmethod
            def count() -> int:
                return len(capabilities)

            def compute_capability(self) -> tuple[int, int]:
                return capabilities[self.number]

            def retain_primary_context(self) -> Context:
                return Context(self.number)

        class Context:
            def __init__(self, device: int) -> None:
                self.device = device

            def push(self) -> None:
                cuda.stack.append(self)

            def pop(self) -> None:
                assert cuda.stack.pop() is self

            def detach(self) -> None:
                cuda.detached += 1

        class Allocation(int):
            def free(self) -> None:
                cuda.need_context()
                for stream in cuda.streams.values():  # it may be at work
                    stream.synchronize()
                del cuda.memory[int(self)]

        self.Device, self._Allocation = Device, Allocation
        self.Stream, self.Event = partial(Stream, self), partial(Event, self)

    @property
    def stack(self) -> list[Any]:
        """The contexts of this thread."""
        if not hasattr(self._local, "stack"):
            self._local.stack = []
        held: list[Any] = self._local.stack
        return held

    def need_context(self) -> None:
        assert self.stack, "no context is current"

    def init(self) -> None:
        self.initialised = True

    def settle(self) -> None:
        """Let early streams go on until all of them wait."""
        early = [stream for stream in self.streams.values() if stream.early]
        while sum(stream.go_on() for stream in early):
            pass

    def pagelocked_empty(self, shape: Any, dtype: Any) -> np.ndarray:
        self.need_context()
        self.pinned.append(np.full(shape, 77, dtype))  # whatever was there
        return self.pinned[-1]

    def mem_alloc(self, size: int) -> int:
        self.need_context()
        if size > self.mem_get_info()[0]:
            raise OutOfMemory("cuMemAlloc failed: out of memory")
        room = np.full(size + 256, 0xFF, np.uint8)  # whatever was there: floats are NaN
        memory = room[-room.ctypes.data % 256 :][:size]
        with self.lock:
            self.memory[memory.ctypes.data] = memory
            self.peak = max(self.peak, sum(len(memory) for memory in self.memory.values()))
        return self._Allocation(memory.ctypes.data)

    def mem_get_info(self) -> tuple[int, int]:
        return self.limit - sum(len(memory) for memory in self.memory.values()), self.limit

    def bytes_at(self, address: int, size: int) -> np.ndarray:
        """Bytes of the device, all of one allocation."""
        with self.lock:
            for begin, memory in self.memory.items():
                if begin <= address and address + size <= begin + len(memory):
                    return memory[address - begin :][:size]
        raise AssertionError(f"{size} bytes at {address} are no memory of the device")

    def memcpy_htod_async(self, to: int, array: np.ndarray, stream: Stream) -> None:
        self._copy(stream, self.bytes_at(int(to), array.nbytes), self._bytes_of(array), self.uploads)

    def memcpy_dtoh_async(self, array: np.ndarray, source: int, stream: Stream) -> None:
        self._copy(stream, self._bytes_of(array), self.bytes_at(int(source), array.nbytes), self.downloads)

    def memcpy_dtod_async(self, to: int, source: int, size: int, stream: Stream) -> None:
        self._copy(stream, self.bytes_at(int(to), size), self.bytes_at(int(source), size), [])

    def memset_d8_async(self, to: int, value: int, size: int, stream: Stream) -> None:
        memory = self.bytes_at(int(to), size)
        stream.put(lambda: memory.fill(value))

    def _bytes_of(self, array: np.ndarray) -> np.ndarray:
        assert array.flags.c_contiguous
        assert any(np.may_share_memory(array, held) for held in self.pinned), "a copy in a stream needs pinned memory"
        return array.reshape(-1).view(np.uint8)

    def _copy(self, stream: Stream, to: np.ndarray, source: np.ndarray, told: list[int]) -> None:
        told.append(len(source))

        def copy() -> None:
            to[:] = source
            self.pass_time(100)

        stream.put(copy)

    def pass_time(self, milliseconds: float) -> None:
        self.clock += milliseconds


class FakeKernels(types.ModuleType):
    """``stf_infer._cuda``: the emulated kernels, called when their stream comes to them."""

    def __init__(self, cuda: FakeCuda, emulated: Any) -> None:
        super().__init__("stf_infer._cuda")
        self.cuda, self.emulated, self.problem = cuda, emulated, ""

    def device_problem(self) -> str:
        return self.problem

    def __getattr__(self, name: str) -> Callable[..., None]:
        kernel = getattr(self.emulated, name)

        def queue(*given: Any, stream: int) -> None:
            for array in given:
                if said := getattr(array, "__cuda_array_interface__", None):
                    size = int(np.prod(said["shape"])) * np.dtype(said["typestr"]).itemsize
                    self.cuda.bytes_at(said["data"][0], size)
            self.cuda.streams[stream].put(lambda: kernel(*given))

        return queue
