"""The installed numba-cuda: its version, whether its simulator is on, and a fix for NumPy 2.5."""

from __future__ import annotations

import importlib
from contextlib import suppress
from importlib.metadata import version
from typing import Any

import numba
import numpy as np

NUMBA_CUDA = version("numba-cuda")  # ImportError if it is missing: the CUDA target inside Numba itself is outdated

IN_SIMULATOR = bool(numba.config.ENABLE_CUDASIM)  # type: ignore[attr-defined]


def _load_array_functions() -> None:
    """Load the part of numba-cuda (up to 0.30) that uses numpy.row_stack, which NumPy 2.5 removed."""
    if hasattr(np, "row_stack"):
        return
    names: Any = np
    names.row_stack = np.vstack
    try:
        with suppress(ModuleNotFoundError):  # in versions that leave this to Numba
            importlib.import_module("numba.cuda.np.arrayobj")
    finally:
        del names.row_stack


if not IN_SIMULATOR:
    _load_array_functions()
