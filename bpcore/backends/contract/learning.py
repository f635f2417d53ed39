"""The operations that learn: the loss with its delta, the optimizer's update, bounds on weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bpcore.backends.arrays import Array
from bpcore.backends.contract.checks import check_shapes
from bpcore.backends.contract.primitives import Primitives
from bpcore.backends.control import Control
from bpcore.backends.samples import Batch
from bpcore.errors import InputError
from bpcore.kernels import spec
from bpcore.kernels.losses import LossRule
from bpcore.kernels.optimizers import UpdateRule


class LearningOperations(Primitives):
    """From the loss to the update."""

    def loss_head(
        self,
        loss: LossRule,
        z: Array,
        bias: Array,
        batch: Batch,
        delta: Array,
        bias_grad: Array,
        control: Control,
        *,
        settings: Sequence[float] | None = None,
    ) -> None:
        """The loss of the batch into its slot, delta of the last layer (BP1), bias_grad: one pass.

        z (B, M) becomes z + bias, the network's output; delta (B, M) <- d(mean loss)/dz, the mean weighted by
        the batch's sample weights; bias_grad (M,) <- its column sums. The count of right answers goes into its
        slot too, and the first step with a loss that is not finite into the counters. settings: the values of the
        loss's settings, its defaults where they are not given.
        """
        targets, weights = batch.targets, batch.weights
        self.require(z, bias, targets, weights, delta, bias_grad)
        labels = len(targets.shape) == 1
        rows = z.shape[:1]
        check_shapes("loss_head", z.shape, ("bias", bias, z.shape[1:]), ("bias_grad", bias_grad, z.shape[1:]))
        check_shapes("loss_head", z.shape, ("delta", delta, z.shape), ("weights", weights, rows))
        check_shapes("loss_head", z.shape, ("targets", targets, rows if labels else z.shape))
        self.run(
            spec.loss_head(loss, z.dtype, labels=labels, weighted=batch.weighted),
            z,
            bias,
            targets,
            weights,
            weights,
            delta,
            bias_grad,
            control.losses,
            control.totals,
            control.correct,
            control.counters,
            tuple(map(z.dtype.type, loss.defaults if settings is None else settings)),
        )

    def update(
        self,
        rule: UpdateRule,
        params: Array,
        grads: Array,
        state: Array,
        segments: Array,
        settings: Array,
        control: Control,
    ) -> None:
        """One pass of the optimizer over the flat buffers; params and state are changed.

        params, grads (P,); state (rule.states, P); segments int64 (S, 3): rows (first, stop, 1 where L2 and
        weight decay apply), what is in no segment is left alone; settings (8,): l2, weight decay, largest
        gradient norm (0: no clipping), penalty, then the rule's own four.
        """
        self.require(params, grads, state, segments, settings)
        check_shapes("update", params.shape, ("grads", grads, params.shape), ("settings", settings, (8,)))
        check_shapes("update", params.shape, ("state", state, (rule.states, *params.shape)))
        self.run(
            spec.update(rule, params.dtype),
            params,
            grads,
            state,
            segments,
            settings,
            control.table,
            control.scale,
            control.norm,
            control.counters,
            0,
        )

    def global_norm(self, grads: Array, segments: Array, control: Control) -> None:
        """control.norm <- the Euclidean norm of grads (P,) within the segments of `update`, without the host."""
        self.require(grads, segments)
        self.run(spec.plain("global_norm", grads.dtype), grads, segments, control.norm)

    def limit_columns(self, weights: Array, limit: float, factors: Array | None = None) -> Array:
        """A column of weights (N, M) that is longer than the limit is scaled to it: max-norm (Srivastava et al. 2014).

        factors (M,) <- what each column was multiplied by; returned. It is 1 where a column is left alone: so is one
        whose norm is not finite.
        """
        if factors is None:
            factors = self.empty(weights.shape[1:], weights.dtype)
        self.require(weights, factors)
        if len(weights.shape) != 2:
            raise InputError(f"limit_columns: an array of shape {weights.shape} was given; accepted: a matrix (N, M)")
        check_shapes("limit_columns", weights.shape, ("factors", factors, weights.shape[1:]))
        dtype = weights.dtype
        if not float(np.finfo(dtype).tiny) <= limit <= float(np.finfo(dtype).max):
            raise InputError(f"limit_columns: limit={limit!r}; accepted: a positive number that {dtype} can hold")
        self.run(spec.plain("limit_columns", dtype), weights, dtype.type(limit), factors, 0)
        return factors

    def penalize(self, weights: Array, settings: Array, control: Control, squares: Array) -> None:
        """L2 that is shared out over the sum of sample weights of each batch, as that comes out of the loss head.

        weights (K,); settings (8,) of the update: its l2 <- penalty / total; control.penalties <- 1/2 l2 sum W^2 in the
        batch's slot. squares (k, k) is overwritten: the weights, cut into k pieces, times themselves, so that sum W^2
        comes from a product on many units, however many weights there are; K must be a multiple of k.
        """
        self.require(weights, settings, squares)
        pieces = weights.reshape(squares.shape[0], -1)
        self.matmul(pieces, pieces, squares, transpose_b=True)
        which = spec.plain("penalize", weights.dtype)
        self.run(which, squares, control.totals, control.penalties, settings, control.counters)
