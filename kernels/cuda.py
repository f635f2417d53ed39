"""The fused kernels for the GPU, written for numba-cuda: the same templates as in cpu.py, with the same arguments.

A kernel runs as a grid of blocks of threads. Blocks know nothing of each other; the threads of one block share
memory and can wait for one another. Two rules hold throughout:

- **Always the same order.** A sum is made of partial sums of threads, added up as a tree in shared memory. There are
  no atomic additions, whose order changes from run to run, but of integers, where no order changes the sum. Grid and
  block follow from the shapes of the arguments.
- **Every thread meets every barrier.** `sum_down`, `all_sum` and `all_max` wait for the whole block, so that a
  thread without work of its own goes through them with a zero.

A block has two dimensions, x along a row of a matrix (neighbours in memory) and y from row to row. The templates
divide a matrix between the threads in four ways, and `PLANS` says which and how large:

elements      each thread has one element; there are as many blocks as that takes
column_tiles  a block has a few columns and all rows, x is the column; sum_down adds up the columns
row_groups    LANES threads, the x of a block, share a row; all_sum and all_max combine what they found
one_block     as row_groups, but one block has all rows, for sums over the whole batch

LANES, and THREADS (the most threads of a block), are constants of a compiled kernel: `compiled` keeps one kernel for
each LANES that is asked for.

What flows between layers may be bfloat16 (bfloat16.py). A kernel of float32 takes either: `number(x[i, j])` is the
float32 that an element stands for, and `out[i, j] = fitted(value, out)` rounds where out is bfloat16. Of float32 and
float64 both are nothing at all: these kernels hold no instruction more.

float32 kernels hold no float64 instruction, of which a consumer GPU does 64 times fewer. Multiplication and addition
contract to one instruction as on the CPU; there is no other fast arithmetic.
"""

from __future__ import annotations

import functools
import importlib
import math
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import cuda

from . import bfloat16, build
from .bfloat16 import BFLOAT16
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
from .spec import Spec

NUMBA_CUDA = version("numba-cuda")  # an ImportError without it: the CUDA target inside Numba itself is outdated

# The holes of the templates.
LANES: int
THREADS: int
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


IN_SIMULATOR = bool(numba.config.ENABLE_CUDASIM)  # type: ignore[attr-defined]


def _load_array_functions() -> None:
    """numba-cuda up to 0.30 asks at its first compilation for numpy.row_stack, which NumPy has no more since 2.5."""
    if hasattr(np, "row_stack"):
        return
    names: Any = np
    names.row_stack = np.vstack
    try:
        with suppress(ModuleNotFoundError):  # of versions that leave this to Numba
            importlib.import_module("numba.cuda.np.arrayobj")
    finally:
        del names.row_stack


if not IN_SIMULATOR:
    _load_array_functions()

# --- reading and writing what may be bfloat16 ----------------------------------------------------------------


def _plain_number(element: Any) -> Any:
    return bfloat16.widened(element) if element.dtype == BFLOAT16 else element


def _plain_fitted(value: Any, out: Any) -> Any:
    return bfloat16.rounded(value) if out.dtype == BFLOAT16 else value


def _number(typing_context: Any, element: Any) -> Any:
    """The number that an element of an array stands for."""
    wide = element == numba.types.uint16

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        return _emit_widened(builder, arguments[0]) if wide else arguments[0]

    return (numba.types.float32 if wide else element)(element), generate


def _fitted(typing_context: Any, value: Any, out: Any) -> Any:
    """The value as it can be written into the array `out`."""
    narrow = out.dtype == numba.types.uint16
    result = numba.types.uint16 if narrow else value

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        return _emit_rounded(builder, arguments[0]) if narrow else arguments[0]

    return result(numba.types.float32 if narrow else value, out), generate


def _emit_widened(builder: ir.IRBuilder, element: ir.Value) -> ir.Value:
    word = ir.IntType(32)
    return builder.bitcast(builder.shl(builder.zext(element, word), word(16)), ir.FloatType())


