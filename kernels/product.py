"""The matrix product of the CPU's tape, out <- alpha a @ b + beta out, for the shapes of a mini-batch.

Library products are made for large square matrices: they copy their operands into another order, which pays off if
each number is used hundreds of times. In a training step one side is often the batch, with 10 or 100 rows, or an output
layer with 10 columns. For such shapes this product is up to three times as fast; for others it is about as fast.

tiles.py has the arithmetic. This file has the loops over tiles, and chooses tiles and loops by the sizes of a product.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numba
import numpy as np

from . import build, memory, tiles, zeros
from .tiles import ENTRY

# Holes of `_product`, filled by `compiled`.
strip: Any  # computes a strip: tiles one below the other
side: Any  # computes the strip at the right edge, which has fewer columns
copy: Any  # copies b's rows for `strip`
copy_side: Any  # copies b's rows for `side`
word: Any
read: Any
write: Any
factor: Any  # alpha or beta from its word
few_are_busy: Any  # from zeros.py
list_busy: Any
real: Callable[[float], float]
ITEM: int  # bytes per number
WIDTH: int  # columns per tile
LANES: int  # numbers per vector
COPIED: bool  # b is copied, strip by strip
TURNED: bool  # b is copied from columns that are not adjacent in memory
KEPT: bool  # the copies are kept for the next block of rows, and k is not divided
LISTED: bool  # each tile takes only the k in its list


def _product(block: int) -> None:
    """Compute the product by blocks of rows, parts of k, and strips of columns, in this order of nesting.

    If a block has the rows of one tile and k is not divided, the result is computed row by row.
    """
    a, a_row, a_k = word(block, 0), word(block, 1), word(block, 2)
    b, b_k, b_column = word(block, 3), word(block, 4), word(block, 5)
    c, c_row = word(block, 6), word(block, 7)
    m, n, k = word(block, 8), word(block, 9), word(block, 10)
    alpha, beta = factor(word(block, 11)), factor(word(block, 12))
    copies, height, depth = word(block, 13), word(block, 14), word(block, 15)
    whole, last = n - n % WIDTH, (n - 1) % LANES + 1
    lists, step = word(block, 16), 0  # all tiles share one list of every k
    if LISTED and few_are_busy(a, a_row, a_k, m, k):
        lists, step = word(block, 17), (depth + 1) * ENTRY
    for top in range(0, m, height):
        rows = min(height, m - top)
        for first in range(0, max(k, 1), depth):  # even for k = 0, out becomes beta out
            deep = min(depth, k - first)
            before = beta if first == 0 else real(1.0)
            a_now = a + top * a_row + first * a_k
            if step:
                list_busy(a_now, a_row, a_k, rows, deep, lists, step)
            elif LISTED:
                write(lists, np.int32(deep))
            for j in range(0, n, WIDTH):
                b_now, b_step, c_now = b + first * b_k + j * b_column, b_k, c + top * c_row + j * ITEM
                if COPIED:
                    place = copies + (j * deep * ITEM if KEPT else 0)
                    if TURNED:
                        for column in range(min(WIDTH, n - j)):
                            for row in range(deep):
                                write(
                                    place + (row * WIDTH + column) * ITEM, read(b_now + row * b_k + column * b_column)
                                )
                    elif KEPT and top > 0:
                        pass
                    elif j < whole:
                        copy(b_now, b_k, place, deep, last)
                    else:
                        copy_side(b_now, b_k, place, deep, last)
                    b_now, b_step = place, WIDTH * ITEM
                a_and_b = a_now, a_row, a_k, b_now, b_step, b_column
                rest = c_now, c_row, rows, deep, last, alpha, before, lists, step
                if j < whole:
                    strip(*a_and_b, *rest)
                else:
                    side(*a_and_b, *rest)


# --- compilation --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """Everything that a product's compiled code depends on; products of equal shape share one compiled function.

    dots            whether tiles sum along k (`_dots_tile`) rather than over vectors of columns
    rows, columns   the size of a tile; columns counts vectors unless dots is set
    rest            the rows of the last tile if it has fewer, else 0
    side            the columns (or vectors) of the tiles at the right edge if they are fewer or not full, else 0
    narrow          the lanes of the last vector there; a few columns fit into a shorter vector
    copied          whether b is copied, strip by strip; turned: from columns not adjacent in memory; kept: all of b
    listed          whether tiles skip each k at which all their numbers of a are zero
    down            whether numbers of a that are adjacent in memory belong to one column, as in a transposed a
    """

    dtype: np.dtype[Any]
    factors_in_memory: bool
    dots: bool
    rows: int
    columns: int
    rest: int
    side: int
    narrow: int = 0
    copied: bool = False
    turned: bool = False
    kept: bool = False
    listed: bool = False
    down: bool = False


@functools.cache
def compiled(shape: Shape) -> Any:
    """Compile void(block), which computes products of this shape; keep the result alive while its address is used."""
    dtype, side = shape.dtype, max(shape.side, 1)
    lanes = 1 if shape.dots else tiles.lanes(dtype)
    width = shape.columns * lanes
    strip = functools.partial(
        tiles.strip, dtype, dots=shape.dots, rows=shape.rows, rest=shape.rest, listed=shape.listed
    )
    holes: dict[str, object] = {
        "strip": strip(columns=shape.columns, masked=0),
        "side": strip(columns=side, masked=shape.narrow or lanes),
        "copy": tiles.copy_rows(dtype, shape.columns, False, width),
        "copy_side": tiles.copy_rows(dtype, side, True, width),
        "word": memory.word,
        "read": memory.reader(dtype),
        "write": memory.write,
        "factor": memory.reader(dtype) if shape.factors_in_memory else memory.from_bits(dtype),
        "few_are_busy": zeros.few_are_busy,
        "list_busy": zeros.list_busy,
        "in_column": zeros.not_zero(dtype, 1, shape.rows),
        "in_rows": zeros.not_zero(dtype, shape.rows, lanes),
        "DOWN": shape.down,
        "ROWS": shape.rows,
        "real": dtype.type,
        "ITEM": dtype.itemsize,
        "WIDTH": width,
        "LANES": lanes,
        "COPIED": shape.copied,
        "TURNED": shape.turned,
        "KEPT": shape.kept,
        "LISTED": shape.listed,
    }
    inline = numba.njit(forceinline=True, error_model="numpy")
    product = build.bind(_product, dtype, holes, compile_callee=inline)
    files = (__file__, zeros.__file__, tiles.__file__, memory.__file__)
    content = [Path(file).read_text(encoding="utf-8") for file in files]
    function, cacheable = build.cached(product, (shape, tiles.registers()), content)
    return build.callback(function, cacheable)


# --- the choice ---------------------------------------------------------------------------------------------

DOTS = (4, 4)
"""Rows and columns of a dots tile: 16 sums, which one round of additions reduces together."""

FEW_ROWS = 32
"""Up to this many rows of a, each number of b is used too rarely for a copy to pay."""

DEPTH = 512
"""How much of k is processed at a time if all of it is too much: 128 KiB of a copied strip."""

WORTH_SKIPPING = 16
"""Tiles of at least this many vectors skip each k at which a is all zeros; for smaller ones lists cost too much."""

WORTH_LOOKING = 2**19
"""Products of at least this many multiplications look for zeros."""

PANEL_BYTES = 256 * 2**10
"""A copy of b of up to this size stays in the second-level cache. The result can then be computed row by row, in the
order of memory, which matters for a short k: there is much to write and little to compute."""


@functools.cache
def best_tile(m: int, n: int, lanes: int, held: int) -> tuple[int, int]:
    """The tile, as rows and vectors of columns, that needs the fewest steps for a result (m, n).

    held: the registers that a tile may use. For each k a tile costs one multiplication per vector, at least 8 to hide
    their latency, and about two more for the rest. Of the tiles within one percent of the best, the one with the fewest
    rows is chosen, because few rows are more often all zero (zeros.py); of those, the widest, which reads the longest
    ranges of memory.
    """
    vectors = -(-n // lanes)

    def cost(tile: tuple[int, int]) -> int:
        rows, wide = tile
        heights = ((rows, m // rows), (m % rows, m % rows > 0))
        widths = ((wide, vectors // wide), (vectors % wide, vectors % wide > 0))
        return sum(tall * many * (max(row * width, 8) + 2) for row, tall in heights for width, many in widths)

    sizes = ((rows, wide) for wide in range(1, min(4, vectors) + 1) for rows in range(1, min(14, m) + 1))
    candidates = [(rows, wide) for rows, wide in sizes if rows * wide <= held]
    least = min(map(cost, candidates))
    return min((tile for tile in candidates if 100 * cost(tile) <= 101 * least), key=lambda tile: (tile[0], -tile[1]))


def enough(columns: int, lanes: int) -> int:
    """The lanes of the shortest vector, 16 bytes or longer, that holds the columns beyond the last full vector."""
    shortest = max(1, 16 * lanes // tiles.registers().size)
    while lanes > shortest and columns and columns <= lanes // 2:
        lanes //= 2
    return lanes


@dataclass(frozen=True)
class Plan:
    """A shape, and how many rows of the result (height) and how much of k (depth) are processed at a time."""

    shape: Shape
    height: int
    depth: int


def plan(a: Any, b: Any, out: Any, *, factors_in_memory: bool) -> Plan:
    """Choose how to compute out (m, n) <- a (m, k) @ b (k, n), from sizes and strides alone, never from timing."""
    (m, n), k, item = out.shape, a.shape[1], out.dtype.itemsize
    neighbours = b.strides[1] == item or n == 1
    along_k = a.strides[1] == item and b.strides[0] == item and not neighbours
    if along_k and k >= 32 and k > (2 * m if m >= FEW_ROWS * 16 else m // 2):
        rows, columns = DOTS
        rows = min(rows, tiles.registers().held // columns - 1)
        shape = Shape(out.dtype, factors_in_memory, True, rows, columns, m % rows, n % columns)
        return Plan(shape, max(rows, 2 * PANEL_BYTES // (k * item) // rows * rows), k)
    lanes = tiles.lanes(out.dtype)
    rows, vectors = best_tile(m, n, lanes, tiles.registers().held)
    edge = -(-(n % (vectors * lanes)) // lanes)
    shape = Shape(out.dtype, factors_in_memory, False, rows, vectors, m % rows, edge, enough(n % lanes, lanes))
    down = a.strides[0] == item
    if rows * vectors >= WORTH_SKIPPING and m * n * k >= WORTH_LOOKING and (down or a.strides[1] == item):
        shape = replace(shape, listed=True, down=down)
    height, depth = m, DEPTH
    if not neighbours:
        shape = replace(shape, copied=True, turned=True)
    elif m <= FEW_ROWS:
        depth = DEPTH // 2
    elif k * n * item <= PANEL_BYTES:
        shape, height, depth = replace(shape, copied=True, kept=True), rows, k
    elif m <= 2 * FEW_ROWS:
        depth = DEPTH // 4
    else:
        shape = replace(shape, copied=True)
    return Plan(shape, max(height, 1), min(depth, max(k, 1)))


def words(chosen: Plan, a: Any, b: Any, out: Any, alpha: Any, beta: Any) -> tuple[list[int], Any]:
    """Return a product's block of words, and the memory for lists and copies of b, which must stay alive with it.

    alpha, beta: two numbers, or two arrays of one element.
    """
    dtype = out.dtype
    width = chosen.shape.columns * (1 if chosen.shape.dots else tiles.lanes(dtype))
    strips = -(-out.shape[1] // width) if chosen.shape.kept else 1
    copies = memory.aligned((strips * chosen.depth * width if chosen.shape.copied else 0,), dtype)
    tiles_high = -(-chosen.height // chosen.shape.rows) if chosen.shape.listed else 0
    lists = memory.aligned((1 + tiles_high, chosen.depth + 1), np.int32)
    lists[0] = np.arange(-1, chosen.depth)
    factors = [
        factor.ctypes.data if isinstance(factor, np.ndarray) else build.bits(dtype.type(factor))
        for factor in (alpha, beta)
    ]
    return [
        a.ctypes.data, *a.strides, b.ctypes.data, *b.strides, out.ctypes.data, out.strides[0],
        *out.shape, a.shape[1], *factors, copies.ctypes.data, chosen.height, chosen.depth,
        lists[0].ctypes.data, lists[1:].ctypes.data,
    ], (copies, lists)  # fmt: skip
