# SPDX-License-Identifier: Apache-2.0
"""One run on the device of an engine: memory, streams and copies by PyCUDA, kernels of ours, the engine between them.

Three streams: ``up`` brings rows to the device, ``work`` computes, ``down`` brings rows back. What one of them needs of
another it waits for by events, so copies go on while kernels run. Its host logic is tested with a stand-in for PyCUDA.
It has not been run on a GPU.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any

import numpy as np

from ..errors import EngineError


class DeviceArray:
    """A C-contiguous array in the memory of a device, or a part of one; nothing is copied to make one.

    Args:
        memory: What owns the memory, as PyCUDA gives it.
        size: Bytes of the memory.
        shape: Of the array.
        dtype: Type of the elements.
        offset: Bytes from the beginning of the memory.
    """

    def __init__(self, memory: Any, size: int, shape: tuple[int, ...], dtype: Any, offset: int = 0) -> None:
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self._memory, self._size, self._offset = memory, size, offset
        assert offset + self.nbytes <= size, f"{shape} of {dtype} at byte {offset} is more than {size} bytes"

    @property
    def address(self) -> int:
        """Where its first element lies."""
        return int(self._memory) + self._offset

    @property
    def nbytes(self) -> int:
        """Bytes that it takes."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[DeviceArray]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, at: int | slice) -> DeviceArray:
        """A part along the first axis; a number takes that axis away."""
        begin, stop, _ = (slice(at, at + 1) if isinstance(at, int) else at).indices(len(self))
        rest = self.shape[1:]
        offset = self._offset + begin * int(np.prod(rest)) * self.dtype.itemsize
        shape = rest if isinstance(at, int) else (max(stop - begin, 0), *rest)
        return DeviceArray(self._memory, self._size, shape, self.dtype, offset)

    def shaped(self, *shape: int) -> DeviceArray:
        """The memory from its first element on, in another shape."""
        return DeviceArray(self._memory, self._size, shape, self.dtype, self._offset)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"version": 3, "shape": self.shape, "typestr": self.dtype.str, "data": (self.address, False)}


