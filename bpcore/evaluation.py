"""What goes through a data set without learning from it: evaluation, prediction, the confusion matrix.

Everything happens on the device, batch by batch: what comes of a pass is collected there and crosses to the host
once, at its end.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np

from bpcore.backends.base import Backend, Batch, Control, Samples
from bpcore.history import Evaluation
from bpcore.kernels import counter
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.losses import Loss
from bpcore.network import LayerStack
from bpcore.samples import batch_for

EVALUATION_BATCH = 1024
"""How many samples are evaluated at a time: nothing is learned in between, so a large batch is only faster."""

REPLAY_SECONDS = 0.05
"""How long the device may work before the host looks again: Ctrl-C and the progress bar wait no longer."""

STEPS_WORTH_RECORDING = 64
"""A pass that is made once is recorded from so many full batches on: recording and checking take about sixteen."""

Answer = Literal["output", "softmax", "sigmoid", "label", "yes_or_no"]


class Pass(ABC):
    """A data set in its own order, batch by batch through the same step: gather, work, advance.

    The buffers are made once. Full batches and the short last one are two steps, recorded as those of a training run.
    repeats: whether the pass will be made again and again, so that recording is worth it in any case.
    """

    def __init__(self, network: LayerStack, samples: Samples, batch_size: int, *, repeats: bool = False) -> None:
        self.network, self.samples = network, samples
        self.backend = backend = network.backend
        self.rows = samples.x.shape[0]
        self.batch_size = min(batch_size, self.rows)
        self.full_steps, self.short_rows = divmod(self.rows, self.batch_size)
        self.steps = self.full_steps + bool(self.short_rows)
        self.control = backend.control(self.steps, network.dtype)
        self._start = np.zeros(counter.COUNTERS, np.int64)
        self._start[counter.BATCH_SIZE] = self.batch_size
        self._start[counter.FIRST_BAD] = -1
        self._replay_steps = 1
        network.reserve(self.batch_size)
        full = batch_for(backend, samples, self.batch_size, network.dtype)
        short = full.rows(self.short_rows)
        record_full = repeats or self.full_steps >= STEPS_WORTH_RECORDING
        self._run_full = self._runner(full, recorded=record_full)
        self._run_short = self._runner(short, recorded=repeats)

    def _runner(self, batch: Batch, *, recorded: bool) -> Callable[[int], None]:
        step = partial(self._step, batch)
        return self.backend.record(step, control=self.control) if recorded else partial(_plainly, step)

    @abstractmethod
    def work(self, batch: Batch) -> None:
        """What is done with each batch, on the device."""

    def run(self) -> None:
        """Go through the data set once."""
        self.backend.write(self._start, self.control.counters)
        left = self.full_steps
        while left > 0:
            began = time.perf_counter()
            steps = min(self._replay_steps, left)
            self._run_full(steps)
            self.backend.synchronize()
            seconds = time.perf_counter() - began
            self._replay_steps = max(1, int(steps * REPLAY_SECONDS / max(seconds, 1e-6)))
            left -= steps
        if self.short_rows:
            self._run_short(1)

    def _step(self, batch: Batch) -> None:
        self.backend.gather(self.samples, self.control, batch)
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
    """What a network says of each sample, in one buffer (samples, ...) on the device beside the data set.

    answer   "output": the output of the last layer (samples, M); "softmax" or "sigmoid" of it; "label": the place
             of the largest, int64 (samples,); "yes_or_no": whether each is above zero, int64 (samples, M)
    """

    def __init__(self, network: LayerStack, samples: Samples, answer: Answer, batch_size: int) -> None:
        super().__init__(network, samples, batch_size)
        self.answer = answer
        columns = () if answer == "label" else (network.outputs,)
        dtype = np.int64 if answer in ("label", "yes_or_no") else network.dtype
        self._of_batch = self.backend.empty((self.batch_size, *columns), dtype)
        self._of_all = self.backend.empty((self.rows, *columns), dtype)
        self._zeros = self.backend.full((network.outputs,), 0.0, network.dtype)

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
        backend.scatter(said, self.control, self._of_all)

    def predict(self) -> np.ndarray:
        """The answers on the host: all in one transfer."""
        self.run()
        return self.backend.to_numpy(self._of_all)


class ConfusionCounter(Pass):
    """How many samples of each class were taken for which, int64 (classes, classes) on the device.

    samples have class labels for targets. A single output says 1 where it is above zero; of several the largest wins.
    """

    def __init__(self, network: LayerStack, samples: Samples, batch_size: int) -> None:
        super().__init__(network, samples, batch_size)
        classes = max(network.outputs, 2)
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
