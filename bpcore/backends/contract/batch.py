"""Operations on batches: make the control block, and copy rows from the data set into a batch and back."""

from __future__ import annotations

import numpy as np

from bpcore.backends.arrays import Array, DTypeLike
from bpcore.backends.contract.primitives import Primitives
from bpcore.backends.control import Control
from bpcore.backends.samples import Batch, Samples
from bpcore.errors import InputTypeError
from bpcore.kernels import counter, spec
from bpcore.kernels.bfloat16 import number_dtype


class BatchOperations(Primitives):
    """Operations that bring a batch's rows to a step, and its predictions back."""

    def control(
        self,
        slots: int,
        dtype: DTypeLike,
        *,
        table: np.ndarray | None = None,
        seed: int = 0,
        shuffle: bool = False,
    ) -> Control:
        """Make a control block with `slots` slots, one for each batch of an epoch. table: (steps, 3), see Control."""
        return Control(
            counters=self.asarray(np.array(counter.counters(seed=seed, shuffle=shuffle), np.int64)),
            losses=self.full((slots,), 0.0, dtype),
            totals=self.full((slots,), 0.0, dtype),
            correct=self.asarray(np.zeros(slots, np.int64)),
            penalties=self.full((slots,), 0.0, dtype),
            table=self.asarray(np.ones((1, 3)) if table is None else table, dtype),
            scale=self.full((1,), 1.0, dtype),
            norm=self.full((1,), 0.0, dtype),
        )

    def gather(self, samples: Samples, control: Control, batch: Batch) -> None:
        """Fill the buffers of a batch with the next rows in the epoch's order, scaled in the same pass.

        The samples may begin with a later batch than the epoch's first one; see bpcore.kernels.counter.FIRST_BATCH.
        """
        # Without weights there is nothing to copy: the batch's weights, all ones, stay as they are.
        out_weights = batch.weights[:0] if samples.weights is None else batch.weights
        weights = out_weights if samples.weights is None else samples.weights
        self.require(samples.x, samples.targets, weights, batch.x, batch.targets, out_weights)
        dtype = number_dtype(batch.x.dtype)
        self.run(
            spec.gather(dtype, labels=samples.labels, weighted=samples.weights is not None),
            samples.x,
            samples.targets,
            weights,
            dtype.type(samples.scale),
            dtype.type(samples.shift),
            batch.x,
            batch.targets,
            out_weights,
            0,
            control.counters,
        )

    def scatter(self, batch: Array, control: Control, out: Array) -> None:
        """Copy a batch's rows to their places among all samples: the reverse of a gather without a shuffle.

        batch (B, M) into out (samples, M), or labels int64 (B,) into (samples,); rows past its end are dropped.
        """
        self.require(batch, out)
        if out.dtype != batch.dtype:
            raise InputTypeError(f"scatter: out has dtype {out.dtype}, but batch has {batch.dtype}")
        which = spec.scatter(control.losses.dtype, labels=len(batch.shape) == 1)
        self.run(which, batch, out, 0, control.counters)

    def one_hot(self, labels: Array, out: Array) -> Array:
        """out (B, M) <- 1 in the column of each label, int64 (B,), else 0; a label outside 0 to M - 1 gives zeros."""
        self.require(labels, out)
        self.run(spec.plain("one_hot", out.dtype), labels, out)
        return out
