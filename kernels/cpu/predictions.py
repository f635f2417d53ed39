"""Predictions on the CPU: probabilities, labels and the confusion matrix, from a network's outputs."""

from __future__ import annotations

import math
from typing import Any


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
    """out <- z - log sum e^z, row by row, without losing digits next to a large output."""
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
    """out <- the column of each row's maximum: the first of equals, or the first NaN if there is one."""
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
    """out <- 1 where z is above zero, else 0; NaN gives 0."""
    rows, columns = z.shape
    for i in range(rows):
        for j in range(columns):
            out[i, j] = 1 if z[i, j] > 0.0 else 0


def confusion(predicted: Any, targets: Any, counts: Any) -> None:
    """counts[target, predicted] += 1 for each sample whose two labels are inside the matrix."""
    classes = counts.shape[0]
    for i in range(targets.shape[0]):
        if 0 <= targets[i] < classes and 0 <= predicted[i] < classes:
            counts[targets[i], predicted[i]] += 1
