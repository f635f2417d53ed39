"""Plan launches: from the shapes of a kernel's arrays, its blocks and threads, and how they divide the arrays.

elements         each thread has one element
quarter_rows     each thread has four elements, a quarter of the row apart
column_tiles     a block has a few columns and all rows; x is the column, and sum_down adds up along y
row_groups       LANES threads, the x of a block, share a row; all_sum and all_max combine their results
wide_row_groups  as row_groups, but a row may have a whole block: for kernels that combine nothing
one_block        as row_groups, but one block has all rows: for sums over the whole batch
single_thread    one thread does everything
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..signatures import SIGNATURES


@dataclass(frozen=True)
class Launch:
    """The number of blocks (x, y), the threads of a block (x, y), and how many threads share a row."""

    grid: tuple[int, int]
    block: tuple[int, int]
    lanes: int = 1


def elements(rows: int, columns: int, threads: int) -> Launch:
    """One thread for each element."""
    width = min(_power_of_two(columns), threads)
    height = min(_power_of_two(rows), threads // width)
    return Launch((_blocks(rows, height), _blocks(columns, width)), (width, height))


def quarter_rows(rows: int, columns: int, threads: int) -> Launch:
    """One thread for every four elements."""
    return elements(rows, -(-columns // 4), threads)


def column_tiles(rows: int, columns: int, threads: int) -> Launch:
    """8 columns per block, the fewest that one memory access reads; 32 if that gives enough blocks."""
    width = min(_power_of_two(columns), 32 if columns >= 4096 else 8)
    height = min(_power_of_two(rows), threads // width)
    return Launch((_blocks(columns, width), 1), (width, height))


def row_groups(rows: int, columns: int, threads: int, most_lanes: int = 32) -> Launch:
    """Up to `most_lanes` threads per row, with about four elements each."""
    lanes = min(_power_of_two(-(-columns // 4)), most_lanes, threads)
    groups = min(_power_of_two(rows), threads // lanes)
    return Launch((_blocks(rows, groups), 1), (lanes, groups), lanes)


def wide_row_groups(rows: int, columns: int, threads: int) -> Launch:
    """As row_groups, but a row may have all threads of a block."""
    return row_groups(rows, columns, threads, threads)


def one_block(rows: int, columns: int, threads: int) -> Launch:
    """As row_groups, but one block has all rows."""
    launch = row_groups(rows, columns, threads)
    return Launch((1, 1), launch.block, launch.lanes)


def single_thread(rows: int, columns: int, threads: int) -> Launch:
    """One thread does everything."""
    return Launch((1, 1), (1, 1))


def _power_of_two(number: int) -> int:
    """The smallest power of two that is not below the number."""
    return 1 << max(number - 1, 0).bit_length()


def _blocks(length: int, size: int) -> int:
    return max(-(-length // size), 1)


@dataclass(frozen=True)
class Plan:
    """How a kernel is launched.

    threads   the most threads of a block
    divide    one of the functions above, which divides a matrix of given rows and columns
    sizes     where to read rows and columns: an argument's position and an axis each; a missing one is 1
    """

    threads: int
    divide: Callable[[int, int, int], Launch]
    sizes: tuple[tuple[int, int], ...]

    def launch(self, arguments: Sequence[Any]) -> Launch:
        """Return grid and block for these arguments."""
        shapes = [(arguments[place].shape, axis) for place, axis in self.sizes]
        rows, columns = (*(shape[axis] if axis < len(shape) else 1 for shape, axis in shapes), 1, 1)[:2]
        return self.divide(rows, columns, self.threads)


WAYS = {
    way.__name__: way
    for way in (elements, quarter_rows, column_tiles, row_groups, wide_row_groups, one_block, single_thread)
}

PLANS = {
    name: Plan(division.threads, WAYS[division.way], tuple(map(signature.place_of, division.sizes.split())))
    for name, signature in SIGNATURES.items()
    if (division := signature.division)
}
