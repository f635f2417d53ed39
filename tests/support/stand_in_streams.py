"""Who waits for whom on the stand-in device: clocks that tell whether one piece of work comes after another.

Each stream counts its work, and knows up to which count of every other stream it has waited (a vector clock: Fidge,
Mattern 1988). An event takes such a state along; whoever waits for it has seen what the event's stream had. The host
has a clock as well: what it asks for comes after everything that it has waited for. All its threads share that one, so
a thread that forgets to wait for another thread is not noticed here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

Seen = dict[int, int]
"""Up to which count the work of each stream is known to be done."""


class RaceError(AssertionError):
    """Work that may happen before, after or during other work on the same memory."""


@dataclass(eq=False)
class Use:
    """The last uses of one allocation: the stream and count of the last write, and of each stream's last read.

    bytes: how large it is; an empty one lies nowhere, at address 0.
    """

    shape: tuple[int, ...]
    bytes: int
    written: tuple[int, int] | None = None
    read: Seen = field(default_factory=dict)


class Clock:
    """How far a stream has come, or the host."""

    def __init__(self, stream: int, host: HostClock) -> None:
        self.stream, self._host = stream, host
        self.seen: Seen = {}

    def wait_for(self, seen: Seen) -> None:
        """What comes from now on comes after that."""
        _join(self.seen, seen)

    def use(self, reads: Iterable[Use] = (), writes: Iterable[Use] = ()) -> None:
        """A piece of work that reads and writes these arrays."""
        self.wait_for(self._host.seen)
        count = self.seen.get(self.stream, 0) + 1
        self.seen[self.stream] = count
        for use in reads:
            self._must_have_seen(use.written, "reads", "written", use)
            use.read[self.stream] = count
        for use in writes:
            self._must_have_seen(use.written, "writes", "written", use)
            for other in list(use.read.items()):
                self._must_have_seen(other, "writes", "read", use)
            use.written, use.read = (self.stream, count), {}

    def _must_have_seen(self, other: tuple[int, int] | None, does: str, was: str, use: Use) -> None:
        if other is not None and self.seen.get(other[0], 0) < other[1]:
            raise RaceError(
                f"stream {self.stream} {does} an array {use.shape} that was {was} on stream {other[0]}, without having "
                f"waited for it"
            )


class Event:
    """A state of a stream that others can wait for. One that was never recorded is past already."""

    def __init__(self, host: HostClock) -> None:
        self._host = host
        self.seen: Seen = {}

    def record(self, stream: object) -> None:
        self.seen = dict(stream.clock.seen)  # type: ignore[attr-defined]

    def synchronize(self) -> None:
        self._host.wait_for(self.seen)


class PinnedMemory:
    """Host memory that a stream reads by itself, later. It must not change before the host knows that it was read."""

    def __init__(self, content: np.ndarray) -> None:
        self.content = content
        self._leaving: list[tuple[int, int, np.ndarray]] = []

    def holds(self, array: np.ndarray) -> bool:
        return np.shares_memory(self.content, array)

    def leaves(self, clock: Clock) -> None:
        """A copy from here was asked for, as the last work on a stream."""
        for _, _, content in self._leaving:
            self._must_be(content)
        self._leaving.append((clock.stream, clock.seen[clock.stream], self.content.copy()))

    def known(self, seen: Seen) -> None:
        """So much is known to be done."""
        for copy in list(self._leaving):
            stream, count, content = copy
            if seen.get(stream, 0) >= count:
                self._leaving = [other for other in self._leaving if other is not copy]
                self._must_be(content)

    def _must_be(self, content: np.ndarray) -> None:
        if not np.array_equal(self.content, content):
            raise RaceError("pinned memory was filled again before its last copy was known to be done")


class HostClock:
    """What the host has waited for."""

    def __init__(self, pinned: Sequence[PinnedMemory]) -> None:
        self.seen: Seen = {}
        self._pinned = pinned
        self._lock = threading.Lock()

    def wait_for(self, seen: Seen) -> None:
        """What is asked for from now on comes after that."""
        with self._lock:
            _join(self.seen, seen)
            for memory in list(self._pinned):
                memory.known(self.seen)


def _join(seen: Seen, other: Seen) -> None:
    for stream, count in list(other.items()):
        seen[stream] = max(seen.get(stream, 0), count)
