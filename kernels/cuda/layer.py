"""Layers on the GPU: activations and their derivatives (BP2, BP4), Maxout, dropout, and elementwise operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import cuda

from ..counter import SEED, STEP, dropout_words
from .rounding import fitted, number
from .threads import own_element, sum_down

# The holes of the templates.
f: Callable[[float, float], float]
derivative: Callable[[float, float], float]
parameter_derivative: Callable[[float, float], float]


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


def max_pieces_backward(delta: Any, winner: Any, out: Any, bias_grad: Any) -> None:
    """out <- delta at the winning piece, 0 at the others (BP2); bias_grad <- its column sums (BP4)."""
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


def dropout(x: Any, out: Any, layer: int, threshold: int, scale: float, first_row: int, counters: Any) -> None:
    """out <- x * scale where the element's random word reaches the threshold, else 0.

    Each thread computes one block of four random words, for elements a quarter of the row apart (see cpu/layer.py);
    the next thread computes their neighbours.
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


def duplicate(x: Any, out: Any) -> None:
    """out <- x, converted if one of the two is bfloat16."""
    i, j = own_element()
    if i < x.shape[0] and j < x.shape[1]:
        out[i, j] = fitted(number(x[i, j]), out)
