"""Arrays of any device: the name for their type, and where they lie in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = Any
"""A device array of the backend at hand: numpy.ndarray, cupy.ndarray, ...

It is one that can be written to, and has views: `shape`, `dtype` (NumPy's), `size`, `strides` (in bytes), `T`, slices
`array[:n]` and `array[:n, :m]`, and `reshape` of contiguous memory, all of which look at the same memory. Where that
memory lies it says as CuPy's arrays do, by `data.ptr`, or as NumPy's, by `ctypes.data`.
"""

DTypeLike = Any

Span = tuple[int, int]


def is_array(value: Any) -> bool:
    """Whether an argument is an array rather than a scalar."""
    return hasattr(value, "strides") and hasattr(value, "flags") and value.shape != ()


def address(array: Array) -> int:
    """Where an array begins, in the memory of its device."""
    pointer = getattr(getattr(array, "data", None), "ptr", None)
    return int(array.ctypes.data if pointer is None else pointer)


def span(array: Array) -> Span:
    """First byte of an array's memory, and the one after its last."""
    first = address(array)
    extent = sum((n - 1) * abs(stride) for n, stride in zip(array.shape, array.strides, strict=True))
    return first, first + (extent + array.dtype.itemsize if array.size else 0)


def meet(some: Sequence[Span], others: Sequence[Span]) -> bool:
    """Whether any of some overlaps any of the others."""
    return any(a < d and c < b for a, b in some for c, d in others)


def same_place(a: Array, b: Array) -> bool:
    """Whether two arrays are one and the same: element for element in the same memory."""
    if a is b:
        return True
    if (address(a), a.shape, a.dtype) != (address(b), b.shape, b.dtype):
        return False
    return all(n <= 1 or one == other for n, one, other in zip(a.shape, a.strides, b.strides, strict=True))


def overlap(a: Array, b: Array) -> bool:
    """Whether two arrays have an element in common; where that takes too long to tell, whether they might have."""
    try:
        return np.shares_memory(view_at(a), view_at(b), max_work=10_000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def view_at(array: Array) -> np.ndarray:
    """NumPy's view of the memory where an array lies, as one to write to; on the host it may be looked at."""
    return np.asarray(_Memory(array))


class _Memory:
    """What NumPy is told of memory that it does not own; it keeps the owner alive."""

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
    """Whether the memory of any of these arrays overlaps that of any of the others."""
    return meet([span(array) for array in arrays], [span(array) for array in others])
