"""The optimizers: one table of element functions, each the update of one parameter.

An element function is given the index i of the parameter, the flat parameters w, its gradient g (L2 and clipping
already applied), the state rows of the optimizer, and two tuples of scalars:

step      (learning rate, first factor, second factor) of this step, from the table on the device
settings  the optimizer's own constants

It changes w[i] and its own state in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Four = tuple[float, float, float, float]
Three = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class UpdateRule:
    """One optimizer's element function and the number of values it keeps for each parameter."""

    name: str
    element: Callable[..., None]
    states: int


def _sgd(i: int, w: Any, g: float, state: Any, step: Three, settings: Four) -> None:
    """w <- w - rate g."""
    w[i] -= step[0] * g


def _momentum(i: int, w: Any, g: float, state: Any, step: Three, settings: Four) -> None:
    """v <- mu v - rate g; w <- w + v. settings: (mu,)."""
    velocity = settings[0] * state[0][i] - step[0] * g
    state[0][i] = velocity
    w[i] += velocity


def _nesterov(i: int, w: Any, g: float, state: Any, step: Three, settings: Four) -> None:
    """v <- mu v - rate g; w <- w + mu v - rate g: momentum looked ahead by one step. settings: (mu,)."""
    velocity = settings[0] * state[0][i] - step[0] * g
    state[0][i] = velocity
    w[i] += settings[0] * velocity - step[0] * g


def _rmsprop(i: int, w: Any, g: float, state: Any, step: Three, settings: Four) -> None:
    """s <- rho s + (1 - rho) g^2; w <- w - rate g / (sqrt(s) + epsilon). settings: (rho, epsilon)."""
    square = settings[0] * state[0][i] + (1.0 - settings[0]) * g * g
    state[0][i] = square
    w[i] -= step[0] * g / (math.sqrt(square) + settings[1])


def _adam(i: int, w: Any, g: float, state: Any, step: Three, settings: Four) -> None:
    """Adam (Kingma and Ba 2015, algorithm 1). settings: (beta1, beta2, epsilon).

    m <- beta1 m + (1 - beta1) g; v <- beta2 v + (1 - beta2) g^2;
    w <- w - rate m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon).
    The step's factors are 1 / (1 - beta1^t) and 1 / sqrt(1 - beta2^t).
    """
    mean = settings[0] * state[0][i] + (1.0 - settings[0]) * g
    square = settings[1] * state[1][i] + (1.0 - settings[1]) * g * g
    state[0][i] = mean
    state[1][i] = square
    w[i] -= step[0] * (mean * step[1]) / (math.sqrt(square) * step[2] + settings[2])


UPDATE_RULES: dict[str, UpdateRule] = {
    rule.name: rule
    for rule in (
        UpdateRule("sgd", _sgd, 0),
        UpdateRule("momentum", _momentum, 1),
        UpdateRule("nesterov", _nesterov, 1),
        UpdateRule("rmsprop", _rmsprop, 1),
        UpdateRule("adam", _adam, 2),
    )
}
