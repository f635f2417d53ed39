"""The fused loops for the CPU: plain loops over arrays, compiled by Numba from the table's scalar functions.

A template is an ordinary function over NumPy arrays that returns nothing and never raises: whoever calls it has
checked the arguments. Its holes (`f`, `derivative`, `row`, ...) are filled per kernel by `compiled`. The arguments
are listed in spec.py.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from . import build, elementary
from .counter import (
    BATCH,
    BATCH_SIZE,
    EPOCH,
    FIRST_BAD,
    FIRST_BATCH,
    FIRST_STEP,
    SEED,
    SHUFFLE,
    STEP,
    bits_for,
    dropout_words,
    shuffle_keys,
    shuffled,
)
from .memory import ask_for_row
from .spec import Spec

Kernel = Callable[..., None]

ROWS_AT_A_TIME = 64
"""How many rows' places `gather_rows` computes before it copies them."""

# The holes of the templates.
real: Callable[[float], float]
f: Callable[[float, float], float]
derivative: Callable[[float, float], float]
parameter_derivative: Callable[[float, float], float]
row: Callable[..., float]
is_right: Callable[..., float]
weight_at: Callable[[Any, int], float]
copy_target: Callable[[Any, int, Any, int, int], None]
copy_weight: Callable[[Any, int, Any, int, int], None]
element: Callable[..., None]
state_rows: Callable[[Any, int, int], tuple[Any, ...]]


def is_same(a: Any, b: Any) -> bool:
    """Whether two arrays of one shape begin at the same place.

    A kernel that may work in place asks this, and has a loop of its own for the case that names one array alone. A loop
    that might write where it reads is not made into vectors.
    """
    same: bool = a.ctypes.data == b.ctypes.data
    return same


def activate(z: Any, bias: Any, parameter: Any, out: Any) -> None:
    """out <- f(z + bias)."""
    rows, columns = z.shape
    if is_same(z, out):
        _activate_in_place(z, bias, parameter)
        return
    for i in range(rows):
        for j in range(columns):
            out[i, j] = f(z[i, j] + bias[j], parameter[j])


def _activate_in_place(z: Any, bias: Any, parameter: Any) -> None:
    rows, columns = z.shape
    for i in range(rows):
        for j in range(columns):
            z[i, j] = f(z[i, j] + bias[j], parameter[j])


def activate_keeping_input(z: Any, bias: Any, parameter: Any, out: Any) -> None:
    """z <- z + bias, out <- f(z)."""
    rows, columns = z.shape
    for i in range(rows):
        for j in range(columns):
            total = z[i, j] + bias[j]
            z[i, j] = total
            out[i, j] = f(total, parameter[j])


def delta(delta: Any, saved: Any, parameter: Any, bias_grad: Any, parameter_grad: Any) -> None:
    """delta <- delta * f'(saved) (BP2), bias_grad <- its column sums (BP4)."""
    rows, columns = delta.shape
    for j in range(columns):
        bias_grad[j] = 0.0
    for i in range(rows):
        for j in range(columns):
            product = delta[i, j] * derivative(saved[i, j], parameter[j])
            delta[i, j] = product
            bias_grad[j] += product