def _emit_rounded(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """As bfloat16.rounded, step by step."""
    word = ir.IntType(32)
    bits = builder.bitcast(value, word)
    upper = builder.lshr(bits, word(16))
    above_half = builder.add(bits, builder.add(word(0x7FFF), builder.and_(upper, word(1))))
    nearest = builder.lshr(above_half, word(16))
    a_nan = builder.or_(upper, word(0x0040))
    is_nan = builder.fcmp_unordered("uno", value, value)
    return builder.trunc(builder.select(is_nan, a_nan, nearest), ir.IntType(16))


if IN_SIMULATOR:
    number, fitted = _plain_number, _plain_fitted
else:
    from numba.cuda.extending import intrinsic  # the simulator has none

    number, fitted = intrinsic(_number), intrinsic(_fitted)


# --- what the threads of a block do together ----------------------------------------------------------------


def own_element() -> tuple[int, int]:
    """Row and column of this thread's element. The rows go along the grid's x, which may be far longer."""
    return (
        cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y,
        cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x,
    )


def sum_down(value: float) -> float:
    """The sum of `value` over the threads with the same x, for each of them; blockDim.y is a power of two."""
    slots = cuda.shared.array(THREADS, real)
    width = cuda.blockDim.x
    slot = cuda.threadIdx.y * width + cuda.threadIdx.x
    slots[slot] = value
    half = cuda.blockDim.y // 2
    while half > 0:
        cuda.syncthreads()
        if cuda.threadIdx.y < half:
            slots[slot] += slots[slot + half * width]
        half //= 2
    cuda.syncthreads()
    total: float = slots[cuda.threadIdx.x]
    cuda.syncthreads()  # from here on the slots may be written again
    return total


def all_sum(value: float, lane: int) -> float:
    """The sum of `value` over the LANES threads that share a row, for each of them."""
    if LANES == 1:
        return value
    slots = cuda.shared.array(THREADS, real)
    first = cuda.threadIdx.y * LANES
    slots[first + cuda.threadIdx.x] = value
    cuda.syncthreads()
    total: float = slots[first]
    for k in range(1, cuda.blockDim.x):  # LANES; as a constant it would unroll the loop into as many registers
        total += slots[first + k]
    cuda.syncthreads()
    return total


def all_max(value: float, lane: int) -> float:
    """The largest `value` of the LANES threads that share a row, for each of them."""
    if LANES == 1:
        return value
    slots = cuda.shared.array(THREADS, real)
    first = cuda.threadIdx.y * LANES
    slots[first + cuda.threadIdx.x] = value
    cuda.syncthreads()
    highest: float = slots[first]
    for k in range(1, cuda.blockDim.x):
        highest = max(highest, slots[first + k])
    cuda.syncthreads()
    return highest


# --- the templates: one thread for each element -------------------------------------------------------------


def activate(z: Any, bias: Any, parameter: Any, out: Any) -> None:
    """out <- f(z + bias)."""
    i, j = own_element()
    if i < z.shape[0] and j < z.shape[1]:
        out[i, j] = fitted(f(number(z[i, j]) + bias[j], parameter[j]), out)


def activate_keeping_input(z: Any, bias: Any, parameter: Any, out: Any) -> None:
    """z <- z + bias, out <- f(z)."""
    i, j = own_element()
    if i < z.shape[0] and j < z.shape[1]:
        total = number(z[i, j]) + bias[j]
        z[i, j] = fitted(total, z)
        out[i, j] = fitted(f(total, parameter[j]), out)


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
    """One pass over the flat buffers: a thread for each parameter, and cpu.py says what the arguments hold."""
    i, _ = own_element()
    for s in range(segments.shape[0]):
        if segments[s, 0] <= i < segments[s, 1]:
            step = counters[STEP] - counters[FIRST_STEP]
            rate = table[step, 0] * scale[0]
            factors = (rate, table[step, 1], table[step, 2])
            own = (settings[4], settings[5], settings[6], settings[7])
            clip = real(1.0)
            if settings[2] > 0.0 and norm[0] > settings[2]:
                clip = settings[2] / norm[0]
            decayed = real(segments[s, 2])
            gradient = grads[i - first] * clip + decayed * settings[0] * params[i]
            params[i] *= real(1.0) - decayed * rate * settings[1]
            element(i, params, gradient, state_rows(state, 0, params.shape[0]), factors, own)


def dropout(x: Any, out: Any, layer: int, threshold: int, scale: float, first_row: int, counters: Any) -> None:
    """out <- x * scale where the element's random word reaches the threshold, else 0.

    A thread has one block of four random words, which go to elements a quarter of the row apart (see cpu.py): the
    neighbouring thread has their neighbours.
    """
    rows, columns = x.shape
    quarter = (columns + 3) // 4
    i, block = own_element()
    if i < rows and block < quarter:
        words = dropout_words((first_row + i) * quarter + block, layer, counters[STEP], counters[SEED])
        for k in range(4):
            j = block + k * quarter
            if j < columns:
                out[i, j] = fitted(number(x[i, j]) * scale if words[k] >= threshold else 0.0, out)


def hadamard(a: Any, b: Any, out: Any) -> None:
    """out <- a * b, elementwise."""
    i, j = own_element()
    if i < a.shape[0] and j < a.shape[1]:
        out[i, j] = fitted(number(a[i, j]) * number(b[i, j]), out)


def add(a: Any, b: Any, out: Any) -> None:
    """out <- a + b, elementwise."""
    i, j = own_element()
    if i < a.shape[0] and j < a.shape[1]:
        out[i, j] = fitted(number(a[i, j]) + number(b[i, j]), out)


def above_zero(z: Any, out: Any) -> None:
    """out <- 1 where z is above zero, else 0."""
    i, j = own_element()
    if i < z.shape[0] and j < z.shape[1]:
        out[i, j] = 1 if z[i, j] > 0.0 else 0


def one_hot(labels: Any, out: Any) -> None:
    """out <- 1 at each row's label, else 0; a row whose label is no column is zero."""
    i, j = own_element()
    if i < out.shape[0] and j < out.shape[1]:
        out[i, j] = 1.0 if labels[i] == j else 0.0


def confusion(predicted: Any, targets: Any, counts: Any) -> None:
    """counts[target, predicted] += 1 for each sample; a label outside the matrix is not counted."""
    classes = counts.shape[0]
    i, _ = own_element()
    if i < targets.shape[0] and 0 <= targets[i] < classes and 0 <= predicted[i] < classes:
        cuda.atomic.add(counts, (targets[i], predicted[i]), 1)


def duplicate(x: Any, out: Any) -> None:
    """out <- x; where one of them is bfloat16, that is a conversion."""
    i, j = own_element()
    if i < x.shape[0] and j < x.shape[1]:
        out[i, j] = fitted(number(x[i, j]), out)


def max_pieces(z: Any, bias: Any, out: Any, winner: Any) -> None:
    """Maxout: out[i, j] <- the largest of (z + bias)[i, j + k M] over the pieces k, winner <- the first such k."""
    rows, columns = out.shape
    i, j = own_element()
    if i < rows and j < columns:
        best = number(z[i, j]) + bias[j]
        which = 0
        for k in range(1, z.shape[1] // columns):
            candidate = number(z[i, j + k * columns]) + bias[j + k * columns]
            if candidate > best or candidate != candidate:
                best = candidate
                which = k
        out[i, j] = fitted(best, out)
        winner[i, j] = which


# --- the templates: a few columns for each block ------------------------------------------------------------


def delta(delta: Any, saved: Any, parameter: Any, bias_grad: Any, parameter_grad: Any) -> None:
    """delta <- delta * f'(saved) (BP2), bias_grad <- its column sums (BP4)."""
    rows, columns = delta.shape
    j = cuda.grid(1)
    total = 0.0
    if j < columns:
        for i in range(cuda.threadIdx.y, rows, cuda.blockDim.y):
            product = number(delta[i, j]) * derivative(number(saved[i, j]), parameter[j])
            delta[i, j] = fitted(product, delta)
            total += product
    total = sum_down(total)
    if j < columns and cuda.threadIdx.y == 0:
        bias_grad[j] = total


def delta_learned(delta: Any, saved: Any, parameter: Any, bias_grad: Any, parameter_grad: Any) -> None:
    """As `delta`, and parameter_grad <- the column sums of delta * df/dp."""
    rows, columns = delta.shape
    j = cuda.grid(1)
    total = 0.0
    by_parameter = 0.0
    if j < columns:
        for i in range(cuda.threadIdx.y, rows, cuda.blockDim.y):
            incoming = number(delta[i, j])
            product = incoming * derivative(number(saved[i, j]), parameter[j])
            delta[i, j] = fitted(product, delta)
            total += product
            by_parameter += incoming * parameter_derivative(number(saved[i, j]), parameter[j])
    total = sum_down(total)
    by_parameter = sum_down(by_parameter)
    if j < columns and cuda.threadIdx.y == 0:
        bias_grad[j] = total
        parameter_grad[j] = by_parameter


def max_pieces_backward(delta: Any, winner: Any, out: Any, bias_grad: Any) -> None:
    """The way back: delta goes to the piece that won, zero to the others (BP2); bias_grad <- column sums (BP4)."""
    rows, columns = delta.shape
    j = cuda.grid(1)
    total = 0.0
    if j < out.shape[1]:
        piece, column = j // columns, j % columns
        for i in range(cuda.threadIdx.y, rows, cuda.blockDim.y):
            share = number(delta[i, column]) if winner[i, column] == piece else 0.0
            out[i, j] = fitted(share, out)
            total += share
    total = sum_down(total)
    if j < out.shape[1] and cuda.threadIdx.y == 0:
        bias_grad[j] = total


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


def limit_columns(weights: Any, limit: float, factors: Any, first: int) -> None:
    """A column that is longer than the limit is scaled to it, and cpu.py says the rest."""
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


# --- the templates: LANES threads for each row --------------------------------------------------------------


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

    The place of a row takes some hundred instructions: neighbouring threads compute those of the block's rows.
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
    """out <- where each row is largest: the first of equals, and the first NaN before any number.

    The largest of -j is minus the first j: so one way of combining serves for outputs and places.
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


def scatter(batch: Any, out: Any, first_row: int, counters: Any) -> None:
    """The reverse of a gather that does not shuffle: the batch's rows to their places among the samples."""
    i = cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y
    place = (counters[BATCH] - counters[FIRST_BATCH]) * counters[BATCH_SIZE] + first_row + i
    if i < batch.shape[0] and place < out.shape[0]:
        copy_target(batch, i, out, place, cuda.threadIdx.x)


# --- the templates: one block ---------------------------------------------------------------------------------


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
    """The loss of the batch into its slot, the delta of the last layer (BP1) and its column sums (BP4).

    A thread touches no outputs but its own from beginning to end, so that only sums need a barrier.
    """
    rows, columns = z.shape
    group, groups = cuda.threadIdx.y, cuda.blockDim.y
    total_weight = 0.0
    for i in range(group, all_weights.shape[0], groups):
        total_weight += weight_at(all_weights, i)
    total_weight = sum_down(total_weight)
    loss = 0.0
    right = 0
    for first in range(0, rows, groups):
        i = first + group
        # A group past the last row begins behind the last output: it meets the barriers and touches nothing.
        lane = cuda.threadIdx.x if i < rows else columns
        for j in range(lane, columns, LANES):
            z[i, j] += bias[j]
        row_loss = row(z, i, targets, delta, smoothing, lane)
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


def global_norm(grads: Any, segments: Any, norm: Any) -> None:
    """norm <- the Euclidean norm of the gradients of all segments together: of what is trained."""
    total = 0.0
    for s in range(segments.shape[0]):
        for i in range(segments[s, 0] + cuda.threadIdx.y, segments[s, 1], cuda.blockDim.y):
            total += grads[i] * grads[i]
    total = sum_down(total)
    if cuda.threadIdx.y == 0:
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


def advance(counters: Any) -> None:
    """The step is over."""
    counters[STEP] += 1
    counters[BATCH] += 1


# --- how many threads, and who does what ----------------------------------------------------------------------


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
        Plan(activate, 256, elements),
        Plan(activate_keeping_input, 256, elements),
        Plan(delta, 1024, column_tiles),
        Plan(delta_learned, 1024, column_tiles),
        Plan(loss_head, 512, one_block),
        Plan(update, 256, elements),
        Plan(gather, 256, wide_row_groups, lambda arguments: arguments[5].shape),
        Plan(dropout, 256, elements, _quarter_rows),
        Plan(hadamard, 256, elements),
        Plan(add, 256, elements),
        Plan(softmax, 256, row_groups),
        Plan(log_softmax, 256, row_groups),
        Plan(argmax, 256, row_groups),
        Plan(above_zero, 256, elements),
        Plan(one_hot, 256, elements, lambda arguments: arguments[1].shape),
        Plan(confusion, 256, elements),
        Plan(scatter, 256, wide_row_groups),
        Plan(duplicate, 256, elements),
        Plan(max_pieces, 256, elements, lambda arguments: arguments[2].shape),
        Plan(max_pieces_backward, 1024, column_tiles, lambda arguments: arguments[2].shape),
        Plan(global_norm, 1024, one_block),
        Plan(column_sums, 1024, column_tiles),
        Plan(limit_columns, 1024, column_tiles, lambda arguments: (*arguments[0].shape[:1], *arguments[2].shape)),
        Plan(fold_factors, 1, single_thread),
        Plan(penalize, 1, single_thread),
        Plan(advance, 1, single_thread),
    )
}


