"""Replays recorded steps, several at a time, for training and evaluation."""

from __future__ import annotations

from collections.abc import Callable

from bpcore.training.batches import BatchPlan

REPLAY_SECONDS = 0.05
"""How long a replay should take: Ctrl-C, callbacks and the progress bar wait no longer than this."""

COPIES_OF_A_RECORDING = 2
"""How many copies of the arrays that a step writes exist while its recording is made and checked."""

Replay = Callable[[int], None]
"""Runs a step a number of times."""


class Pace:
    """The number of steps that take about REPLAY_SECONDS: one at first, then estimated from the last replay."""

    def __init__(self) -> None:
        self.steps = 1

    def note(self, steps: int, seconds: float) -> None:
        """Note how long a replay of this many steps took."""
        self.steps = max(1, int(steps * REPLAY_SECONDS / max(seconds, 1e-6)))


class BatchSteps:
    """The steps of an epoch: one recording for its full batches, one for the short last batch."""

    def __init__(self, batches: BatchPlan, full: Replay, short: Replay) -> None:
        self._full_steps = batches.full_steps
        self._full, self._short = full, short

    def run(self, batch: int, most: int) -> int:
        """Run up to `most` steps from this batch on, of full batches or the short one; returns the number of steps."""
        full_left = self._full_steps - batch
        if full_left <= 0:
            self._short(1)
            return 1
        steps = min(most, full_left)
        self._full(steps)
        return steps


def in_python(step: Callable[[], None]) -> Replay:
    """Return a replay of a step that is not recorded: the step runs in Python each time."""

    def run(times: int) -> None:
        for _ in range(times):
            step()

    return run
