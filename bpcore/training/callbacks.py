"""Callbacks, which are called between the steps of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from bpcore.errors import InputError, InputTypeError, counted, finite
from bpcore.training.run import Run
from bpcore.training.settings import Asked


class Callback:
    """Base class of callbacks: override the methods that you need. Each is given the run, to read or to stop it."""

    every: int | None = None
    """Set this to N to have `on_progress` called after every N-th step of the run as well."""
    keeps_best = False
    """Set this to True if you call run.keep_best()."""
    reads_gradients = False
    """Set this to True to read run.network.parameters.grads; otherwise a run may not keep the weights' gradients."""

    def on_begin(self, run: Run) -> None:
        """Called before the first step."""

    def on_progress(self, run: Run) -> None:
        """Called between two steps, about every 50 ms."""

    def on_epoch_end(self, run: Run) -> None:
        """Called after each epoch; its measures are in run.history."""

    def on_end(self, run: Run) -> None:
        """Called after the last step, even if the run ends with an error."""


def asked_by(callbacks: Sequence[Callback]) -> Asked:
    """Collect the requests that these callbacks make of their run."""
    return Asked(any(one.keeps_best for one in callbacks), any(one.reads_gradients for one in callbacks))


def check_callbacks(callbacks: Any) -> tuple[Callback, ...]:
    """Return callbacks as a tuple; raise InputTypeError for a single one, a class, or anything else."""
    if not isinstance(callbacks, Iterable):
        raise InputTypeError(f"callbacks={callbacks!r}; accepted: a list of callbacks, such as [StopAtLoss(0.1)]")
    several = tuple(callbacks)
    for callback in several:
        if isinstance(callback, type):
            raise InputTypeError(f"{callback.__name__} in callbacks is a class; accepted: {callback.__name__}(...)")
        if not isinstance(callback, Callback):
            raise InputTypeError(f"{callback!r} is not a callback; accepted: EarlyStopping(...), StopAtLoss(...), ...")
    return several


class EarlyStopping(Callback):
    """Stops when a measure has not improved for `patience` epochs, and restores the best weights.

    monitor        a measure of the history; accuracies should rise, all others fall
    min_delta      the smallest change that counts as an improvement
    restore_best   whether the best weights are restored at the end
    """

    def __init__(
        self, monitor: str = "val_loss", patience: int = 5, min_delta: float = 0.0, restore_best: bool = True
    ) -> None:
        self.monitor, self.patience = monitor, counted("patience", patience)
        self.min_delta = finite("min_delta", min_delta)
        self.keeps_best = restore_best

    def on_begin(self, run: Run) -> None:
        """Forget an earlier run; if this one was resumed, look at its epochs so far."""
        self.best = -math.inf
        self.best_epoch = 0
        run.restore_best = self.keeps_best
        earlier = run.history.measures.get(self.monitor, [])
        for epoch, value in enumerate(earlier, start=run.epoch - len(earlier) + 1):
            self._is_best(epoch, value)

    def on_epoch_end(self, run: Run) -> None:
        """Compare the measure with the best epoch so far."""
        if self.monitor not in run.history:
            raise InputError(
                f"early stopping watches {self.monitor!r}, which this run does not measure; it measures "
                f"{', '.join(run.history.measures)} (val_ measures need validation data)"
            )
        if self._is_best(run.epoch, run.history[self.monitor][-1]):
            if self.keeps_best:
                run.keep_best()
        elif run.epoch - self.best_epoch >= self.patience:
            run.stop(f"{self.monitor} has not improved for {self.patience} epochs; best at epoch {self.best_epoch}")

    def _is_best(self, epoch: int, value: float) -> bool:
        score = value if "accuracy" in self.monitor else -value
        better = score > self.best + self.min_delta
        if better:
            self.best, self.best_epoch = score, epoch
        return better


class StopAtLoss(Callback):
    """Stops when the training loss of an epoch is at or below a target."""

    def __init__(self, target: float) -> None:
        self.target = finite("target", target)

    def on_epoch_end(self, run: Run) -> None:
        """Compare the loss with the target."""
        loss = run.history["loss"][-1]
        if loss <= self.target:
            run.stop(f"the loss reached {loss:.6g}, at or below {self.target:g}")
