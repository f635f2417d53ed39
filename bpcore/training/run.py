"""A training run: its buffers, its position, and what callbacks may read and call.

The loop that drives it is in loop.py; the step that it runs is in step.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from bpcore.backends.arrays import Array
from bpcore.backends.feeding import Feed
from bpcore.backends.samples import Batch, Samples
from bpcore.errors import InputError
from bpcore.model.layer_stack import LayerStack
from bpcore.training import placement
from bpcore.training.batches import BatchPlan
from bpcore.training.buffers import RunBuffers, with_validation
from bpcore.training.evaluation import Evaluator, read_slots
from bpcore.training.history import Evaluation
from bpcore.training.replay import BatchSteps, Pace, Replay
from bpcore.training.settings import NOTHING_ASKED, Asked, Settings, TrainingState
from bpcore.training.snapshots import Moment
from bpcore.training.step import TrainingStep
from bpcore.training.timetable import Timetable


class Run:
    """A training run of a network. Callbacks receive it and may read these attributes:

    network, samples, validation    as given; samples may be on the host or on the device
    settings, history               how the run trains, and what it has measured
    epoch, batch                    how many epochs have been trained, and how many batches of the next one
    batch_size, steps_per_epoch     for these samples; `batches` has more
    learning_rates                  each step's rate by the schedule; learning_rate_scale is a factor on all of them
    control, state, feed            the control block, the optimizer's state, and the feed of samples to the device
    stopped                         why the run ends early; empty if it does not
    restore_best                    whether the weights of `keep_best` are restored at the end; callbacks may set it

    asked: the callbacks' requests. start: the state of an earlier run, whose weights the network must have;
    settings.epochs counts from that run's first epoch.
    """

    def __init__(
        self,
        network: LayerStack,
        samples: Samples,
        settings: Settings,
        validation: Samples | None = None,
        asked: Asked = NOTHING_ASKED,
        start: TrainingState | None = None,
    ) -> None:
        self.network, self.backend = network, network.backend
        self.samples, self.validation, self._asked = samples, validation, asked
        self.batches = BatchPlan(samples.x.shape[0], settings.batch_size)
        self.batch_size, self.steps_per_epoch = self.batches.batch_size, self.batches.steps
        start = start or TrainingState()
        self._begin_at(start, settings)
        _require_trainable(network)

        self.evaluator = None if validation is None else Evaluator(network, validation, settings.loss, repeats=True)
        self.buffers = RunBuffers(
            network, samples, settings, self.batches, self.timetable.table, keeps_best=asked.keeps_best
        )
        self.feed, *of_validation = self._feeds()
        self.buffers.allocate()
        self.control, self.state, self._snapshots = self.buffers.control, self.buffers.state, self.buffers.snapshots
        network.begin_learning()
        self.step = TrainingStep(network, self.feed, settings.loss, settings.optimizer, self.control, self.state)
        self._steps = BatchSteps(self.batches, *map(self._recorded, (self.buffers.full, self.buffers.short)))
        self.pace = Pace()
        self._write(start)
        if self.evaluator is not None:
            self.evaluator.prepare(*of_validation)

    def _begin_at(self, start: TrainingState, settings: Settings) -> None:
        """Set the host's attributes of a run that begins in this state."""
        start.check(self.network, settings)
        self.settings = settings
        self.timetable = Timetable(settings, self.batches, start)
        self.learning_rates = self.timetable.learning_rates
        self.history = start.history.first(len(start.history))
        self.epoch, self.batch = start.epoch, 0
        self.stopped = ""
        self.restore_best = False

    def _write(self, start: TrainingState) -> None:
        """Write this state to the device."""
        self.scale_learning_rate(start.learning_rate_scale)
        if start.optimizer is not None:
            self.backend.write(start.optimizer, self.state)
        self._snapshots.begin_with(start.best, self._moment())

    def _feeds(self) -> list[Feed]:
        """Make a feed for the samples, and one for the validation samples if there are any."""
        wishes = [placement.Wish("training data", self.samples, self.batch_size, self.settings.resident)]
        wishes += [] if self.evaluator is None else [self.evaluator.wish]
        return placement.feeds(self.backend, self.network.dtype, wishes, self._needs)

    def _needs(self) -> Mapping[str, int]:
        needs = self.buffers.needs()
        return needs if self.evaluator is None else with_validation(needs, self.evaluator.needs())

    def _recorded(self, batch: Batch) -> Replay:
        """Return a replay of the step with these buffers, which is recorded when it first runs."""
        step, keeps_gradients = partial(self.step, batch), self._asked.reads_gradients
        return self.backend.record(step, control=self.control, keeps_gradients=keeps_gradients)

    # --- steps ----------------------------------------------------------------------------------------------

    def begin_epoch(self, epoch: int) -> None:
        """Set the counters to the first step of an epoch."""
        another = epoch + 1 < self.settings.epochs
        self.feed.begin(self.timetable.counters(epoch), self.control, another=another)
        self.batch = 0

    def run_steps(self, most: int) -> int:
        """Run up to `most` steps, on full batches or on the short one; returns the number of steps."""
        steps = self._steps.run(self.batch, min(most, self.feed.ready(self.batch)))
        self.batch += steps
        return steps

    def rewind(self, step: int) -> None:
        """Restore the weights from before this step: go back to the nearest snapshot and repeat the steps after it."""
        moment = self._snapshots.bring_back(step // self.steps_per_epoch)
        self.scale_learning_rate(moment.learning_rate_scale)
        self.begin_epoch(moment.epoch)
        last = step - moment.epoch * self.steps_per_epoch
        while self.batch < last:
            self.run_steps(last - self.batch)

    def learning_rate_at(self, step: int) -> float:
        """Return the learning rate of a step, with the current scale."""
        return float(self.learning_rates[step]) * self.learning_rate_scale

    def counters(self) -> np.ndarray:
        """Return the counters of the control block, on the host."""
        return self.backend.to_numpy(self.control.counters)

    # --- what callbacks may call ----------------------------------------------------------------------------

    def stop(self, reason: str) -> None:
        """End the run after the current replay, for this reason."""
        self.stopped = self.stopped or reason

    def keep_best(self) -> None:
        """Keep a copy of the current weights, which is restored at the end if `restore_best` is set."""
        if self._snapshots.best is None:
            raise InputError("a callback that calls run.keep_best() must set keeps_best = True")
        self._snapshots.take(self._moment(), self._snapshots.best)

    def scale_learning_rate(self, factor: float) -> None:
        """Multiply the schedule's learning rates by this factor, from the next step on."""
        self.learning_rate_scale = factor
        self.backend.write(np.array([factor]), self.control.scale)

    def running(self) -> Evaluation:
        """Return the loss and accuracy over the epoch so far."""
        return read_slots(self.backend, self.control, self.batch, self.batches.rows_before(self.batch))

    def training_state(self) -> TrainingState:
        """Return the state between two epochs, from which another run can continue with the network's weights."""
        return self._state_at(self._moment(), self.state)

    def last_boundary(self) -> tuple[dict[str, np.ndarray], TrainingState]:
        """Return the weights by name and the state at the last boundary between epochs, to resume from.

        That is the beginning of the current epoch or, after the last epoch, its end. Do not call it before the first
        `on_progress`.
        """
        last, views = self._snapshots.last, self.network.parameters.views
        assert last.moment is not None, "the first snapshot is taken after on_begin"
        weights = {name: np.array(self.backend.to_numpy(view.within(last.params))) for name, view in views.items()}
        return weights, self._state_at(last.moment, last.state)

    # --- snapshots ------------------------------------------------------------------------------------------

    def keep_boundary(self) -> None:
        """Take a snapshot of this boundary between two epochs."""
        self._snapshots.keep(self._moment())

    def bring_back_best(self) -> None:
        """Restore the weights that `keep_best` kept, if any."""
        best = self._snapshots.best_params()
        if best is not None:
            self.backend.copy(best, self.network.parameters.params)

    def _moment(self) -> Moment:
        return Moment(self.epoch, self.learning_rate_scale, len(self.history))

    def _state_at(self, moment: Moment, state: Array) -> TrainingState:
        """Return the training state of that moment; state: the optimizer's (states, P), on the device."""
        best, to_numpy = self._snapshots.best_params(), self.backend.to_numpy
        return TrainingState(
            moment.epoch,
            moment.epoch * self.steps_per_epoch + self.timetable.extra_steps,
            np.array(to_numpy(state)),
            moment.learning_rate_scale,
            self.history.first(moment.measured),
            None if best is None else np.array(to_numpy(best)),
        )

    # --- another run with the same buffers ------------------------------------------------------------------

    def can_begin_again(self, settings: Settings, asked: Asked, start: TrainingState) -> bool:
        """Whether another run can use these buffers and recordings, with new contents in the samples' arrays.

        It can if only the schedule and the number of epochs so far differ, and the callbacks' requests are the same.
        """
        alike = replace(settings, schedule=self.settings.schedule, epochs=self.settings.epochs) == self.settings
        as_many = (settings.epochs - start.epoch) * self.steps_per_epoch == len(self.timetable.table)
        return alike and as_many and asked == self._asked and start.optimizer is not None

    def begin_again(self, settings: Settings, start: TrainingState) -> None:
        """Become that run, starting from the network's current weights.

        This is for many short runs: recording a step takes as long as dozens of steps.
        """
        self._begin_at(start, settings)
        self.backend.write(self.timetable.table, self.control.table)
        self._write(start)


def _require_trainable(network: LayerStack) -> None:
    """Raise InputError if no parameter learns."""
    views = network.parameters.views
    if not any(view.trainable for view in views.values()):
        frozen = "every parameter is frozen; network.unfreeze(...) lets some learn again"
        raise InputError(f"there is nothing to learn: {frozen if views else 'no layer has parameters'}")
