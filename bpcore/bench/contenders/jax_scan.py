"""JAX: many steps in one compiled call (jit of lax.scan), with donated parameters."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, nn

from bpcore.bench.cells import Cell, steps_at_a_time
from bpcore.bench.contenders.base import MOMENTUM, Contender, first_weights, learning_rate
from bpcore.bench.data import Data
from bpcore.errors import InputError

PLATFORMS = {"numpy": "cpu", "cupy": "gpu"}
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8

ACTIVATIONS: dict[str, Callable[[Any], Any]] = {
    "identity": lambda z: z,
    "sigmoid": nn.sigmoid,
    "tanh": jnp.tanh,
    "relu": nn.relu,
    "leaky_relu": lambda z: nn.leaky_relu(z, 0.01),
    "elu": nn.elu,
    "selu": nn.selu,
    "softplus": nn.softplus,
    "silu": nn.silu,
    "gelu": lambda z: nn.gelu(z, approximate=False),
}


class JaxScan(Contender):
    """A call makes `chunk` steps and is compiled once for a cell."""

    activations = tuple(ACTIVATIONS)

    def __init__(self, cell: Cell, data: Data) -> None:
        jax.config.update("jax_default_matmul_precision", "highest")
        self.chunk = steps_at_a_time(cell)
        self._device = jax.devices(PLATFORMS[cell.device])[0]
        self._calls_per_epoch = cell.steps_per_epoch // self.chunk
        self._rng = np.random.default_rng(0)
        with jax.default_device(self._device):
            parameters = [(jnp.asarray(W), jnp.zeros(W.shape[1])) for W in first_weights(cell)]
            self._carry = (parameters, _state(cell.optimizer, parameters), jnp.zeros(()))
            self._x, self._y = jnp.asarray(data.x), jnp.asarray(data.y.astype(np.int32))
            self._key = jax.random.key(0)
            self._order = self._new_order()
        self._call, self._losses = 0, jnp.zeros((1,))
        self._many = _compiled(cell.activation, cell.optimizer, cell.batch, self.chunk)

    def _new_order(self) -> Any:
        """A new random order of all samples; on a CPU, by NumPy, which is faster than jax.random."""
        if self._device.platform == "cpu":
            return jnp.asarray(self._rng.permutation(len(self._x)).astype(np.int32))
        self._key, key = jax.random.split(self._key)
        return jax.random.permutation(key, len(self._x))

    def run(self, steps: int) -> None:
        """Make the steps in calls of `chunk`."""
        with jax.default_device(self._device):
            for _ in range(steps // self.chunk):
                if self._call == self._calls_per_epoch:
                    self._order, self._call = self._new_order(), 0
                self._carry, self._losses = self._many(self._carry, self._x, self._y, self._order, self._call)
                self._call += 1
        jax.block_until_ready((self._carry, self._losses))

    def loss(self) -> float:
        """The mean loss of the last call."""
        return float(self._losses.mean())

    def notes(self) -> dict[str, Any]:
        """The length of the scan."""
        return {"steps a call": self.chunk}

    @classmethod
    def about(cls, device: str) -> dict[str, str]:
        """JAX's version and device."""
        try:
            found = jax.devices(PLATFORMS[device])[0]
        except RuntimeError as error:
            raise InputError(f"JAX finds no {PLATFORMS[device]}: {str(error).splitlines()[0]}") from error
        return {"jax": jax.__version__, "device": found.device_kind, "threads": str(os.cpu_count())}


def _compiled(activation: str, optimizer: str, batch: int, chunk: int) -> Any:
    f = ACTIVATIONS[activation]

    def loss_of(parameters: Any, x: Any, labels: Any) -> Any:
        for W, b in parameters[:-1]:
            x = f(x @ W + b)
        W, b = parameters[-1]
        logits = nn.log_softmax(x @ W + b)
        return -jnp.take_along_axis(logits, labels[:, None], axis=1).mean()

    @functools.partial(jax.jit, donate_argnums=0)
    def many(carry: Any, x: Any, y: Any, order: Any, call: Any) -> Any:
        def step(carry: Any, rows: Any) -> Any:
            parameters, state, t = carry
            loss, grads = jax.value_and_grad(loss_of)(parameters, x[rows].astype(jnp.float32) / 255, y[rows])
            parameters, state = _update(optimizer, parameters, grads, state, t + 1)
            return (parameters, state, t + 1), loss

        rows = lax.dynamic_slice(order, (call * chunk * batch,), (chunk * batch,)).reshape(chunk, batch)
        return lax.scan(step, carry, rows)

    return many


def _state(optimizer: str, parameters: Any) -> Any:
    zeros = [jax.tree.map(jnp.zeros_like, parameters) for _ in range({"sgd": 0, "momentum": 1, "adam": 2}[optimizer])]
    return tuple(zeros)


def _update(optimizer: str, parameters: Any, grads: Any, state: Any, t: Any) -> Any:
    rate = learning_rate(optimizer)
    if optimizer == "sgd":
        return jax.tree.map(lambda w, g: w - rate * g, parameters, grads), ()
    if optimizer == "momentum":
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v - rate * g, state[0], grads)
        return jax.tree.map(jnp.add, parameters, velocity), (velocity,)
    mean = jax.tree.map(lambda m, g: BETA1 * m + (1 - BETA1) * g, state[0], grads)
    square = jax.tree.map(lambda s, g: BETA2 * s + (1 - BETA2) * g * g, state[1], grads)
    first, second = 1 / (1 - BETA1**t), 1 / (1 - BETA2**t)
    new = jax.tree.map(
        lambda w, m, s: w - rate * m * first / (jnp.sqrt(s * second) + EPSILON), parameters, mean, square
    )
    return new, (mean, square)
