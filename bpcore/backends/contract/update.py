"""Operations of the update, of its norms, limits and penalties, and of the end of the step."""

from __future__ import annotations

import numpy as np

from bpcore.backends.arrays import Array
from bpcore.backends.contract.checks import check_shape
from bpcore.backends.contract.primitives import Primitives
from bpcore.backends.control import Control
from bpcore.errors import InputError
from bpcore.kernels import spec
from bpcore.kernels.bfloat16 import number_dtype
from bpcore.kernels.optimizers import UpdateRule


class UpdateOperations(Primitives):
    """Operations that a step applies to its gradients."""

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
        """Update params and state by the optimizer's rule, in one pass over the flat buffers.

        params, grads (P,); state (rule.states, P); segments int64 (S, 3): rows (first, stop, 1 if L2 and weight decay
        apply), parameters in no segment stay unchanged; settings (8,): l2, weight decay, largest gradient norm (0: no
        clipping), penalty, then the rule's own four.
        """
        self.require(params, grads, state, segments, settings)
        check_shape("update", "state", state, (rule.states, *params.shape), params.shape)
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
        """control.norm <- the Euclidean norm of grads (P,) within the segments of `update`; it stays on the device."""
        self.require(grads, segments)
        self.run(spec.plain("global_norm", grads.dtype), grads, segments, control.norm)

    def limit_columns(self, weights: Array, limit: float, factors: Array | None = None) -> Array:
        """Scale each column of weights (N, M) whose norm exceeds the limit down to it (Srivastava et al. 2014).

        Returns factors (M,) <- the factor of each column, 1 where it was not scaled. A column whose norm is not finite
        is not scaled.
        """
        if factors is None:
            factors = self.empty(weights.shape[1:], weights.dtype)
        self.require(weights, factors)
        if len(weights.shape) != 2:
            raise InputError(f"limit_columns: an array of shape {weights.shape} was given; accepted: a matrix (N, M)")
        check_shape("limit_columns", "factors", factors, weights.shape[1:], weights.shape)
        dtype = weights.dtype
        if not float(np.finfo(dtype).tiny) <= limit <= float(np.finfo(dtype).max):
            raise InputError(f"limit_columns: limit={limit!r}; accepted: a positive number that {dtype} can hold")
        self.run(spec.plain("limit_columns", dtype), weights, dtype.type(limit), factors, 0)
        return factors

    def penalize(self, weights: Array, settings: Array, control: Control, squares: Array) -> None:
        """Set the step's l2 to the penalty divided by the batch's sum of sample weights, as `loss_head` computed it.

        weights (K,); settings (8,) of the update: its l2 <- penalty / total; the batch's slot of control.penalties <-
        1/2 l2 sum W^2. squares (k, k) is scratch: the weights, cut into k pieces, times themselves. So a product
        computes sum W^2, which uses many units for any number of weights; K must be a multiple of k.
        """
        self.require(weights, settings, squares)
        pieces = weights.reshape(squares.shape[0], -1)
        self.matmul(pieces, pieces, squares, transpose_b=True)
        which = spec.plain("penalize", weights.dtype)
        self.run(which, squares, control.totals, control.penalties, settings, control.counters)

    def column_sums(self, x: Array, out: Array) -> None:
        """out (M,) <- the sum of each column of x (B, M), always added up in the same order."""
        self.require(x, out)
        self.run(spec.plain("column_sums", number_dtype(x.dtype)), x, out)

    def advance(self, control: Control) -> None:
        """Advance the counters to the next step: the next batch, slot and learning rate."""
        self.run(spec.plain("advance", control.losses.dtype), control.counters)
