"""A stand-in for a GPU that refuses implicit copies to the host and counts everything that takes time.

`Device` plays CuPy's module for CupyBackend, and `Device.launch` its launcher, which runs the kernel's CPU twin. A
stream can be captured: operations are then recorded in a graph, and what CUDA refuses during a capture is refused here.
Arrays wrap NumPy's and refuse every copy to the host except `get` and `set`, so code that works here does not copy
silently on a GPU.

All work is done immediately and in order, whereas on a GPU two streams run independently. So each array knows which
streams last wrote and read it (stand_in_streams.py), and work that did not wait for them is an error here; on a GPU it
would sometimes give wrong numbers.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, Self

import numpy as np

from bpcore.backends.operations import Kernel
from bpcore.kernels import bfloat16, cpu
from bpcore.kernels.bfloat16 import BFLOAT16
from bpcore.kernels.signatures import SIGNATURES
from bpcore.kernels.spec import Spec
from support.stand_in_streams import Clock, Event, HostClock, PinnedMemory, Use

STREAM = 4711
"""The address of the default stream."""


def _refused(road: str) -> Callable[..., Any]:
    def refuse(self: Any, *arguments: Any, **options: Any) -> Any:
        raise TypeError(f"{road}: an array on the stand-in device does not come to the host by itself; use get()")

    return refuse


class StandInArray:
    """A device array; the host knows its shape and dtype but not its content."""

    def __init__(self, device: Device, content: np.ndarray, use: Use) -> None:
        self._device = device
        self._content = content
        self._use = use

    # Attributes that the host may know.
    shape = property(lambda self: self._content.shape)
    strides = property(lambda self: self._content.strides)
    dtype = property(lambda self: self._content.dtype)
    ndim = property(lambda self: self._content.ndim)
    size = property(lambda self: self._content.size)
    flags = property(lambda self: self._content.flags)

    # Views.
    data = property(lambda self: SimpleNamespace(ptr=self._content.ctypes.data if self._use.bytes else 0))
    T = property(lambda self: type(self)(self._device, self._content.T, self._use))

    def __getitem__(self, key: Any) -> StandInArray:
        for part in key if isinstance(key, tuple) else (key,):
            assert isinstance(part, slice), "indexing by anything but a slice copies on a GPU"
        return type(self)(self._device, self._content[key], self._use)

    def reshape(self, *shape: Any) -> StandInArray:
        content = self._content.reshape(*shape)
        assert np.shares_memory(content, self._content) or not content.size, "a reshape that copies"
        return type(self)(self._device, content, self._use)

    # The two ways to copy.
    def get(self) -> np.ndarray:
        device = self._device
        device.forbid_while_capturing()
        device.to_host += 1
        device.crossings += 1
        device.stream.clock.use(reads=[self._use])
        device.stream.synchronize()
        return self._content.copy()

    def set(self, host: np.ndarray, stream: Stream | None = None) -> None:
        """The host waits for a copy from pageable memory, but not from pinned memory."""
        device = self._device
        assert type(host) is np.ndarray
        assert (host.shape, host.dtype) == (self.shape, self.dtype), "CuPy converts and broadcasts nothing here"
        assert self._content.flags.c_contiguous
        stream = stream or device.stream
        pinned = [memory for memory in device.pinned if memory.holds(host)]
        device.forbid_while_capturing()
        device.to_device += 1
        device.crossings += 1
        stream.clock.use(writes=[self._use])
        for memory in pinned:
            memory.leaves(stream.clock)
        if not pinned:
            stream.synchronize()
        self._content[...] = host

    # Arithmetic in place, with numbers and with arrays of the device.
    def __imul__(self, other: Any) -> Self:
        self._used_with(other)
        self._content *= self._device.operand(other)
        return self

    def __iadd__(self, other: Any) -> Self:
        self._used_with(other)
        self._content += self._device.operand(other)
        return self

    def _used_with(self, other: Any) -> None:
        reads = [other._use] if isinstance(other, StandInArray) else []
        self._device.stream.clock.use(reads=reads, writes=[self._use])

    # Everything else would copy to the host.
    __array_ufunc__ = None
    __array__ = _refused("__array__")
    __array_interface__ = property(_refused("__array_interface__"))
    __array_struct__ = property(_refused("__array_struct__"))
    __buffer__ = _refused("the buffer protocol")
    __dlpack__ = _refused("DLPack")
    __bool__ = _refused("bool()")
    __int__ = _refused("int()")
    __index__ = _refused("as an index")
    __float__ = _refused("float()")
    __complex__ = _refused("complex()")
    __len__ = _refused("len()")
    __iter__ = _refused("iteration")
    __contains__ = _refused("in")
    __setitem__ = _refused("assignment to elements")
    __reduce__ = _refused("pickling")
    tolist = _refused("tolist()")
    item = _refused("item()")


class CudaError(RuntimeError):
    """An error of the CUDA driver."""


class OutOfMemoryError(MemoryError):
    """CuPy's error for a full device."""


