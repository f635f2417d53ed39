"""The kernels, by the names of their templates, with the arguments that bpcore.kernels.signatures lists.

A kernel receives what fills its holes: the activation's `f`, the loss's `row`, ..., and the classes of the named tuples
that these read. The functions are the scalar functions of bpcore's tables, made callable by `functions`; a backend with
a compiler would have `build.bind` compile them. So the backend supports every activation and loss that a user
registers, and every one that a later bpcore adds.

Shapes: B batch, N inputs, M outputs. Kernels write only `out` and the arrays that their docstrings name.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np

from bpcore.kernels import build, counter
from bpcore.kernels.spec import Spec

Functions = dict[str, Callable[..., Any]]

NUMPY_MATH: dict[Any, object] = {
    getattr(math, name): getattr(np, name) for name in ("exp", "expm1", "log", "log1p", "sqrt", "tanh")
}
"""Replacements for functions of `math`, which raise instead of returning infinity or NaN, and do not take arrays."""


def alone(value: float, lane: int) -> float:
    """The sum or maximum over the workers that share a row in a row function: here there is only one worker."""
    return value


@functools.cache
def functions(spec: Spec) -> Functions:
    """The functions that fill the holes of a kernel, with constants of its dtype."""
    holes = {"real": spec.dtype.type, "LANES": 1, "all_sum": alone, "all_max": alone, **dict(spec.holes)}
    return {name: _bound(hole, spec.dtype, holes) for name, hole in spec.holes}


def _bound(hole: Callable[..., Any], dtype: np.dtype[Any], holes: dict[str, Any]) -> Callable[..., Any]:
    """A function for one dtype; the class of a named tuple as it is."""
    if not isinstance(hole, FunctionType):
        return hole
    return build.bind(hole, dtype, holes, replace=NUMPY_MATH, compile_callee=lambda callee: callee)


def elementwise(function: Callable[..., float], out: np.ndarray, *arguments: np.ndarray) -> None:
    """out <- function(argument, ...), element by element."""
    out[...] = np.vectorize(function, otypes=[out.dtype])(*arguments)


def multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray, alpha: Any, beta: Any) -> None:
    """out <- alpha a @ b + beta out; if beta is 0, the old content of out is ignored."""
    product = alpha * (a @ b)
    out[...] = product if isinstance(beta, float) and beta == 0.0 else product + beta * out


# --- activations, forward and backward ------------------------------------------------------------------------


def activate(holes: Functions, z: Any, bias: Any, parameter: Any, out: Any) -> None:
    """out <- f(z + bias)."""
    elementwise(holes["f"], out, z + bias, parameter)


def activate_keeping_input(holes: Functions, z: Any, bias: Any, parameter: Any, out: Any) -> None:
    """z <- z + bias, out <- f(z)."""
    z += bias
    elementwise(holes["f"], out, z, parameter)


def delta(holes: Functions, delta: Any, saved: Any, parameter: Any, bias_grad: Any, parameter_grad: Any) -> None:
    """delta <- delta * f'(saved) (BP2), bias_grad <- its column sums (BP4)."""
    slope = np.empty_like(delta)
    elementwise(holes["derivative"], slope, saved, parameter)
    delta *= slope
    bias_grad[...] = delta.sum(axis=0)


def delta_learned(
    holes: Functions, incoming: Any, saved: Any, parameter: Any, bias_grad: Any, parameter_grad: Any
) -> None:
    """Like `delta`, with parameter_grad <- the gradient of the activation's learned parameter."""
    slope = np.empty_like(incoming)
    elementwise(holes["parameter_derivative"], slope, saved, parameter)
    parameter_grad[...] = (incoming * slope).sum(axis=0)
    delta(holes, incoming, saved, parameter, bias_grad, parameter_grad)


# --- the loss, and predictions from outputs ---------------------------------------------------------------------


