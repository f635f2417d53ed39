"""What goes through a data set without learning from it: evaluation, prediction, the confusion matrix.

Everything happens on the device, batch by batch: what comes of a pass is collected there and crosses to the host
once, at its end.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np

from bpcore.backends.base import Backend, Batch, Control, Samples
from bpcore.backends.feeding import Feed
from bpcore.backends.metering import bytes_of
from bpcore.kernels import counter
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.model.layer_stack import LayerStack
from bpcore.model.losses import Loss
from bpcore.training import placement
from bpcore.training.history import Evaluation
from bpcore.training.samples import batch_for

EVALUATION_BATCH = 1024
"""How many samples are evaluated at a time: nothing is learned in between, so a large batch is only faster."""

REPLAY_SECONDS = 0.05
"""How long the device may work before the host looks again: Ctrl-C and the progress bar wait no longer."""

COPIES_OF_A_RECORDING = 2
"""What a step writes is kept twice while its recording is made and tried out."""

STEPS_WORTH_RECORDING = 64
"""A pass that is made once is recorded from so many full batches on: recording and checking take about sixteen."""

Answer = Literal["output", "softmax", "sigmoid", "label", "yes_or_no"]


class Pass(ABC):
    """A data set in its own order, batch by batch through the same step: gather, work, advance.

    The buffers are made once, before the first pass. Full batches and the short last one are two steps, recorded as
    those of a training run.

    samples        on the host, or on the device already
    repeats        whether the pass will be made again and again, so that recording is worth it in any case
    answer_bytes   what the pass keeps on the device of each sample
    """

    control: Control
    feed: Feed

    def __init__(
        self, network: LayerStack, samples: Samples, batch_size: int, *, repeats: bool = False, answer_bytes: int = 0
    ) -> None:
        self.network, self.samples = network, samples
        self.backend = network.backend
        self.rows = samples.x.shape[0]
        self.batch_size = min(batch_size, self.rows)
        self.full_steps, self.short_rows = divmod(self.rows, self.batch_size)
        self.steps = self.full_steps + bool(self.short_rows)
        self.wish = placement.Wish("evaluated data", samples, self.batch_size, answer_bytes=answer_bytes)
        self._repeats = repeats
        self._records = repeats or self.full_steps >= STEPS_WORTH_RECORDING
        self._start = np.zeros(counter.COUNTERS, np.int64)
        self._start[counter.BATCH_SIZE] = self.batch_size
        self._start[counter.FIRST_BAD] = -1
        self._replay_steps = 1
        self._prepared = False

    def needs(self) -> dict[str, int]:
        """The bytes that this pass asks the device for, its data set apart."""
        network, size = self.network, self.batch_size
        buffers = bytes_of(lambda meter: batch_for(meter, self.samples, size, network.dtype), self.backend)
        buffers += network.bytes_for(size)
        return {
            "batch buffers": buffers,
            "losses": bytes_of(self._new_control, self.backend),
            "recording": COPIES_OF_A_RECORDING * buffers * self._records,
        }

    def prepare(self, feed: Feed) -> None:
        """Make the buffers. feed: of the samples."""
        backend, network = self.backend, self.network
        self.feed = feed
        self.control = self._new_control(backend)
        network.reserve(self.batch_size)
        full = batch_for(backend, self.samples, self.batch_size, network.dtype)
        short = full.rows(self.short_rows)
        self._run_full = self._runner(full, recorded=self._records)
        self._run_short = self._runner(short, recorded=self._repeats)
        self._prepared = True

    def _new_control(self, backend: Backend) -> Control:
        return backend.control(self.steps, self.network.dtype)

    def _runner(self, batch: Batch, *, recorded: bool) -> Callable[[int], None]:
        step = partial(self._step, batch)
        return self.backend.record(step, control=self.control) if recorded else partial(_plainly, step)

    @abstractmethod
    def work(self, batch: Batch) -> None:
        """What is done with each batch, on the device."""

    def run(self) -> None:
        """Go through the data set once."""
        if not self._prepared:
            self.prepare(*placement.feeds(self.backend, self.network.dtype, [self.wish], self.needs))
        try:
            self.feed.begin(self._start, self.control)
            batch = 0
            while batch < self.steps:
                stop = batch + self.feed.ready(batch)
                self._run_batches(batch, stop)
                self.collect(batch * self.batch_size, min(stop * self.batch_size, self.rows))
                batch = stop
        finally:
            self.feed.close()

    def collect(self, first: int, stop: int) -> None:  # noqa: B027 (most passes have nothing to collect)
        """The samples that lie on the device, with these numbers in the data set, have been gone through."""

    def _run_batches(self, batch: int, stop: int) -> None:
        full_stop = min(stop, self.full_steps)
        while batch < full_stop:
            began = time.perf_counter()
            steps = min(self._replay_steps, full_stop - batch)
            self._run_full(steps)
            self.backend.synchronize()
            seconds = time.perf_counter() - began
            self._replay_steps = max(1, int(steps * REPLAY_SECONDS / max(seconds, 1e-6)))
            batch += steps
        if batch < stop:
            self._run_short(1)

    def _step(self, batch: Batch) -> None:
        self.backend.gather(self.feed.samples, self.control, batch)
        self.work(batch)
        self.backend.advance(self.control)


class Evaluator(Pass):
    """Loss and accuracy of a network over a data set."""

    def __init__(
        self,
        network: LayerStack,
        samples: Samples,
        loss: Loss,
        batch_size: int = EVALUATION_BATCH,
        *,
        repeats: bool = False,
    ) -> None:
        self.loss = loss
        super().__init__(network, samples, batch_size, repeats=repeats)

    def work(self, batch: Batch) -> None:
        """The loss and the count of right answers, into the batch's slots."""
        self.network.loss_and_delta(batch, self.loss, self.control, training=False)

    def evaluate(self) -> Evaluation:
        """The mean loss and the share of right answers."""
        self.run()
        return read_slots(self.backend, self.control, self.steps, self.rows)


