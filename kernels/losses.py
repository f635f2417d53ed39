"""The losses: one table. An entry says what its loss predicts and takes, and has the row function that computes it.

A row function is given the network's output z (B, M), bias included, and the row i. It writes the delta of that row,
d loss / dz (BP1), and returns the loss of that row. A group of LANES workers shares a row: worker `lane` looks after
every LANES-th output, and `all_sum` and `all_max` combine what the workers found. On the CPU there is one worker and
both return their argument; on a GPU they meet in shared memory. `target_at` gives the target of one output, from
class labels or from a dense target matrix, with a share of it spread evenly over the outputs (label smoothing, Szegedy
et al. 2016; 0.0 for none). Settings are read by their names: `settings.label_smoothing`.

The names with an annotation and no value are holes: the compiled kernel has its own values there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from .table import Table, named

LANES: int
real: Callable[[float], float]  # the conversion to the kernel's dtype
all_sum: Callable[[float, int], float]
all_max: Callable[[float, int], float]
target_at: Callable[[Any, int, int, int, float], float]

Predicts = Literal["label", "yes_or_no", "number", "count"]
Link = Literal["identity", "softmax", "sigmoid", "exp"]


@dataclass(frozen=True, eq=False)
class Setting:
    """A number that a loss can be given: its name, its default, and the range that is accepted."""

    name: str
    default: float
    at_least: float = -math.inf
    above: float = -math.inf
    below: float = math.inf

    def accepts(self, value: float) -> bool:
        """Whether the value is finite and in the range."""
        return math.isfinite(value) and self.at_least <= value < self.below and value > self.above

    @property
    def accepted(self) -> str:
        """The range in words."""
        low = f"{self.above:g} < " if self.above > -math.inf else f"{self.at_least:g} <= "
        low = low if max(self.above, self.at_least) > -math.inf else ""
        high = f" < {self.below:g}" if self.below < math.inf else ""
        return f"{low}{self.name}{high}" if low or high else "a finite number"


@dataclass(frozen=True, eq=False)
class Targets:
    """Which target matrices (samples, M) a loss takes.

    must       the end of the error message "y must ..."
    accepts    whether it takes a matrix of finite numbers, written with the array's own methods
    """

    must: str
    accepts: Callable[[Any], bool]


ANY_NUMBERS = Targets("hold finite numbers", lambda y: True)


@dataclass(frozen=True, eq=False)
class LossRule:
    """One loss: what it predicts, from what, what it takes, and its row function.

    row         row(z, i, targets, delta, settings, lane), as above
    predicts    "label": one class of several; "yes_or_no": an answer for each output; "number"; "count": zero or more
    link        how the network's output becomes the prediction: "identity"; "softmax" or "sigmoid", which give
                probabilities; "exp". A label is the largest output in any case, and an answer is yes above zero
    targets     which target matrices it takes
    settings    the numbers that it can be given; label_smoothing is the one that spreads a share of each label
    several     whether a network of one output is refused, since the loss would always be zero

    Every loss takes class labels in the place of a matrix, and then the network classifies.
    """

    name: str
    row: Callable[..., float]
    predicts: Predicts
    link: Link = "identity"
    targets: Targets = field(default=ANY_NUMBERS, repr=False)
    settings: tuple[Setting, ...] = ()
    several: bool = False

    @property
    def classifies(self) -> bool:
        """Whether a matrix of targets holds classes or answers, and not numbers."""
        return self.predicts in ("label", "yes_or_no")

    @property
    def gives_probabilities(self) -> bool:
        """Whether the link turns the outputs into probabilities of classes or answers."""
        return self.classifies and self.link in ("softmax", "sigmoid")

    def setting(self, name: str) -> Setting:
        """One of the settings."""
        return Table.of(f"setting of {self.name}", *self.settings)[name]

    @property
    def named_settings(self) -> type[Any]:
        """The class of the settings as the row function reads them."""
        return named(*(setting.name for setting in self.settings))

    @property
    def defaults(self) -> tuple[float, ...]:
        """The default of each setting."""
        return tuple(setting.default for setting in self.settings)


def label_target(targets: Any, i: int, j: int, outputs: int, smoothing: float) -> float:
    """The target of output j where `targets` holds class labels (B,)."""
    return (1.0 - smoothing if targets[i] == j else 0.0) + smoothing / real(outputs)


def dense_target(targets: Any, i: int, j: int, outputs: int, smoothing: float) -> Any:
    """The target of output j where `targets` is a matrix (B, M)."""
    return targets[i, j] * (1.0 - smoothing) + smoothing / real(outputs)


def _squared_error(z: Any, i: int, targets: Any, delta: Any, settings: Any, lane: int) -> float:
    """1/2 sum_j (a_j - y_j)^2, delta = a - y."""
    outputs = z.shape[1]
    loss = 0.0
    for j in range(lane, outputs, LANES):
        difference = z[i, j] - target_at(targets, i, j, outputs, 0.0)
        delta[i, j] = difference
        loss += 0.5 * difference * difference
    return all_sum(loss, lane)


def _huber(z: Any, i: int, targets: Any, delta: Any, settings: Any, lane: int) -> float:
    """sum_j of 1/2 d^2 for |d| up to the threshold t, and t (|d| - t/2) beyond, with d = a - y (Huber 1964).

    delta = d, no longer than t.
    """
    outputs = z.shape[1]
    threshold = settings.threshold
    loss = 0.0
    for j in range(lane, outputs, LANES):
        difference = z[i, j] - target_at(targets, i, j, outputs, 0.0)
        size = abs(difference)
        far = size > threshold
        delta[i, j] = (threshold if difference > 0.0 else -threshold) if far else difference
        loss += threshold * (size - 0.5 * threshold) if far else 0.5 * difference * difference
    return all_sum(loss, lane)


def _poisson(z: Any, i: int, targets: Any, delta: Any, settings: Any, lane: int) -> float:
    """sum_j y_j log(y_j / a_j) - y_j + a_j with a = e^z: half of the Poisson deviance, delta = a - y."""
    outputs = z.shape[1]
    loss = 0.0
    for j in range(lane, outputs, LANES):
        target = target_at(targets, i, j, outputs, 0.0)
        rate = math.exp(z[i, j])
        delta[i, j] = rate - target
        loss += rate - target
        if target > 0.0:
            loss += target * (math.log(target) - z[i, j])
    return all_sum(loss, lane)


def _softmax_cross_entropy(z: Any, i: int, targets: Any, delta: Any, settings: Any, lane: int) -> float:
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
        target = target_at(targets, i, j, outputs, settings.label_smoothing)
        if target != 0.0:
            loss += target * (log_total - z[i, j])
        delta[i, j] = delta[i, j] / total - target
    return all_sum(loss, lane)


def _binary_cross_entropy(z: Any, i: int, targets: Any, delta: Any, settings: Any, lane: int) -> float:
    """-sum_j y_j log s_j + (1 - y_j) log(1 - s_j) with s = sigmoid(z), delta = s - y."""
    outputs = z.shape[1]
    loss = 0.0
    for j in range(lane, outputs, LANES):
        logit = z[i, j]
        target = target_at(targets, i, j, 2, settings.label_smoothing)  # between yes and no
        e = math.exp(-abs(logit))
        loss += (0.0 if logit < 0.0 else logit) - logit * target + math.log1p(e)
        delta[i, j] = (e if logit < 0.0 else 1.0) / (1.0 + e) - target
    return all_sum(loss, lane)


def _hinge(z: Any, i: int, targets: Any, delta: Any, settings: Any, lane: int) -> float:
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


def _are_shares(y: Any) -> bool:
    return bool((y >= 0.0).all() and (abs(y.sum(axis=1) - 1.0) <= 1.01e-3).all())


def _are_one_hot(y: Any) -> bool:
    return bool(((y == 0.0) | (y == 1.0)).all() and (y.sum(axis=1) == 1.0).all())


LABEL_SMOOTHING = Setting("label_smoothing", 0.0, at_least=0.0, below=1.0)

LOSSES = Table.of(
    "loss",
    LossRule("squared_error", _squared_error, predicts="number"),
    LossRule("huber", _huber, predicts="number", settings=(Setting("threshold", 1.0, above=0.0),)),
    LossRule(
        "poisson",
        _poisson,
        predicts="count",
        link="exp",
        targets=Targets("hold numbers of zero or more for the Poisson loss", lambda y: bool((y >= 0.0).all())),
    ),
    LossRule(
        "softmax_cross_entropy",
        _softmax_cross_entropy,
        predicts="label",
        link="softmax",
        targets=Targets("hold shares that are zero or more and sum to one in each row", _are_shares),
        settings=(LABEL_SMOOTHING,),
        several=True,
    ),
    LossRule(
        "binary_cross_entropy",
        _binary_cross_entropy,
        predicts="yes_or_no",
        link="sigmoid",
        targets=Targets(
            "hold numbers from 0 to 1 for the binary cross-entropy", lambda y: bool(((y >= 0.0) & (y <= 1.0)).all())
        ),
        settings=(LABEL_SMOOTHING,),
    ),
    LossRule(
        "hinge",
        _hinge,
        predicts="label",
        targets=Targets("be one-hot (a single 1 in each row) for the hinge loss", _are_one_hot),
    ),
)
