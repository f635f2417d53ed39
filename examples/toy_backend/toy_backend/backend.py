"""The parts of a backend: arrays, transfers between host and device, and the execution of operations."""

from __future__ import annotations

import platform
from types import SimpleNamespace
from typing import Any

import numpy as np

from bpcore import InputError
from bpcore.backends.base import Backend, DTypeLike
from bpcore.backends.operations import Operation, Product
from toy_backend.kernels import KERNELS, functions, multiply


class ToyArray:
    """An array on the toy device. Only kernels read its content; the host reads it through `to_numpy`.

    Layers need nothing else of an array: its shape and dtype, views of the same memory, and its address.
    """

    def __init__(self, content: np.ndarray) -> None:
        self.content = content
        self.shape, self.strides = content.shape, content.strides
        self.dtype, self.size = content.dtype, content.size

    @property
    def data(self) -> Any:
        """The address, as `data.ptr` like CuPy's arrays."""
        return SimpleNamespace(ptr=self.content.ctypes.data)

    @property
    def T(self) -> ToyArray:  # noqa: N802  every array library uses this name
        """The transposed view."""
        return ToyArray(self.content.T)

    def __getitem__(self, slices: Any) -> ToyArray:
        return ToyArray(self.content[slices])

    def reshape(self, *shape: Any) -> ToyArray:
        """A view of contiguous memory in another shape."""
        return ToyArray(self.content.reshape(*shape))

    def __array__(self, *arguments: Any, **options: Any) -> np.ndarray:
        raise TypeError("an array of the toy device is not copied to the host implicitly; use backend.to_numpy(array)")


class ToyBackend(Backend):
    """The backend of the toy device."""

    name = "toy"
    array_type = ToyArray

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> ToyArray:
        """Allocate an array; `allocations` counts them, for bpcore's test that a training run makes none."""
        self.allocations += 1
        return ToyArray(np.empty(shape, dtype))

    def asarray(self, host: Any, dtype: DTypeLike = None) -> ToyArray:
        """Copy to the device; an array that is already there is returned itself if dtype and layout match."""
        on_device = isinstance(host, ToyArray)
        values = host.content if on_device else np.asarray(host)
        if on_device and values.flags.c_contiguous and dtype in (None, values.dtype):
            return host
        self.allocations += 1
        return ToyArray(np.array(values, dtype, order="C"))

    def to_numpy(self, array: ToyArray) -> np.ndarray:
        """Copy to the host."""
        self.require(array)
        return array.content.copy()

    def write(self, host: Any, out: ToyArray) -> None:
        """Write values from the host into an existing array, broadcast and converted."""
        self.require(out)
        out.content[...] = host

    def copy(self, source: ToyArray, out: ToyArray) -> None:
        """Copy on the device."""
        self.require(source, out)
        out.content[...] = source.content

    def synchronize(self) -> None:
        """Do nothing: operations finish before they return."""

    def execute(self, operation: Operation) -> None:
        """Perform a product or a kernel. The shapes and dtypes of its arguments have been checked."""
        with np.errstate(all="ignore"):  # bpcore itself detects a loss that is not finite
            if isinstance(operation, Product):
                alpha, beta = _content(operation.alpha), _content(operation.beta)
                multiply(*map(_content, (operation.a, operation.b, operation.out)), alpha, beta)
                return
            spec = operation.spec
            if spec.template not in KERNELS:
                raise InputError(f"the toy backend has no kernel {spec.template!r}; is bpcore newer than it?")
            KERNELS[spec.template](functions(spec), *map(_content, operation.arguments))

    def describe(self) -> dict[str, str]:
        """The description that `bpcore info` prints."""
        return {"device": "toy: NumPy and plain Python, one thread", "python": platform.python_version()}


def _content(argument: Any) -> Any:
    """The NumPy array in a ToyArray; any other argument unchanged."""
    return argument.content if isinstance(argument, ToyArray) else argument
