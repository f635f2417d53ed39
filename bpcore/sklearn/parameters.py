"""Make layers, first weights, optimizer and schedule from an estimator's parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from bpcore.errors import InputError
from bpcore.model.activations import get_activation
from bpcore.model.initializers import draw
from bpcore.model.layers import Dense, Dropout, Layer
from bpcore.model.parameters import checked_norm
from bpcore.training.optimizers import Adam, Momentum, Nesterov, Optimizer
from bpcore.training.schedules import Constant, Schedule, factors_of, get_schedule

OWN_NAMES = {"logistic": "sigmoid"}
"""scikit-learn's activation names that differ from bpcore's."""

GLOROT = ("identity", "logistic", "sigmoid", "tanh", "relu")
"""The activations that scikit-learn has; with these, the first weights equal scikit-learn's for a random_state."""


@dataclass(frozen=True)
class Shape:
    """The shape of a perceptron: sizes from inputs to outputs, then one entry per hidden layer in each other field.

    norms: upper bound on the norm of each unit's incoming weights; None for no bound
    """

    sizes: tuple[int, ...]
    activations: tuple[str, ...]
    dropout: tuple[float, ...]
    norms: tuple[float | None, ...]

    def layers(self) -> list[Layer]:
        """The layers, with zero weights that are written later."""
        layers: list[Layer] = []
        hidden = zip(self.sizes[1:-1], self.activations, self.dropout, self.norms, strict=True)
        for outputs, activation, rate, norm in hidden:
            layers.append(Dense(outputs, OWN_NAMES.get(activation, activation), "zeros", max_weight_norm=norm))
            if rate:
                layers.append(Dropout(rate))
        return [*layers, Dense(self.sizes[-1], initializer="zeros")]


def hidden_sizes(hidden_layer_sizes: Any) -> tuple[int, ...]:
    """The sizes of the hidden layers; one number means one layer, an empty sequence none."""
    sizes = np.atleast_1d(np.asarray(hidden_layer_sizes))
    if sizes.size and (sizes.ndim != 1 or sizes.dtype.kind not in "iu" or (sizes <= 0).any()):
        raise InputError(f"hidden_layer_sizes must be > 0, got {hidden_layer_sizes!r}; accepted: positive integers")
    return tuple(int(size) for size in sizes)


def shape_of(sizes: tuple[int, ...], activation: Any, dropout: Any, max_weight_norm: Any) -> Shape:
    """The shape with these sizes; the other arguments are one value for all hidden layers, or a list."""
    hidden = len(sizes) - 2
    activations = _for_each("activation", activation, hidden)
    for name in activations:
        get_activation(OWN_NAMES.get(name, name))
    rates = _for_each("dropout", dropout, hidden)
    for rate in rates:
        Dropout(rate)
    norms = tuple(checked_norm(norm) for norm in _for_each("max_weight_norm", max_weight_norm, hidden))
    return Shape(sizes, activations, tuple(float(rate) for rate in rates), norms)


def _for_each(name: str, value: Any, hidden: int) -> tuple[Any, ...]:
    if isinstance(value, str) or not hasattr(value, "__len__"):
        return (value,) * hidden
    if len(value) != hidden:
        raise InputError(f"{name} has {len(value)} entries, but there are {hidden} hidden layers; give one for each")
    return tuple(value)


@dataclass(frozen=True)
class Parameters:
    """All trained parameters on the host: W (N, M) and b (M,) of each layer, slopes (M,) of each hidden layer."""

    coefs: list[np.ndarray]
    intercepts: list[np.ndarray]
    slopes: list[np.ndarray | None]


