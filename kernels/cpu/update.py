"""The optimizer's update on the CPU, with norms, limits and penalties, and the end of the step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..counter import BATCH, FIRST_STEP, STEP

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
    """Apply the optimizer's rule to every parameter, in one pass over the flat buffers.

    segments: rows (first, stop, 1 if L2 and weight decay apply). settings: (l2, weight decay, largest gradient
    norm or 0, penalty, the optimizer's own four). first: the index of the parameter that grads begins with.
    """
    step = counters[STEP] - counters[FIRST_STEP]
    rate = table[step, 0] * scale[0]
    factors = named_step(rate, table[step, 1], table[step, 2])
    own = named_settings(settings[4], settings[5], settings[6], settings[7])
    clip = real(1.0)
    if settings[2] > 0.0 and norm[0] > settings[2]:
        clip = settings[2] / norm[0]
    for s in range(segments.shape[0]):
        decayed = real(segments[s, 2])
        l2 = decayed * settings[0]
        keep = real(1.0) - decayed * rate * settings[1]
        # Slices let the loop run from 0; an index that might be negative would prevent vectorisation.
        w = params[segments[s, 0] : segments[s, 1]]
        g = grads[segments[s, 0] - first : segments[s, 1] - first]
        rows = named_state(*state_rows(state, segments[s, 0], segments[s, 1]))
        for i in range(w.shape[0]):
            gradient = g[i] * clip + l2 * w[i]
            w[i] *= keep
            element(i, w, gradient, rows, factors, own)


def global_norm(grads: Any, segments: Any, norm: Any) -> None:
    """norm <- the Euclidean norm of the gradients in all segments, which hold the trained parameters."""
    total = 0.0
    for s in range(segments.shape[0]):
        g = grads[segments[s, 0] : segments[s, 1]]
        for i in range(g.shape[0]):
            total += g[i] * g[i]
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
    """Scale each column whose norm exceeds the limit down to it; factors <- the factor of each column, 1 if not scaled.

    The factors belong to the columns from `first` on. A column whose norm is not finite is not scaled: dividing by
    infinity would turn it into zeros and hide the problem. Memory is read row by row, and a second time only if some
    column is scaled.
    """
    rows, columns = weights.shape[0], factors.shape[0]
    for j in range(columns):
        factors[j] = 0.0
    for i in range(rows):
        row = weights[i, first : first + columns]
        for j in range(columns):
            factors[j] += row[j] * row[j]
    smallest = 1.0
    for j in range(columns):
        norm = math.sqrt(factors[j])
        factors[j] = limit / norm if limit < norm < math.inf else 1.0
        smallest = min(smallest, factors[j])
    if smallest < 1.0:
        for i in range(rows):
            row = weights[i, first : first + columns]
            for j in range(columns):
                row[j] *= factors[j]


def column_sums(x: Any, out: Any) -> None:
    """out <- the sum of each column."""
    rows, columns = x.shape
    for j in range(columns):
        out[j] = 0.0
    for i in range(rows):
        for j in range(columns):
            out[j] += x[i, j]


def add_slots(parts: Any, out: Any, counters: Any) -> None:
    """out <- the column sums of `parts` (parts, slots), only in the slot of the current batch."""
    slot = counters[BATCH]
    out[slot] = parts[0, slot]
    for part in range(1, parts.shape[0]):
        out[slot] += parts[part, slot]


def advance(counters: Any) -> None:
    """Advance the counters to the next step."""
    counters[STEP] += 1
    counters[BATCH] += 1
