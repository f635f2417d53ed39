"""How each kernel is divided: how many blocks and threads, and who does what. It follows from the arguments' shapes.

elements      each thread has one element; there are as many blocks as that takes
column_tiles  a block has a few columns and all rows, x is the column; sum_down adds up the columns
row_groups    LANES threads, the x of a block, share a row; all_sum and all_max combine what they found
one_block     as row_groups, but one block has all rows, for sums over the whole batch
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from . import answers, batch, layer, loss, update


@dataclass(frozen=True)
class Launch:
    """The number of blocks (x, y), the threads of a block (x, y), and how many threads share a row."""

    grid: tuple[int, int]
    block: tuple[int, int]
    lanes: int = 1


def elements(rows: int, columns: int, threads: int) -> Launch:
    """A thread for each element."""
    width = min(_power_of_two(columns), threads)
    height = min(_power_of_two(rows), threads // width)
    return Launch((_blocks(rows, height), _blocks(columns, width)), (width, height))


def column_tiles(rows: int, columns: int, threads: int) -> Launch:
    """8 columns for each block, the least that memory hands out at once; 32 where that gives blocks enough."""
    width = min(_power_of_two(columns), 32 if columns >= 4096 else 8)
    height = min(_power_of_two(rows), threads // width)
    return Launch((_blocks(columns, width), 1), (width, height))


def row_groups(rows: int, columns: int, threads: int, most_lanes: int = 32) -> Launch:
    """Up to `most_lanes` threads for each row, with about four elements each."""
    lanes = min(_power_of_two(-(-columns // 4)), most_lanes, threads)
    groups = min(_power_of_two(rows), threads // lanes)
    return Launch((_blocks(rows, groups), 1), (lanes, groups), lanes)


def wide_row_groups(rows: int, columns: int, threads: int) -> Launch:
    """As row_groups, up to the whole block for each row: there is nothing to combine."""
    return row_groups(rows, columns, threads, threads)


def one_block(rows: int, columns: int, threads: int) -> Launch:
    """As row_groups, in one block."""
    launch = row_groups(rows, columns, threads)
    return Launch((1, 1), launch.block, launch.lanes)


def single_thread(rows: int, columns: int, threads: int) -> Launch:
    """One thread does all."""
    return Launch((1, 1), (1, 1))


def _power_of_two(number: int) -> int:
    """The smallest power of two that is not below the number."""
    return 1 << max(number - 1, 0).bit_length()


def _blocks(length: int, size: int) -> int:
    return max(-(-length // size), 1)


def _first_shape(arguments: Sequence[Any]) -> tuple[int, ...]:
    shape: tuple[int, ...] = arguments[0].shape
    return shape


def _quarter_rows(arguments: Sequence[Any]) -> tuple[int, int]:
    rows, columns = arguments[0].shape
    return rows, -(-columns // 4)


@dataclass(frozen=True)
class Plan:
    """A template with the most threads of its blocks, the way to divide, and the shape that is divided.

    A flat array counts as a matrix of one column.
    """

    template: Callable[..., None]
    threads: int
    divide: Callable[[int, int, int], Launch]
    shape: Callable[[Sequence[Any]], tuple[int, ...]] = _first_shape

    def launch(self, arguments: Sequence[Any]) -> Launch:
        """Grid and block for these arguments."""
        rows, columns = (*self.shape(arguments), 1)[:2]
        return self.divide(rows, columns, self.threads)


PLANS: dict[str, Plan] = {
    plan.template.__name__: plan
    for plan in (
        Plan(layer.activate, 256, elements),
        Plan(layer.activate_keeping_input, 256, elements),
        Plan(layer.delta, 1024, column_tiles),
        Plan(layer.delta_learned, 1024, column_tiles),
        Plan(loss.loss_head, 512, one_block),
        Plan(update.update, 256, elements),
        Plan(batch.gather, 256, wide_row_groups, lambda arguments: arguments[5].shape),
        Plan(layer.dropout, 256, elements, _quarter_rows),
        Plan(layer.hadamard, 256, elements),
        Plan(layer.add, 256, elements),
        Plan(answers.softmax, 256, row_groups),
        Plan(answers.log_softmax, 256, row_groups),
        Plan(answers.argmax, 256, row_groups),
        Plan(answers.above_zero, 256, elements),
        Plan(batch.one_hot, 256, elements, lambda arguments: arguments[1].shape),
        Plan(answers.confusion, 256, elements),
        Plan(batch.scatter, 256, wide_row_groups),
        Plan(layer.duplicate, 256, elements),
        Plan(layer.max_pieces, 256, elements, lambda arguments: arguments[2].shape),
        Plan(layer.max_pieces_backward, 1024, column_tiles, lambda arguments: arguments[2].shape),
        Plan(update.global_norm, 1024, one_block),
        Plan(update.column_sums, 1024, column_tiles),
        Plan(
            update.limit_columns, 1024, column_tiles, lambda arguments: (*arguments[0].shape[:1], *arguments[2].shape)
        ),
        Plan(update.fold_factors, 1, single_thread),
        Plan(update.penalize, 1, single_thread),
        Plan(update.advance, 1, single_thread),
    )
}
