"""Check the arguments of the functions of bpcore.ops, before any work is done."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np

from bpcore.backends.arrays import Array, overlap, same_place
from bpcore.backends.dispatch import bring_in
from bpcore.errors import InputError, InputTypeError

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))

OPTIONAL = ("b", "bias", "parameter", "weights")
"""The arguments that may be None, meaning not given."""


class Call:
    """One call of an operation: its backend, its dtype, and its arguments as arrays of that backend.

    arrays      the arguments by their names; one of OPTIONAL may be None, and is then left out
    integers    the names of the arguments that hold integers; all others must have one dtype, float32 or float64
    """

    def __init__(self, name: str, integers: Sequence[str] = (), **arrays: object) -> None:
        self.name = name
        self._given = {name: array for name, array in arrays.items() if array is not None or name not in OPTIONAL}
        self.backend, self.arrays = bring_in(name, self._given)
        self.dtype = np.dtype(np.float32)
        self.numbers([name for name in self.arrays if name not in integers])
        self._outputs: dict[str, Array] = {}

    def numbers(self, names: Sequence[str]) -> None:
        """Check that these arguments have one dtype, float32 or float64, and make it the dtype of the call."""
        numbers = [(name, self.arrays[name]) for name in names]
        for name, array in numbers:
            if array.dtype not in DTYPES:
                raise InputTypeError(f"{self.name}: {name} has dtype {array.dtype}; accepted: float32, float64")
        for name, array in numbers:
            first, of_first = numbers[0][0], numbers[0][1].dtype
            if array.dtype != of_first:
                raise InputTypeError(
                    f"{self.name}: {first} has dtype {of_first}, but {name} has {array.dtype}; all arrays of one call "
                    f"must have one dtype: convert one of them with astype"
                )
            self.dtype = of_first

    def __getitem__(self, name: str) -> Array:
        """The argument with this name."""
        return self.arrays[name]

    def get(self, name: str) -> Array | None:
        """The argument with this name, or None if it was not given."""
        return self.arrays.get(name)

    def matrix(self, name: str) -> Array:
        """The argument with this name, which must be a matrix."""
        array = self.arrays[name]
        if len(array.shape) != 2:
            raise InputError(f"{self.name}: {name} has shape {array.shape}; accepted: a matrix (rows, columns)")
        return array

    def elements(self, name: str) -> Array:
        """The argument with this name, which must be a matrix or a vector."""
        array = self.arrays[name]
        if len(array.shape) not in (1, 2):
            raise InputError(
                f"{self.name}: {name} has shape {array.shape}; accepted: a matrix (rows, columns) or a vector; "
                f"give others as array.reshape(-1)"
            )
        return array

    def expect(self, name: str, shape: tuple[int, ...], beside: str) -> None:
        """Check the shape of an argument, if it was given; `beside` names the argument that the shape follows from."""
        array = self.arrays.get(name)
        if array is not None and array.shape != shape:
            raise InputError(
                f"{self.name}: {name} has shape {array.shape}, but {shape} is needed beside {beside} "
                f"{self.arrays[beside].shape}"
            )

    def out(
        self,
        out: object,
        shape: tuple[int, ...],
        dtype: Any = None,
        *,
        name: str = "out",
        may_be: Sequence[str] = (),
        in_rows: bool = False,
    ) -> Array:
        """The array for a result: a new one, or `out` after checking it.

        may_be      the names of the arguments that may be passed as `out`
        in_rows     whether each row must be contiguous, as for the result of a product
        """
        wanted = self.dtype if dtype is None else np.dtype(dtype)
        if out is None:
            array = self.backend.empty(shape, wanted)
        else:
            array = self._writable(name, out, shape, wanted)
            if in_rows and not _rows_are_contiguous(array):
                raise InputError(f"{self.name}: {name} has rows that are not contiguous; a product cannot write there")
            self.apart(name, array, may_be)
        self._outputs[name] = array
        return array

    def _writable(self, name: str, out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        if not self.backend.owns(out) or (isinstance(out, np.ndarray) and type(out) is not np.ndarray):
            raise InputTypeError(
                f"{self.name}: {name} is of type {type(out).__module__}.{type(out).__qualname__}; accepted beside the "
                f"other arguments: {self.backend.array_type.__module__}.{self.backend.array_type.__qualname__}"
            )
        if out.shape != shape:
            raise InputError(f"{self.name}: {name} has shape {out.shape}, but the result has {shape}")
        if out.dtype != dtype:
            raise InputTypeError(f"{self.name}: {name} has dtype {out.dtype}, but the result has {dtype}")
        flags = getattr(out, "flags", None)
        if not getattr(flags, "writeable", True):
            raise InputError(f"{self.name}: {name} is read-only")
        if not getattr(flags, "aligned", True):
            raise InputError(f"{self.name}: {name} is not aligned in memory")
        if _meets_itself(out):
            raise InputError(f"{self.name}: several elements of {name} share memory, as after np.broadcast_to")
        return out

    def apart(self, name: str, array: Array, may_be: Sequence[str] = ()) -> None:
        """Check that an array to be written shares no element with an argument or another output."""
        others = [item for item in self.arrays.items() if item[0] != name]
        for other, argument in (*others, *self._outputs.items()):
            if other in may_be and same_place(array, argument):
                continue
            if overlap(array, argument):
                exactly = f"; it may be {other} itself" if other in may_be else ""
                raise InputError(f"{self.name}: {name} overlaps {other} in memory{exactly}")

    def written(self, name: str) -> Array:
        """The argument with this name, which the call changes in place; it must be writable and contiguous."""
        array = self._writable(name, self._given[name], self.arrays[name].shape, self.dtype)
        if not is_contiguous(array):
            raise InputError(f"{self.name}: {name} is changed in place and must be contiguous")
        self.apart(name, array)
        return array


def as_matrix(array: Array) -> Array:
    """A vector as a matrix of one row; a matrix unchanged."""
    return array if len(array.shape) == 2 else array.reshape(1, array.shape[0])


def for_product(call: Call, name: str) -> Array:
    """An argument as a matrix with contiguous rows or columns: itself if it has them, else a copy."""
    array = call.matrix(name)
    return array if _rows_are_contiguous(array) or _rows_are_contiguous(array.T) else call.backend.asarray(array)


def number(call: str, name: str, value: object) -> float:
    """Check that a value is a finite real number."""
    if isinstance(value, bool) or not isinstance(value, Real) or not np.isfinite(float(value)):
        raise InputError(f"{call}: {name}={value!r}; accepted: a finite number")
    return float(value)


def natural(call: str, name: str, value: object, below: int) -> int:
    """Check that a value is an integer from 0 to `below` - 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < below:
        raise InputError(f"{call}: {name}={value!r}; accepted: an integer from 0 to {below - 1}")
    return int(value)


def is_contiguous(array: Array) -> bool:
    """Whether an array is C-contiguous."""
    step = array.dtype.itemsize
    for length, stride in zip(reversed(array.shape), reversed(array.strides), strict=True):
        if length > 1 and stride != step:
            return bool(array.size == 0)
        step *= length
    return True


def _rows_are_contiguous(array: Array) -> bool:
    """Whether each row is contiguous, and the next one begins after its end."""
    (rows, columns), (by_row, by_column) = array.shape, array.strides
    size = array.dtype.itemsize
    return bool(array.size == 0 or ((columns == 1 or by_column == size) and (rows == 1 or by_row >= columns * size)))


def _meets_itself(array: Array) -> bool:
    """Whether two elements of an array may share memory: some stride is shorter than the extent of the smaller ones."""
    reach = array.dtype.itemsize
    for stride, length in sorted((abs(s), n) for s, n in zip(array.strides, array.shape, strict=True) if n > 1):
        if stride < reach:
            return bool(array.size)
        reach = stride * (length - 1) + reach
    return False
