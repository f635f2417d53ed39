"""Predictions on the GPU: probabilities, labels and the confusion matrix, from a network's outputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from numba import cuda

from .threads import all_max, all_sum, own_element

# The holes of the templates.
LANES: int
real: Callable[[float], float]


def softmax(z: Any, out: Any) -> None:
    """out <- e^z / sum e^z, row by row."""
    rows, columns = z.shape
    i = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    lane = cuda.threadIdx.x if i < rows else columns  # past the last row there is nothing to do
    highest = -math.inf
    for j in range(lane, columns, LANES):
        highest = max(highest, z[i, j])
    highest = all_max(highest, lane)
    total = 0.0
    for j in range(lane, columns, LANES):
        exponential = math.exp(z[i, j] - highest)
        out[i, j] = exponential
        total += exponential
    total = all_sum(total, lane)
    for j in range(lane, columns, LANES):
        out[i, j] /= total


def log_softmax(z: Any, out: Any) -> None:
    """out <- z - log sum e^z, row by row."""
    rows, columns = z.shape
    i = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    lane = cuda.threadIdx.x if i < rows else columns  # past the last row there is nothing to do
    highest = -math.inf
    for j in range(lane, columns, LANES):
        highest = max(highest, z[i, j])
    highest = all_max(highest, lane)
    total = 0.0
    for j in range(lane, columns, LANES):
        below = z[i, j] - highest
        out[i, j] = below
        total += math.exp(below)
    log_total = math.log(all_sum(total, lane))
    for j in range(lane, columns, LANES):
        out[i, j] -= log_total


def argmax(z: Any, out: Any) -> None:
    """out <- the column of each row's maximum: the first of equals, or the first NaN if there is one.

    The largest -j is minus the first j, so all_max finds both the maximum and its first column.
    """
    rows, columns = z.shape
    i = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    lane = cuda.threadIdx.x if i < rows else columns  # past the last row there is nothing to do
    highest = -math.inf
    first_nan = -math.inf
    for j in range(lane, columns, LANES):
        if z[i, j] != z[i, j]:
            first_nan = max(first_nan, -real(j))
        else:
            highest = max(highest, z[i, j])
    highest = all_max(highest, lane)
    first_nan = all_max(first_nan, lane)
    first = -math.inf
    for j in range(lane, columns, LANES):
        if z[i, j] == highest:
            first = max(first, -real(j))
    first = all_max(first, lane)
    if i < rows and lane == 0:
        out[i] = int(-first) if first_nan == -math.inf else int(-first_nan)


def above_zero(z: Any, out: Any) -> None:
    """out <- 1 where z is above zero, else 0; NaN gives 0."""
    i, j = own_element()
    if i < z.shape[0] and j < z.shape[1]:
        out[i, j] = 1 if z[i, j] > 0.0 else 0


def confusion(predicted: Any, targets: Any, counts: Any) -> None:
    """counts[target, predicted] += 1 for each sample whose two labels are inside the matrix."""
    classes = counts.shape[0]
    i, _ = own_element()
    if i < targets.shape[0] and 0 <= targets[i] < classes and 0 <= predicted[i] < classes:
        cuda.atomic.add(counts, (targets[i], predicted[i]), 1)
