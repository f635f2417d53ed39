"""bfloat16: a float32 that keeps the upper 16 of its 32 bits, so with its range, and 8 significant bits instead of 24.

Neither NumPy nor CuPy has it, so an array of bfloat16 is one of uint16 that holds those bits. What kernels compute with
is always the float32 that an element stands for: elements are widened when they are read, which is exact, and rounded
to the nearest when they are written, ties to the even one, with infinities and NaN as they are. Here that is said once
in NumPy, for the host and for Numba's simulator; cuda/rounding.py has the same as instructions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

BFLOAT16 = np.dtype(np.uint16)
"""The dtype of arrays of bfloat16."""

UNIT_ROUNDOFF = 2.0**-8
"""Rounding moves a number by so much at most, as a share of it: half of the distance between 1 and the next one."""

ARGUMENTS = {
    "activate": (0, 3),
    "activate_keeping_input": (0, 3),
    "delta": (0, 1),
    "delta_learned": (0, 1),
    "gather": (5,),
    "dropout": (0, 1),
    "hadamard": (0, 1, 2),
    "add": (0, 1, 2),
    "duplicate": (0, 1),
    "max_pieces": (0, 2),
    "max_pieces_backward": (0, 2),
    "column_sums": (0,),
}
"""The places of the arguments of a kernel that may be bfloat16, each by itself: what flows between layers.

All others are of the kernel's dtype, float32: parameters and their gradients, logits, losses.
"""


def number_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """What is computed in where arrays have this dtype."""
    return np.dtype(np.float32) if dtype == BFLOAT16 else dtype


def widened(bits: np.ndarray) -> np.ndarray:
    """The float32 numbers that these bfloat16 stand for."""
    return (np.asarray(bits, np.uint32) << np.uint32(16)).view(np.float32)


def rounded(numbers: np.ndarray) -> np.ndarray:
    """The nearest bfloat16 of each float32 number."""
    bits = np.asarray(numbers, np.float32).view(np.uint32)
    upper = bits >> np.uint32(16)
    # Half of the last place that is kept, or a little less where that place is even already: a tie stays there.
    nearest = (bits + np.uint32(0x7FFF) + (upper & np.uint32(1))) >> np.uint32(16)
    a_nan = upper | np.uint32(0x0040)  # a bit that is kept must be set, or it would become an infinity
    return np.where(np.isnan(numbers), a_nan, nearest).astype(BFLOAT16)
