"""What a run measured, epoch by epoch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from bpcore.errors import InputError


class Evaluation(NamedTuple):
    """The mean loss over a data set, and the share (0 to 1) of samples classified rightly."""

    loss: float
    accuracy: float


@dataclass
class History:
    """One list for each measure, one entry an epoch.

    loss, accuracy (0 to 1), val_loss, val_accuracy, learning_rate (of the epoch's last step), seconds (of the
    training alone), samples_per_second. Accuracies are there for classification, val_ measures with validation data.
    """

    measures: dict[str, list[float]] = field(default_factory=dict)
    stopped: str = ""
    """Why the run ended before its last epoch; empty where it did not."""

    def append(self, row: dict[str, float]) -> None:
        """Add the measures of one epoch."""
        for name, value in row.items():
            self.measures.setdefault(name, []).append(value)

    def first(self, epochs: int) -> History:
        """A copy of its first epochs, as they were before the run ended."""
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
