"""Thinc: a chain of its layers, with begin_update and finish_update for each mini-batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import thinc
from thinc.api import SGD, Adam, CupyOps, Gelu, Relu, Sigmoid, Softmax, Swish, chain, get_current_ops, use_ops

from bpcore.bench.cells import Cell
from bpcore.bench.contenders.base import Contender, first_weights, learning_rate
from bpcore.bench.data import Data
from bpcore.errors import InputError

OPS = {"numpy": "numpy", "cupy": "cupy"}
ACTIVATIONS: dict[str, Callable[..., Any]] = {"relu": Relu, "sigmoid": Sigmoid, "silu": Swish, "gelu": Gelu}


class ThincChain(Contender):
    """Hidden layers with their activation and a softmax layer, whose delta is that of the cross-entropy."""

    activations = tuple(ACTIVATIONS)
    optimizers = ("sgd", "adam")

    def __init__(self, cell: Cell, data: Data) -> None:
        self._ops = OPS[cell.device]
        self._batch, self._steps_per_epoch = cell.batch, cell.steps_per_epoch
        with use_ops(self._ops):
            xp = get_current_ops().xp
            self._x, self._y = xp.asarray(data.x, np.float32) / np.float32(255), xp.asarray(data.y)
            hidden = [ACTIVATIONS[cell.activation](outputs, inputs) for inputs, outputs in cell.layers[:-1]]
            inputs, outputs = cell.layers[-1]
            top = Softmax(outputs, inputs)
            layers = [*hidden, top]
            self._model = chain(*layers) if hidden else top
            self._model.initialize()
            for layer, weights in zip(layers, first_weights(cell), strict=True):
                layer.set_param("W", xp.asarray(np.ascontiguousarray(weights.T)))
            kind = Adam if cell.optimizer == "adam" else SGD
            self._optimizer = kind(learning_rate(cell.optimizer), L2=0.0, grad_clip=0.0, use_averages=False)
            self._ramp = xp.arange(cell.batch)
            self._order = xp.random.permutation(len(self._x))
        self._position, self._latest = 0, xp.zeros(())

    def run(self, steps: int) -> None:
        """Run the steps one by one."""
        with use_ops(self._ops):
            xp = get_current_ops().xp
            for _ in range(steps):
                if self._position == self._steps_per_epoch:
                    self._order, self._position = xp.random.permutation(len(self._x)), 0
                self._step(xp, self._order[self._position * self._batch : (self._position + 1) * self._batch])
                self._position += 1
            if self._ops == "cupy":
                xp.cuda.get_current_stream().synchronize()

    def _step(self, xp: Any, rows: Any) -> None:
        delta, backprop = self._model.begin_update(self._x[rows])
        labels = self._y[rows]
        self._latest = -xp.log(delta[self._ramp, labels] + np.float32(1e-30)).mean()
        delta[self._ramp, labels] -= 1
        delta /= self._batch
        backprop(delta)
        self._model.finish_update(self._optimizer)

    def loss(self) -> float:
        """The loss of the last mini-batch."""
        return float(self._latest)

    @classmethod
    def about(cls, device: str) -> dict[str, str]:
        """Thinc's version."""
        if device == "cupy":
            try:
                CupyOps()
            except Exception as error:
                raise InputError(f"Thinc cannot use the GPU: {str(error).splitlines()[0]}") from error
        return {"thinc": thinc.__version__}