def loss_head(
    holes: Functions,
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
    settings: Any,
) -> None:
    """z <- z + bias, losses[slot] <- the mean loss, delta <- d loss / dz (BP1), bias_grad <- its column sums."""
    rows = range(len(z))
    z += bias
    named = holes["named_settings"](*settings)
    row_losses = np.array([holes["row"](z, i, targets, delta, named, 0) for i in rows])
    total = sum(holes["weight_at"](all_weights, i) for i in range(len(all_weights)))
    shares = np.array([holes["weight_at"](weights, i) / total for i in rows], z.dtype)
    delta *= shares[:, None]
    bias_grad[...] = delta.sum(axis=0)
    slot = counters[counter.BATCH]
    losses[slot], totals[slot] = (row_losses * shares).sum(), total
    correct[slot] = sum(holes["is_right"](z, i, targets, 0) > 0 for i in rows)
    if not np.isfinite(losses[slot]) and counters[counter.FIRST_BAD] < 0:
        counters[counter.FIRST_BAD] = counters[counter.STEP]


def softmax(holes: Functions, z: Any, out: Any) -> None:
    """out <- e^z / sum e^z, row by row."""
    out[...] = np.exp(z - z.max(axis=1, keepdims=True))
    out /= out.sum(axis=1, keepdims=True)


def log_softmax(holes: Functions, z: Any, out: Any) -> None:
    """out <- z - log sum e^z, row by row."""
    out[...] = z - z.max(axis=1, keepdims=True)
    out -= np.log(np.exp(out).sum(axis=1, keepdims=True))


def argmax(holes: Functions, z: Any, out: Any) -> None:
    """out <- the index of the largest element of each row."""
    out[...] = z.argmax(axis=1)


def above_zero(holes: Functions, z: Any, out: Any) -> None:
    """out <- 1 where z > 0, else 0."""
    out[...] = z > 0


def one_hot(holes: Functions, labels: Any, out: Any) -> None:
    """out <- 1 at each row's label, else 0."""
    out[...] = labels[:, None] == np.arange(out.shape[1])


def confusion(holes: Functions, predicted: Any, targets: Any, counts: Any) -> None:
    """counts[target, predicted] += 1 for each sample; a label out of range is not counted."""
    inside = (predicted >= 0) & (predicted < len(counts)) & (targets >= 0) & (targets < len(counts))
    np.add.at(counts, (targets[inside], predicted[inside]), 1)


# --- elements, sums, Maxout -------------------------------------------------------------------------------------


def hadamard(holes: Functions, a: Any, b: Any, out: Any) -> None:
    """out <- a * b."""
    np.multiply(a, b, out=out)


def add(holes: Functions, a: Any, b: Any, out: Any) -> None:
    """out <- a + b."""
    np.add(a, b, out=out)


def column_sums(holes: Functions, x: Any, out: Any) -> None:
    """out <- the sum of each column."""
    out[...] = x.sum(axis=0)


def limit_columns(holes: Functions, weights: Any, limit: Any, factors: Any, first: int) -> None:
    """Scale columns of weights with a norm above the limit down to it; factors <- the scales.

    A column whose norm is not finite is left unchanged.
    """
    columns = weights[:, first : first + len(factors)]
    norms = np.sqrt((columns**2).sum(axis=0))
    factors[...] = np.where((limit < norms) & np.isfinite(norms), limit / norms, 1)
    columns *= factors


def duplicate(holes: Functions, x: Any, out: Any) -> None:
    """out <- x."""
    out[...] = x


def global_norm(holes: Functions, grads: Any, segments: Any, norm: Any) -> None:
    """norm <- the Euclidean norm of the gradients of all segments together."""
    norm[0] = math.sqrt(sum(float((grads[first:stop] ** 2).sum()) for first, stop, _ in segments))


def max_pieces(holes: Functions, z: Any, bias: Any, out: Any, winner: Any) -> None:
    """out (B, M) <- the largest of the k pieces of z + bias (B, k M), winner <- its number."""
    pieces = (z + bias).reshape(len(out), -1, out.shape[1])
    winner[...] = pieces.argmax(axis=1)
    out[...] = pieces.max(axis=1)


