"""Batches on the GPU: copies rows of the data set into the batch's buffers, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import cuda

from ..counter import BATCH, BATCH_SIZE, EPOCH, FIRST_BATCH, SEED, SHUFFLE, bits_for, shuffle_keys, shuffled
from .rounding import fitted
from .threads import own_element

# The holes of the templates.
LANES: int
THREADS: int
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

    Computing the index of a row takes about a hundred instructions, so one thread does it for all threads that share
    the row.
    """
    sources = cuda.shared.array(THREADS, np.int64)
    samples = x.shape[0]
    rows, columns = out_x.shape
    lane = cuda.threadIdx.x
    first = cuda.blockIdx.x * cuda.blockDim.y
    thread = cuda.threadIdx.y * LANES + lane
    if thread < cuda.blockDim.y and first + thread < rows:
        index = (counters[BATCH] - counters[FIRST_BATCH]) * counters[BATCH_SIZE] + first_row + first + thread
        if counters[SHUFFLE] != 0:
            keys = shuffle_keys(counters[EPOCH], counters[SEED])
            index = shuffled(index, samples, bits_for(samples), keys)
        sources[thread] = index
    cuda.syncthreads()
    i = first + cuda.threadIdx.y
    if i < rows:
        index = sources[cuda.threadIdx.y]
        for j in range(lane, columns, LANES):
            out_x[i, j] = fitted(real(x[index, j]) * scale + shift, out_x)
        copy_target(targets, index, out_targets, i, lane)
        copy_weight(weights, index, out_weights, i, lane)


def scatter(batch: Any, out: Any, first_row: int, counters: Any) -> None:
    """Copy the batch's rows to their places among all samples: the reverse of a gather that does not shuffle."""
    i = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    place = (counters[BATCH] - counters[FIRST_BATCH]) * counters[BATCH_SIZE] + first_row + i
    if i < batch.shape[0] and place < out.shape[0]:
        copy_target(batch, i, out, place, cuda.threadIdx.x)


def one_hot(labels: Any, out: Any) -> None:
    """out <- 1 in the column of each row's label, else 0; a label outside the columns gives a row of zeros."""
    i, j = own_element()
    if i < out.shape[0] and j < out.shape[1]:
        out[i, j] = 1.0 if labels[i] == j else 0.0
