"""The matrix product of NumPy's own OpenBLAS, by address, for code that runs without Python.

NumPy's wheels bring OpenBLAS as a library of their own, with 64-bit integers and names of their own. Where it is not
found (conda, macOS's Accelerate, a system NumPy) `find` returns None, and whoever asked does without.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROW_MAJOR = 101
PLAIN, TRANSPOSED = 111, 112


@dataclass(frozen=True)
class Blas:
    """Addresses of cblas_sgemm and cblas_dgemm (64-bit integers), and the library's thread count."""

    sgemm: int
    dgemm: int
    get_threads: ctypes._FuncPointer
    set_threads: ctypes._FuncPointer


@functools.cache
def find() -> Blas | None:
    """NumPy's OpenBLAS, where NumPy came with one."""
    package = Path(np.__file__).parent
    for folder in (package.parent / "numpy.libs", package / ".libs", package / ".dylibs"):
        for path in sorted(folder.glob("*openblas*")) if folder.is_dir() else ():
            library = ctypes.CDLL(str(path))
            try:
                return Blas(
                    _address(library.scipy_cblas_sgemm64_),
                    _address(library.scipy_cblas_dgemm64_),
                    library.scipy_openblas_get_num_threads64_,
                    library.scipy_openblas_set_num_threads64_,
                )
            except AttributeError:
                continue
    return None


def _address(function: ctypes._FuncPointer) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address