# --- compiling and launching --------------------------------------------------------------------------------

# There the kernels are plain Python, whose math raises where a GPU gives inf or NaN.
SIMULATED: dict[Any, object] = {
    math.exp: np.exp,
    math.expm1: np.expm1,
    math.log: np.log,
    math.log1p: np.log1p,
    math.tanh: np.tanh,
    math.sqrt: np.sqrt,
}

# Without link-time optimisation the GPU runs what the tests read in the PTX.
OPTIONS: dict[str, Any] = {} if IN_SIMULATOR else {"lto": False}


@functools.cache
def compiled(spec: Spec, lanes: int = 1) -> Any:
    """The kernel of a spec for one number of lanes, as numba-cuda has it: kernel[grid, block, stream](*arguments).

    Numba compiles it for the layouts of its first arguments.
    """
    plan = PLANS[spec.template]
    holes = {
        "real": spec.dtype.type,
        "LANES": lanes,
        "THREADS": plan.threads,
        "all_sum": all_sum,
        "all_max": all_max,
        **dict(spec.holes),
    }
    bound = build.bind(
        plan.template,
        spec.dtype,
        holes,
        replace=SIMULATED if IN_SIMULATOR else {},
        compile_callee=cuda.jit(device=True, **OPTIONS),
    )
    # The most threads of a block, and that a multiprocessor need not hold more than one block at a time: the compiler
    # then takes as many registers as that many threads can have, instead of moving some to slow memory.
    options = OPTIONS if IN_SIMULATOR else {**OPTIONS, "launch_bounds": (plan.threads, 1)}
    kernel, cacheable = build.cached(bound, ("cuda", NUMBA_CUDA, sorted(options.items())))
    return build.keep_apart(cuda.jit(cache=cacheable, **options)(kernel))


