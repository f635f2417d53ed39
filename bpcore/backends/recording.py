"""Record a step: it runs in Python twice, and from then on as a recording that needs no Python.

The form of a recording depends on the device: a maker turns operations into a function that replays them (a tape of
compiled calls in cpu_tape.py, a CUDA graph in cuda_graphs.py). This file holds what all devices share: collecting
the operations and checking the recording. Both happen before the first real step, and whatever they change is restored.
So every step of a run is replayed, and a run that is interrupted and resumed gives the same result, bit for bit, as an
uninterrupted one.
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
"""Runs a recorded step a given number of times."""


class NotRecordableError(Exception):
    """A step that cannot be recorded; the message says why."""


class Maker(Protocol):
    """What a device provides to record steps."""

    def fused(self, operations: Sequence[Operation]) -> Sequence[Operation]:
        """Fewer or cheaper operations with the same result; the given sequence itself if there is nothing to gain."""

    def make(self, operations: Sequence[Operation]) -> Replay:
        """Record a step, which may run once meanwhile. NotRecordableError if it cannot be recorded."""

    def perform(self, operation: Operation) -> None:
        """Execute one operation now, with the same result as in a recording, bit for bit."""


class Recording:
    """A step that is recorded at its first call, and replayed from then on."""

    def __init__(self, backend: Backend, step: Callable[[], None], maker: Maker, control: Control | None) -> None:
        self._backend, self._step, self._maker, self._control = backend, step, maker, control
        self._replay: Replay | None = None

    def __call__(self, times: int) -> None:
        """Run the step this many times."""
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
        """Record the step and check the recording. All arrays are restored afterwards."""
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
        """Check that on another batch a replayed step equals one in Python, bit for bit.

        Whatever a layer computes without the backend is missing from a replay. The replay runs first: the arrays of
        such a layer then still hold the previous batch's results, so the two steps differ.
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
        """Let the next step read other samples: those of the next epoch, in shuffled order."""
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
    """Keeps copies of arrays from before a step's operations write to them, to restore them later."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._kept: dict[Span, tuple[Array, Array]] = {}

    def before(self, operation: Operation) -> None:
        """Keep the content of the arrays that an operation is about to write, unless it was kept before."""
        for array in operation.writes:
            if span(array) not in self._kept:
                self._kept[span(array)] = (array, self._copy_of(array))

    def restore(self) -> None:
        """Restore the kept content, the oldest last, since arrays may overlap."""
        for array, kept in reversed(self._kept.values()):
            self._backend.copy(kept, array)

    def current(self) -> list[Array]:
        """Copies of the arrays as they are now."""
        return [self._copy_of(array) for array, _ in self._kept.values()]

    def equals(self, others: Sequence[Array]) -> bool:
        """Whether the arrays as they are now have the same bits as these."""
        arrays = [array for array, _ in self._kept.values()]
        return all(map(self._backend.same_bits, arrays, others))

    def _copy_of(self, array: Array) -> Array:
        copy = self._backend.empty(array.shape, array.dtype)
        self._backend.copy(array, copy)
        return copy
