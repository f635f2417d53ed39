"""The losses: one table of row functions, each giving the loss and the delta of one sample.

A row function reads row i of the network's output z (batch B, outputs M), writes delta[i] = dloss/dz[i], and
returns the loss of that sample. It is written for a group of LANES workers that share the row: worker `lane`
takes every LANES-th output, and `all_sum` and `all_max` combine what the workers found. On the CPU there is
one worker and both return their argument; on a GPU they meet in shared memory. `target_at` gives the target of
one output, from class labels or from a dense target matrix.

The names with an annotation and no value are holes: the compiled kernel has its own values there (cpu.py,
cuda.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

LANES: int
real: Callable[[float], float]  # the conversion to the kernel's dtype
all_sum: Callable[[float, int], float]
all_max: Callable[[float, int], float]
target_at: Callable[[Any, int, int, int, float], float]


@dataclass(frozen=True, eq=False)
class Loss:
    """One loss: `row(z, i, targets, delta, smoothing, lane)` and how a prediction counts as right."""

    name: str
    row: Callable[..., float]
    decision: Literal["argmax", "threshold"]


def label_target(targets: Any, i: int, j: int, outputs: int, smoothing: float) -> float:
    """The target of output j where `targets` holds class labels (B,)."""
    return (1.0 - smoothing if targets[i] == j else 0.0) + smoothing / real(outputs)


def dense_target(targets: Any, i: int, j: int, outputs: int, smoothing: float) -> Any:
    """The target of output j where `targets` is a matrix (B, M)."""
    return targets[i, j] * (1.0 - smoothing) + smoothing / real(outputs)


def _squared_error(z: Any, i: int, targets: Any, delta: Any, smoothing: float, lane: int) -> float:
    """1/2 sum_j (a_j - y_j)^2, delta = a - y."""
    outputs = z.shape[1]
    loss = 0.0
    for j in range(lane, outputs, LANES):
        difference = z[i, j] - target_at(targets, i, j, outputs, smoothing)
        delta[i, j] = difference
        loss += 0.5 * difference * difference
    return all_sum(loss, lane)


def _poisson(z: Any, i: int, targets: Any, delta: Any, smoothing: float, lane: int) -> float:
    """sum_j y_j log(y_j / a_j) - y_j + a_j with a = e^z: half of the Poisson deviance, delta = a - y."""
    outputs = z.shape[1]
    loss = 0.0
    for j in range(lane, outputs, LANES):
        target = target_at(targets, i, j, outputs, smoothing)
        rate = math.exp(z[i, j])
        delta[i, j] = rate - target
        loss += rate - target
        if target > 0.0:
            loss += target * (math.log(target) - z[i, j])
    return all_sum(loss, lane)


def _softmax_cross_entropy(z: Any, i: int, targets: Any, delta: Any, smoothing: float, lane: int) -> float:
    """-sum_j y_j log softmax(z)_j for targets that sum to one, delta = softmax(z) - y."""
    outputs = z.shape[1]
    highest = -math.inf
    for j in range(lane, outputs, LANES):
        highest = max(highest, z[i, j])
    highest = all_max(highest, lane)
    total = 0.0
    for j in range(lane, outputs, LANES):
        exponential = math.exp(z[i, j] - highest)
        delta[i, j] = exponential
        total += exponential
    total = all_sum(total, lane)
    log_total = highest + math.log(total)
    loss = 0.0
    for j in range(lane, outputs, LANES):
        target = target_at(targets, i, j, outputs, smoothing)
        if target != 0.0:
            loss += target * (log_total - z[i, j])
        delta[i, j] = delta[i, j] / total - target
    return all_sum(loss, lane)


def _binary_cross_entropy(z: Any, i: int, targets: Any, delta: Any, smoothing: float, lane: int) -> float:
    """-sum_j y_j log s_j + (1 - y_j) log(1 - s_j) with s = sigmoid(z), delta = s - y."""
    outputs = z.shape[1]
    loss = 0.0
    for j in range(lane, outputs, LANES):
        logit = z[i, j]
        target = target_at(targets, i, j, 2, smoothing)  # smoothed between yes and no
        e = math.exp(-abs(logit))
        loss += (0.0 if logit < 0.0 else logit) - logit * target + math.log1p(e)
        delta[i, j] = (e if logit < 0.0 else 1.0) / (1.0 + e) - target
    return all_sum(loss, lane)


def _hinge(z: Any, i: int, targets: Any, delta: Any, smoothing: float, lane: int) -> float:
    """The sum over j other than y of max(0, z_j - z_y + 1); delta is 1 where the margin is violated."""
    outputs = z.shape[1]
    right = 0.0
    for j in range(lane, outputs, LANES):
        right += target_at(targets, i, j, outputs, 0.0) * z[i, j]
    right = all_sum(right, lane)
    loss = 0.0
    violations = 0.0
    for j in range(lane, outputs, LANES):
        wrong = 1.0 - target_at(targets, i, j, outputs, 0.0)
        margin = wrong * (z[i, j] - right + 1.0)
        violated = 1.0 if margin > 0.0 else 0.0
        delta[i, j] = violated
        violations += violated
        loss += 0.0 if margin < 0.0 else margin
    violations = all_sum(violations, lane)
    for j in range(lane, outputs, LANES):
        delta[i, j] -= violations * target_at(targets, i, j, outputs, 0.0)
    return all_sum(loss, lane)


def argmax_is_right(z: Any, i: int, targets: Any, lane: int) -> float:
    """1.0 where the largest output (the first of equals) has the largest target, else 0.0."""
    outputs = z.shape[1]
    highest = -math.inf
    highest_target = -math.inf
    for j in range(lane, outputs, LANES):
        highest = max(highest, z[i, j])
        highest_target = max(highest_target, target_at(targets, i, j, outputs, 0.0))
    highest = all_max(highest, lane)
    highest_target = all_max(highest_target, lane)
    before_winner = -math.inf  # minus the index of the first output that is the highest
    for j in range(lane, outputs, LANES):
        if z[i, j] == highest:
            before_winner = max(before_winner, -real(j))
    before_winner = all_max(before_winner, lane)
    if before_winner == -math.inf:  # no output is a number
        return 0.0
    winner = int(-before_winner)
    return 1.0 if target_at(targets, i, winner, outputs, 0.0) == highest_target else 0.0


def threshold_is_right(z: Any, i: int, targets: Any, lane: int) -> float:
    """1.0 where every output is on the side of zero that its target asks for, else 0.0."""
    outputs = z.shape[1]
    wrong = 0.0
    for j in range(lane, outputs, LANES):
        said_yes = z[i, j] > 0.0
        is_yes = target_at(targets, i, j, outputs, 0.0) > 0.5
        if said_yes != is_yes:
            wrong = 1.0
    return 1.0 - all_max(wrong, lane)


LOSSES: dict[str, Loss] = {
    entry.name: entry
    for entry in (
        Loss("squared_error", _squared_error, "argmax"),
        Loss("poisson", _poisson, "argmax"),
        Loss("softmax_cross_entropy", _softmax_cross_entropy, "argmax"),
        Loss("binary_cross_entropy", _binary_cross_entropy, "threshold"),
        Loss("hinge", _hinge, "argmax"),
    )
}
