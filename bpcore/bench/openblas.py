"""The thread count of the OpenBLAS library in NumPy's wheels.

The wheels contain OpenBLAS under names of their own. `find` returns None for a NumPy that does not (conda, macOS's
Accelerate, a system package).
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Blas:
    """The library's functions to read and set its thread count."""

    get_threads: ctypes._FuncPointer
    set_threads: ctypes._FuncPointer


@functools.cache
def find() -> Blas | None:
    """NumPy's bundled OpenBLAS, or None."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".libs", package / ".dylibs"):
        for path in sorted(folder.glob("*openblas*")) if folder.is_dir() else ():
            library = ctypes.CDLL(str(path))
            try:
                return Blas(library.scipy_openblas_get_num_threads64_, library.scipy_openblas_set_num_threads64_)
            except AttributeError:
                continue
    return None
