"""The optimizer's update on the GPU, with norms, limits and penalties, and the end of the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from numba import cuda

from ..counter import BATCH, FIRST_STEP, STEP
from .rounding import number
from .threads import own_element, sum_down

# The holes of the templates.
real: Callable[[float], float]
element: Callable[..., None]
state_rows: Callable[[Any, int, int], tuple[Any, ...]]
named_state: type[Any]
named_step: type[Any]
named_settings: type[Any]


def update(
    params: Any,
    grads: Any,
    state: Any,
    segments: Any,
    settings: Any,
    table: Any,
    scale: Any,
    norm: Any,
    counters: Any,
    first: int,
) -> None:
    """Apply the optimizer's rule, with one thread per parameter; cpu/update.py explains the arguments."""
    i, _ = own_element()
    for s in range(segments.shape[0]):
        if segments[s, 0] <= i < segments[s, 1]:
            step = counters[STEP] - counters[FIRST_STEP]
            rate = table[step, 0] * scale[0]
            factors = named_step(rate, table[step, 1], table[step, 2])
            own = named_settings(settings[4], settings[5], settings[6], settings[7])
            clip = real(1.0)
            if settings[2] > 0.0 and norm[0] > settings[2]:
                clip = settings[2] / norm[0]
            decayed = real(segments[s, 2])
            gradient = grads[i - first] * clip + decayed * settings[0] * params[i]
            params[i] *= real(1.0) - decayed * rate * settings[1]
            rows = named_state(*state_rows(state, 0, params.shape[0]))
            element(i, params, gradient, rows, factors, own)


def global_norm(grads: Any, segments: Any, norm: Any) -> None:
    """norm <- the Euclidean norm of the gradients in all segments, which hold the trained parameters."""
    total = 0.0
    for s in range(segments.shape[0]):
        for i in range(segments[s, 0] + cuda.threadIdx.y, segments[s, 1], cuda.blockDim.y):
            total += grads[i] * grads[i]
    total = sum_down(total)
    if cuda.threadIdx.y == 0:
        norm[0] = math.sqrt(total)


def fold_factors(table: Any, scale: Any, settings: Any, counters: Any, factors: Any) -> None:
    """factors <- (f0, f1 with L2, f1 without) of W <- f1 W + f0 x^T @ delta: (-rate, 1 - rate l2, 1) in this step."""
    rate = table[counters[STEP] - counters[FIRST_STEP], 0] * scale[0]
    factors[0] = -rate
    factors[1] = 1.0 - rate * settings[0]
    factors[2] = 1.0


def penalize(squares: Any, totals: Any, penalties: Any, settings: Any, counters: Any) -> None:
    """l2 <- penalty / the batch's sum of sample weights; penalties <- 1/2 l2 sum W^2, which it adds to the loss."""
    slot = counters[BATCH]
    settings[0] = settings[3] / totals[slot] if totals[slot] > 0.0 else 0.0
    total = 0.0
    for i in range(squares.shape[0]):
        total += squares[i, i]
    penalties[slot] = 0.5 * settings[0] * total


def limit_columns(weights: Any, limit: float, factors: Any, first: int) -> None:
    """Scale each column whose norm exceeds the limit down to it; see cpu/update.py for details."""
    rows = weights.shape[0]
    j = cuda.grid(1)
    squares = 0.0
    if j < factors.shape[0]:
        for i in range(cuda.threadIdx.y, rows, cuda.blockDim.y):
            squares += weights[i, first + j] * weights[i, first + j]
    norm = math.sqrt(sum_down(squares))
    if j < factors.shape[0]:
        factor = limit / norm if limit < norm < math.inf else 1.0
        if cuda.threadIdx.y == 0:
            factors[j] = factor
        if factor < 1.0:
            for i in range(cuda.threadIdx.y, rows, cuda.blockDim.y):
                weights[i, first + j] *= factor


def column_sums(x: Any, out: Any) -> None:
    """out <- the sum of each column."""
    rows, columns = x.shape
    j = cuda.grid(1)
    total = 0.0
    if j < columns:
        for i in range(cuda.threadIdx.y, rows, cuda.blockDim.y):
            total += number(x[i, j])
    total = sum_down(total)
    if j < columns and cuda.threadIdx.y == 0:
        out[j] = total


def advance(counters: Any) -> None:
    """Advance the counters to the next step."""
    counters[STEP] += 1
    counters[BATCH] += 1
