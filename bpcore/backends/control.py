"""The control block: the values on the device that change from step to step."""

from __future__ import annotations

from dataclasses import dataclass

from bpcore.backends.arrays import Array


@dataclass(frozen=True)
class Control:
    """The values that change from step to step, kept on the device so that a recorded step can be replayed unchanged.

    counters  int64 (COUNTERS,): step, epoch, batch, batch size, seed, shuffle, first bad step, first batch of the
              samples on the device, first step of the table (bpcore.kernels.counter has their places)
    losses    (slots,): the mean loss of each batch of the epoch
    totals    (slots,): the sum of the sample weights of each batch
    correct   int64 (slots,): how many samples of each batch were classified correctly
    penalties (slots,): what Optimizer.penalty adds to each batch's loss; zero without a penalty
    table     (steps, 3): the learning rate and the optimizer's two factors of each step, from the table's first step on
    scale     (1,): a factor on the learning rate that callbacks may change
    norm      (1,): the global gradient norm of the last step that computed it
    """

    counters: Array
    losses: Array
    totals: Array
    correct: Array
    penalties: Array
    table: Array
    scale: Array
    norm: Array
