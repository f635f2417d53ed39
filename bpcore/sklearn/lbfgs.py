"""The full-batch solver: scipy's L-BFGS-B on the host, with loss and gradient from the device."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import scipy.optimize
from sklearn.exceptions import ConvergenceWarning

from bpcore.backends.samples import Batch, Samples
from bpcore.model.layer_stack import LayerStack
from bpcore.model.losses import Loss
from bpcore.training import placement
from bpcore.training.batches import BatchPlan, batch_for
from bpcore.training.replay import BatchSteps, Replay

ROWS_AT_A_TIME = 4096
"""The gradient is summed over batches of this many samples, so that no buffer grows with the data."""


class Objective:
    """The loss over all samples and its gradient as functions of the flat parameters (P,) float64.

    alpha: the penalty 1/2 alpha sum W^2, divided by the sum of the sample weights, is added to the mean loss.
    """

    def __init__(self, network: LayerStack, samples: Samples, loss: Loss, alpha: float) -> None:
        self.network, self.loss, self.alpha = network, loss, alpha
        backend, parameters = network.backend, network.parameters
        self._batches = BatchPlan(samples.x.shape[0], ROWS_AT_A_TIME)
        size = self._batches.batch_size
        wish = placement.Wish("training data", samples, size)
        (self.feed,) = placement.feeds(
            backend, network.dtype, [wish], lambda: {"batch buffers": network.bytes_for(size)}
        )
        network.reserve(size)
        weights = np.ones(self._batches.samples) if samples.weights is None else np.asarray(samples.weights, float)
        self._totals = np.add.reduceat(weights, np.arange(0, self._batches.samples, size))
        self._share = self._totals / self._totals.sum()
        self._weights = slice(parameters.weights.shape[0])
        self._control = backend.control(self._batches.steps, network.dtype)
        self._start = self._batches.counters()
        full = batch_for(backend, samples, size, network.dtype)
        short = full.rows(self._batches.short_rows)
        self._steps = BatchSteps(self._batches, self._recorded(full), self._recorded(short))

    def _recorded(self, batch: Batch) -> Replay:
        def step() -> None:
            self.network.backend.gather(self.feed.samples, self._control, batch)
            self.network.backward(self.network.loss_and_delta(batch, self.loss, self._control, training=False))
            self.network.backend.advance(self._control)

        return self.network.backend.record(step, control=self._control, keeps_gradients=True)

    def __call__(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        """The objective and its gradient (P,)."""
        data, gradient = self.of_data(flat)
        weights = flat[self._weights]
        gradient[self._weights] += self.alpha / self._totals.sum() * weights
        return data + self.penalty(flat), gradient

    def penalty(self, flat: np.ndarray) -> float:
        """The penalty: 1/2 alpha sum W^2, divided by the sum of the sample weights."""
        weights = flat[self._weights]
        return float(0.5 * self.alpha * (weights @ weights) / self._totals.sum())

    def of_data(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
        """The mean loss and its gradient (P,), without the penalty."""
        backend, parameters = self.network.backend, self.network.parameters
        backend.write(flat.astype(self.network.dtype), parameters.params)
        gradient = np.zeros(flat.shape)
        try:
            self.feed.begin(self._start, self._control)
            for batch, share in enumerate(self._share):
                self.feed.ready(batch)
                self._steps.run(batch, 1)
                if share:
                    gradient += share * backend.to_numpy(parameters.grads)
        finally:
            self.feed.close()
        losses = backend.to_numpy(self._control.losses).astype(float)
        return float(np.where(self._share > 0, losses, 0.0) @ self._share), gradient


def minimize(estimator: Any, objective: Objective) -> scipy.optimize.OptimizeResult:
    """Run scipy's solver from the network's current parameters, and write the result into the network."""

    def say(intermediate_result: Any) -> None:
        print(f"loss {intermediate_result.fun:.8f}")

    backend, parameters = objective.network.backend, objective.network.parameters
    with np.errstate(all="ignore"):
        result = scipy.optimize.minimize(
            objective,
            np.array(backend.to_numpy(parameters.params), float),
            method="L-BFGS-B",
            jac=True,
            callback=say if estimator.verbose else None,
            options={"maxfun": estimator.max_fun, "maxiter": estimator.max_iter, "gtol": estimator.tol},
        )
    if result.status == 1:
        warnings.warn(
            f"lbfgs has not converged in {result.nit} iterations, {result.nfev} evaluations of the loss; raise "
            f"max_iter (now {estimator.max_iter}) or max_fun ({estimator.max_fun}), or scale the features",
            ConvergenceWarning,
            stacklevel=6,  # the line that called fit
        )
    backend.write(result.x.astype(objective.network.dtype), parameters.params)
    return result
