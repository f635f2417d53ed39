"""The matrix product of NumPy's own OpenBLAS, by address, for code that runs without Python.

NumPy's wheels bring OpenBLAS as a library of their own, with 64-bit integers and names of their own. Where it is not
found (conda, macOS's Accelerate, a system NumPy) `find` returns None, and whoever asked does without.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class Layout:
    """How a matrix lies in memory: whether it is the transpose of a row-major one, and the length of a row there."""

    transposed: bool
    leading: int


def layout(matrix: Any) -> Layout:
    """The layout of a view whose rows or columns are contiguous."""
    rows, columns = matrix.shape
    by_row, by_column = (stride // matrix.dtype.itemsize for stride in matrix.strides)
    if by_column == 1 or (columns == 1 and by_row != 1):
        return Layout(False, max(by_row, columns, 1))
    return Layout(True, max(by_column, rows, 1))


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
