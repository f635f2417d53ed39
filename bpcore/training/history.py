"""Results: the measures of each epoch of a run, and the result of an evaluation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from bpcore.errors import InputError


class Evaluation(NamedTuple):
    """The mean loss over a data set, and the share (0 to 1) of correctly classified samples."""

    loss: float
    accuracy: float


@dataclass
class History:
    """The measures of a run: one list for each measure, with one entry per epoch.

    The measures are loss, accuracy (0 to 1), val_loss, val_accuracy, learning_rate (of the epoch's last step), seconds
    (of training only) and samples_per_second. Accuracies need classes; val_ measures need validation data.
    """

    measures: dict[str, list[float]] = field(default_factory=dict)
    stopped: str = ""
    """Why the run ended before its last epoch; empty if it did not."""

    def append(self, row: dict[str, float]) -> None:
        """Add the measures of an epoch."""
        for name, value in row.items():
            self.measures.setdefault(name, []).append(value)

    def first(self, epochs: int) -> History:
        """Return a copy of the first epochs, without the reason for stopping."""
        return History({name: values[:epochs] for name, values in self.measures.items()})

    def __getitem__(self, name: str) -> list[float]:
        if name not in self.measures:
            found = ", ".join(self.measures) or "nothing"
            raise InputError(f"this run has not measured {name!r}, but {found}{self._why_without(str(name))}")
        return self.measures[name]

    def _why_without(self, name: str) -> str:
        if name.startswith("val_") and "val_loss" not in self:
            return "; val_ measures need validation data"
        if name.endswith("accuracy"):
            return "; accuracies need labels, or one-hot rows and loss='softmax_cross_entropy'"
        return ""

    def __contains__(self, name: str) -> bool:
        return name in self.measures

    def __len__(self) -> int:
        return len(self.measures.get("loss", ()))

    def last(self) -> dict[str, float]:
        """The measures of the last epoch."""
        return {name: values[-1] for name, values in self.measures.items()}
