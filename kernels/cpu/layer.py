"""Layers on the CPU: activations and their derivatives (BP2, BP4), Maxout, dropout, and elementwise operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..counter import SEED, STEP, dropout_words

# The holes of the templates.
f: Callable[[float, float], float]
derivative: Callable[[float, float], float]
parameter_derivative: Callable[[float, float], float]


def is_same(a: Any, b: Any) -> bool:
    """Whether two arrays of one shape begin at the same address.

    A kernel that may work in place has a separate loop for that case, which uses only one array. LLVM does not
    vectorise a loop that might overwrite what it still has to read.
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
    """out <- delta at the winning piece, 0 at the others (BP2); bias_grad <- its column sums (BP4)."""
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


def dropout(x: Any, out: Any, layer: int, threshold: int, scale: float, first_row: int, counters: Any) -> None:
    """out <- x * scale where the element's random word reaches the threshold, else 0.

    The four words of a block go to elements a quarter of the row apart, so that neighbours in memory belong to
    neighbouring blocks, which are computed together in one vector.
    """
    rows, columns = x.shape
    quarter = (columns + 3) // 4
    whole = max(columns - 3 * quarter, 0)  # the number of blocks with all four elements
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
    """The first `length` elements of each quarter of a row."""
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
