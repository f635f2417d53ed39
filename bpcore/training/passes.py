"""A pass goes through a data set once, batch by batch, without training.

Evaluation (evaluation.py) and prediction (prediction.py) are passes. Results are collected on the device and copied to
the host at the end.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from functools import partial

from bpcore.backends.base import Backend
from bpcore.backends.control import Control
from bpcore.backends.feeding import Feed
from bpcore.backends.memory_meter import bytes_of
from bpcore.backends.samples import Batch, Samples
from bpcore.model.layer_stack import LayerStack
from bpcore.training import placement
from bpcore.training.batches import BatchPlan, batch_for
from bpcore.training.replay import COPIES_OF_A_RECORDING, BatchSteps, Pace, Replay, in_python

EVALUATION_BATCH = 1024
"""The default batch size of a pass. Without training, the batch size affects only speed."""

STEPS_WORTH_RECORDING = 64
"""A single pass is recorded if it has this many full batches: recording takes as long as about sixteen steps."""


class Pass(ABC):
    """Takes a data set in its stored order through one step per batch: gather, work, advance.

    The buffers are made once, before the first pass. As in a training run, the step for full batches and the step for
    the short last one are recorded separately.

    samples        on the host or on the device
    repeats        whether the pass will run several times; then it is always recorded
    answer_bytes   the bytes that the pass keeps on the device for each sample
    """

    control: Control
    feed: Feed

    def __init__(
        self, network: LayerStack, samples: Samples, batch_size: int, *, repeats: bool = False, answer_bytes: int = 0
    ) -> None:
        self.network, self.backend, self.samples = network, network.backend, samples
        self.batches = BatchPlan(samples.x.shape[0], batch_size)
        self.batch_size = self.batches.batch_size
        self.wish = placement.Wish("evaluated data", samples, self.batch_size, answer_bytes=answer_bytes)
        self._repeats = repeats
        self._records = repeats or self.batches.full_steps >= STEPS_WORTH_RECORDING
        self._start = self.batches.counters()
        self._pace = Pace()
        self._steps: BatchSteps | None = None

    def needs(self) -> dict[str, int]:
        """Return the bytes that the pass needs on the device, without its data set, by purpose."""
        batches = bytes_of(self._batch_buffers, self.backend) + self.network.bytes_for(self.batch_size)
        return {
            "batch buffers": batches,
            "losses": bytes_of(self._control_block, self.backend),
            "recording": COPIES_OF_A_RECORDING * batches * self._records,
        }

    def prepare(self, feed: Feed) -> None:
        """Make the buffers. feed: brings the samples to the device."""
        self.feed = feed
        self.control = self._control_block(self.backend)
        self.network.reserve(self.batch_size)
        full = self._batch_buffers(self.backend)
        short = full.rows(self.batches.short_rows)
        self._steps = BatchSteps(
            self.batches,
            self._replay(full, recorded=self._records),
            self._replay(short, recorded=self._repeats),
        )

    def _control_block(self, backend: Backend) -> Control:
        return backend.control(self.batches.steps, self.network.dtype)

    def _batch_buffers(self, backend: Backend) -> Batch:
        return batch_for(backend, self.samples, self.batch_size, self.network.dtype)

    def _replay(self, batch: Batch, *, recorded: bool) -> Replay:
        step = partial(self._step, batch)
        return self.backend.record(step, control=self.control) if recorded else in_python(step)

    def run(self) -> None:
        """Go through the data set once."""
        if self._steps is None:
            self.prepare(*placement.feeds(self.backend, self.network.dtype, [self.wish], self.needs))
        try:
            self.feed.begin(self._start, self.control)
            batch = 0
            while batch < self.batches.steps:
                stop = batch + self.feed.ready(batch)
                self._run_batches(batch, stop)
                self.collect(self.batches.rows_before(batch), self.batches.rows_before(stop))
                batch = stop
        finally:
            self.feed.close()

    def _run_batches(self, batch: int, stop: int) -> None:
        assert self._steps is not None
        while batch < stop:
            began = time.perf_counter()
            steps = self._steps.run(batch, min(self._pace.steps, stop - batch))
            batch += steps
            if batch <= self.batches.full_steps:  # a short batch says nothing about the pace
                self.backend.synchronize()
                self._pace.note(steps, time.perf_counter() - began)

    def _step(self, batch: Batch) -> None:
        self.backend.gather(self.feed.samples, self.control, batch)
        self.work(batch)
        self.backend.advance(self.control)

    @abstractmethod
    def work(self, batch: Batch) -> None:
        """Process a batch, on the device."""

    def collect(self, first: int, stop: int) -> None:  # noqa: B027 (most passes have nothing to collect)
        """Called when samples `first` to `stop` - 1 have been processed, while they are still on the device."""
