"""The losses as a user chooses them: a table's entry and its settings.

The loss is the mean over the batch of one sample's loss (kernels/losses.py has the formulas), weighted by the
sample weights where they are given. L2 is the optimizer's.
"""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real
from typing import Any

from bpcore.errors import InputError, InputTypeError, unknown_name
from bpcore.kernels.losses import LOSSES
from bpcore.kernels.losses import Loss as LossEntry


@dataclass(frozen=True)
class Loss:
    """A loss of the table by its name, with label smoothing (Szegedy et al. 2016) where it is a cross-entropy.

    name               squared_error, poisson, softmax_cross_entropy, binary_cross_entropy, hinge
    label_smoothing    s in [0, 1): a target t becomes (1 - s) t + s / M (M = 2 for binary cross-entropy)
    """

    name: str
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in LOSSES:
            raise unknown_name("loss", self.name, LOSSES)
        if not isinstance(self.label_smoothing, Real) or not 0.0 <= self.label_smoothing < 1.0:
            raise InputError(f"label_smoothing={self.label_smoothing!r}; accepted: 0 <= label_smoothing < 1")
        object.__setattr__(self, "label_smoothing", float(self.label_smoothing))  # np.float32 is no JSON value
        if self.label_smoothing and not self.name.endswith("cross_entropy"):
            raise InputError(f"label_smoothing is for the cross-entropies, not for {self.name}")

    @property
    def of_numbers(self) -> bool:
        """Whether targets in a matrix are numbers, and not shares of classes or labels that hold."""
        return self.name in ("squared_error", "poisson")

    @property
    def entry(self) -> LossEntry:
        """The row functions."""
        return LOSSES[self.name]

    def config(self) -> dict[str, Any]:
        """What rebuilds this loss."""
        return {"name": self.name, "label_smoothing": self.label_smoothing}


def get_loss(loss: str | Loss) -> Loss:
    """A loss by its name, or the loss itself."""
    if isinstance(loss, Loss):
        return loss
    if not isinstance(loss, str):
        raise InputTypeError(f"loss {loss!r} cannot be used; accepted: a name ({', '.join(LOSSES)}) or a Loss")
    return Loss(loss)


def SquaredError() -> Loss:  # noqa: N802  it stands for a class
    """1/2 sum_j (a_j - y_j)^2."""
    return Loss("squared_error")


def Poisson() -> Loss:  # noqa: N802
    """Half of the Poisson deviance, for counts of zero or more; the network's output is the logarithm of the mean."""
    return Loss("poisson")


def SoftmaxCrossEntropy(label_smoothing: float = 0.0) -> Loss:  # noqa: N802
    """-sum_j y_j log softmax(output)_j, for class labels, one-hot or soft targets."""
    return Loss("softmax_cross_entropy", label_smoothing)


def BinaryCrossEntropy(label_smoothing: float = 0.0) -> Loss:  # noqa: N802
    """Of each output's sigmoid, added up: for several labels a sample, or for yes and no."""
    return Loss("binary_cross_entropy", label_smoothing)


def Hinge() -> Loss:  # noqa: N802
    """The multi-class margin: sum over j other than y of max(0, z_j - z_y + 1)."""
    return Loss("hinge")
