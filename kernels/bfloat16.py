"""bfloat16: the upper 16 bits of a float32, which keep its range and 8 of its 24 significant bits.

NumPy and CuPy lack the type, so an array of bfloat16 is a uint16 array with those bits. Kernels always compute in
float32: they widen elements when reading, which is exact, and round to nearest when writing, ties to even, leaving
infinities and NaN unchanged. This file implements both in NumPy, for the host and for Numba's simulator;
cuda/rounding.py implements them as GPU instructions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

BFLOAT16 = np.dtype(np.uint16)
"""The dtype of arrays of bfloat16."""

UNIT_ROUNDOFF = 2.0**-8
"""The largest relative rounding error: half the distance between 1 and the next number."""


def number_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of the arithmetic on arrays of this dtype."""
    return np.dtype(np.float32) if dtype == BFLOAT16 else dtype


def widened(bits: np.ndarray) -> np.ndarray:
    """Widen bfloat16 bits to float32, exactly."""
    return (np.asarray(bits, np.uint32) << np.uint32(16)).view(np.float32)


def rounded(numbers: np.ndarray) -> np.ndarray:
    """Round float32 numbers to the nearest bfloat16."""
    bits = np.asarray(numbers, np.float32).view(np.uint32)
    upper = bits >> np.uint32(16)
    # Add half of the last kept place, or slightly less if that place is even, so that a tie stays even.
    nearest = (bits + np.uint32(0x7FFF) + (upper & np.uint32(1))) >> np.uint32(16)
    nan = upper | np.uint32(0x0040)  # sets a kept mantissa bit: without one, a NaN would become an infinity
    return np.where(np.isnan(numbers), nan, nearest).astype(BFLOAT16)
