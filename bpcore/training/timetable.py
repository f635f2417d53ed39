"""The learning rate of each step of a run, and the counters at the beginning of each epoch."""

from __future__ import annotations

import numpy as np

from bpcore.training.batches import BatchPlan
from bpcore.training.schedules import factors_of
from bpcore.training.settings import Settings, TrainingState


class Timetable:
    """Everything about a run's steps that is known before it begins.

    learning_rates    each step's rate by the schedule (epochs * steps,); callbacks may scale them later
    table             the values that the device reads for each step of this run (steps, 3); see Control.table
    first_step        the number of steps made by earlier runs
    extra_steps       how many more steps those are than this data has in as many epochs
    """

    def __init__(self, settings: Settings, batches: BatchPlan, start: TrainingState) -> None:
        self._settings, self._batches = settings, batches
        factors = factors_of(settings.schedule, settings.epochs * batches.steps, batches.steps)
        steps_before = start.epoch * batches.steps
        self.learning_rates = settings.optimizer.learning_rate * factors
        self.table = settings.optimizer.table(factors[steps_before:], start.step)
        self.first_step = start.step
        self.extra_steps = start.step - steps_before

    def counters(self, epoch: int) -> np.ndarray:
        """Return the control block's counters for the beginning of an epoch, int64 (COUNTERS,)."""
        return self._batches.counters(
            step=epoch * self._batches.steps + self.extra_steps,
            first_step=self.first_step,
            epoch=epoch,
            seed=self._settings.seed,
            shuffle=self._settings.shuffle,
        )
