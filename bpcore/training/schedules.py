"""Learning-rate schedules: a factor on the optimizer's learning rate for each step of a run.

All factors are computed before the run begins, so the device does not have to wait for the host.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real
from typing import Protocol

import numpy as np

from bpcore.errors import InputError, InputTypeError, unknown_name
from bpcore.kernels.table import Table


class Schedule(Protocol):
    """The interface of a schedule: an object that returns a factor for each step of a run."""

    def factors(self, steps: int, steps_per_epoch: int) -> np.ndarray:
        """Return the factor of each step, float64 (steps,)."""
        ...


@dataclass(frozen=True)
class Constant:
    """Keeps the learning rate constant."""

    def factors(self, steps: int, steps_per_epoch: int) -> np.ndarray:
        """1 everywhere."""
        return np.ones(steps)


@dataclass(frozen=True)
class Step:
    """Multiplies the rate by `factor` after every `epochs` epochs."""

    epochs: int = 10
    factor: float = 0.1

    def __post_init__(self) -> None:
        _require("Step.epochs", self.epochs, lambda x: x >= 1, "1 or more")
        _require("Step.factor", self.factor, lambda x: x > 0, "more than 0")

    def factors(self, steps: int, steps_per_epoch: int) -> np.ndarray:
        """factor ** (epoch // epochs)."""
        return self.factor ** (np.arange(steps) // (self.epochs * steps_per_epoch)).astype(float)


@dataclass(frozen=True)
class Cosine:
    """Lowers the rate along half a cosine, from 1 to `final` (Loshchilov and Hutter 2017)."""

    final: float = 0.0

    def __post_init__(self) -> None:
        _require("Cosine.final", self.final, lambda x: 0 <= x <= 1, "0 to 1")

    def factors(self, steps: int, steps_per_epoch: int) -> np.ndarray:
        """final + (1 - final) (1 + cos(pi t / steps)) / 2."""
        return _cosine(1.0, self.final, steps)


@dataclass(frozen=True)
class OneCycle:
    """Raises the rate from `initial` to 1, then lowers it to `final`, both along half a cosine (L. Smith 2018).

    The optimizer's learning rate is the peak; `warm_up` is the share of steps before it.
    """

    warm_up: float = 0.3
    initial: float = 0.04
    final: float = 1e-4

    def __post_init__(self) -> None:
        _require("OneCycle.warm_up", self.warm_up, lambda x: 0 < x < 1, "between 0 and 1")
        _require("OneCycle.initial", self.initial, lambda x: 0 <= x <= 1, "0 to 1")
        _require("OneCycle.final", self.final, lambda x: 0 <= x <= 1, "0 to 1")

    def factors(self, steps: int, steps_per_epoch: int) -> np.ndarray:
        """The rise, followed by the fall."""
        rise = round(self.warm_up * steps)
        return np.concatenate([_cosine(self.initial, 1.0, rise), _cosine(1.0, self.final, steps - rise)])


@dataclass(frozen=True)
class WarmUp:
    """Raises the rate linearly over the first `steps` steps (or `epochs` epochs), then follows another schedule."""

    then: Schedule = Constant()
    steps: int = 0
    epochs: float = 1.0

    def __post_init__(self) -> None:
        _require("WarmUp.steps", self.steps, lambda x: x >= 0, "0 or more")
        _require("WarmUp.epochs", self.epochs, lambda x: x >= 0, "0 or more")

    def factors(self, steps: int, steps_per_epoch: int) -> np.ndarray:
        """(t + 1) / rise for the steps of the rise, then the factors of the other schedule."""
        rise = min(steps, self.steps or round(self.epochs * steps_per_epoch))
        if rise == 0:
            return self.then.factors(steps, steps_per_epoch)
        straight = np.arange(1, rise + 1) / rise
        return np.concatenate([straight, self.then.factors(steps - rise, steps_per_epoch)])


SCHEDULES: Table[type[Schedule]] = Table(
    "schedule",
    {
        "constant": Constant,
        "step": Step,
        "cosine": Cosine,
        "one_cycle": OneCycle,
        "warm_up": WarmUp,
    },
)


def get_schedule(schedule: str | Schedule) -> Schedule:
    """Return a schedule given by name, with its default settings, or the given schedule itself."""
    if isinstance(schedule, str):
        if schedule not in SCHEDULES:
            raise unknown_name("schedule", schedule, SCHEDULES)
        return SCHEDULES[schedule]()
    if isinstance(schedule, type) or not callable(getattr(schedule, "factors", None)):
        raise InputTypeError(
            f"schedule {schedule!r} cannot be used; accepted: a name ({', '.join(SCHEDULES)}) or an object with "
            f"factors(steps, steps_per_epoch)"
        )
    return schedule


def factors_of(schedule: Schedule, steps: int, steps_per_epoch: int) -> np.ndarray:
    """Return a schedule's factors, float64 (steps,); raise InputError if a schedule returns anything else."""
    given = schedule.factors(steps, steps_per_epoch)
    try:
        factors = np.asarray(given, float)
    except (TypeError, ValueError):
        factors = np.empty(0)
    name = type(schedule).__name__
    if factors.shape != (steps,):
        shape = f"an array of shape {np.shape(given)}" if isinstance(given, np.ndarray) else f"{given!r:.60}"
        raise InputError(f"the schedule {name} gave {shape}; needed: a factor for each of {steps} steps")
    if not (np.isfinite(factors) & (factors >= 0)).all():
        step = int(np.argmin(np.isfinite(factors) & (factors >= 0)))
        raise InputError(f"the schedule {name} gave {factors[step]:g} for step {step + 1}; accepted: 0 or more")
    return factors


def _cosine(start: float, stop: float, steps: int) -> np.ndarray:
    return stop + (start - stop) * (1.0 + np.cos(np.pi * np.arange(steps) / max(steps, 1))) / 2.0


def _require(name: str, value: object, good: Callable[[float], bool], accepted: str) -> None:
    if isinstance(value, bool) or not isinstance(value, Real) or not (math.isfinite(value) and good(float(value))):
        raise InputError(f"{name} is {value!r}; accepted: {accepted}")