def compiler_problem() -> str:
    """Why kernels cannot be compiled here, in words; nothing where they can. It takes no GPU."""
    try:
        cuda.cudadrv.nvvm.NVVM()
        cuda.cudadrv.runtime.get_version()
        if not Path(cuda.cudadrv.libs.get_libdevice() or "").is_file():
            return "libdevice, NVIDIA's library of functions, cannot be found; it is looked for in CUDA_HOME too"
    except Exception as error:  # of several kinds, by what is missing
        return str(error).strip().partition("\n")[0] or type(error).__name__
    return ""


def launch(spec: Spec, arguments: Sequence[Any], stream: int = 0) -> None:
    """Start a kernel and return at once. Arrays: CuPy's or Numba's. stream: the address of a CUDA stream."""
    plan = PLANS[spec.template].launch(arguments)
    _configured(spec, plan, stream)(*[_argument(argument) for argument in arguments])


@functools.lru_cache(maxsize=4096)
def _configured(spec: Spec, plan: Launch, stream: int) -> Any:
    """The kernel with its grid and block. Numba warns of small grids, but a small batch has no other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compiled(spec, plan.lanes)[plan.grid, plan.block, cuda.external_stream(stream) if stream else 0]


def _argument(value: Any) -> Any:
    """A CuPy array as one of Numba's; anything else as it is."""
    pointer = getattr(getattr(value, "data", None), "ptr", None)
    return value if pointer is None else _view(pointer, value.shape, value.strides, value.dtype)


@functools.lru_cache(maxsize=4096)
def _view(pointer: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Device memory as Numba's array. Making one takes longer than a launch, so the last ones are kept.

    It owns nothing: it says where an array lies, and what lies there again looks the same. No stream is named in it,
    because with one Numba would wait for the stream at every launch.
    """
    description = {
        "data": (pointer, False),
        "shape": shape,
        "strides": strides,
        "typestr": dtype.str,
        "version": 3,
    }
    return cuda.from_cuda_array_interface(description, sync=False)