def delta_learned(delta: Any, saved: Any, parameter: Any, bias_grad: Any, parameter_grad: Any) -> None:
    """As `delta`, and parameter_grad <- the column sums of delta * df/dp."""
    rows, columns = delta.shape
    for j in range(columns):
        bias_grad[j] = 0.0
        parameter_grad[j] = 0.0
    for i in range(rows):
        for j in range(columns):
            incoming = delta[i, j]
            product = incoming * derivative(saved[i, j], parameter[j])
            delta[i, j] = product
            bias_grad[j] += product
            parameter_grad[j] += incoming * parameter_derivative(saved[i, j], parameter[j])


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
    smoothing: float,
) -> None:
    """The loss of the batch into its slot, the delta of the last layer (BP1) and its column sums (BP4)."""
    rows, columns = z.shape
    total_weight = 0.0
    for i in range(all_weights.shape[0]):
        total_weight += weight_at(all_weights, i)
    for j in range(columns):
        bias_grad[j] = 0.0
    loss = 0.0
    right = 0
    for i in range(rows):
        for j in range(columns):
            z[i, j] += bias[j]
        weight = weight_at(weights, i)
        loss += weight * row(z, i, targets, delta, smoothing, 0)
        if is_right(z, i, targets, 0) > 0.0:
            right += 1
        share = weight / total_weight
        for j in range(columns):
            delta[i, j] *= share
            bias_grad[j] += delta[i, j]
    loss /= total_weight
    losses[counters[BATCH]] = loss
    totals[counters[BATCH]] = total_weight
    correct[counters[BATCH]] = right
    if not math.isfinite(loss) and counters[FIRST_BAD] < 0:
        counters[FIRST_BAD] = counters[STEP]


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
    """One pass over the flat buffers.

    segments: rows (first, stop, 1 where L2 and weight decay apply). settings: (l2, weight decay, largest
    gradient norm or 0, penalty, the optimizer's own four). first: the number of the parameter that grads begins with.
    """
    step = counters[STEP] - counters[FIRST_STEP]
    rate = table[step, 0] * scale[0]
    factors = (rate, table[step, 1], table[step, 2])
    own = (settings[4], settings[5], settings[6], settings[7])
    clip = real(1.0)
    if settings[2] > 0.0 and norm[0] > settings[2]:
        clip = settings[2] / norm[0]
    for s in range(segments.shape[0]):
        decayed = real(segments[s, 2])
        l2 = decayed * settings[0]
        keep = real(1.0) - decayed * rate * settings[1]
        # Slices, so that the loop runs from 0: an index that might be negative would keep it from vectorising.
        w = params[segments[s, 0] : segments[s, 1]]
        g = grads[segments[s, 0] - first : segments[s, 1] - first]
        rows = state_rows(state, segments[s, 0], segments[s, 1])
        for i in range(w.shape[0]):
            gradient = g[i] * clip + l2 * w[i]
            w[i] *= keep
            element(i, w, gradient, rows, factors, own)


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
    """One batch: rows in the epoch's order, converted and scaled in the same pass.

    The rows of a shuffled batch lie anywhere in memory, and reading them would be waiting. So those of the next batch
    are asked for now, and come while this step computes.
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
    """As gather, with rows as they are stored: what is sent to another device, whose gather scales them.

    The places of some rows are computed before these rows are copied: the processor can then fetch a row that lies
    anywhere while it still copies the one before, which is twice as fast.
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


def dropout(x: Any, out: Any, layer: int, threshold: int, scale: float, first_row: int, counters: Any) -> None:
    """out <- x * scale where the element's random word reaches the threshold, else 0.

    The four words of a block go to elements a quarter of the row apart: neighbours in memory then belong to
    neighbouring blocks, which a vector computes together.
    """
    rows, columns = x.shape
    quarter = (columns + 3) // 4
    whole = max(columns - 3 * quarter, 0)  # so many blocks have all four of their elements
    step = counters[STEP]
    seed = counters[SEED]
    for i in range(rows):
        x0, x1, x2, x3 = _quarters(x[i], quarter, whole)
        out0, out1, out2, out3 = _quarters(out[i], quarter, whole)
        for block in range(whole):
            w0, w1, w2, w3 = dropout_words((first_row + i) * quarter + block, layer, step, seed)
            out0[block] = x0[block] * scale if w0 >= threshold else 0.0
            out1[block] = x1[block] * scale if w1 >= threshold else 0.0
            out2[block] = x2[block] * scale if w2 >= threshold else 0.0
            out3[block] = x3[block] * scale if w3 >= threshold else 0.0
        for block in range(whole, quarter):
            words = dropout_words((first_row + i) * quarter + block, layer, step, seed)
            for k in range(4):
                j = block + k * quarter
                if j < columns:
                    out[i, j] = x[i, j] * scale if words[k] >= threshold else 0.0


def _quarters(row: Any, quarter: int, length: int) -> tuple[Any, Any, Any, Any]:
    """The beginnings of the four quarters of a row."""
    return (
        row[:length],
        row[quarter : quarter + length],
        row[2 * quarter : 2 * quarter + length],
        row[3 * quarter : 3 * quarter + length],
    )


def hadamard(a: Any, b: Any, out: Any) -> None:
    """out <- a * b, elementwise."""
    rows, columns = a.shape
    if is_same(a, out):
        _hadamard_in_place(a, b)
    elif is_same(b, out):
        _hadamard_in_place(b, a)
    else:
        for i in range(rows):
            for j in range(columns):
                out[i, j] = a[i, j] * b[i, j]


def _hadamard_in_place(a: Any, b: Any) -> None:
    rows, columns = a.shape
    for i in range(rows):
        for j in range(columns):
            a[i, j] *= b[i, j]


