"""The operation of the loss, with the delta of the last layer (BP1)."""

from __future__ import annotations

from collections.abc import Sequence

from bpcore.backends.arrays import Array
from bpcore.backends.contract.primitives import Primitives
from bpcore.backends.control import Control
from bpcore.backends.samples import Batch
from bpcore.kernels import spec
from bpcore.kernels.losses import LossRule


class LossOperations(Primitives):
    """The operation that computes the loss and the first delta from a network's outputs and the targets."""

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
        """Compute the batch's loss, the delta of the last layer (BP1) and the gradient of its bias, in one pass.

        z (B, M) <- z + bias, the network's output; delta (B, M) <- d(mean loss)/dz, the mean weighted by the batch's
        sample weights; bias_grad (M,) <- its column sums. The batch's slots of the control block receive the loss and
        the number of correct predictions, the counters the first step whose loss is not finite. settings: the values of
        the loss's settings, by default those of the table.
        """
        targets, weights = batch.targets, batch.weights
        self.require(z, bias, targets, weights, delta, bias_grad)
        self.run(
            spec.loss_head(loss, z.dtype, labels=len(targets.shape) == 1, weighted=batch.weighted),
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
