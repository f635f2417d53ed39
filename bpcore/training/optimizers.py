"""The optimizers as a user chooses them: an update rule of the table and its settings.

An optimizer owns no parameters and no state: it is given the buffers at each call. What all of them know:

learning_rate    the rate, multiplied by the schedule's factor of the step
l2               1/2 l2 sum W^2 is added to the mean loss, over the weights alone
penalty          likewise, over the batch's sum of sample weights: for batches of B samples it is l2 = penalty / B
                 (scikit-learn's alpha); one of the two
max_norm         the gradient is scaled down to this global norm where it is longer; None: no clipping
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from functools import wraps
from numbers import Real
from typing import Any, ClassVar, TypeVar

import numpy as np

from bpcore.errors import InputError, InputTypeError, unknown_name
from bpcore.kernels.optimizers import UPDATE_RULES, UpdateRule

Kind = TypeVar("Kind", bound="Optimizer")


def settings_by_name(kind: type[Kind]) -> type[Kind]:
    """Let a class of settings say in one clear line which it has: other libraries call them otherwise."""
    plain, known = kind.__init__, {setting.name for setting in fields(kind)}

    @wraps(plain)
    def init(self: Kind, *unnamed: object, **settings: Any) -> None:
        if unnamed:
            example = f"{kind.__name__}(learning_rate=0.01)"
            raise InputTypeError(f"{kind.__name__}({unnamed[0]!r}): settings are given by name, as in {example}")
        for name in settings:
            if name not in known:
                raise unknown_name(f"setting of {kind.__name__}", name, known)
        plain(self, **settings)

    kind.__init__ = init  # type: ignore[assignment, method-assign]
    return kind


@dataclass(frozen=True, kw_only=True)
class Optimizer:
    """Settings common to all optimizers; the subclasses add their own."""

    kinds: ClassVar[dict[str, type[Optimizer]]] = {}
    rule_name: ClassVar[str]

    learning_rate: float
    l2: float = 0.0
    max_norm: float | None = None
    penalty: float = 0.0

    def __init_subclass__(cls, name: str = "", rule: str = "") -> None:
        """A class without a name stands in no table, and has its parent's rule."""
        if name:
            cls.rule_name = rule
            Optimizer.kinds[name] = cls

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if setting.name == "max_norm" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
                raise InputError(f"{setting.name}={value!r}; accepted: a finite number")
            value = float(value)  # np.float32 is a number too, but no JSON value
            object.__setattr__(self, setting.name, value)
            if setting.name in ("learning_rate", "max_norm", "epsilon") and value <= 0:
                raise InputError(f"{setting.name}={value!r}; accepted: a number above 0")
            if value < 0:
                raise InputError(f"{setting.name}={value!r}; accepted: a number of 0 or more")
            if setting.name in ("momentum", "decay", "beta1", "beta2") and value >= 1:
                raise InputError(f"{setting.name}={value!r}; accepted: 0 <= {setting.name} < 1")
        if self.l2 and self.penalty:
            raise InputError(f"l2={self.l2!r} and penalty={self.penalty!r} were given; accepted: one of the two")

    @property
    def rule(self) -> UpdateRule:
        """The element function."""
        return UPDATE_RULES[self.rule_name]

    def own_settings(self) -> tuple[float, ...]:
        """Up to four numbers for the element function."""
        return ()

    def settings(self) -> np.ndarray:
        """The eight numbers that Backend.update reads, float64."""
        own = self.own_settings()
        shared = (self.l2, getattr(self, "weight_decay", 0.0), self.max_norm or 0.0, self.penalty)
        return np.array([*shared, *own, *[0.0] * (4 - len(own))])

    def table(self, factors: np.ndarray, first_step: int = 0) -> np.ndarray:
        """(steps, 3) float64: the learning rate and the rule's two factors of each step, from `first_step` on."""
        table = np.ones((len(factors), 3))
        table[:, 0] = self.learning_rate * factors
        return table

    def config(self) -> dict[str, Any]:
        """The settings, for a report."""
        return {"name": type(self).__name__, **asdict(self)}


@settings_by_name
@dataclass(frozen=True, kw_only=True)
class SGD(Optimizer, name="sgd", rule="sgd"):
    """Plain stochastic gradient descent: W <- W - rate dW."""

    learning_rate: float = 0.1


@settings_by_name
@dataclass(frozen=True, kw_only=True)
class Momentum(Optimizer, name="momentum", rule="momentum"):
    """SGD with a velocity (Polyak 1964)."""

    learning_rate: float = 0.05
    momentum: float = 0.9

    def own_settings(self) -> tuple[float, ...]:
        """The momentum."""
        return (self.momentum,)


@settings_by_name
@dataclass(frozen=True, kw_only=True)
class Nesterov(Momentum, name="nesterov", rule="nesterov"):
    """Momentum that looks ahead (Nesterov 1983; the form of Sutskever et al. 2013)."""


@settings_by_name
@dataclass(frozen=True, kw_only=True)
class RMSProp(Optimizer, name="rmsprop", rule="rmsprop"):
    """The gradient over the root of its running mean square (Hinton 2012)."""

    learning_rate: float = 0.001
    decay: float = 0.9
    epsilon: float = 1e-8

    def own_settings(self) -> tuple[float, ...]:
        """The decay of the running mean, and epsilon."""
        return (self.decay, self.epsilon)


@settings_by_name
@dataclass(frozen=True, kw_only=True)
class Adam(Optimizer, name="adam", rule="adam"):
    """Running means of the gradient and its square (Kingma and Ba 2015)."""

    learning_rate: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def own_settings(self) -> tuple[float, ...]:
        """The two decays, and epsilon."""
        return (self.beta1, self.beta2, self.epsilon)

    def table(self, factors: np.ndarray, first_step: int = 0) -> np.ndarray:
        """The bias corrections 1 / (1 - beta1^t) and 1 / sqrt(1 - beta2^t)."""
        table = super().table(factors, first_step)
        t = first_step + np.arange(1, len(factors) + 1)
        table[:, 1] = 1.0 / (1.0 - self.beta1**t)
        table[:, 2] = 1.0 / np.sqrt(1.0 - self.beta2**t)
        return table


@settings_by_name
@dataclass(frozen=True, kw_only=True)
class AdamW(Adam, name="adamw", rule="adam"):
    """Adam with decoupled weight decay, W <- W - rate weight_decay W (Loshchilov and Hutter 2019)."""

    weight_decay: float = 0.01


OPTIMIZERS = Optimizer.kinds


def get_optimizer(optimizer: str | Optimizer, **settings: Any) -> Optimizer:
    """An optimizer by its name with the given settings, or the optimizer itself."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    if not isinstance(optimizer, str):
        raise InputTypeError(
            f"optimizer {optimizer!r} cannot be used; accepted: a name ({', '.join(OPTIMIZERS)}) or an Optimizer"
        )
    if optimizer not in OPTIMIZERS:
        raise unknown_name("optimizer", optimizer, OPTIMIZERS)
    return OPTIMIZERS[optimizer](**settings)
