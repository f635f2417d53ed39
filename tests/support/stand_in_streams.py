"""Synchronisation on the stand-in device: clocks that tell whether one piece of work follows another.

Each stream counts its work and knows up to which count it has waited for every other stream (a vector clock: Fidge,
Mattern 1988). An event copies that state; whoever waits for the event has then waited for the same. The host has a
clock too: work it submits follows everything that it has waited for. All host threads share that clock, so a missing
wait between host threads is not detected here.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

Seen = dict[int, int]
"""For each stream, the count up to which its work is known to be done."""


class RaceError(AssertionError):
    """Work that may happen before, after or during other work on the same memory."""


@dataclass(eq=False)
class Use:
    """The last uses of one allocation: the stream and count of the last write, and of each stream's last read.

    bytes: its size; an empty allocation has address 0.
    """

    shape: tuple[int, ...]
    bytes: int
    written: tuple[int, int] | None = None
    read: Seen = field(default_factory=dict)


class Clock:
    """The progress of a stream, or of the host."""

    def __init__(self, stream: int, host: HostClock) -> None:
        self.stream, self._host = stream, host
        self.seen: Seen = {}

    def wait_for(self, seen: Seen) -> None:
        """Make later work follow that state."""
        _join(self.seen, seen)

    def use(self, reads: Iterable[Use] = (), writes: Iterable[Use] = ()) -> None:
        """Do one piece of work that reads and writes these arrays; error if it did not wait for their last uses."""
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
    """A state of a stream that others can wait for; an event that was never recorded counts as past."""

    def __init__(self, host: HostClock) -> None:
        self._host = host
        self.seen: Seen = {}

    def record(self, stream: object) -> None:
        self.seen = dict(stream.clock.seen)  # type: ignore[attr-defined]

    def synchronize(self) -> None:
        self._host.wait_for(self.seen)


class PinnedMemory:
    """Pinned host memory, which a stream reads later; it must not change until the host has waited for that."""

    def __init__(self, content: np.ndarray) -> None:
        self.content = content
        self._leaving: list[tuple[int, int, np.ndarray]] = []

    def holds(self, array: np.ndarray) -> bool:
        return np.shares_memory(self.content, array)

    def leaves(self, clock: Clock) -> None:
        """Note that the last work submitted to a stream copies from here."""
        for _, _, content in self._leaving:
            self._must_be(content)
        self._leaving.append((clock.stream, clock.seen[clock.stream], self.content.copy()))

    def known(self, seen: Seen) -> None:
        """Note that this much work is known to be done."""
        for copy in list(self._leaving):
            stream, count, content = copy
            if seen.get(stream, 0) >= count:
                self._leaving = [other for other in self._leaving if other is not copy]
                self._must_be(content)

    def _must_be(self, content: np.ndarray) -> None:
        if not np.array_equal(self.content, content):
            raise RaceError("pinned memory was filled again before its last copy was known to be done")


class HostClock:
    """The work that the host has waited for."""

    def __init__(self, pinned: Sequence[PinnedMemory]) -> None:
        self.seen: Seen = {}
        self._pinned = pinned
        self._lock = threading.Lock()

    def wait_for(self, seen: Seen) -> None:
        """Make work submitted from now on follow that state."""
        with self._lock:
            _join(self.seen, seen)
            for memory in list(self._pinned):
                memory.known(self.seen)


def _join(seen: Seen, other: Seen) -> None:
    for stream, count in list(other.items()):
        seen[stream] = max(seen.get(stream, 0), count)