def add(a: Any, b: Any, out: Any) -> None:
    """out <- a + b, elementwise."""
    rows, columns = a.shape
    if is_same(a, out):
        _add_in_place(a, b)
    elif is_same(b, out):
        _add_in_place(b, a)
    else:
        for i in range(rows):
            for j in range(columns):
                out[i, j] = a[i, j] + b[i, j]


def _add_in_place(a: Any, b: Any) -> None:
    rows, columns = a.shape
    for i in range(rows):
        for j in range(columns):
            a[i, j] += b[i, j]


def duplicate(x: Any, out: Any) -> None:
    """out <- x."""
    rows, columns = x.shape
    for i in range(rows):
        for j in range(columns):
            out[i, j] = x[i, j]


def softmax(z: Any, out: Any) -> None:
    """out <- e^z / sum e^z, row by row."""
    rows, columns = z.shape
    for i in range(rows):
        highest = z[i, 0]
        for j in range(columns):
            highest = max(highest, z[i, j])
        total = 0.0
        for j in range(columns):
            out[i, j] = math.exp(z[i, j] - highest)
            total += out[i, j]
        for j in range(columns):
            out[i, j] /= total


def log_softmax(z: Any, out: Any) -> None:
    """out <- z - log sum e^z, row by row; a large output costs its neighbours no digits."""
    rows, columns = z.shape
    for i in range(rows):
        highest = z[i, 0]
        for j in range(columns):
            highest = max(highest, z[i, j])
        total = 0.0
        for j in range(columns):
            below = z[i, j] - highest
            out[i, j] = below
            total += math.exp(below)
        log_total = math.log(total)
        for j in range(columns):
            out[i, j] -= log_total


def argmax(z: Any, out: Any) -> None:
    """out <- where each row is largest: the first of equals, and the first NaN before any number."""
    rows, columns = z.shape
    for i in range(rows):
        best = z[i, 0]
        which = 0
        for j in range(1, columns):
            if best == best and not z[i, j] <= best:
                best = z[i, j]
                which = j
        out[i] = which


def above_zero(z: Any, out: Any) -> None:
    """out <- 1 where z is above zero, else 0."""
    rows, columns = z.shape
    for i in range(rows):
        for j in range(columns):
            out[i, j] = 1 if z[i, j] > 0.0 else 0


def confusion(predicted: Any, targets: Any, counts: Any) -> None:
    """counts[target, predicted] += 1 for each sample; a label outside the matrix is not counted."""
    classes = counts.shape[0]
    for i in range(targets.shape[0]):
        if 0 <= targets[i] < classes and 0 <= predicted[i] < classes:
            counts[targets[i], predicted[i]] += 1


def one_hot(labels: Any, out: Any) -> None:
    """out <- 1 at each row's label, else 0; a row whose label is no column is zero."""
    rows, columns = out.shape
    for i in range(rows):
        for j in range(columns):
            out[i, j] = 1.0 if labels[i] == j else 0.0


def scatter(batch: Any, out: Any, first_row: int, counters: Any) -> None:
    """The reverse of a gather that does not shuffle: the batch's rows to their places among the samples."""
    first = (counters[BATCH] - counters[FIRST_BATCH]) * counters[BATCH_SIZE] + first_row
    for i in range(min(batch.shape[0], out.shape[0] - first)):
        copy_target(batch, i, out, first + i, 0)


def max_pieces(z: Any, bias: Any, out: Any, winner: Any) -> None:
    """Maxout: out[i, j] <- the largest of (z + bias)[i, j + k M] over the pieces k, winner <- the first such k."""
    rows, columns = out.shape
    pieces = z.shape[1] // columns
    for i in range(rows):
        for j in range(columns):
            out[i, j] = z[i, j] + bias[j]
            winner[i, j] = 0
        for k in range(1, pieces):
            piece, its_bias = z[i, k * columns : (k + 1) * columns], bias[k * columns : (k + 1) * columns]
            for j in range(columns):
                candidate = piece[j] + its_bias[j]
                wins = candidate > out[i, j] or candidate != candidate
                out[i, j] = candidate if wins else out[i, j]
                winner[i, j] = k if wins else winner[i, j]


def max_pieces_backward(delta: Any, winner: Any, out: Any, bias_grad: Any) -> None:
    """The way back: delta goes to the piece that won, zero to the others (BP2); bias_grad <- column sums (BP4)."""
    rows, columns = delta.shape
    pieces = out.shape[1] // columns
    for j in range(bias_grad.shape[0]):
        bias_grad[j] = 0.0
    for i in range(rows):
        for k in range(pieces):
            piece, its_grad = out[i, k * columns : (k + 1) * columns], bias_grad[k * columns : (k + 1) * columns]
            for j in range(columns):
                share = delta[i, j] if winner[i, j] == k else 0.0
                piece[j] = share
                its_grad[j] += share


