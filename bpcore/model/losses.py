"""The losses as a user chooses them: an entry of the table with its settings; and adding one of one's own.

The loss is the mean over the batch of one sample's loss (kernels/losses.py has the formulas), weighted by the
sample weights where they are given. L2 is the optimizer's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np

from bpcore.errors import InputError, InputTypeError, check_new_name, unknown_name
from bpcore.kernels.losses import ANY_NUMBERS, LOSSES, Link, LossRule, Predicts, Setting, Targets

_BUILT_IN = frozenset(LOSSES)

Answer = Link | Literal["label", "yes_or_no"]
"""What a network computes for a sample: its outputs through a link, the index of the largest, or which are above 0."""


class Loss:
    """A loss by its name in the table, with its settings: Loss("huber", threshold=2.0) is Huber(threshold=2.0).

    name                of the table, or of register_loss
    label_smoothing     s in [0, 1), for the cross-entropies: a target t becomes (1 - s) t + s / M (M = 2 for binary
                        cross-entropy; Szegedy et al. 2016)
    settings            the loss's other settings by their names; its defaults where they are not given

    The settings are attributes. InputError for a name or a setting that is not there, or out of its range.
    """

    name: str

    def __init__(self, name: str, label_smoothing: float = 0.0, **settings: float) -> None:
        if name not in LOSSES:
            raise unknown_name("loss", name, LOSSES)
        vars(self)["name"] = name
        known = {setting.name: setting.default for setting in self.rule.settings}
        if label_smoothing or "label_smoothing" in known:
            settings["label_smoothing"] = label_smoothing
        for setting in settings:
            if setting not in known:
                raise _not_a_setting(setting, self.rule)
        vars(self).update(known | settings)
        self.__post_init__()

    def __post_init__(self) -> None:
        for setting in self.rule.settings:
            value = getattr(self, setting.name)
            if isinstance(value, bool) or not isinstance(value, Real) or not setting.accepts(float(value)):
                raise InputError(f"{setting.name}={value!r}; accepted: {setting.accepted}")
            vars(self)[setting.name] = float(value)  # np.float32 is no JSON value

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a loss is not changed; make another, with {name}={value!r}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Loss) and self.config() == other.config()

    def __hash__(self) -> int:
        return hash((self.name, self.settings))

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.config().items())
        return f"Loss({given})"

    @property
    def rule(self) -> LossRule:
        """The table's entry: what the loss predicts and takes, and its row function."""
        return LOSSES[self.name]

    @property
    def settings(self) -> tuple[float, ...]:
        """The values of the settings, in the order of the entry."""
        return tuple(getattr(self, setting.name) for setting in self.rule.settings)

    def config(self) -> dict[str, Any]:
        """What rebuilds this loss: Loss(**config)."""
        return {"name": self.name} | {setting.name: getattr(self, setting.name) for setting in self.rule.settings}

    def classifies(self, *, labels: bool) -> bool:
        """Whether a network predicts classes or answers after training on class labels, or on a matrix of targets."""
        return labels or self.rule.classifies

    def check_targets(self, matrix: np.ndarray, name: str) -> None:
        """Raise InputError if the loss does not take this target matrix (samples, M) of finite numbers."""
        if self.rule.several and matrix.shape[1] == 1:
            raise InputError(f"{self.name} of one output is always zero; use binary_cross_entropy, or two outputs")
        if not self.rule.targets.accepts(matrix):
            raise InputError(f"{name} must {self.rule.targets.must}")

    def answer(self, *, classifies: bool) -> Answer:
        """What a network that was trained with this loss computes to predict."""
        if self.rule.predicts == "yes_or_no":
            return "yes_or_no"
        return "label" if classifies else self.rule.link


@dataclass(frozen=True, eq=False)
class SquaredError(Loss):
    """1/2 sum_j (a_j - y_j)^2."""

    name = "squared_error"


@dataclass(frozen=True, eq=False)
class Huber(Loss):
    """1/2 d^2 of each difference d up to the threshold t, and t (|d| - t/2) beyond: outliers pull less (Huber 1964)."""

    name = "huber"
    threshold: float = LOSSES["huber"].setting("threshold").default