class DeviceSession:
    """A run's use of an engine's device; a context manager, at whose end everything is freed.

    Threads may use it at the same time, each for other arrays. Memory is asked for before the work begins. Every method
    but :meth:`wait_for` queues work and returns.

    Args:
        cuda: ``pycuda.driver``.
        context: The context of the device.
        work: The engine's stream.
        execute: Queues the engine in it: takes the addresses of tensors and a number of tiles.

    Raises:
        EngineError: The device fails. Every method may raise it, also for work that was queued before.
    """

    def __init__(self, cuda: Any, context: Any, work: Any, execute: Callable[[Mapping[str, int], int], None]) -> None:
        self._cuda, self._context, self._execute = cuda, context, execute
        self._memory: list[Any] = []
        self._kept: list[Any] = []  # pinned memory and events: PyCUDA frees them where the context is current
        self._refused: Exception | None = None
        self.bytes = 0
        self.work = work
        with self._current():
            self.up, self.down = cuda.Stream(), cuda.Stream()
            self._free = cuda.mem_get_info()[0]

    @contextlib.contextmanager
    def _current(self) -> Iterator[None]:
        """The context is current on this thread; what the device says becomes an error of ours."""
        self._context.push()
        try:
            yield
        except self._cuda.Error as error:
            raise _failed(error) from error
        finally:
            self._context.pop()

    # Memory --------------------------------------------------------------------------------------------------

    def array(self, shape: tuple[int, ...], dtype: Any = np.float32) -> DeviceArray:
        """A new array; what is in it is not defined. Where memory does not suffice, :meth:`check_memory` says so."""
        wanted = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self.bytes += wanted
        if self._refused is None:
            with self._current():
                try:
                    self._memory.append(self._cuda.mem_alloc(wanted))
                    return DeviceArray(self._memory[-1], wanted, shape, dtype)
                except self._cuda.MemoryError as error:
                    self._refused = error
        return DeviceArray(0, wanted, shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: Any = np.float32) -> DeviceArray:
        """A new array of zeros, for ``work``."""
        array = self.array(shape, dtype)
        if self._refused is None:
            self.clear(array, self.work)
        return array

    def constant(self, values: np.ndarray) -> DeviceArray:
        """A copy of an array that ``up`` and ``work`` can read at once, and that is never changed."""
        array = self.array(values.shape, values.dtype)
        if self._refused is None:
            staged, there = self.pinned(values.shape, values.dtype), self.event()
            staged[...] = values
            self.upload(array, staged, self.up)
            self.record(there, self.up)
            self.let_wait(self.work, there)
        return array

    def check_memory(self) -> None:
        """To be called when all arrays have been asked for, before anything else is done with them.

        Raises:
            EngineError: The device has too little memory; the message says how much is needed.
        """
        if self._refused is not None:
            raise EngineError(
                "The GPU has too little memory to keep the scene's rows and tiles on it",
                got=f"{self.bytes / 1e6:.1f} MB are needed and {self._free / 1e6:.1f} MB are free",
                fix="Take a smaller --tile-batch or a narrower --aoi, or --tiles-on host",
            ) from self._refused

    def pinned(self, shape: tuple[int, ...], dtype: Any = np.float32) -> np.ndarray:
        """An array of the host that copies in a stream can be made from and to."""
        with self._current():
            array: np.ndarray = self._cuda.pagelocked_empty(shape, dtype)
            self._kept.append(array)
            return array

    # Order ---------------------------------------------------------------------------------------------------

    def event(self) -> Any:
        """A place in a stream that others can wait for; until it is recorded there is nothing to wait for."""
        with self._current():
            self._kept.append(self._cuda.Event())
            return self._kept[-1]

    def record(self, event: Any, stream: Any) -> None:
        """Put the event behind all that is in the stream."""
        with self._current():
            event.record(stream)

    def let_wait(self, stream: Any, event: Any) -> None:
        """What is queued in the stream from now on waits for the event as it was recorded last."""
        with self._current():
            stream.wait_for_event(event)

    def wait_for(self, event: Any) -> None:
        """Wait until the device has come to the event."""
        with self._current():
            event.synchronize()

    def seconds_between(self, began: Any, ended: Any) -> float:
        """What passed on the device between two events that it has come to."""
        with self._current():
            return float(began.time_till(ended)) / 1e3  # CUDA says milliseconds

    # Work ----------------------------------------------------------------------------------------------------

    def upload(self, to: DeviceArray, pinned: np.ndarray, stream: Any) -> None:
        """Copy from the host; the pinned array must not change before the stream has done it."""
        with self._current():
            self._cuda.memcpy_htod_async(to.address, pinned, stream)

    def download(self, pinned: np.ndarray, source: DeviceArray, stream: Any) -> None:
        """Copy to the host."""
        with self._current():
            self._cuda.memcpy_dtoh_async(pinned, source.address, stream)

    def copy(self, to: DeviceArray, source: DeviceArray, stream: Any) -> None:
        """Copy all of ``source``."""
        with self._current():
            self._cuda.memcpy_dtod_async(to.address, source.address, source.nbytes, stream)

    def clear(self, array: DeviceArray, stream: Any) -> None:
        """Make every element 0."""
        with self._current():
            self._cuda.memset_d8_async(array.address, 0, array.nbytes, stream)

    def launch(self, kernel: Callable[..., None], *arguments: Any, stream: Any) -> None:
        """Call a function of ``stf_infer._cuda``."""
        with self._current():
            try:
                kernel(*arguments, stream=stream.handle)
            except RuntimeError as error:
                raise _failed(error) from error

    def infer(self, tensors: Mapping[str, DeviceArray], tiles: int) -> None:
        """Run the engine in ``work`` over so many tiles, with all of the contract's tensors, inputs and output."""
        with self._current():
            self._execute({name: array.address for name, array in tensors.items()}, tiles)

    # End -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let the streams end and free everything."""
        self._context.push()
        try:
            for stream in (self.up, self.work, self.down):
                with contextlib.suppress(self._cuda.Error):  # the error that ended the run
                    stream.synchronize()
            for memory in self._memory:
                with contextlib.suppress(self._cuda.Error):
                    memory.free()
            self._memory.clear()
            self._kept.clear()
            del self.up, self.down
        finally:
            self._context.pop()

    def __enter__(self) -> DeviceSession:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _failed(error: Exception) -> EngineError:
    return EngineError("The GPU failed while tiles were on it", got=error)