def first_parameters(shape: Shape, random_state: np.random.RandomState, dtype: np.dtype[Any]) -> Parameters:
    """Draw the first weights, layer by layer.

    For the activations that scikit-learn has, weights and biases are uniform on +-sqrt(6 / (N + M)), or
    +-sqrt(2 / (N + M)) for the sigmoid (Glorot and Bengio 2010), and equal scikit-learn's numbers. For others the
    weights come from the initializer in the activation's table entry, and biases are zero. The output layer follows the
    last hidden layer's activation.
    """
    found = Parameters([], [], [])
    names = [*shape.activations, shape.activations[-1] if shape.activations else "identity"]
    for (inputs, outputs), name in zip(pairwise(shape.sizes), names, strict=True):
        is_last = len(found.coefs) == len(shape.activations)
        if name in GLOROT:
            limit = math.sqrt((2.0 if OWN_NAMES.get(name, name) == "sigmoid" else 6.0) / (inputs + outputs))
            weights = random_state.uniform(-limit, limit, (inputs, outputs))
            biases = random_state.uniform(-limit, limit, outputs)
        else:
            rng = np.random.Generator(np.random.Philox(random_state.randint(2**31 - 1)))
            weights = draw("xavier_uniform" if is_last else get_activation(name).initializer, rng, inputs, outputs)
            biases = np.zeros(outputs)
        found.coefs.append(weights.astype(dtype, copy=False))
        found.intercepts.append(biases.astype(dtype, copy=False))
        if not is_last:
            entry = get_activation(OWN_NAMES.get(name, name))
            found.slopes.append(np.full(outputs, entry.parameter, dtype) if entry.learned else None)
    return found


class ScikitAdam(Adam):
    """Adam as in scikit-learn: the bias corrections are part of the learning rate, and do not apply to epsilon.

    rate_t = rate sqrt(1 - beta2^t) / (1 - beta1^t), the form at the end of section 2 of Kingma and Ba (2015).
    """

    def table(self, factors: np.ndarray, first_step: int = 0) -> np.ndarray:
        """The corrected rates, with ones in place of the bias corrections."""
        table = super().table(factors, first_step)
        table[:, 0] *= table[:, 1] / table[:, 2]
        table[:, 1:] = 1.0
        return table


def optimizer_of(estimator: Any) -> Optimizer:
    """The optimizer for the estimator's solver, adam or sgd."""
    shared = {"learning_rate": float(estimator.learning_rate_init), "penalty": float(estimator.alpha)}
    if estimator.solver == "adam":
        beta1, beta2, epsilon = (float(getattr(estimator, name)) for name in ("beta_1", "beta_2", "epsilon"))
        return ScikitAdam(beta1=beta1, beta2=beta2, epsilon=epsilon, **shared)
    kind = Nesterov if estimator.nesterovs_momentum else Momentum
    return kind(momentum=float(estimator.momentum), **shared)


@dataclass(frozen=True)
class InverseScaling:
    """rate / (t + 1)^power, where t counts the samples seen before the epoch; the first epoch uses the full rate.

    seen: t before the first epoch; samples: samples per epoch
    """

    power: float
    samples: int
    seen: int = 0

    def factors(self, steps: int, steps_per_epoch: int) -> np.ndarray:
        """One factor per step, constant within an epoch."""
        epochs = np.arange(steps) // steps_per_epoch
        return np.where(epochs == 0, 1.0, (self.seen + epochs * float(self.samples) + 1.0) ** -self.power)


@dataclass(frozen=True)
class Planned:
    """A schedule over a fixed number of epochs; its last factor holds afterwards."""

    schedule: Schedule
    epochs: int

    def factors(self, steps: int, steps_per_epoch: int) -> np.ndarray:
        """The first factors of the plan; past its end, its last factor."""
        plan = factors_of(self.schedule, self.epochs * steps_per_epoch, steps_per_epoch)
        return np.concatenate([plan[:steps], np.full(max(steps - len(plan), 0), plan[-1])])


def schedule_of(estimator: Any, epoch: int, samples: int) -> Schedule:
    """The learning rate schedule over max_iter epochs.

    epoch: the number of epochs already trained; samples: samples per epoch from now on. Of scikit-learn's own
    schedules, "adaptive" is applied at the end of each epoch (epochs.py), and adam ignores all of them.
    """
    if estimator.learning_rate == "invscaling":
        if estimator.solver != "sgd":
            return Constant()
        return InverseScaling(estimator.power_t, samples, estimator.t_ - epoch * samples)
    if estimator.learning_rate in ("constant", "adaptive"):
        return Constant()
    return Planned(get_schedule(estimator.learning_rate), estimator.max_iter)
