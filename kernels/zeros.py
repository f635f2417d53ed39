"""Zeros among the numbers of a that a product multiplies: where a tile has nothing else at a k, that k is left out.

An image's background, words that a text does not have, units that are off for neighbouring samples: such zeros come in
stretches, and a sum is the same to the last bit without them (so long as b is finite). Which k are left is listed once
for the rows of a tile, and holds for every strip of columns; a loop that asked at each k would mostly guess wrong.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from .memory import WORD, intrinsic
from .tiles import ENTRY, Emitter

# The holes.
read: Any
write: Any
in_column: Any  # of `not_zero`: for a column of a tile,
in_rows: Any  # or for the rows of one, a vector of k at a time
DOWN: bool  # which of them: whether neighbours in memory are neighbours in a column
ROWS: int  # of a tile
LANES: int  # the numbers of a vector
ITEM: int  # the bytes of a number

SAMPLES = 32
"""How many places are looked at before lists are made."""


def few_are_busy(a: int, a_row: int, a_k: int, m: int, k: int) -> bool:
    """Whether lists are worth their cost: at a quarter of the places looked at, or more, a tile has only zeros."""
    tiles = m // ROWS
    idle = 0
    for sample in range(SAMPLES):
        number = sample * 13 % SAMPLES * k // SAMPLES  # all over k, in another order than that of the tiles
        place = a + sample * tiles // SAMPLES * ROWS * a_row + number * a_k
        busy = 0
        for i in range(ROWS):
            busy |= read(place + i * a_row) != 0.0
        idle += 1 - busy
    return 4 * idle >= SAMPLES


def list_busy(a: int, a_row: int, a_k: int, m: int, k: int, lists: int, step: int) -> None:
    """For each tile of the m rows at a list, `step` bytes apart: how many k there are, and which.

    A k that is not looked at is taken: the last ones, which do not fill a vector, and all of a tile of fewer rows.
    """
    for top in range(0, m, ROWS):
        place, count, looked_at = a + top * a_row, 0, 0
        if top + ROWS <= m and DOWN:
            looked_at = k
            for number in range(k):
                write(lists + (1 + count) * ENTRY, np.int32(number))
                count += in_column(place + number * a_k, 0) != 0
        elif top + ROWS <= m:
            looked_at = k - k % LANES
            for first in range(0, looked_at, LANES):
                bits = in_rows(place + first * ITEM, a_row)
                for lane in range(LANES):
                    write(lists + (1 + count) * ENTRY, np.int32(first + lane))
                    count += bits >> lane & 1
        for number in range(looked_at, k):
            write(lists + (1 + count) * ENTRY, np.int32(number))
            count += 1
        write(lists, np.int32(count))
        lists += step


@functools.cache
def not_zero(dtype: np.dtype[Any], rows: int, columns: int) -> Any:
    """Which columns of some rows in memory hold a number that is not zero.

    A function of the first row's address and the bytes to the next; a bit of the result for each column of a vector. Of
    more columns than a vector has, those that stand at the same place in it share a bit.
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
