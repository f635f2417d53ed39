"""The training loop: gather, forward, loss, backward, update, step after step, all on the device.

What the host does stands between the steps: callbacks, validation, progress, Ctrl-C. It reads nothing from the
device but the control block, at most every 50 ms.
"""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from types import FrameType
from typing import NamedTuple, Self

import numpy as np

from bpcore.backends.base import Array, Backend, Batch, Control, Samples
from bpcore.backends.metering import bytes_of
from bpcore.errors import BpcoreError, InputError
from bpcore.kernels import counter
from bpcore.model.layer_stack import LayerStack
from bpcore.model.layers import Layer
from bpcore.model.losses import Loss
from bpcore.training import placement
from bpcore.training.callbacks import Callback
from bpcore.training.evaluation import COPIES_OF_A_RECORDING, REPLAY_SECONDS, Evaluator, read_slots
from bpcore.training.history import Evaluation, History
from bpcore.training.optimizers import Optimizer
from bpcore.training.samples import batch_for
from bpcore.training.schedules import Schedule, factors_of

STOPPED_BY_CTRL_C = "stopped by Ctrl-C"


class NonFiniteLossError(BpcoreError, ArithmeticError):
    """The loss became infinite or NaN; the network holds the last weights that gave a finite loss."""


@dataclass(frozen=True)
class Settings:
    """How to train; Network.fit says what each means."""

    loss: Loss
    optimizer: Optimizer
    schedule: Schedule
    epochs: int
    batch_size: int
    seed: int
    shuffle: bool = True
    classifies: bool = True
    """Whether the count of right answers means something."""
    resident: bool | None = None
    """Whether the training data must lie on the device (True) or be streamed (False); None: where it fits."""


@dataclass
class Snapshot:
    """Weights and optimizer state on the device, the step they stand at (-1: none yet), and the rate's scale.

    epochs: how many the history had.
    """

    params: Array
    state: Array
    step: int = -1
    learning_rate_scale: float = 1.0
    epochs: int = 0


@dataclass(frozen=True)
class TrainingState:
    """Where a run stands between two epochs, on the host: beside the weights, what a run needs to begin there.

    epoch, step            how many of each came before
    optimizer              the optimizer's state (rule.states, P); None: it has none yet
    learning_rate_scale    what callbacks have multiplied the learning rate by
    history                of the epochs that came before, as far as they are known
    best                   the parameters (P,) that a callback has kept as the best; None: none yet
    """

    epoch: int = 0
    step: int = 0
    optimizer: np.ndarray | None = None
    learning_rate_scale: float = 1.0
    history: History = field(default_factory=History)
    best: np.ndarray | None = None


class _Asked(NamedTuple):
    """What the callbacks of a run ask of it."""

    keeps_best: bool
    reads_gradients: bool

    @classmethod
    def by(cls, callbacks: Sequence[Callback]) -> Self:
        """Any of them."""
        return cls(any(one.keeps_best for one in callbacks), any(one.reads_gradients for one in callbacks))


