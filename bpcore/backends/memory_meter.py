"""Measure how much memory some code will allocate, by running it with a backend that only counts."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from bpcore.backends.arrays import Array, DTypeLike
from bpcore.backends.base import Backend
from bpcore.backends.operations import Operation

GRAIN = 512
"""CuPy's memory pool allocates in multiples of this many bytes."""


def bytes_of(make: Callable[[Backend], object], backend: Backend) -> int:
    """The bytes of all arrays that `make` would allocate if it were called with this backend."""
    meter = _Meter(backend)
    make(meter)
    return meter.bytes


class _Meter(Backend):
    """Counts allocations; its arrays have a shape but no memory, since all elements share one."""

    name = "meter"
    array_type = np.ndarray

    def __init__(self, measured: Backend) -> None:
        self.bytes, self.between_layers = 0, measured.between_layers  # type: ignore[method-assign]

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """Count the array."""
        kind = np.dtype(dtype)
        self.bytes += -(-math.prod(shape) * kind.itemsize // GRAIN) * GRAIN
        return np.broadcast_to(np.zeros((), kind), shape)

    def full(self, shape: tuple[int, ...], value: float, dtype: DTypeLike) -> Array:
        """Count the array."""
        return self.empty(shape, dtype)

    def asarray(self, host: Any, dtype: DTypeLike = None) -> Array:
        """Count the array."""
        values = np.asarray(host)
        return self.empty(values.shape, values.dtype if dtype is None else dtype)

    def to_numpy(self, array: Array) -> np.ndarray:
        """The array itself."""
        result: np.ndarray = array
        return result

    def write(self, host: Any, out: Array) -> None:
        """Nothing is kept."""

    def copy(self, source: Array, out: Array) -> None:
        """Nothing is kept."""

    def synchronize(self) -> None:
        """Do nothing."""

    def execute(self, operation: Operation) -> None:
        """Compute nothing."""

    def describe(self) -> dict[str, str]:
        """There is no device."""
        return {"device": "none"}
