"""Batches on the CPU: copies rows of the data set into the batch's buffers, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..counter import BATCH, BATCH_SIZE, EPOCH, FIRST_BATCH, SEED, SHUFFLE, bits_for, shuffle_keys, shuffled
from ..memory import ask_for_row

ROWS_AT_A_TIME = 64
"""The number of rows whose indices `gather_rows` computes before it copies them."""

# The holes of the templates.
real: Callable[[float], float]
copy_target: Callable[[Any, int, Any, int, int], None]
copy_weight: Callable[[Any, int, Any, int, int], None]


def gather(
    x: Any,
    targets: Any,
    weights: Any,
    scale: float,
    shift: float,
    out_x: Any,
    out_targets: Any,
    out_weights: Any,
    first_row: int,
    counters: Any,
) -> None:
    """Fill a batch with rows in the epoch's order, converted and scaled in the same pass.

    The rows of a shuffled batch are scattered in memory, and reading them would stall. So the rows of the next batch
    are prefetched while this step computes.
    """
    samples = x.shape[0]
    rows, columns = out_x.shape
    bits = bits_for(samples)
    keys = shuffle_keys(counters[EPOCH], counters[SEED])
    first = (counters[BATCH] - counters[FIRST_BATCH]) * counters[BATCH_SIZE] + first_row
    for i in range(rows):
        index = first + i
        if counters[SHUFFLE] != 0:
            upcoming = index + counters[BATCH_SIZE]
            if upcoming < samples:
                ask_for_row(x, shuffled(upcoming, samples, bits, keys))
            index = shuffled(index, samples, bits, keys)
        source = x[index]
        for j in range(columns):
            out_x[i, j] = real(source[j]) * scale + shift
        copy_target(targets, index, out_targets, i, 0)
        copy_weight(weights, index, out_weights, i, 0)


def gather_rows(
    x: Any,
    targets: Any,
    weights: Any,
    out_x: Any,
    out_targets: Any,
    out_weights: Any,
    first_row: int,
    counters: Any,
) -> None:
    """As `gather`, but the rows keep their values: they go to another device, whose gather scales them.

    The indices of several rows are computed before these rows are copied. The processor can then fetch the next row
    while it copies the current one, which is twice as fast.
    """
    samples = x.shape[0]
    bits = bits_for(samples)
    keys = shuffle_keys(counters[EPOCH], counters[SEED])
    rows, columns = out_x.shape
    sources = np.empty(ROWS_AT_A_TIME, np.int64)
    for start in range(0, rows, ROWS_AT_A_TIME):
        first = counters[BATCH] * counters[BATCH_SIZE] + first_row + start
        count = min(ROWS_AT_A_TIME, rows - start)
        for i in range(count):
            sources[i] = first + i
            if counters[SHUFFLE] != 0:
                sources[i] = shuffled(first + i, samples, bits, keys)
        for i in range(count):
            source = x[sources[i]]
            for j in range(columns):
                out_x[start + i, j] = source[j]
            copy_target(targets, sources[i], out_targets, start + i, 0)
            copy_weight(weights, sources[i], out_weights, start + i, 0)


def scatter(batch: Any, out: Any, first_row: int, counters: Any) -> None:
    """Copy the batch's rows to their places among all samples: the reverse of a gather that does not shuffle."""
    first = (counters[BATCH] - counters[FIRST_BATCH]) * counters[BATCH_SIZE] + first_row
    for i in range(min(batch.shape[0], out.shape[0] - first)):
        copy_target(batch, i, out, first + i, 0)


def one_hot(labels: Any, out: Any) -> None:
    """out <- 1 in the column of each row's label, else 0; a label outside the columns gives a row of zeros."""
    rows, columns = out.shape
    for i in range(rows):
        for j in range(columns):
            out[i, j] = 1.0 if labels[i] == j else 0.0
