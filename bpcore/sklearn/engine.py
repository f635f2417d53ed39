"""The network behind an estimator. It is never pickled: an estimator keeps its parameters on the host."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpcore.backends import get_backend
from bpcore.backends.base import Backend
from bpcore.backends.samples import Samples
from bpcore.errors import InputError
from bpcore.model.layer_stack import LayerStack
from bpcore.model.layers import Dense
from bpcore.model.losses import Answer, Loss
from bpcore.sklearn.increments import Increments
from bpcore.sklearn.inputs import for_samples
from bpcore.sklearn.parameters import Parameters, Shape
from bpcore.training.passes import EVALUATION_BATCH
from bpcore.training.prediction import Predictor
from bpcore.training.samples import prepare


@dataclass(frozen=True)
class Plan:
    """Everything a network is built from; device is a name or a backend, precision as in Network."""

    shape: Shape
    device: str | Backend
    precision: str


class Engine:
    """A network with its buffers, and a lock, because two threads may call one estimator's predict.

    example      an array of the library and device that the estimator was fitted with; None if unknown
    increments   the runs of partial_fit
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.example: Any = None
        self._lock = threading.Lock()
        self.network = LayerStack(
            plan.shape.layers(),
            inputs=plan.shape.sizes[0],
            backend=get_backend(plan.device),
            precision=plan.precision,
        )
        self.increments = Increments(self.network)
        self._dense = [layer.number for layer in self.network.layers if isinstance(layer, Dense)]

    def write(self, parameters: Parameters) -> None:
        """Copy parameters from the host into the network. InputError if their shapes differ."""
        network, views = self.network, self.network.parameters.views
        slopes = [*parameters.slopes, None]
        given = zip(self._dense, parameters.coefs, parameters.intercepts, slopes, strict=True)
        for number, weights, biases, slope in given:
            for name, array in ((f"{number}.W", weights), (f"{number}.b", biases), (f"{number}.p", slope)):
                if array is None:
                    continue
                out = views[name].value
                if np.shape(array) != out.shape:
                    raise InputError(f"layer {number + 1} has shape {out.shape}, but {np.shape(array)} was given")
                network.backend.write(np.require(array, network.dtype, ["C"]), out)

    def read(self) -> Parameters:
        """Copies of all trained parameters on the host."""
        backend, views = self.network.backend, self.network.parameters.views

        def copy_of(name: str) -> np.ndarray:
            return np.array(backend.to_numpy(views[name].value))

        slopes = [copy_of(f"{n}.p") if f"{n}.p" in views else None for n in self._dense[:-1]]
        return Parameters([copy_of(f"{n}.W") for n in self._dense], [copy_of(f"{n}.b") for n in self._dense], slopes)

    def predict(self, parameters: Parameters, x: Any, answer: Answer) -> np.ndarray:
        """The network's answer for each row of x with these parameters, on the host."""
        samples = self.samples(x)
        with self._lock:
            self.write(parameters)
            return Predictor(self.network, samples, answer, EVALUATION_BATCH).predict()

    def samples(
        self, x: Any, targets: np.ndarray | None = None, loss: Loss | None = None, weights: np.ndarray | None = None
    ) -> Samples:
        """Samples of features that scikit-learn has checked. Without targets and loss, for prediction."""
        x = for_samples(x, self.network.backend)
        return prepare(self.network, x, targets, loss, weights, features_checked=True, scale=1.0)
