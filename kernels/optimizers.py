"""The table of update rules: each optimizer has an element function, which updates one parameter.

An element function is given the parameter's index i, the flat parameters w, the gradient g of w[i] (L2 and clipping
already applied), and three named tuples, whose fields the rule declares:

state     the arrays that the optimizer keeps, such as state.velocity[i]
step      values that change from step to step: step.rate, and the rule's own factors
settings  the optimizer's constants, such as settings.momentum

It changes w[i] and its state in place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .table import Table, named

MOST_SETTINGS, MOST_FACTORS = 4, 2
"""The most settings and factors that fit into the arrays on the device."""


@dataclass(frozen=True, eq=False)
class UpdateRule:
    """One optimizer's element function, and the names of the values that it reads.

    element     element(i, w, g, state, step, settings), described above
    state       arrays with one value for each parameter, at most two; they start at zero
    settings    constants, at most four
    factors     values of a step besides step.rate, at most two
    """

    name: str
    element: Callable[..., None]
    state: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    factors: tuple[str, ...] = ()

    @property
    def states(self) -> int:
        """The number of values kept for each parameter."""
        return len(self.state)

    @property
    def named_state(self) -> type[Any]:
        """The named-tuple class of `state`."""
        return named(*self.state)

    @property
    def named_step(self) -> type[Any]:
        """The named-tuple class of `step`."""
        return named("rate", *_filled_up(self.factors, MOST_FACTORS))

    @property
    def named_settings(self) -> type[Any]:
        """The named-tuple class of `settings`."""
        return named(*_filled_up(self.settings, MOST_SETTINGS))


def _filled_up(names: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Return the names, followed by placeholders up to `count`."""
    return (*names, *(f"unused_{place}" for place in range(len(names), count)))


def _sgd(i: int, w: Any, g: float, state: Any, step: Any, settings: Any) -> None:
    """w <- w - rate g."""
    w[i] -= step.rate * g


def _momentum(i: int, w: Any, g: float, state: Any, step: Any, settings: Any) -> None:
    """v <- mu v - rate g; w <- w + v, with the momentum mu."""
    velocity = settings.momentum * state.velocity[i] - step.rate * g
    state.velocity[i] = velocity
    w[i] += velocity


def _nesterov(i: int, w: Any, g: float, state: Any, step: Any, settings: Any) -> None:
    """v <- mu v - rate g; w <- w + mu v - rate g: momentum that looks one step ahead."""
    velocity = settings.momentum * state.velocity[i] - step.rate * g
    state.velocity[i] = velocity
    w[i] += settings.momentum * velocity - step.rate * g


def _rmsprop(i: int, w: Any, g: float, state: Any, step: Any, settings: Any) -> None:
    """s <- rho s + (1 - rho) g^2; w <- w - rate g / (sqrt(s) + epsilon), with the decay rho."""
    square = settings.decay * state.square[i] + (1.0 - settings.decay) * g * g
    state.square[i] = square
    w[i] -= step.rate * g / (math.sqrt(square) + settings.epsilon)


def _adam(i: int, w: Any, g: float, state: Any, step: Any, settings: Any) -> None:
    """Adam (Kingma and Ba 2015, algorithm 1).

    m <- beta1 m + (1 - beta1) g; v <- beta2 v + (1 - beta2) g^2;
    w <- w - rate m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + epsilon).
    The step's factors are 1 / (1 - beta1^t) and 1 / sqrt(1 - beta2^t).
    """
    mean = settings.beta1 * state.mean[i] + (1.0 - settings.beta1) * g
    square = settings.beta2 * state.square[i] + (1.0 - settings.beta2) * g * g
    state.mean[i] = mean
    state.square[i] = square
    w[i] -= step.rate * (mean * step.mean_correction) / (math.sqrt(square) * step.root_correction + settings.epsilon)


def _lion(i: int, w: Any, g: float, state: Any, step: Any, settings: Any) -> None:
    """Lion (Chen et al. 2023, algorithm 2): the sign of a mean of momentum and gradient.

    c <- beta1 m + (1 - beta1) g; w <- w - rate sign(c); m <- beta2 m + (1 - beta2) g.
    """
    momentum = state.momentum[i]
    mixed = settings.beta1 * momentum + (1.0 - settings.beta1) * g
    state.momentum[i] = settings.beta2 * momentum + (1.0 - settings.beta2) * g
    w[i] -= step.rate * (1.0 if mixed > 0.0 else (-1.0 if mixed < 0.0 else mixed))  # zero stays zero, NaN stays NaN


UPDATE_RULES = Table.of(
    "update rule",
    UpdateRule("sgd", _sgd),
    UpdateRule("momentum", _momentum, state=("velocity",), settings=("momentum",)),
    UpdateRule("nesterov", _nesterov, state=("velocity",), settings=("momentum",)),
    UpdateRule("rmsprop", _rmsprop, state=("square",), settings=("decay", "epsilon")),
    UpdateRule(
        "adam",
        _adam,
        state=("mean", "square"),
        settings=("beta1", "beta2", "epsilon"),
        factors=("mean_correction", "root_correction"),
    ),
    UpdateRule("lion", _lion, state=("momentum",), settings=("beta1", "beta2")),
)