class Stream:
    """A stream of the stand-in device: work is done at once, or captured."""

    def __init__(self, device: Device, ptr: int) -> None:
        self._device, self.ptr = device, ptr
        self.captured: list[Callable[[], None]] | None = None
        self.captured_by = 0
        self.invalid = False
        self.clock = Clock(ptr, device.host)

    def synchronize(self) -> None:
        self._device.forbid_while_capturing()
        self._device.host.wait_for(self.clock.seen)

    def wait_event(self, event: Event) -> None:
        assert self.captured is None
        self.clock.wait_for(event.seen)

    def begin_capture(self) -> None:
        if self.ptr == STREAM:
            raise CudaError("cudaErrorStreamCaptureUnsupported: the default stream cannot be captured")
        self.captured, self.captured_by, self.invalid = [], threading.get_ident(), False

    def end_capture(self) -> Graph:
        assert self.captured is not None
        nodes, self.captured = self.captured, None
        if self.invalid:
            raise CudaError("cudaErrorStreamCaptureInvalidated: operation failed due to a previous error")
        return Graph(self._device, nodes)

    def __enter__(self) -> Self:
        self._before, self._device.stream = self._device.stream, self
        return self

    def __exit__(self, *error: object) -> None:
        self._device.stream = self._before


class Graph:
    """A captured graph."""

    def __init__(self, device: Device, nodes: list[Callable[[], None]]) -> None:
        self._device, self.nodes = device, nodes
        device.graphs.append(self)

    def launch(self) -> None:
        assert self._device.stream.captured is None
        before = self._device.crossings
        self._device.graph_launches.append(len(self.nodes))
        for node in self.nodes:
            node()
        assert self._device.crossings == before, "what needs the host was in a graph"


