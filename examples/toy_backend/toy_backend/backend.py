"""What a backend brings: arrays, the doors between them and the host, and a way to perform an operation."""

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
    """An array of the toy device. What it holds is for kernels alone; the host sees it through `to_numpy`.

    This is all that layers ask of an array: its form, views of the same memory, and where that memory lies.
    """

    def __init__(self, content: np.ndarray) -> None:
        self.content = content
        self.shape, self.strides = content.shape, content.strides
        self.dtype, self.size = content.dtype, content.size

    @property
    def data(self) -> Any:
        """Where it lies, as CuPy's arrays say it: `data.ptr`."""
        return SimpleNamespace(ptr=self.content.ctypes.data)

    @property
    def T(self) -> ToyArray:  # noqa: N802  the name that every array library has for it
        """The transposed view."""
        return ToyArray(self.content.T)

    def __getitem__(self, slices: Any) -> ToyArray:
        return ToyArray(self.content[slices])

    def reshape(self, *shape: Any) -> ToyArray:
        """A view of contiguous memory in another shape."""
        return ToyArray(self.content.reshape(*shape))

    def __array__(self, *arguments: Any, **options: Any) -> np.ndarray:
        raise TypeError("an array of the toy device does not come to the host by itself; use backend.to_numpy(array)")


class ToyBackend(Backend):
    """The toy device."""

    name = "toy"
    array_type = ToyArray

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> ToyArray:
        """A new array; `allocations` counts them, for bpcore's tests that a run makes none."""
        self.allocations += 1
        return ToyArray(np.empty(shape, dtype))

    def asarray(self, host: Any, dtype: DTypeLike = None) -> ToyArray:
        """From the host, or what is here already: itself where dtype and layout are right."""
        here = isinstance(host, ToyArray)
        values = host.content if here else np.asarray(host)
        if here and values.flags.c_contiguous and dtype in (None, values.dtype):
            return host
        self.allocations += 1
        return ToyArray(np.array(values, dtype, order="C"))

    def to_numpy(self, array: ToyArray) -> np.ndarray:
        """A copy on the host."""
        self.require(array)
        return array.content.copy()

    def write(self, host: Any, out: ToyArray) -> None:
        """Values from the host into an array that exists, broadcast and converted."""
        self.require(out)
        out.content[...] = host

    def copy(self, source: ToyArray, out: ToyArray) -> None:
        """On the device."""
        self.require(source, out)
        out.content[...] = source.content

    def synchronize(self) -> None:
        """Nothing to wait for: work is done when it is asked for."""

    def execute(self, operation: Operation) -> None:
        """One product or one kernel. The shapes and dtypes of its arguments have been checked."""
        with np.errstate(all="ignore"):  # a loss that is not finite is noticed by bpcore
            if isinstance(operation, Product):
                alpha, beta = _content(operation.alpha), _content(operation.beta)
                multiply(*map(_content, (operation.a, operation.b, operation.out)), alpha, beta)
                return
            spec = operation.spec
            if spec.template not in KERNELS:
                raise InputError(f"the toy backend has no kernel {spec.template!r}; is bpcore newer than it?")
            KERNELS[spec.template](functions(spec), *map(_content, operation.arguments))

    def describe(self) -> dict[str, str]:
        """What `bpcore info` prints."""
        return {"device": "toy: NumPy and plain Python, one thread", "python": platform.python_version()}


def _content(argument: Any) -> Any:
    """Arrays as kernels take them; numbers as they are."""
    return argument.content if isinstance(argument, ToyArray) else argument
