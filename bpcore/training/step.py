"""One training step: gather, forward, loss, backward, update, none of which involves the host."""

from __future__ import annotations

from bpcore.backends.arrays import Array
from bpcore.backends.control import Control
from bpcore.backends.feeding import Feed
from bpcore.backends.samples import Batch
from bpcore.model.layer_stack import LayerStack
from bpcore.model.losses import Loss
from bpcore.model.parameters import ParameterView
from bpcore.training.optimizers import Optimizer


class TrainingStep:
    """The step that a run applies to each mini-batch: Python runs it once to record it, and then it is replayed.

    feed       the feed that brings the samples to the device
    control    the control block: learning rates, counters and losses
    state      the optimizer's state (states, P)
    """

    def __init__(
        self, network: LayerStack, feed: Feed, loss: Loss, optimizer: Optimizer, control: Control, state: Array
    ) -> None:
        self.network, self.feed, self.loss, self.optimizer = network, feed, loss, optimizer
        self.control, self.state = control, state
        backend, dtype = network.backend, network.dtype
        self._segments = backend.asarray(network.parameters.segments())
        self._settings = backend.asarray(optimizer.settings(), dtype)
        self._squares = backend.full((8, 8), 0.0, dtype)
        self._bounds = [
            (view, limit, backend.empty(view.value.shape[1:], dtype)) for view, limit in bounded_weights(network)
        ]

    def __call__(self, batch: Batch) -> None:
        """Train on one mini-batch, gathered into the buffers of `batch`."""
        network, backend, control = self.network, self.network.backend, self.control
        backend.gather(self.feed.samples, control, batch)  # x and y: the next rows in the epoch's order
        delta = network.loss_and_delta(batch, self.loss, control, training=True)  # forward, then the loss (BP1)
        network.backward(delta)  # layer by layer: delta (BP2), dW (BP3), db (BP4)
        self.update(network.parameters.params, self.state, control)  # every parameter, by the optimizer's rule
        backend.advance(control)  # the counters, for the next step

    def update(self, params: Array, state: Array, control: Control) -> None:
        """Apply the optimizer's rule to parameters (P,) and its state (states, P), using the gradients of this step.

        A unit whose incoming weights then exceed its layer's max_weight_norm is scaled back to that norm.
        """
        backend, optimizer, parameters = self.network.backend, self.optimizer, self.network.parameters
        if optimizer.penalty:
            backend.penalize(parameters.weights, self._settings, control, self._squares)
        if optimizer.max_norm is not None:
            backend.global_norm(parameters.grads, self._segments, control)
        backend.update(optimizer.rule, params, parameters.grads, state, self._segments, self._settings, control)
        for view, limit, factors in self._bounds:
            backend.limit_columns(view.within(params), limit, factors)


def bounded_weights(network: LayerStack) -> list[tuple[ParameterView, float]]:
    """Return the trainable weights that have a max_weight_norm, each with that norm."""
    return [
        (view, view.max_weight_norm)
        for view in network.parameters.views.values()
        if view.trainable and view.max_weight_norm is not None
    ]