class Run:
    """One training run: the buffers, the step, and the loop over epochs.

    samples and validation lie on the host or on the device already; the feeds bring them to the steps. start: of a run
    that goes on where another one stood, with that one's weights in the network; settings.epochs counts from the first.
    Callbacks may read everything here, and call `stop`, `keep_best` and `scale_learning_rate`.
    """

    def __init__(
        self,
        network: LayerStack,
        samples: Samples,
        settings: Settings,
        validation: Samples | None = None,
        callbacks: Sequence[Callback] = (),
        start: TrainingState | None = None,
    ) -> None:
        self.network, self.samples = network, samples
        self.validation = validation
        self.backend = backend = network.backend
        count = samples.x.shape[0]
        self.batch_size = min(settings.batch_size, count)
        self.full_steps, self.short_rows = divmod(count, self.batch_size)
        self.steps_per_epoch = self.full_steps + bool(self.short_rows)
        start = start or TrainingState()
        self._begin_at(start, settings, callbacks)

        dtype, parameters = network.dtype, network.parameters
        segments = parameters.segments()
        if not len(segments):
            frozen = "every parameter is frozen; network.unfreeze(...) lets some learn again"
            raise InputError(f"there is nothing to learn: {frozen if parameters.views else 'no layer has parameters'}")
        self._bounds = [
            (view, view.max_weight_norm, backend.empty(view.value.shape[1:], dtype))
            for view in parameters.views.values()
            if view.trainable and view.max_weight_norm is not None
        ]
        self._evaluator = None if validation is None else Evaluator(network, validation, settings.loss, repeats=True)
        wishes = [placement.Wish("training data", samples, self.batch_size, settings.resident)]
        wishes += [] if self._evaluator is None else [self._evaluator.wish]
        self.feed, *of_validation = placement.feeds(backend, dtype, wishes, self._needs)
        self._allocate(segments)
        self._bring(start)
        if self._evaluator is not None:
            self._evaluator.prepare(*of_validation)

    def _allocate(self, segments: np.ndarray) -> None:
        """All buffers on the device, and the two steps, of full batches and the short one; neither is run yet."""
        network, settings, backend, dtype = self.network, self.settings, self.backend, self.network.dtype
        network.reserve(self.batch_size)
        network.begin_learning()
        self.control = self._new_control(backend)
        self.state = backend.full((settings.optimizer.rule.states, *network.parameters.params.shape), 0.0, dtype)
        self.segments = backend.asarray(segments)
        self.rule_settings = backend.asarray(settings.optimizer.settings(), dtype)
        self._squares = backend.full((8, 8), 0.0, dtype)
        self._full = batch_for(backend, self.samples, self.batch_size, dtype)
        self._short = self._full.rows(self.short_rows)
        self._run_full, self._run_short = (
            backend.record(
                partial(self._step, batch),
                control=self.control,
                keeps_gradients=self._asked.reads_gradients,
            )
            for batch in (self._full, self._short)
        )
        self._replay_steps = 1
        self._snapshots = [self._new_snapshot(), self._new_snapshot()]
        self._best = self._new_snapshot() if self._asked.keeps_best else None

    def _begin_at(self, start: TrainingState, settings: Settings, callbacks: Sequence[Callback]) -> None:
        """What the host knows of where a run begins."""
        _check_start(start, self.network, settings)
        self.settings, self.callbacks, self._asked = settings, callbacks, _Asked.by(callbacks)
        self.history = start.history.first(len(start.history))
        self.epoch = start.epoch
        self.batch = 0
        self.first_step = start.step
        self.extra_steps = start.step - start.epoch * self.steps_per_epoch  # not zero if earlier epochs had more
        self.stopped = ""
        self.restore_best = False
        factors = factors_of(settings.schedule, settings.epochs * self.steps_per_epoch, self.steps_per_epoch)
        self.learning_rates = settings.optimizer.learning_rate * factors
        self._rates = settings.optimizer.table(factors[start.epoch * self.steps_per_epoch :], start.step)

    def _bring(self, start: TrainingState) -> None:
        """What the device needs of it."""
        self.scale_learning_rate(start.learning_rate_scale)
        if start.optimizer is not None:
            self.backend.write(start.optimizer, self.state)
        if self._best is not None and start.best is not None:
            self.backend.write(start.best, self._best.params)
            self._best.step = start.epoch * self.steps_per_epoch

    def _new_control(self, backend: Backend) -> Control:
        return backend.control(self.steps_per_epoch, self.network.dtype, table=self._rates, seed=self.settings.seed)

    def _needs(self) -> Mapping[str, int]:
        """The bytes that this run asks the device for, its data sets apart."""
        network, dtype, states = self.network, self.network.dtype, self.settings.optimizer.rule.states
        params = network.parameters.params.size * dtype.itemsize
        bounded = sum(view.size for view, *_ in self._bounds) * dtype.itemsize
        snapshots = 2 + self._asked.keeps_best
        batches = bytes_of(lambda meter: batch_for(meter, self.samples, self.batch_size, dtype), self.backend)
        batches += network.bytes_for(self.batch_size)
        needs = {
            "optimizer state": states * params,
            "snapshots": snapshots * (1 + states) * params,
            "batch buffers": batches,
            "learning rates and losses": bytes_of(self._new_control, self.backend),
            "recording": COPIES_OF_A_RECORDING * ((2 + states) * params + bounded + batches),
        }
        if self._evaluator is None:
            return needs
        of_validation = self._evaluator.needs()
        recording = max(needs["recording"], of_validation["recording"])  # one after the other
        return Counter(needs) + Counter(of_validation) | {"recording": recording}

    # --- the step, and the loop ---------------------------------------------------------------------------

    def _step(self, batch: Batch) -> None:
        """One mini-batch: everything between here and the next step happens on the device."""
        backend, network, control = self.backend, self.network, self.control
        backend.gather(self.feed.samples, control, batch)
        delta = network.loss_and_delta(batch, self.settings.loss, control, training=True)
        network.backward(delta)
        self.update(network.parameters.params, self.state, control)
        backend.advance(control)

    def update(self, params: Array, state: Array, control: Control) -> None:
        """The optimizer's update of parameters (P,) and its state (states, P), by the gradients of this step.

        A unit whose incoming weights are then longer than its layer's max_weight_norm is scaled back to that.
        """
        backend, optimizer, parameters = self.backend, self.settings.optimizer, self.network.parameters
        if optimizer.penalty:
            backend.penalize(parameters.weights, self.rule_settings, control, self._squares)
        if optimizer.max_norm is not None:
            backend.global_norm(parameters.grads, self.segments, control)
        backend.update(optimizer.rule, params, parameters.grads, state, self.segments, self.rule_settings, control)
        for view, limit, factors in self._bounds:
            backend.limit_columns(view.within(params), limit, factors)

    def train(self) -> History:
        """Run to the last epoch, or until someone stops it."""
        # A loss that is not finite is noticed by the control block; NumPy need not warn of it as well.
        with _interrupts(lambda: self.stop(STOPPED_BY_CTRL_C)), np.errstate(all="ignore"):
            self._tell("on_begin")
            self._keep_snapshot()
            try:
                while self.epoch < self.settings.epochs and not self.stopped:
                    self._train_epoch()
                    if self.batch == self.steps_per_epoch:
                        self._tell("on_epoch_end")
                        self._keep_snapshot()
                if self.restore_best and self._best is not None and self._best.step >= 0:
                    self.backend.copy(self._best.params, self.network.parameters.params)
            finally:
                self.feed.close()
                self.history.stopped = self.stopped
                self._tell("on_end")
        return self.history

    def _train_epoch(self) -> None:
        began = time.perf_counter()
        self.begin_epoch(self.epoch)
        while self.batch < self.steps_per_epoch and not self.stopped:
            replay_began = time.perf_counter()
            steps = self.run_steps(min(self._replay_steps, self._until_asked()))
            if self.counters()[counter.FIRST_BAD] >= 0:
                self._raise_non_finite()
            seconds = time.perf_counter() - replay_began
            self._replay_steps = max(1, int(steps * REPLAY_SECONDS / max(seconds, 1e-6)))
            self._tell("on_progress")
        if self.batch == self.steps_per_epoch:
            self._record_epoch(time.perf_counter() - began)
            self.epoch += 1

    def begin_epoch(self, epoch: int) -> None:
        """Set the counters to the first step of an epoch."""
        counters = np.zeros(counter.COUNTERS, np.int64)
        counters[counter.STEP] = epoch * self.steps_per_epoch + self.extra_steps
        counters[counter.FIRST_STEP] = self.first_step
        counters[counter.EPOCH] = epoch
        counters[counter.BATCH_SIZE] = self.batch_size
        counters[counter.SEED] = self.settings.seed
        counters[counter.SHUFFLE] = self.settings.shuffle
        counters[counter.FIRST_BAD] = -1
        self.feed.begin(counters, self.control, another=epoch + 1 < self.settings.epochs)
        self.batch = 0

    def run_steps(self, wanted: int) -> int:
        """Run up to `wanted` steps of one kind, full batches or the short one; returns how many."""
        full_left = self.full_steps - self.batch
        steps = min(wanted, full_left or 1, self.feed.ready(self.batch))
        (self._run_full if full_left > 0 else self._run_short)(steps)
        self.batch += steps
        return steps

    def _until_asked(self) -> int:
        """How many steps until a callback wants to look, by its `every`."""
        done = self.epoch * self.steps_per_epoch + self.batch
        asked = [callback.every - done % callback.every for callback in self.callbacks if callback.every]
        return min(asked, default=int(self.steps_per_epoch))

    def _record_epoch(self, seconds: float) -> None:
        samples = self.samples.x.shape[0]
        result = read_slots(self.backend, self.control, self.steps_per_epoch, samples)
        row = {
            "loss": result.loss,
            **({"accuracy": result.accuracy} if self.settings.classifies else {}),
            "learning_rate": float(self.learning_rates[self.epoch * self.steps_per_epoch + self.batch - 1])
            * self.learning_rate_scale,
            "seconds": seconds,
            "samples_per_second": samples / seconds,
        }
        if self._evaluator is not None:
            validation = self._evaluator.evaluate()
            row["val_loss"] = validation.loss
            if self.settings.classifies:
                row["val_accuracy"] = validation.accuracy
        self.history.append(row)

    # --- another run with the same buffers ---------------------------------------------------------------

    def can_begin_again(self, settings: Settings, callbacks: Sequence[Callback], start: TrainingState) -> bool:
        """Whether its buffers and recordings would do for another run, on what its samples' arrays hold by then.

        That is so where no more than the schedule and the counts of epochs differ, as many epochs are to be made, and
        the callbacks ask for the same.
        """
        alike = replace(settings, schedule=self.settings.schedule, epochs=self.settings.epochs) == self.settings
        as_many = (settings.epochs - start.epoch) * self.steps_per_epoch == len(self._rates)
        return alike and as_many and _Asked.by(callbacks) == self._asked and start.optimizer is not None

    def begin_again(self, settings: Settings, callbacks: Sequence[Callback], start: TrainingState) -> None:
        """Be that run, with the network's weights as they are; `train` makes it.

        For many short runs: to record a step takes as long as some dozens of steps.
        """
        self._begin_at(start, settings, callbacks)
        self.backend.write(self._rates, self.control.table)
        for snapshot in (*self._snapshots, *([] if self._best is None else [self._best])):
            snapshot.step = -1
        self._bring(start)

    # --- what callbacks may call --------------------------------------------------------------------------

    def stop(self, reason: str) -> None:
        """End the run after the step at hand."""
        self.stopped = self.stopped or reason

    def keep_best(self) -> None:
        """Remember the weights as they are now; they come back at the end where `restore_best` is set."""
        if self._best is None:
            raise InputError("a callback that calls run.keep_best() must set keeps_best = True")
        self._take(self._best)

    def scale_learning_rate(self, factor: float) -> None:
        """From the next step on the schedule's learning rates are multiplied by `factor`."""
        self.learning_rate_scale = factor
        self.backend.write(np.array([factor]), self.control.scale)

    def training_state(self) -> TrainingState:
        """Where the run stands, between two epochs; another Run can begin there."""
        here = Snapshot(self.network.parameters.params, self.state)
        self._mark(here)
        return self._on_host(here)

    def last_boundary(self) -> tuple[dict[str, np.ndarray], TrainingState]:
        """Weights by name, and where the run stood, between the last two epochs: a run that is cut off goes on there.

        That is the beginning of the epoch at hand; after the last epoch, its end. Not before `on_progress`.
        """
        kept, views = self._snapshots[0], self.network.parameters.views
        weights = {name: np.array(self.backend.to_numpy(view.within(kept.params))) for name, view in views.items()}
        return weights, self._on_host(kept)

    def _on_host(self, snapshot: Snapshot) -> TrainingState:
        best = self._best if self._best is not None and self._best.step >= 0 else None
        return TrainingState(
            snapshot.step // self.steps_per_epoch,
            snapshot.step + self.extra_steps,
            np.array(self.backend.to_numpy(snapshot.state)),
            snapshot.learning_rate_scale,
            self.history.first(snapshot.epochs),
            None if best is None else np.array(self.backend.to_numpy(best.params)),
        )

    def running(self) -> Evaluation:
        """Loss and accuracy over the epoch so far."""
        done = min(self.batch * self.batch_size, self.samples.x.shape[0])
        return read_slots(self.backend, self.control, self.batch, done)

    def counters(self) -> np.ndarray:
        """The counters of the control block, on the host."""
        return self.backend.to_numpy(self.control.counters)

    def _tell(self, event: str) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self)

    # --- a loss that is not finite ------------------------------------------------------------------------

    def _new_snapshot(self) -> Snapshot:
        params = self.network.parameters.params
        return Snapshot(
            self.backend.empty(params.shape, params.dtype), self.backend.empty(self.state.shape, params.dtype)
        )

    def _take(self, snapshot: Snapshot) -> None:
        self.backend.copy(self.network.parameters.params, snapshot.params)
        self.backend.copy(self.state, snapshot.state)
        self._mark(snapshot)

    def _mark(self, snapshot: Snapshot) -> None:
        snapshot.step = self.epoch * self.steps_per_epoch
        snapshot.learning_rate_scale = self.learning_rate_scale
        snapshot.epochs = len(self.history)

    def _keep_snapshot(self) -> None:
        """Between two epochs: remember where the run stands, beside where it stood an epoch ago."""
        self._take(self._snapshots[1])
        self._snapshots.reverse()

    def _rewind(self, step: int) -> None:
        """Bring back the weights as they were before `step`: the nearest snapshot, and the same steps again."""
        snapshot = next(kept for kept in self._snapshots if 0 <= kept.step <= step)
        self.backend.copy(snapshot.params, self.network.parameters.params)
        self.backend.copy(snapshot.state, self.state)
        self.scale_learning_rate(snapshot.learning_rate_scale)
        self.begin_epoch(snapshot.step // self.steps_per_epoch)
        while self.batch < step - snapshot.step:
            self.run_steps(step - snapshot.step - self.batch)

    def _raise_non_finite(self) -> None:
        """Name the step and the layer, leave the last weights that gave a finite loss, and raise."""
        bad = int(self.counters()[counter.FIRST_BAD]) - self.extra_steps
        epoch, batch = divmod(bad, self.steps_per_epoch)
        self._rewind(bad)
        layer = self._first_non_finite_layer(self._full if batch < self.full_steps else self._short)
        self._rewind(max(bad - 1, self.first_step - self.extra_steps))
        raise NonFiniteLossError(
            f"the loss is not finite at epoch {epoch + 1}, step {batch + 1} of {self.steps_per_epoch}, first in "
            f"{layer}, with learning rate {self.learning_rates[bad] * self.learning_rate_scale:.6g}; the network "
            f"keeps the last good weights; try a smaller learning rate, or clip the gradient (max_norm=1)"
        )

    def _first_non_finite_layer(self, batch: Batch) -> str:
        self.feed.ready(self.batch)
        self.backend.gather(self.feed.samples, self.control, batch)
        self.network.parameters.round_weights()
        return self._first_non_finite([self.network.layers], batch.x) or "the loss"

    def _first_non_finite(self, paths: Sequence[Sequence[Layer]], x: Array) -> str:
        """The first layer on these ways from x with an output that is not finite; of a block, the first such in it."""
        place = 0
        for path in paths:
            above = x
            for layer in path:
                place += 1
                below, above = above, layer.forward(above, self.control)
                if not np.isfinite(self.backend.to_numpy(above)).all():
                    inside = self._first_non_finite(layer.paths, below)
                    return f"layer {place} ({layer.describe()})" + (f", in it {inside}" if inside else "")
        return ""


def _check_start(start: TrainingState, network: LayerStack, settings: Settings) -> None:
    """One clear line where a run cannot begin there."""
    if start.epoch >= settings.epochs:
        raise InputError(
            f"epochs={settings.epochs}, but the run is to begin after {start.epoch}; epochs counts from the first"
        )
    shape = (settings.optimizer.rule.states, *network.parameters.params.shape)
    if start.optimizer is not None and start.optimizer.shape != shape:
        raise InputError(
            f"the training state holds {start.optimizer.shape} numbers; this network with this optimizer has {shape}"
        )
    if start.best is not None and start.best.shape != shape[1:]:
        raise InputError(f"the best weights are {start.best.shape} numbers; this network has {shape[1:]}")


@contextmanager
def _interrupts(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C once asks the run to end; a second time it interrupts at once. Main thread only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.getsignal(signal.SIGINT)

    def ask(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, previous)
        stop()

    signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
