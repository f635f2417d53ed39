"""The loss on the CPU, with the delta of the last layer (BP1)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ..counter import BATCH, FIRST_BAD, STEP

# The holes of the template.
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
    """Write the loss of the batch into its slot, the delta of the last layer (BP1) and its column sums (BP4)."""
    rows, columns = z.shape
    own = named_settings(*settings)
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
        loss += weight * row(z, i, targets, delta, own, 0)
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
