"""The numba-cuda that is installed: its version, whether its simulator runs, and a repair that loading it takes."""

from __future__ import annotations

import importlib
from contextlib import suppress
from importlib.metadata import version
from typing import Any

import numba
import numpy as np

NUMBA_CUDA = version("numba-cuda")  # an ImportError without it: the CUDA target inside Numba itself is outdated

IN_SIMULATOR = bool(numba.config.ENABLE_CUDASIM)  # type: ignore[attr-defined]


def _load_array_functions() -> None:
    """numba-cuda up to 0.30 asks at its first compilation for numpy.row_stack, which NumPy has no more since 2.5."""
    if hasattr(np, "row_stack"):
        return
    names: Any = np
    names.row_stack = np.vstack
    try:
        with suppress(ModuleNotFoundError):  # of versions that leave this to Numba
            importlib.import_module("numba.cuda.np.arrayobj")
    finally:
        del names.row_stack


if not IN_SIMULATOR:
    _load_array_functions()
