"""Stream a data set that does not fit into the GPU's memory, in chunks of whole batches from the host.

    host memory  --gather-->  pinned buffer  --copy stream-->  landing  --compute stream-->  chunk  -->  the steps
    (or a file)   threads      one of two                      device                       device

While the steps use one chunk, the next one is copied to the landing, and the one after that is gathered, in the
epoch's order, into the free pinned buffer. Each arrow writes to separate memory, so all three run at once.

The step's gather reads `chunk`, with the shuffle switched off and batches counted from the chunk's first one. This is
always the same memory, so the recorded step runs unchanged. The price is one copy within the device for each chunk,
about a thirtieth of the time of its transfer. Two recordings, one for each buffer, would avoid it, but take twice as
long to make and check, and the loop would have to know which one to run.

Events order the two streams: the steps wait for `arrived`, the next copy for `taken`. The host waits for `left` before
it fills a pinned buffer again.
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
from bpcore.backends.cpu_threads import threads
from bpcore.backends.feeding import Feed, as_sent
from bpcore.backends.samples import Samples
from bpcore.errors import bytes_in_words
from bpcore.kernels import counter, cpu, spec


class Rows(NamedTuple):
    """Buffers for the rows of some samples; weights (0,) if there are none."""

    x: Array
    targets: Array
    weights: Array

    def first(self, count: int) -> list[Array]:
        """The leading rows of each buffer that is not empty."""
        return [array[:count] for array in self if array.shape[0]]


@dataclass
class Chunk:
    """One chunk on its way to the device.

    counters    of its first batch, on the host
    place       the number of its pinned buffer
    rows        the number of its samples
    """

    counters: np.ndarray
    place: int
    rows: int
    gathered: Future[None] | None = None
    sent: Future[None] | None = None


class Stream(Feed):
    """Feeds a run with chunks of samples that stay on the host.

    xp              the array module
    samples         on the host; the arrays may be memory-mapped files, which are read row by row
    dtype           the network's
    chunk_batches   the number of batches in a chunk; the last chunk of an epoch may have fewer
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

    # --- called by a run ----------------------------------------------------------------------------------

    def begin(self, counters: np.ndarray, control: Control, *, another: bool = False) -> None:
        """As Feed.begin; starts the first chunk, unless it was already started at the end of the previous epoch."""
        on_device = counters.copy()
        on_device[counter.SHUFFLE] = 0  # the rows of a chunk are in the epoch's order
        self.backend.write(on_device, control.counters)
        self._control = control
        first = counters.copy()
        first[counter.STEP] = 0  # the order of samples does not depend on it
        self._last_epoch = int(first[counter.EPOCH]) + another
        if self._on_the_way is None or not np.array_equal(self._on_the_way.counters, first):
            self.close()
            # The landing's memory may have had another use before, which the device has not finished.
            self._taken.record(self._xp.cuda.get_current_stream())
            self._next = first
        self._ends = 0
        self._go_on()

    def ready(self, batch: int) -> int:
        """As Feed.ready: if the batch is not in the current chunk, the next chunk takes its place."""
        if batch >= self._ends:
            self._take(batch)
        return self._ends - batch

    def close(self) -> None:
        """Wait for the chunks under way and drop them: no copy may still run when its buffers are freed."""
        for workers in (self._carrier, self._gatherers):
            if workers is not None:
                workers.shutdown(wait=True, cancel_futures=True)
        self._copying.synchronize()
        self._forget()

    def describe(self) -> str:
        """Where the samples are, as text for the user."""
        size = bytes_in_words(sum(array.size * array.dtype.itemsize for array in self._chunk))
        return f"in host memory, streamed to the device in chunks of {self._chunk.x.shape[0]:,} samples, {size} each"

    def _forget(self) -> None:
        self._carrier: ThreadPoolExecutor | None = None
        self._gatherers: ThreadPoolExecutor | None = None
        self._next = None
        self._waiting: Chunk | None = None
        """The chunk that has been gathered, or is being gathered."""
        self._on_the_way: Chunk | None = None
        """The chunk that is sent to the landing but not yet taken from there."""
        self._count = 0
        self._ends = 0
        """The batch after the last one of the current chunk."""

    # --- in the run's thread: scheduling the work ------------------------------------------------------------

    def _take(self, batch: int) -> None:
        """Make the chunk that was on its way the current one, and start the next."""
        chunk = self._on_the_way
        assert chunk is not None
        assert chunk.sent is not None
        assert chunk.counters[counter.BATCH] == batch, "batches must be requested in order"
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
        """Keep one chunk on its way and one more gathered, as long as it is certain that they will be needed.

        The carrier thread does one task at a time: when it gathers a chunk, the previous one has been sent, and the one
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
        """Start to gather the next chunk; None if there is none."""
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

    # --- in the carrier thread: the work ---------------------------------------------------------------------

    def _gather(self, chunk: Chunk) -> None:
        """Gather a chunk's rows, in the epoch's order, into its pinned buffer, once its old content has been copied."""
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
        """Start the copy of a chunk from its pinned buffer to the landing, once the previous chunk has been taken."""
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
    """Allocate an array in page-locked memory, which the GPU copies from while the host works on."""
    count = int(np.prod(shape))
    if count == 0:
        return np.empty(shape, dtype)
    memory = xp.cuda.alloc_pinned_memory(count * dtype.itemsize)
    return np.frombuffer(memory, dtype, count).reshape(shape)


def _one(counters: Array, place: int) -> Array:
    return counters[place : place + 1]
