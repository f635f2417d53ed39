"""A stand-in for a GPU: arrays that will not leave it by accident, and a count of everything that costs.

`Device` plays CuPy's module for CupyBackend, and `Device.launch` its launcher, which runs the kernel's CPU twin.
The arrays wrap NumPy's and refuse every road to the host but `get` and `set`, so that code which works here does not
silently copy on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, Self

import numpy as np

from bpcore.kernels import cpu
from bpcore.kernels.spec import Spec

STREAM = 4711
"""The address of the one stream there is."""


def _refused(road: str) -> Callable[..., Any]:
    def refuse(self: Any, *arguments: Any, **options: Any) -> Any:
        raise TypeError(f"{road}: an array on the stand-in device does not come to the host by itself; use get()")

    return refuse


class StandInArray:
    """A device array: shape and dtype are known on the host, the content is not."""

    def __init__(self, device: Device, content: np.ndarray) -> None:
        self._device = device
        self._content = content

    # What the host may know.
    shape = property(lambda self: self._content.shape)
    strides = property(lambda self: self._content.strides)
    dtype = property(lambda self: self._content.dtype)
    ndim = property(lambda self: self._content.ndim)
    size = property(lambda self: self._content.size)
    flags = property(lambda self: self._content.flags)

    # Views.
    T = property(lambda self: StandInArray(self._device, self._content.T))

    def __getitem__(self, key: Any) -> StandInArray:
        for part in key if isinstance(key, tuple) else (key,):
            assert isinstance(part, slice), "indexing by anything but a slice copies on a GPU"
        return StandInArray(self._device, self._content[key])

    def reshape(self, *shape: Any) -> StandInArray:
        content = self._content.reshape(*shape)
        assert np.shares_memory(content, self._content) or not content.size, "a reshape that copies"
        return StandInArray(self._device, content)

    # The two doors.
    def get(self) -> np.ndarray:
        self._device.to_host += 1
        return self._content.copy()

    def set(self, host: np.ndarray) -> None:
        assert type(host) is np.ndarray
        assert (host.shape, host.dtype) == (self.shape, self.dtype), "CuPy converts and broadcasts nothing here"
        assert self._content.flags.c_contiguous
        self._device.to_device += 1
        self._content[...] = host

    # Arithmetic in place, with numbers and with arrays of the device.
    def __imul__(self, other: Any) -> Self:
        self._content *= self._device.operand(other)
        return self

    def __iadd__(self, other: Any) -> Self:
        self._content += self._device.operand(other)
        return self

    # Everything else is a road to the host.
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


class Device:
    """The stand-in for CuPy's module, and for the launcher. The counts start at zero."""

    ndarray = StandInArray
    __version__ = "0.0 (stand-in)"

    def __init__(self) -> None:
        self.allocations = 0
        self.to_host = 0
        self.to_device = 0
        self.products = 0
        self.launches: list[str] = []
        self.cuda = SimpleNamespace(
            get_current_stream=lambda: SimpleNamespace(ptr=STREAM, synchronize=lambda: None),
            runtime=SimpleNamespace(
                getDevice=lambda: 0,
                getDeviceProperties=self._properties,
                driverGetVersion=lambda: 13000,
                runtimeGetVersion=lambda: 12090,
            ),
        )

    def empty(self, shape: tuple[int, ...], dtype: Any) -> StandInArray:
        """Full of what nobody may read."""
        content = np.empty(shape, dtype)
        content.fill(np.nan if content.dtype.kind == "f" else 111)
        return self._new(content)

    def asarray(self, host: Any) -> StandInArray:
        assert type(host) is np.ndarray
        self.to_device += 1
        return self._new(np.array(host, order="C"))

    def ascontiguousarray(self, array: StandInArray, dtype: Any = None) -> StandInArray:
        return self._new(np.array(self.operand(array), dtype, order="C"))

    def copyto(self, out: StandInArray, source: StandInArray) -> None:
        np.copyto(out._content, self.operand(source))

    def matmul(self, a: StandInArray, b: StandInArray, out: StandInArray | None = None) -> StandInArray:
        self.products += 1
        left, right = self.operand(a), self.operand(b)
        if out is None:
            return self._new(np.matmul(left, right))
        assert isinstance(out, StandInArray)
        np.matmul(left, right, out=out._content)
        return out

    def launch(self, spec: Spec, arguments: Sequence[Any], stream: int) -> None:
        """Run the kernel's CPU twin."""
        assert stream == STREAM
        for argument in arguments:
            assert isinstance(argument, StandInArray | int | np.float32 | np.float64), (
                f"{spec.template} was given a {type(argument)}"
            )
        self.launches.append(spec.template)
        cpu.compiled(spec)(*[self.operand(argument) for argument in arguments])

    def operand(self, value: Any) -> Any:
        """What the device computes with: its own arrays, and numbers, which travel with the command."""
        if isinstance(value, StandInArray):
            assert value._device is self
            return value._content
        assert isinstance(value, int | float | np.generic), f"a {type(value)} from the host"
        return value

    def _new(self, content: np.ndarray) -> StandInArray:
        self.allocations += 1
        return StandInArray(self, content)

    @staticmethod
    def _properties(number: int) -> dict[str, Any]:
        return {
            "name": b"Stand-in", "totalGlobalMem": 2**34, "major": 9, "minor": 0, "multiProcessorCount": 132
        }  # fmt: skip
