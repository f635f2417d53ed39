"""Check the arguments of operations; the kernels themselves check nothing."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from bpcore.backends.arrays import Array
from bpcore.errors import InputError, InputTypeError
from bpcore.kernels.signatures import SIGNATURES, Elements

Shape = tuple[int, ...]


_ARRAYS = {
    template: [place for place, argument in enumerate(signature.arguments.values()) if argument.shapes]
    for template, signature in SIGNATURES.items()
}
"""The places of each kernel's arguments that are arrays."""

_INTEGERS = {
    template: [
        (signature.places[name], name, np.dtype(argument.elements.value))
        for name, argument in signature.arguments.items()
        if argument.elements in (Elements.INT64, Elements.INT32)
    ]
    for template, signature in SIGNATURES.items()
}
"""The place, name and dtype of each kernel's arguments that are arrays of integers."""


def check_arguments(template: str, arguments: Sequence[Any]) -> None:
    """Raise unless a kernel's arrays have the shapes, and the integer dtypes, that kernels/signatures.py lists."""
    _check_shapes(template, tuple([arguments[place].shape for place in _ARRAYS[template]]))
    for place, name, dtype in _INTEGERS[template]:
        if arguments[place].dtype != dtype:
            raise InputTypeError(f"{template}: {name} has dtype {arguments[place].dtype}; {dtype} is needed")


@functools.lru_cache(maxsize=4096)  # the steps of a network have the same few shapes
def _check_shapes(template: str, shapes: tuple[Shape, ...]) -> None:
    """Raise InputError unless sizes with the same name are equal, and targets are all labels or all matrices."""
    arrays = {name: argument for name, argument in SIGNATURES[template].arguments.items() if argument.shapes}
    first = next(iter(arrays))
    found: dict[str, int] = {}
    dimensions = None  # of labels, or of a matrix of targets
    for (name, argument), shape in zip(arrays.items(), shapes, strict=True):
        wanted, known = argument.shapes[0], dict(found)
        if len(argument.shapes) > 1:
            dimensions = dimensions or len(shape)
            wanted = next((one for one in argument.shapes if len(one) == dimensions), wanted)
        fits = len(shape) == len(wanted)
        for size, number in zip(wanted, shape, strict=False):
            fits &= number == (int(size) if size.isdigit() else found.setdefault(size, number))
        if not fits:
            needed = ", ".join(str(known.get(size, size)) for size in wanted) + "," * (len(wanted) == 1)
            beside = "" if name == first else f" beside {first} {shapes[0]}"
            raise InputError(f"{template}: {name} has shape {shape}, but ({needed}) is needed{beside}")


def check_shape(op: str, name: str, array: Array, wanted: Shape, beside: Shape) -> None:
    """Raise InputError unless an array has this shape; for operations that are stricter than their kernel."""
    if array.shape != wanted:
        raise InputError(f"{op}: {name} has shape {array.shape}, but {wanted} is needed beside {beside}")


def check_product(a: Array, b: Array, out: Array | None, transpose_a: bool, transpose_b: bool) -> tuple[int, int]:
    """The shape of op(a) @ op(b); InputError if the shapes do not fit."""
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