def max_pieces_backward(holes: Functions, delta: Any, winner: Any, out: Any, bias_grad: Any) -> None:
    """out (B, k M) <- delta at the piece that won, zero at the others (BP2); bias_grad <- its column sums (BP4)."""
    columns = delta.shape[1]
    for piece in range(out.shape[1] // columns):
        out[:, piece * columns : (piece + 1) * columns] = np.where(winner == piece, delta, 0)
    bias_grad[...] = out.sum(axis=0)


# --- kernels that depend on the step, which the counters of the control block hold ------------------------------


def gather(
    holes: Functions,
    x: Any,
    targets: Any,
    weights: Any,
    scale: Any,
    shift: Any,
    out_x: Any,
    out_targets: Any,
    out_weights: Any,
    first_row: int,
    counters: Any,
) -> None:
    """out_x <- the rows of the current batch in the epoch's order, scaled; targets and weights likewise."""
    first, samples = _first(first_row, counters), len(x)
    rows = list(range(first, first + len(out_x)))
    if counters[counter.SHUFFLE]:
        keys = counter.shuffle_keys(int(counters[counter.EPOCH]), int(counters[counter.SEED]))
        rows = [counter.shuffled(row, samples, counter.bits_for(samples), keys) for row in rows]
    out_x[...] = x[rows].astype(out_x.dtype) * scale + shift
    out_targets[...] = targets[rows]
    if len(out_weights):
        out_weights[...] = weights[rows]


def scatter(holes: Functions, batch: Any, out: Any, first_row: int, counters: Any) -> None:
    """Write a batch's rows to their positions in out; rows past its end are dropped."""
    first = _first(first_row, counters)
    rows = out[first : first + len(batch)]
    rows[...] = batch[: len(rows)]


def dropout(
    holes: Functions, x: Any, out: Any, layer: int, threshold: int, scale: Any, first_row: int, counters: Any
) -> None:
    """out <- x * scale where the element's random word is at least the threshold, else 0.

    The words are counter-based, as everywhere in bpcore, so the mask is the same on each device.
    """
    rows, columns = x.shape
    quarter = -(-columns // 4)
    blocks = np.arange(first_row * quarter, (first_row + rows) * quarter, dtype=np.uint64).reshape(rows, quarter)
    step, seed = int(counters[counter.STEP]), int(counters[counter.SEED])
    words = np.concatenate(counter.dropout_words(blocks, layer, step, seed), axis=1)  # type: ignore[arg-type]
    out[...] = np.where(words[:, :columns] >= threshold, x * scale, 0)


def update(
    holes: Functions,
    params: Any,
    grads: Any,
    state: Any,
    segments: Any,
    settings: Any,
    table: Any,
    scale: Any,
    norm: Any,
    counters: Any,
    first_of_grads: int,
) -> None:
    """Update params by the optimizer's element function, one parameter after the other."""
    rate, *factors = table[counters[counter.STEP]]
    rate *= scale[0]
    step, own = holes["named_step"](rate, *factors), holes["named_settings"](*settings[4:])
    l2, weight_decay, longest = settings[:3]
    clip = longest / norm[0] if 0 < longest < norm[0] else 1
    for first, stop, decayed in segments.tolist():
        w = params[first:stop]
        gradient = grads[first - first_of_grads : stop - first_of_grads] * clip + decayed * l2 * w
        w *= 1 - decayed * rate * weight_decay
        rows = holes["named_state"](*state[:, first:stop])
        for i in range(len(w)):
            holes["element"](i, w, gradient[i], rows, step, own)


def penalize(holes: Functions, squares: Any, totals: Any, penalties: Any, settings: Any, counters: Any) -> None:
    """settings[0] <- l2, the penalty over the batch's sum of weights; penalties[slot] <- 1/2 l2 sum W^2."""
    slot = counters[counter.BATCH]
    settings[0] = settings[3] / totals[slot] if totals[slot] > 0 else 0
    penalties[slot] = 0.5 * settings[0] * np.trace(squares)


def advance(holes: Functions, counters: Any) -> None:
    """Count the step as done."""
    counters[counter.STEP] += 1
    counters[counter.BATCH] += 1


def _first(first_row: int, counters: Any) -> int:
    """The position of a batch's first row in the epoch's order; the resident samples may start with a later batch."""
    batch = counters[counter.BATCH] - counters[counter.FIRST_BATCH]
    return int(batch * counters[counter.BATCH_SIZE]) + first_row


KERNELS: dict[str, Callable[..., None]] = {
    kernel.__name__: kernel
    for kernel in (
        activate,
        activate_keeping_input,
        delta,
        delta_learned,
        loss_head,
        softmax,
        log_softmax,
        argmax,
        above_zero,
        one_hot,
        confusion,
        hadamard,
        add,
        column_sums,
        duplicate,
        limit_columns,
        global_norm,
        max_pieces,
        max_pieces_backward,
        gather,
        scatter,
        dropout,
        update,
        penalize,
        advance,
    )
}
