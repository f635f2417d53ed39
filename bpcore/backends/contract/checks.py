"""Checks on the arguments of operations; kernels themselves check nothing."""

from __future__ import annotations

import numpy as np

from bpcore.backends.arrays import Array
from bpcore.errors import InputError, InputTypeError


def check_shapes(op: str, shape: tuple[int, ...], *expected: tuple[str, Array, tuple[int, ...]]) -> None:
    """Raise InputError unless each (name, array, shape) has its shape, and `shape` is that of a matrix or a vector."""
    if len(shape) not in (1, 2):
        raise InputError(f"{op}: an array of shape {shape} was given; accepted: matrices (batch, columns)")
    for name, array, wanted in expected:
        if array.shape != wanted:
            raise InputError(f"{op}: {name} has shape {array.shape}, but {wanted} is needed beside {shape}")


def check_int64(op: str, *arrays: tuple[str, Array]) -> None:
    """Raise InputTypeError unless labels and counts are int64."""
    for name, array in arrays:
        if array.dtype != np.int64:
            raise InputTypeError(f"{op}: {name} has dtype {array.dtype}; int64 is needed")


def check_product(a: Array, b: Array, out: Array | None, transpose_a: bool, transpose_b: bool) -> tuple[int, int]:
    """The shape of op(a) @ op(b); InputError where the shapes do not fit."""
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise InputError(f"matmul: shapes {a.shape} and {b.shape} were given; accepted: two matrices")
    rows, inner = a.shape[::-1] if transpose_a else a.shape
    inner_b, columns = b.shape[::-1] if transpose_b else b.shape
    if inner != inner_b:
        marks = ("^T" if transpose_a else "", "^T" if transpose_b else "")
        raise InputError(f"matmul: {a.shape}{marks[0]} @ {b.shape}{marks[1]} do not fit: {inner} is not {inner_b}")
    if out is not None and out.shape != (rows, columns):
        raise InputError(f"matmul: out has shape {out.shape}, but the product has {(rows, columns)}")
    return rows, columns