class Predictor(Pass):
    """What a network says of each sample, in one buffer (samples, ...) on the device beside the samples.

    answer   "output": the output of the last layer (samples, M); "softmax" or "sigmoid" of it; "label": the place
             of the largest, int64 (samples,); "yes_or_no": whether each is above zero, int64 (samples, M)
    """

    def __init__(
        self, network: LayerStack, samples: Samples, answer: Answer, batch_size: int, *, repeats: bool = False
    ) -> None:
        self.answer = answer
        self._columns = () if answer == "label" else (network.outputs,)
        self._dtype = np.dtype(np.int64) if answer in ("label", "yes_or_no") else network.dtype
        of_each = self._dtype.itemsize * math.prod(self._columns)
        super().__init__(network, samples, batch_size, repeats=repeats, answer_bytes=of_each)

    def prepare(self, feed: Feed) -> None:
        """As Pass.prepare, and the answers' buffers."""
        super().prepare(feed)
        backend, network = self.backend, self.network
        self._of_batch = backend.empty((self.batch_size, *self._columns), self._dtype)
        self._at_hand = backend.empty((feed.samples.x.shape[0], *self._columns), self._dtype)
        self._zeros = backend.full((network.outputs,), 0.0, network.dtype)

    def work(self, batch: Batch) -> None:
        """Forward, the answer from the output, and to its place among all answers."""
        backend, z = self.backend, self.network.forward(batch.x)
        said = self._of_batch[: z.shape[0]]
        match self.answer:
            case "output":
                said = z
            case "softmax":
                backend.softmax(z, said)
            case "sigmoid":
                backend.activate(z, self._zeros, ACTIVATIONS["sigmoid"], said, parameter=self._zeros)
            case "label":
                backend.argmax(z, said)
            case "yes_or_no":
                backend.above_zero(z, said)
        backend.scatter(said, self.control, self._at_hand)

    def predict(self) -> np.ndarray:
        """The answers on the host: one transfer where all samples lie on the device, else one a chunk."""
        self._collected: list[np.ndarray] = []
        self.run()
        return self._collected[0] if len(self._collected) == 1 else np.concatenate(self._collected)

    def collect(self, first: int, stop: int) -> None:
        """The answers that are there, to the host."""
        self._collected.append(self.backend.to_numpy(self._at_hand[: stop - first]))


class ConfusionCounter(Pass):
    """How many samples of each class were taken for which, int64 (classes, classes) on the device.

    samples have class labels for targets. A single output says 1 where it is above zero; of several the largest wins.
    """

    def prepare(self, feed: Feed) -> None:
        """As Pass.prepare, and the counts."""
        super().prepare(feed)
        classes = max(self.network.outputs, 2)
        self._predicted = self.backend.empty((self.batch_size,), np.int64)
        self._counts = self.backend.asarray(np.zeros((classes, classes), np.int64))

    def work(self, batch: Batch) -> None:
        """Forward, the label from the output, and one more for each pair."""
        z = self.network.forward(batch.x)
        predicted = self._predicted[: z.shape[0]]
        if self.network.outputs == 1:
            self.backend.above_zero(z, predicted.reshape(z.shape))
        else:
            self.backend.argmax(z, predicted)
        self.backend.confusion(predicted, batch.targets, self._counts)

    def count(self) -> np.ndarray:
        """The counts on the host: row the true class, column the predicted one."""
        self.run()
        return self.backend.to_numpy(self._counts)


def read_slots(backend: Backend, control: Control, slots: int, samples: int) -> Evaluation:
    """Add up the first slots of a control block, in float64."""
    if slots == 0:
        return Evaluation(float("nan"), float("nan"))
    losses = backend.to_numpy(control.losses)[:slots].astype(np.float64)
    totals = backend.to_numpy(control.totals)[:slots].astype(np.float64)
    correct = backend.to_numpy(control.correct)[:slots]
    return Evaluation(float(np.average(losses, weights=totals)), float(correct.sum()) / samples)


def _plainly(step: Callable[[], None], times: int) -> None:
    """The step as it is, so many times."""
    for _ in range(times):
        step()