@dataclass(frozen=True, eq=False)
class Poisson(Loss):
    """Half of the Poisson deviance, for counts of zero or more; the network's output is the logarithm of the mean."""

    name = "poisson"


@dataclass(frozen=True, eq=False)
class SoftmaxCrossEntropy(Loss):
    """-sum_j y_j log softmax(output)_j, for class labels, one-hot or soft targets."""

    name = "softmax_cross_entropy"
    label_smoothing: float = LOSSES["softmax_cross_entropy"].setting("label_smoothing").default


@dataclass(frozen=True, eq=False)
class BinaryCrossEntropy(Loss):
    """The cross-entropy of each output's sigmoid, summed: for several labels per sample, or for yes and no."""

    name = "binary_cross_entropy"
    label_smoothing: float = LOSSES["binary_cross_entropy"].setting("label_smoothing").default


@dataclass(frozen=True, eq=False)
class Hinge(Loss):
    """The multi-class margin: sum over j other than y of max(0, z_j - z_y + 1)."""

    name = "hinge"


def get_loss(loss: str | Loss) -> Loss:
    """A loss by its name, or the loss itself."""
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str):
        raise InputTypeError(f"loss {loss!r} cannot be used; accepted: a name ({', '.join(LOSSES)}) or a Loss")
    return Loss(loss)


def register_loss(
    name: str,
    row: Callable[..., float],
    *,
    predicts: Predicts,
    link: Link = "identity",
    targets: Targets = ANY_NUMBERS,
    settings: Sequence[Setting] = (),
    several: bool = False,
) -> LossRule:
    """Add a loss that runs fused on both devices, or replace one added before; use it as Loss(name) or by its name.

    row         row(z, i, targets, delta, settings, lane): writes the delta of row i, returns its loss
                (bpcore.kernels.losses says how it is written)
    predicts    "label" (one class of several), "yes_or_no" (for each output), "number" or "count"
    link        from the network's output to the prediction: "identity", "softmax", "sigmoid" or "exp"
    targets     bpcore.kernels.losses.Targets: which target matrices are accepted, and what a refusal says
    settings    bpcore.kernels.losses.Setting, one for each number that the row function reads as settings.NAME
    several     whether a network of one output is refused

    The row function is compiled in float32 at once. InputError if it cannot be (NumPy's functions, which no GPU kernel
    can call, exceptions, lists), if a value would widen to float64 (the message names it), if a declaration is none of
    the above, or if the name is one of bpcore's own.
    """
    from bpcore.kernels import check

    check_new_name("loss", name, _BUILT_IN)
    for what, value, accepted in (("predicts", predicts, get_args(Predicts)), ("link", link, get_args(Link))):
        if value not in accepted:
            raise InputError(f"{what}={value!r}; accepted: {', '.join(map(repr, accepted))}")
    if not isinstance(targets, Targets):
        raise InputTypeError(f"targets={targets!r}; accepted: a bpcore.kernels.losses.Targets")
    for setting in settings:
        if not isinstance(setting, Setting):
            raise InputTypeError(f"settings hold {setting!r}; accepted: bpcore.kernels.losses.Setting objects")
        check_new_name("setting", setting.name, {"name", *vars(Loss)})
        if not setting.accepts(setting.default):
            raise InputError(f"the default {setting.name}={setting.default!r} is refused; accepted: {setting.accepted}")
    rule = LossRule(name, row, predicts, link, targets, tuple(settings), several)
    problem = check.row_problem(row, rule.named_settings)
    if problem:
        raise InputError(f"loss {name!r}: row {problem}")
    LOSSES[name] = rule
    return rule


def _not_a_setting(name: str, rule: LossRule) -> InputError:
    """The error for a setting that a loss does not have; it names the losses that do."""
    takers = [other.name for other in LOSSES.values() if name in (setting.name for setting in other.settings)]
    if takers:
        return InputError(f"{name} is for {', '.join(takers)}, not for {rule.name}")
    known = [setting.name for setting in rule.settings]
    if not known:
        return InputError(f"{rule.name} has no settings, but {name} was given")
    return unknown_name(f"setting of {rule.name}", name, known)
