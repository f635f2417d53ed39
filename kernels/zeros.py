"""Skips zeros in the matrix product: a tile leaves out each k at which all its numbers of a are zero.

Such zeros come in long runs from the background of an image, words missing from a text, and units that are off for
adjacent samples. Without them a sum is the same to the last bit, provided that b is finite. The remaining k are listed
once for the rows of a tile and serve every strip of columns; a branch at each k would mostly be mispredicted.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from .memory import WORD, intrinsic
from .tiles import ENTRY, Emitter

# Holes, filled by product.compiled.
read: Any
write: Any
in_column: Any  # from `not_zero`: tests a column of a tile
in_rows: Any  # from `not_zero`: tests the rows of a tile, a vector of k at a time
DOWN: bool  # use in_column, because numbers adjacent in memory belong to one column
ROWS: int  # rows per tile
LANES: int  # numbers per vector
ITEM: int  # bytes per number

SAMPLES = 32
"""The number of places that are tested before lists are made."""


def few_are_busy(a: int, a_row: int, a_k: int, m: int, k: int) -> bool:
    """Whether lists are worth their cost: a tile has only zeros at a quarter or more of the sampled places."""
    tiles = m // ROWS
    idle = 0
    for sample in range(SAMPLES):
        number = sample * 13 % SAMPLES * k // SAMPLES  # spread over k, in another order than the tiles
        place = a + sample * tiles // SAMPLES * ROWS * a_row + number * a_k
        busy = 0
        for i in range(ROWS):
            busy |= read(place + i * a_row) != 0.0
        idle += 1 - busy
    return 4 * idle >= SAMPLES


def list_busy(a: int, a_row: int, a_k: int, m: int, k: int, lists: int, step: int) -> None:
    """Write a list for each tile of the m rows at a, `step` bytes apart: the number of its busy k, then those k.

    Every k that is not tested is listed: the last k, which do not fill a vector, and all k of a tile with fewer rows.
    """
    for top in range(0, m, ROWS):
        place, count, tested = a + top * a_row, 0, 0
        if top + ROWS <= m and DOWN:
            tested = k
            for number in range(k):
                write(lists + (1 + count) * ENTRY, np.int32(number))
                count += in_column(place + number * a_k, 0) != 0
        elif top + ROWS <= m:
            tested = k - k % LANES
            for first in range(0, tested, LANES):
                bits = in_rows(place + first * ITEM, a_row)
                for lane in range(LANES):
                    write(lists + (1 + count) * ENTRY, np.int32(first + lane))
                    count += bits >> lane & 1
        for number in range(tested, k):
            write(lists + (1 + count) * ENTRY, np.int32(number))
            count += 1
        write(lists, np.int32(count))
        lists += step


@functools.cache
def not_zero(dtype: np.dtype[Any], rows: int, columns: int) -> Any:
    """An intrinsic that tests which of `columns` columns hold a nonzero number in any of `rows` rows.

    Its arguments are the first row's address and the bytes to the next row; its result has one bit for each lane of a
    vector. If there are more columns than lanes, columns at the same lane share a bit.
    """

    @intrinsic
    def look(context: Any, first_row: Any, row_step: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            emit = Emitter(builder, dtype)
            found = []
            first_row, row_step = arguments
            for row in emit.addresses(first_row, row_step, rows):
                for first in range(0, columns, emit.lanes):
                    mask = emit.first_lanes(WORD(columns - first)) if columns - first < emit.lanes else None
                    numbers = emit.load(emit.advance(row, first * emit.size), mask)
                    found.append(builder.fcmp_unordered("!=", numbers, emit.zero))
            bits = builder.bitcast(functools.reduce(builder.or_, found), ir.IntType(emit.lanes))
            return builder.zext(bits, WORD)

        return types.int64(types.int64, types.int64), generate

    return look
