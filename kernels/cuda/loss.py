"""The loss on the GPU, with the delta of the last layer (BP1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from numba import cuda

from ..counter import BATCH, FIRST_BAD, STEP
from .threads import sum_down

# The holes of the template.
LANES: int
row: Callable[..., float]
named_settings: type[Any]
is_right: Callable[..., float]
weight_at: Callable[[Any, int], float]


def loss_head(
    z: Any,
    bias: Any,
    targets: Any,
    weights: Any,
    all_weights: Any,
    delta: Any,
    bias_grad: Any,
    losses: Any,
    totals: Any,
    correct: Any,
    counters: Any,
    settings: tuple[float, ...],
) -> None:
    """Write the loss of the batch into its slot, the delta of the last layer (BP1) and its column sums (BP4).

    A thread uses only its own outputs from beginning to end, so that only sums need a barrier.
    """
    rows, columns = z.shape
    group, groups = cuda.threadIdx.y, cuda.blockDim.y
    own = named_settings(*settings)
    total_weight = 0.0
    for i in range(group, all_weights.shape[0], groups):
        total_weight += weight_at(all_weights, i)
    total_weight = sum_down(total_weight)
    loss = 0.0
    right = 0
    for first in range(0, rows, groups):
        i = first + group
        # A group past the last row starts past the last output: it meets the barriers and does nothing else.
        lane = cuda.threadIdx.x if i < rows else columns
        for j in range(lane, columns, LANES):
            z[i, j] += bias[j]
        row_loss = row(z, i, targets, delta, own, lane)
        row_right = 1 if is_right(z, i, targets, lane) > 0.0 and lane == 0 else 0
        if i < rows:
            weight = weight_at(weights, i)
            loss += weight * row_loss
            share = weight / total_weight
            for j in range(lane, columns, LANES):
                delta[i, j] *= share
        right += cuda.syncthreads_count(row_right)
    loss = sum_down(loss) / total_weight
    for first in range(0, columns, LANES):
        j = first + cuda.threadIdx.x
        total = 0.0
        if j < columns:
            for i in range(group, rows, groups):
                total += delta[i, j]
        total = sum_down(total)
        if j < columns and group == 0:
            bias_grad[j] = total
    if group == 0 and cuda.threadIdx.x == 0:
        losses[counters[BATCH]] = loss
        totals[counters[BATCH]] = total_weight
        correct[counters[BATCH]] = right
        if not math.isfinite(loss) and counters[FIRST_BAD] < 0:
            counters[FIRST_BAD] = counters[STEP]
