"""Access to memory by address, for compiled code that works below the level of arrays."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import extending, types

WORD = ir.IntType(64)
LINE = 64
"""Bytes per cache line; two threads that write to the same line wait for each other."""

intrinsic: Callable[[Any], Any] = extending.intrinsic
"""Numba's intrinsic, typed for callers of the decorated function, who do not pass a typing context."""


def aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Make an uninitialised array that starts at a cache line: a vector that spans two lines takes twice as long."""
    count, kind = math.prod(shape), np.dtype(dtype)
    memory = np.empty(count * kind.itemsize + LINE, np.uint8)
    first = -memory.ctypes.data % LINE
    array: np.ndarray = memory[first : first + count * kind.itemsize].view(kind).reshape(shape)
    return array


@intrinsic
def word(context: Any, block: Any, number: Any) -> Any:
    """Read one word of a block."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        words = builder.inttoptr(arguments[0], WORD.as_pointer())
        return builder.load(builder.gep(words, [arguments[1]]))

    return types.int64(types.int64, types.int64), generate


@functools.cache
def reader(dtype: np.dtype[Any]) -> Any:
    """An intrinsic that reads the number at an address."""
    kind, llvm = types_of(dtype)

    @intrinsic
    def read(context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.load(builder.inttoptr(arguments[0], llvm.as_pointer()), align=dtype.itemsize)

        return kind(types.int64), generate

    return read


@intrinsic
def write(context: Any, address: Any, value: Any) -> Any:
    """Write a number to an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        address, number = arguments
        builder.store(number, builder.inttoptr(address, number.type.as_pointer()))
        return context.get_dummy_value()

    return types.void(types.int64, value), generate


@functools.cache
def from_bits(dtype: np.dtype[Any]) -> Any:
    """An intrinsic that converts a word to the number with the same bits."""
    kind, llvm = types_of(dtype)

    @intrinsic
    def convert(context: Any, word: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            bits = ir.IntType(8 * dtype.itemsize)
            return builder.bitcast(arguments[0] if bits == WORD else builder.trunc(arguments[0], bits), llvm)

        return kind(types.int64), generate

    return convert


def types_of(dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Numba's and LLVM's types for numbers of a dtype."""
    return (types.float32, ir.FloatType()) if dtype == np.float32 else (types.float64, ir.DoubleType())


@intrinsic
def _prefetch_row(context: Any, matrix: Any, index: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(matrix)(context, builder, arguments[0])
        stride = builder.extract_value(array.strides, 0)
        columns = builder.extract_value(array.shape, 1)
        first = builder.add(builder.ptrtoint(array.data, WORD), builder.mul(arguments[1], stride))
        stop = builder.add(first, builder.mul(columns, array.itemsize))
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), *[ir.IntType(32)] * 3])
        prefetch = builder.module.globals.get("llvm.prefetch.p0") or ir.Function(
            builder.module, kind, "llvm.prefetch.p0"
        )
        before, turn, after = builder.block, builder.append_basic_block("line"), builder.append_basic_block("after")
        builder.branch(turn)
        builder.position_at_end(turn)
        place = builder.phi(WORD)
        to_read, into_second_cache, data = (ir.Constant(ir.IntType(32), number) for number in (0, 2, 1))
        pointer = builder.inttoptr(place, ir.IntType(8).as_pointer())
        builder.call(prefetch, [pointer, to_read, into_second_cache, data])
        following = builder.add(place, WORD(LINE))
        place.add_incoming(first, before)
        place.add_incoming(following, turn)
        builder.cbranch(builder.icmp_unsigned("<", following, stop), turn, after)
        builder.position_at_end(after)
        return context.get_dummy_value()

    return types.void(matrix, types.int64), generate


def _no_prefetch(matrix: Any, index: int) -> None:
    """Do nothing; plain Python cannot prefetch."""


ask_for_row: Any = _no_prefetch if numba.config.DISABLE_JIT else _prefetch_row  # type: ignore[attr-defined]
"""Prefetch a row of a matrix that will be read soon into the second-level cache."""
