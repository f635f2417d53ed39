"""The optimizers that users choose: each has settings and an update rule of the table (kernels/optimizers.py).

An optimizer holds no parameters and no state; these are in the buffers of the network and the run. Common settings:

learning_rate    the base rate, which the schedule multiplies by a factor for each step
l2               adds 1/2 l2 sum W^2 to the mean loss, over the weights only
penalty          as l2, but divided by the batch's sum of sample weights: a batch of B samples has l2 = penalty / B
                 (scikit-learn's alpha); l2 and penalty exclude each other
max_norm         a gradient with a larger global norm is scaled down to it; None for no clipping
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import wraps
from numbers import Real
from typing import Any, ClassVar, TypeVar

import numpy as np

from bpcore.errors import InputError, InputTypeError, unknown_name
from bpcore.kernels.optimizers import UPDATE_RULES, UpdateRule
from bpcore.kernels.table import Table

Kind = TypeVar("Kind", bound="Optimizer")


def share(default: float) -> float:
    """Declare a setting that must be 0 or more, and less than 1."""
    return field(default=default, metadata={"below": 1.0})


def positive(default: float) -> float:
    """Declare a setting that must be above 0; one with a plain default may be any number of 0 or more."""
    return field(default=default, metadata={"positive": True})


def settings_by_name(kind: type[Kind]) -> type[Kind]:
    """Make a class explain unnamed or unknown settings in one line: other libraries have other names for them."""
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
    """Base class of the optimizers, with the settings they share; a subclass adds its own and names its update rule.

    The rule reads the subclass's field NAME, a plain number, as settings.NAME.
    """

    kinds: ClassVar[Table[type[Optimizer]]] = Table("optimizer")
    rule_name: ClassVar[str]

    learning_rate: float
    l2: float = 0.0
    max_norm: float | None = None
    penalty: float = 0.0

    def __init_subclass__(cls, name: str = "", rule: str = "") -> None:
        """Add the class to OPTIMIZERS if it has a name; without a rule of its own it has its parent's."""
        if rule:
            cls.rule_name = UPDATE_RULES[rule].name
        if name:
            Optimizer.kinds[name] = cls

    def __post_init__(self) -> None:
        for setting in fields(self):
            value = getattr(self, setting.name)
            if setting.name == "max_norm" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
                raise InputError(f"{setting.name}={value!r}; accepted: a finite number")
            value = float(value)  # np.float32 is a number too, but not a JSON value
            object.__setattr__(self, setting.name, value)
            if (setting.name in ("learning_rate", "max_norm") or "positive" in setting.metadata) and value <= 0:
                raise InputError(f"{setting.name}={value!r}; accepted: a number above 0")
            if value < 0:
                raise InputError(f"{setting.name}={value!r}; accepted: a number of 0 or more")
            if value >= setting.metadata.get("below", math.inf):
                raise InputError(f"{setting.name}={value!r}; accepted: 0 <= {setting.name} < 1")
        if self.l2 and self.penalty:
            raise InputError(f"l2={self.l2!r} and penalty={self.penalty!r} were given; accepted: one of the two")

    @property
    def rule(self) -> UpdateRule:
        """The table's entry: the element function, and the names of the values that it reads."""
        return UPDATE_RULES[self.rule_name]

    def settings(self) -> np.ndarray:
        """Return the eight numbers that Backend.update reads, float64: four common settings, then the rule's own."""
        settings = np.zeros(8)
        settings[:4] = (self.l2, getattr(self, "weight_decay", 0.0), self.max_norm or 0.0, self.penalty)
        for place, name in enumerate(self.rule.settings, 4):
            settings[place] = getattr(self, name)
        return settings

    def factors(self, t: np.ndarray) -> Mapping[str, np.ndarray]:
        """Return the rule's factors for the steps t = 1, 2, ..., by name."""
        return {}

    def table(self, factors: np.ndarray, first_step: int = 0) -> np.ndarray:
        """Return the learning rate and the rule's factors for each step from `first_step` on, float64 (steps, 3).

        factors: the schedule's factors on the learning rate.
        """
        table = np.ones((len(factors), 3))
        table[:, 0] = self.learning_rate * factors
        of_rule = self.factors(first_step + np.arange(1, len(factors) + 1))
        for column, name in enumerate(self.rule.factors, 1):
            table[:, column] = of_rule[name]
        return table

    def config(self) -> dict[str, Any]:
        """Return the settings, for a report."""
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
    momentum: float = share(0.9)


@settings_by_name
@dataclass(frozen=True, kw_only=True)
class Nesterov(Momentum, name="nesterov", rule="nesterov"):
    """Momentum that looks ahead (Nesterov 1983; in the form of Sutskever et al. 2013)."""


@settings_by_name
@dataclass(frozen=True, kw_only=True)
class RMSProp(Optimizer, name="rmsprop", rule="rmsprop"):
    """Divides the gradient by the root of its running mean square (Hinton 2012)."""

    learning_rate: float = 0.001
    decay: float = share(0.9)
    epsilon: float = positive(1e-8)


@settings_by_name
@dataclass(frozen=True, kw_only=True)
class Adam(Optimizer, name="adam", rule="adam"):
    """Scales each step by running means of the gradient and of its square (Kingma and Ba 2015)."""

    learning_rate: float = 0.001
    beta1: float = share(0.9)
    beta2: float = share(0.999)
    epsilon: float = positive(1e-8)

    def factors(self, t: np.ndarray) -> Mapping[str, np.ndarray]:
        """The bias corrections."""
        return {
            "mean_correction": 1.0 / (1.0 - self.beta1**t),
            "root_correction": 1.0 / np.sqrt(1.0 - self.beta2**t),
        }


@settings_by_name
@dataclass(frozen=True, kw_only=True)
class AdamW(Adam, name="adamw"):
    """Adam with decoupled weight decay, W <- W - rate weight_decay W (Loshchilov and Hutter 2019)."""

    weight_decay: float = 0.01


@settings_by_name
@dataclass(frozen=True, kw_only=True)
class Lion(Optimizer, name="lion", rule="lion"):
    """Follows the sign of a mean of momentum and gradient, with decoupled weight decay (Chen et al. 2023).

    Each parameter moves by the learning rate, which should be three to ten times smaller than Adam's.
    """

    learning_rate: float = 0.0001
    beta1: float = share(0.9)
    beta2: float = share(0.99)
    weight_decay: float = 0.0


OPTIMIZERS = Optimizer.kinds


def get_optimizer(optimizer: str | Optimizer, **settings: Any) -> Optimizer:
    """Return an optimizer given by name, with these settings, or the given optimizer itself."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    if not isinstance(optimizer, str):
        raise InputTypeError(
            f"optimizer {optimizer!r} cannot be used; accepted: a name ({', '.join(OPTIMIZERS)}) or an Optimizer"
        )
    if optimizer not in OPTIMIZERS:
        raise unknown_name("optimizer", optimizer, OPTIMIZERS)
    return OPTIMIZERS[optimizer](**settings)
