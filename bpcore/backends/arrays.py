"""Arrays of any device: the alias for their type, and functions that compare their places in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = Any
"""A writable device array of some backend: numpy.ndarray, cupy.ndarray, ...

It has `shape`, `dtype` (NumPy's), `size`, `strides` (in bytes), and views of the same memory: `T`, the slices
`array[:n]` and `array[:n, :m]`, and `reshape` of contiguous memory. Its address is `data.ptr`, as CuPy's arrays have
it, or `ctypes.data`, as NumPy's.
"""

DTypeLike = Any
"""Anything that numpy.dtype accepts."""

Span = tuple[int, int]
"""The first byte of an array's memory, and the byte after its last."""


def is_array(value: Any) -> bool:
    """Whether an argument of an operation is an array, not a scalar."""
    return hasattr(value, "strides") and hasattr(value, "flags") and value.shape != ()


def address(array: Array) -> int:
    """The address of an array's first element, in the memory of its device."""
    pointer = getattr(getattr(array, "data", None), "ptr", None)
    return int(array.ctypes.data if pointer is None else pointer)


def span(array: Array) -> Span:
    """The stretch of memory from an array's first byte to its last, gaps between rows included."""
    first = address(array)
    extent = sum((n - 1) * abs(stride) for n, stride in zip(array.shape, array.strides, strict=True))
    return first, first + (extent + array.dtype.itemsize if array.size else 0)


def meet(some: Sequence[Span], others: Sequence[Span]) -> bool:
    """Whether any of these spans overlaps any of the others."""
    return any(a < d and c < b for a, b in some for c, d in others)


def same_place(a: Array, b: Array) -> bool:
    """Whether two arrays are the same view: element for element in the same memory."""
    if a is b:
        return True
    if (address(a), a.shape, a.dtype) != (address(b), b.shape, b.dtype):
        return False
    return all(n <= 1 or one == other for n, one, other in zip(a.shape, a.strides, b.strides, strict=True))


def overlap(a: Array, b: Array) -> bool:
    """Whether two arrays share an element; also true if the exact answer would take too long to find."""
    try:
        return np.shares_memory(view_at(a), view_at(b), max_work=10_000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def view_at(array: Array) -> np.ndarray:
    """A writable NumPy view of an array's memory; its elements may be accessed only if that is host memory."""
    return np.asarray(_Memory(array))


class _Memory:
    """Describes an array's memory to NumPy, and keeps the array alive."""

    def __init__(self, owner: Array) -> None:
        self.owner = owner
        self.__array_interface__ = {
            "version": 3,
            "data": (address(owner), False),
            "shape": owner.shape,
            "strides": owner.strides,
            "typestr": owner.dtype.str,
        }


def touch(arrays: Sequence[Array], others: Sequence[Array]) -> bool:
    """Whether the span of any of these arrays overlaps the span of any of the others."""
    return meet([span(array) for array in arrays], [span(array) for array in others])
