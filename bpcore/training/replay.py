"""Replaying recorded steps, in stretches after which the host looks up: both training and evaluation run this way."""

from __future__ import annotations

from collections.abc import Callable

from bpcore.training.batches import BatchPlan

REPLAY_SECONDS = 0.05
"""How long the device may work before the host looks again: Ctrl-C and the progress bar wait no longer."""

COPIES_OF_A_RECORDING = 2
"""How many copies of what a step writes exist while its recording is made and checked."""

Replay = Callable[[int], None]
"""Runs a step a number of times."""


class Pace:
    """How many steps a replay makes to take about REPLAY_SECONDS: one at first, then by what the last one took."""

    def __init__(self) -> None:
        self.steps = 1

    def note(self, steps: int, seconds: float) -> None:
        """Learn from a replay of this many steps."""
        self.steps = max(1, int(steps * REPLAY_SECONDS / max(seconds, 1e-6)))


class BatchSteps:
    """The steps of an epoch: one recording for its full batches, one for the short last batch."""

    def __init__(self, batches: BatchPlan, full: Replay, short: Replay) -> None:
        self._full_steps = batches.full_steps
        self._full, self._short = full, short

    def run(self, batch: int, most: int) -> int:
        """Run up to `most` steps (1 or more) of one kind, from this batch of the epoch on; returns how many."""
        full_left = self._full_steps - batch
        if full_left <= 0:
            self._short(1)
            return 1
        steps = min(most, full_left)
        self._full(steps)
        return steps


def in_python(step: Callable[[], None]) -> Replay:
    """The step without a recording: it runs in Python each time."""

    def run(times: int) -> None:
        for _ in range(times):
            step()

    return run
