"""The control block: what changes from step to step, on the device."""

from __future__ import annotations

from dataclasses import dataclass

from bpcore.backends.arrays import Array


@dataclass(frozen=True)
class Control:
    """What changes from step to step, on the device, so that a recorded step can be replayed unchanged.

    counters  int64 (COUNTERS,): step, epoch, batch, batch size, seed, shuffle, first bad step, first batch at hand,
              first step of the table (bpcore.kernels.counter gives the places)
    losses    (slots,): the mean loss of each batch of the epoch
    totals    (slots,): the sum of the sample weights of each batch
    correct   int64 (slots,): how many samples of each batch were classified rightly
    penalties (slots,): what Optimizer.penalty adds to each batch's loss, zero without
    table     (steps, 3): learning rate and the optimizer's two factors of each step from the table's first one on
    scale     (1,): a factor on the learning rate that callbacks may change
    norm      (1,): the global gradient norm of the last step that asked for it
    """

    counters: Array
    losses: Array
    totals: Array
    correct: Array
    penalties: Array
    table: Array
    scale: Array
    norm: Array