class Device:
    """The stand-in for CuPy's module and the launcher. Counts start at zero."""

    ndarray: type[StandInArray] = StandInArray
    __version__ = "0.0 (stand-in)"

    def __init__(self, memory: int = 2**34) -> None:
        self.allocations = 0
        self.to_host = 0
        self.to_device = 0
        self.products = 0
        self.launches: list[str] = []
        self.graphs: list[Graph] = []
        self.graph_launches: list[int] = []
        self.memory = memory
        self.used = 0
        self.most_used = 0
        self.limit = 0
        self.pinned: list[PinnedMemory] = []
        self.host = HostClock(self.pinned)
        self.default_stream = Stream(self, STREAM)
        self._streams = [self.default_stream]
        self._of_thread = threading.local()
        self.cuda = SimpleNamespace(
            get_current_stream=lambda: self.stream,
            Stream=self._new_stream,
            Event=lambda block=False, disable_timing=False: Event(self.host),
            Device=contextlib.nullcontext,
            alloc_pinned_memory=self._alloc_pinned_memory,
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            runtime=SimpleNamespace(
                getDevice=lambda: 0,
                getDeviceProperties=self._properties,
                driverGetVersion=lambda: 13000,
                runtimeGetVersion=lambda: 12090,
                memGetInfo=lambda: (self.memory - self.most_used, self.memory),
            ),
        )

    @property
    def stream(self) -> Stream:
        """The current stream of this thread."""
        stream: Stream = getattr(self._of_thread, "stream", self.default_stream)
        return stream

    @stream.setter
    def stream(self, stream: Stream) -> None:
        self._of_thread.stream = stream

    @property
    def crossings(self) -> int:
        """The number of transfers and allocations by this thread; a replayed graph makes none."""
        return getattr(self._of_thread, "crossings", 0)

    @crossings.setter
    def crossings(self, count: int) -> None:
        self._of_thread.crossings = count

    def get_default_memory_pool(self) -> Any:
        """A pool that never returns memory to the device and reuses every byte."""
        return SimpleNamespace(
            free_bytes=lambda: self.most_used - self.used,
            used_bytes=lambda: self.used,
            get_limit=lambda: self.limit,
        )

    def empty(self, shape: tuple[int, ...], dtype: Any) -> StandInArray:
        """An array filled with values that must not be read."""
        content = np.empty(shape, dtype)
        content.fill(np.nan if content.dtype.kind == "f" else 0xFFFF if content.dtype == BFLOAT16 else 111)
        return self._new(content)

    def asarray(self, host: Any) -> StandInArray:
        assert type(host) is np.ndarray
        self.to_device += 1
        self.crossings += 1
        return self._new(np.array(host, order="C"))

    def ascontiguousarray(self, array: StandInArray, dtype: Any = None) -> StandInArray:
        return self._new(np.array(self.operand(array), dtype, order="C"))

    def copyto(self, out: StandInArray, source: StandInArray) -> None:
        self.forbid_while_capturing()
        assert isinstance(source, StandInArray)
        self.stream.clock.use(reads=[source._use], writes=[out._use])
        np.copyto(out._content, self.operand(source))

    def matmul(self, a: StandInArray, b: StandInArray, out: StandInArray | None = None) -> StandInArray:
        if self.stream.captured is not None:
            raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
        self.products += 1
        left, right = self.operand(a), self.operand(b)
        self.stream.clock.use(reads=[a._use, b._use], writes=[] if out is None else [out._use])
        if out is None:
            return self._new(np.matmul(left, right))
        assert isinstance(out, StandInArray)
        np.matmul(left, right, out=out._content)
        return out

    def launch(self, spec: Spec, arguments: Sequence[Any], stream: int) -> None:
        """Run the kernel's CPU twin, with float32 for bfloat16; a GPU kernel reads and writes each element once."""
        assert stream == self.stream.ptr
        for argument in arguments:
            for one in argument if isinstance(argument, tuple) else (argument,):
                assert isinstance(one, StandInArray | int | np.float32 | np.float64), (
                    f"{spec.template} was given a {type(one)}"
                )
        operands = [self.operand(argument) for argument in arguments]
        kernel = Kernel(spec, arguments)
        reads, writes = ([array._use for array in arrays] for arrays in (kernel.reads, kernel.writes))

        def run() -> None:
            self.launches.append(spec.template)
            self.stream.clock.use(reads, writes)
            with widened(spec, operands) as numbers:
                cpu.compiled(spec)(*numbers)

        self.enqueue(stream, run)

    def enqueue(self, stream: int | None, work: Callable[[], None]) -> None:
        """Do the work, or record it in the graph that is being captured."""
        (wanted,) = [one for one in self._streams if one.ptr == stream]
        if wanted.captured is None:
            self.forbid_while_capturing()
            work()
        else:
            wanted.captured.append(work)

    def forbid_while_capturing(self) -> None:
        """Refuse what cannot be captured; other threads may go on, because CuPy captures in relaxed mode."""
        mine = threading.get_ident()
        capturing = [one for one in self._streams if one.captured is not None and one.captured_by == mine]
        for stream in capturing:
            stream.invalid = True
        if capturing:
            raise CudaError("cudaErrorStreamCaptureUnsupported: operation not permitted when stream is capturing")

    def _new_stream(self, non_blocking: bool = False) -> Stream:
        assert non_blocking, "a blocking stream waits for the default stream, which breaks a capture"
        self._streams.append(Stream(self, STREAM + len(self._streams)))
        return self._streams[-1]

    def _alloc_pinned_memory(self, size: int) -> np.ndarray:
        self.pinned.append(PinnedMemory(np.full(-(-size // 512) * 512, 111, np.uint8)))
        return self.pinned[-1].content

    def operand(self, value: Any) -> Any:
        """The operand as NumPy's: an array of this device, or a number, which is passed with the command."""
        if isinstance(value, StandInArray):
            assert value._device is self
            return value._content
        if isinstance(value, tuple):
            return tuple(map(self.operand, value))
        assert isinstance(value, int | float | np.generic), f"a {type(value)} from the host"
        return value

    def _new(self, content: np.ndarray) -> StandInArray:
        self.forbid_while_capturing()
        self.allocations += 1
        self.crossings += 1
        size = -(-content.nbytes // 512) * 512
        if self.used + size > (self.limit or self.memory):
            raise OutOfMemoryError(f"Out of memory allocating {size:,} bytes (allocated so far: {self.used:,} bytes).")
        self.used += size
        self.most_used = max(self.most_used, self.used)
        use = Use(content.shape, content.nbytes)
        weakref.finalize(use, self._free, size)
        return self.ndarray(self, content, use)

    def _free(self, size: int) -> None:
        self.used -= size

    @staticmethod
    def _properties(number: int) -> dict[str, Any]:
        return {
            "name": b"Stand-in", "totalGlobalMem": 2**34, "major": 9, "minor": 0, "multiProcessorCount": 132
        }  # fmt: skip


@contextlib.contextmanager
def widened(spec: Spec, operands: Sequence[Any]) -> Iterator[list[Any]]:
    """The operands with bfloat16 widened to float32; what is written to them is rounded back."""
    numbers = list(operands)
    signature = SIGNATURES[spec.template]
    copies: dict[int, np.ndarray] = {}  # by address: one array may be two arguments
    for place in signature.flowing:
        array = operands[place]
        if array.dtype == BFLOAT16:
            numbers[place] = copies.setdefault(array.ctypes.data, bfloat16.widened(array))
            assert numbers[place].shape == array.shape
    yield numbers
    for argument, before, after in zip(signature.arguments.values(), operands, numbers, strict=True):
        if after is not before and argument.written:
            before[...] = bfloat16.rounded(after)
