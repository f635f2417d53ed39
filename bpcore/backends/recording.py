"""Recording a step: it runs in Python twice, and from then on as a recording that needs no Python.

What a recording is made of is the device's business: a maker turns operations into a function that replays them (a tape
of compiled calls in taping.py, a CUDA graph in graphs.py). What stands here is the same for all: how a step is written
down, and when its recording is trusted. All that happens before the first real step, and what it changes is put back:
every step of a run is the recording's own, so that a run which is interrupted and resumed has the same bits as one
which is not.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from bpcore.backends.arrays import Array, Span, span
from bpcore.backends.base import Backend
from bpcore.backends.control import Control
from bpcore.backends.operations import Operation
from bpcore.kernels import counter

Replay = Callable[[int], None]
"""Runs a recorded step so many times."""


class NotRecordableError(Exception):
    """A step that cannot be recorded; the message says why."""


class Maker(Protocol):
    """What a device brings to record steps."""

    def fused(self, operations: Sequence[Operation]) -> Sequence[Operation]:
        """Fewer or cheaper operations that do the same, or these themselves where there is nothing to gain."""

    def make(self, operations: Sequence[Operation]) -> Replay:
        """The recording of a step, which may run once meanwhile. NotRecordableError where there can be none."""

    def perform(self, operation: Operation) -> None:
        """Run one operation now, with the same bits as in a recording."""


class Recording:
    """A step that is recorded when it is first asked for, and replayed from then on."""

    def __init__(self, backend: Backend, step: Callable[[], None], maker: Maker, control: Control | None) -> None:
        self._backend, self._step, self._maker, self._control = backend, step, maker, control
        self._replay: Replay | None = None

    def __call__(self, times: int) -> None:
        """Run the step so many times."""
        if times and self._replay is None:
            try:
                self._replay = self._recorded()
            except NotRecordableError as error:
                message = f"this cannot be recorded and runs step by step: {error}"
                warnings.warn(message, stacklevel=3)
                self._replay = self._in_python
        if times and self._replay is not None:
            self._replay(times)

    def _in_python(self, times: int) -> None:
        for _ in range(times):
            self._step()

    def _recorded(self) -> Replay:
        """The recording, once it is trusted. In the end all is as it was before."""
        operations: list[Operation] = []
        journal = Journal(self._backend)

        def write_down(operation: Operation) -> None:
            journal.before(operation)
            operations.append(operation)
            self._backend.execute(operation)

        try:
            with self._watched_by(write_down):
                self._step()
            journal.restore()
            plain = self._maker.make(operations)
            self._try_out(plain, journal)
            fused = self._maker.fused(operations)
            journal.restore()
            return plain if fused is operations else self._maker.make(fused)
        finally:
            journal.restore()

    def _try_out(self, replay: Replay, journal: Journal) -> None:
        """On another batch, a replayed step must equal one in Python bit for bit.

        What a layer does past the backend is lost in a replay. The replay goes first: what such a layer has in its own
        arrays is then that of the batch before, and wrong.
        """
        journal.restore()
        self._other_batch()
        replay(1)
        replayed = journal.current()
        journal.restore()
        self._other_batch()
        with self._watched_by(self._maker.perform):
            self._step()
        if not journal.equals(replayed):
            raise NotRecordableError(
                "a replayed step differs from a plain one: a layer computes past the backend's operations"
            )

    def _other_batch(self) -> None:
        """Let the next step see the samples that it would see in the next epoch, were they shuffled."""
        if self._control is not None:
            counters = self._backend.to_numpy(self._control.counters).copy()
            counters[counter.EPOCH] += 1
            counters[counter.SHUFFLE] = 1
            self._backend.write(counters, self._control.counters)

    @contextmanager
    def _watched_by(self, watcher: Callable[[Operation], None]) -> Iterator[None]:
        self._backend.watcher = watcher
        try:
            yield
        finally:
            self._backend.watcher = None


class Journal:
    """What a step's operations write, as it was before."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._kept: dict[Span, tuple[Array, Array]] = {}

    def before(self, operation: Operation) -> None:
        """Keep what the operation is about to write, unless an earlier one has written there."""
        for array in operation.writes:
            if span(array) not in self._kept:
                self._kept[span(array)] = (array, self._copy_of(array))

    def restore(self) -> None:
        """Bring back what was kept; the first that was kept lies below the later ones, and comes last."""
        for array, kept in reversed(self._kept.values()):
            self._backend.copy(kept, array)

    def current(self) -> list[Array]:
        """A copy of what is there now."""
        return [self._copy_of(array) for array, _ in self._kept.values()]

    def equals(self, others: Sequence[Array]) -> bool:
        """Whether what is there now has the bits of these arrays."""
        arrays = [array for array, _ in self._kept.values()]
        return all(map(self._backend.same_bits, arrays, others))

    def _copy_of(self, array: Array) -> Array:
        copy = self._backend.empty(array.shape, array.dtype)
        self._backend.copy(array, copy)
        return copy
