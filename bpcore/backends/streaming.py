"""A data set that is larger than the GPU: it stays in host memory and comes in chunks of whole batches.

    host memory  --gather-->  pinned buffer  --copy stream-->  landing  --compute stream-->  chunk  -->  the steps
    (or a file)   threads      one of two                      device                       device

While the steps work on one chunk, the next one is on its way to the landing, and the one after that is gathered, in
the epoch's order, into the pinned buffer that is free. Each arrow has a place of its own to write to, so that all three
go on at once.

The step's gather reads `chunk`, with the shuffle switched off and its batches counted from the chunk's first. Because
that is always the same memory, the recorded step runs unchanged. The price is a copy within the device for each chunk,
which takes about a thirtieth of the time of the way there; two recordings, one for each buffer, would save it, but take
twice as long to make and to check, and the loop would have to know which is whose.

Two streams are told what to wait for by events: the steps wait for `arrived`, the next copy for `taken`. The host waits
for `left` before it fills a pinned buffer again.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bpcore.backends.arrays import Array
from bpcore.backends.base import Backend
from bpcore.backends.control import Control
from bpcore.backends.cores import threads
from bpcore.backends.feeding import Feed, as_sent
from bpcore.backends.samples import Samples
from bpcore.errors import bytes_in_words
from bpcore.kernels import counter, cpu, spec


class Rows(NamedTuple):
    """Room for some samples. weights (0,) where there are none."""

    x: Array
    targets: Array
    weights: Array

    def first(self, count: int) -> list[Array]:
        """The leading rows of what is there."""
        return [array[:count] for array in self if array.shape[0]]


@dataclass
class Chunk:
    """One chunk on its way.

    counters    of its first batch, on the host
    place       which pinned buffer it goes through
    rows        how many samples it has
    """

    counters: np.ndarray
    place: int
    rows: int
    gathered: Future[None] | None = None
    sent: Future[None] | None = None


class Stream(Feed):
    """Feeds a run with chunks of samples that stay on the host.

    xp              the array module
    samples         on the host; its arrays may be memory-mapped files, which are read row by row
    dtype           of the network
    chunk_batches   how many batches a chunk has; the last one of an epoch may have fewer
    """

    streamed = True

    def __init__(
        self, backend: Backend, xp: Any, samples: Samples, dtype: np.dtype[Any], batch_size: int, chunk_batches: int
    ) -> None:
        count = samples.x.shape[0]
        self._host = samples
        self._batch_size = batch_size
        self._chunk_batches = min(chunk_batches, -(-count // batch_size))
        self._xp, self._device = xp, xp.cuda.Device()
        wanted = self._chunk_batches * batch_size
        shapes = as_sent(samples, min(wanted, count), dtype)
        self._pinned = [Rows(*(_pinned(xp, *shape) for shape in shapes)) for _ in range(2)]
        self._landing, self._chunk = (Rows(*(backend.empty(*shape) for shape in shapes)) for _ in range(2))
        weights = None if samples.weights is None else self._chunk.weights
        chunk = Samples(self._chunk.x, self._chunk.targets, weights, samples.scale, samples.shift)
        super().__init__(backend, chunk, batch_size)
        self.batches = -(-count // batch_size)
        self._copying = xp.cuda.Stream(non_blocking=True)
        self._arrived, self._taken, *self._left = (xp.cuda.Event(block=True, disable_timing=True) for _ in range(4))
        self._no_weights = np.empty(0, dtype)
        self._kernel = cpu.compiled(spec.gather_rows(dtype, labels=samples.labels, weighted=weights is not None))
        self._next: np.ndarray | None = None
        self._forget()

    # --- what a run asks for ------------------------------------------------------------------------------

    def begin(self, counters: np.ndarray, control: Control, *, another: bool = False) -> None:
        """As Feed.begin; the first chunk sets out, unless it is under way since the end of the epoch before."""
        on_device = counters.copy()
        on_device[counter.SHUFFLE] = 0  # the rows of a chunk lie in the epoch's order
        self.backend.write(on_device, control.counters)
        self._control = control
        first = counters.copy()
        first[counter.STEP] = 0  # of no concern to the order of samples
        self._last_epoch = int(first[counter.EPOCH]) + another
        if self._on_the_way is None or not np.array_equal(self._on_the_way.counters, first):
            self.close()
            # The landing's memory may have been something else, with which the device is still at work.
            self._taken.record(self._xp.cuda.get_current_stream())
            self._next = first
        self._ends = 0
        self._go_on()

    def ready(self, batch: int) -> int:
        """As Feed.ready: where the batch is not in the chunk at hand, the next chunk takes its place."""
        if batch >= self._ends:
            self._take(batch)
        return self._ends - batch

    def close(self) -> None:
        """Wait for what is under way, and forget it: no copy may go on when its buffers are given to others."""
        for workers in (self._carrier, self._gatherers):
            if workers is not None:
                workers.shutdown(wait=True, cancel_futures=True)
        self._copying.synchronize()
        self._forget()

    def describe(self) -> str:
        """Where the samples are, in words."""
        size = bytes_in_words(sum(array.size * array.dtype.itemsize for array in self._chunk))
        return f"in host memory, streamed to the device in chunks of {self._chunk.x.shape[0]:,} samples, {size} each"

    def _forget(self) -> None:
        self._carrier: ThreadPoolExecutor | None = None
        self._gatherers: ThreadPoolExecutor | None = None
        self._next = None
        self._waiting: Chunk | None = None
        """Gathered, or being gathered."""
        self._on_the_way: Chunk | None = None
        """Sent to the landing, and not taken from there yet."""
        self._count = 0
        self._ends = 0
        """The batch after the last of the chunk at hand."""

    # --- in the run's thread: what is to be done, in this order ---------------------------------------------

    def _take(self, batch: int) -> None:
        """The chunk that was on its way becomes the one at hand, and the next one sets out."""
        chunk = self._on_the_way
        assert chunk is not None
        assert chunk.sent is not None
        assert chunk.counters[counter.BATCH] == batch, "batches are asked for in their order"
        chunk.sent.result()
        computing = self._xp.cuda.get_current_stream()
        computing.wait_event(self._arrived)
        for source, out in zip(self._landing.first(chunk.rows), self._chunk.first(chunk.rows), strict=True):
            self.backend.copy(source, out)
        self._taken.record(computing)
        counters = self._control.counters
        self.backend.copy(_one(counters, counter.BATCH), _one(counters, counter.FIRST_BATCH))
        self._ends = min(batch + self._chunk_batches, self.batches)
        self._on_the_way = None
        self._go_on()

    def _go_on(self) -> None:
        """Keep one chunk on its way and one more gathered, as far as it is known that they will be wanted.

        The carrier does one thing after the other: when it gathers a chunk, the one before has been sent, and the one
        before that has been taken. So two pinned buffers and one landing are enough.
        """
        if self._on_the_way is None:
            chunk = self._waiting or self._gather_next()
            self._waiting = None
            if chunk is not None:
                chunk.sent = self._carry(self._send, chunk)
                self._on_the_way = chunk
        if self._waiting is None:
            self._waiting = self._gather_next()

    def _gather_next(self) -> Chunk | None:
        """Let the next chunk be gathered; None where there is none."""
        counters = self._next
        if counters is None or counters[counter.EPOCH] > self._last_epoch:
            return None
        batch, samples = int(counters[counter.BATCH]), self._host.x.shape[0]
        rows = min(self._chunk_batches * self._batch_size, samples - batch * self._batch_size)
        chunk = Chunk(counters, self._count % 2, rows)
        chunk.gathered = self._carry(self._gather, chunk)
        self._count += 1
        self._next = counters.copy()
        self._next[counter.BATCH] += self._chunk_batches
        if self._next[counter.BATCH] >= self.batches:
            self._next[counter.EPOCH] += 1
            self._next[counter.BATCH] = 0
        return chunk

    def _carry(self, work: Callable[[Chunk], None], chunk: Chunk) -> Future[None]:
        if self._carrier is None:
            self._carrier = ThreadPoolExecutor(1, "bpcore-carrier")
        return self._carrier.submit(work, chunk)

    # --- in the carrier's thread: the work --------------------------------------------------------------------

    def _gather(self, chunk: Chunk) -> None:
        """A chunk's rows, in the epoch's order, into its pinned buffer, as soon as what was there has left."""
        self._left[chunk.place].synchronize()
        host, out = self._host, self._pinned[chunk.place]
        weights = self._no_weights if host.weights is None else host.weights

        def part(number: int) -> None:
            rows = slice(number * chunk.rows // parts, (number + 1) * chunk.rows // parts)
            self._kernel(
                x=host.x,
                targets=host.targets,
                weights=weights,
                out_x=out.x[rows],
                out_targets=out.targets[rows],
                out_weights=out.weights[rows],
                first_row=rows.start,
                counters=chunk.counters,
            )

        parts = threads()
        if self._gatherers is None:
            self._gatherers = ThreadPoolExecutor(parts, "bpcore-gatherer")
        list(self._gatherers.map(part, range(parts)))

    def _send(self, chunk: Chunk) -> None:
        """Ask for the copy of a chunk from its pinned buffer to the landing, as soon as that has been taken from."""
        assert chunk.gathered is not None
        chunk.gathered.result()
        with self._device:
            self._copying.wait_event(self._taken)
            pairs = zip(self._pinned[chunk.place].first(chunk.rows), self._landing.first(chunk.rows), strict=True)
            for source, out in pairs:
                out.set(source, stream=self._copying)
            self._left[chunk.place].record(self._copying)
            self._arrived.record(self._copying)


def _pinned(xp: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """An array in memory that the GPU can read by itself, while the host does something else."""
    count = int(np.prod(shape))
    if count == 0:
        return np.empty(shape, dtype)
    memory = xp.cuda.alloc_pinned_memory(count * dtype.itemsize)
    return np.frombuffer(memory, dtype, count).reshape(shape)


def _one(counters: Array, place: int) -> Array:
    return counters[place : place + 1]
