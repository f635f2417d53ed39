"""Mini-batches: how a data set is divided into them, and the buffers that hold one."""

from __future__ import annotations

from typing import Any

import numpy as np

from bpcore.backends.base import Backend
from bpcore.backends.samples import Batch, Samples
from bpcore.kernels import counter


class BatchPlan:
    """How a data set is divided into mini-batches: full ones, then a short one for the remaining samples.

    samples       the number of samples
    batch_size    the samples in a full batch; never more than `samples`
    full_steps    the number of full batches
    short_rows    the samples in the short batch; 0 if there is none
    steps         the number of batches, full or short, which is the number of steps in an epoch
    """

    def __init__(self, samples: int, batch_size: int) -> None:
        self.samples = samples
        self.batch_size = min(batch_size, samples)
        self.full_steps, self.short_rows = divmod(samples, self.batch_size)
        self.steps = self.full_steps + bool(self.short_rows)

    def rows_before(self, batch: int) -> int:
        """Return the number of samples in the batches before this one."""
        return min(batch * self.batch_size, self.samples)

    def sizes(self) -> np.ndarray:
        """Return the number of samples in each batch, int64 (steps,)."""
        sizes = np.full(self.steps, self.batch_size)
        sizes[self.full_steps :] = self.short_rows
        return sizes

    def counters(
        self, *, step: int = 0, first_step: int = 0, epoch: int = 0, seed: int = 0, shuffle: bool = False
    ) -> np.ndarray:
        """Return the control block's counters for the beginning of an epoch, int64 (COUNTERS,), on the host."""
        values = counter.counters(
            batch_size=self.batch_size, step=step, first_step=first_step, epoch=epoch, seed=seed, shuffle=shuffle
        )
        return np.array(values, np.int64)


def batch_for(backend: Backend, samples: Samples, size: int, dtype: np.dtype[Any]) -> Batch:
    """Make buffers for mini-batches of up to `size` of these samples."""
    return Batch(
        backend.empty((size, samples.x.shape[1]), backend.between_layers(dtype)),
        backend.empty((size, *samples.targets.shape[1:]), samples.targets.dtype),
        backend.full((size,), 1.0, dtype),
        samples.weights is not None,
    )