def global_norm(grads: Any, segments: Any, norm: Any) -> None:
    """norm <- the Euclidean norm of the gradients of all segments together: of what is trained."""
    total = 0.0
    for s in range(segments.shape[0]):
        g = grads[segments[s, 0] : segments[s, 1]]
        for i in range(g.shape[0]):
            total += g[i] * g[i]
    norm[0] = math.sqrt(total)


def fold_factors(table: Any, scale: Any, settings: Any, counters: Any, factors: Any) -> None:
    """The factors of W <- f1 W + f0 x^T @ delta in this step: -rate, 1 - rate l2 with L2, and 1 without."""
    rate = table[counters[STEP] - counters[FIRST_STEP], 0] * scale[0]
    factors[0] = -rate
    factors[1] = 1.0 - rate * settings[0]
    factors[2] = 1.0


def penalize(squares: Any, totals: Any, penalties: Any, settings: Any, counters: Any) -> None:
    """l2 <- the penalty over the batch's sum of weights, and what it adds to the loss: 1/2 l2 sum W^2."""
    slot = counters[BATCH]
    settings[0] = settings[3] / totals[slot] if totals[slot] > 0.0 else 0.0
    total = 0.0
    for i in range(squares.shape[0]):
        total += squares[i, i]
    penalties[slot] = 0.5 * settings[0] * total


def column_sums(x: Any, out: Any) -> None:
    """out <- the sum of each column."""
    rows, columns = x.shape
    for j in range(columns):
        out[j] = 0.0
    for i in range(rows):
        for j in range(columns):
            out[j] += x[i, j]


def limit_columns(weights: Any, limit: float, factors: Any, first: int) -> None:
    """Columns that are longer than the limit are scaled to it; factors <- by how much each, 1 where it is left alone.

    There is a factor for each column from the first one on. A column whose norm is not finite is left alone: as zeros,
    which a division by infinity would make of it, it would hide what went wrong. Memory is read row by row, a second
    time only where there is something to scale.
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


def add_slots(parts: Any, out: Any, counters: Any) -> None:
    """out <- the sum over the rows of `parts` (parts, slots), in the slot of the batch at hand alone."""
    slot = counters[BATCH]
    out[slot] = parts[0, slot]
    for part in range(1, parts.shape[0]):
        out[slot] += parts[part, slot]


def advance(counters: Any) -> None:
    """The step is over."""
    counters[STEP] += 1
    counters[BATCH] += 1


TEMPLATES: dict[str, Kernel] = {
    template.__name__: template
    for template in (
        activate,
        activate_keeping_input,
        delta,
        delta_learned,
        loss_head,
        update,
        gather,
        gather_rows,
        dropout,
        hadamard,
        add,
        softmax,
        log_softmax,
        argmax,
        above_zero,
        one_hot,
        confusion,
        scatter,
        duplicate,
        max_pieces,
        max_pieces_backward,
        global_norm,
        fold_factors,
        penalize,
        column_sums,
        limit_columns,
        add_slots,
        advance,
    )
}

# Sums may be reordered so that they vectorise; the same machine code always adds in the same order.
_REORDERED_SUMS = {"loss_head", "softmax", "log_softmax", "global_norm"}


def alone(value: float, lane: int) -> float:
    """What a group of one worker finds together: what the one found."""
    return value


@functools.cache
def compiled(spec: Spec) -> Kernel:
    """The compiled kernel of a spec; Numba compiles it for the layouts of its first arguments."""
    dtype = spec.dtype
    fastmath = {"contract", "reassoc"} if spec.template in _REORDERED_SUMS else {"contract"}
    options: dict[str, Any] = {"fastmath": fastmath, "error_model": "numpy", "nogil": True}
    jit = numba.njit(forceinline=True, **options)
    holes = {"real": dtype.type, "LANES": 1, "all_sum": alone, "all_max": alone, **dict(spec.holes)}
    bound = build.bind(
        TEMPLATES[spec.template],
        dtype,
        holes,
        replace={**elementary.FLOAT32, **elementary.TABLES} if dtype == np.float32 else {},
        compile_callee=jit,
    )
    kernel, cacheable = build.cached(bound, ("cpu", sorted(fastmath)))
    result: Kernel = build.keep_apart(numba.njit(cache=cacheable, **options)(kernel))
    return result
