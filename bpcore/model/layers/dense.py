"""Dense, the fully connected layer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bpcore.backends.arrays import Array
from bpcore.backends.base import Backend
from bpcore.backends.control import Control
from bpcore.errors import finite
from bpcore.kernels.activations import ActivationRule
from bpcore.model.activations import get_activation
from bpcore.model.initializers import Initializer, draw
from bpcore.model.layers.activation import Activated
from bpcore.model.layers.base import first_bias, positive
from bpcore.model.parameters import Declaration, Freeze, ParameterView, check_freeze, checked_norm


@dataclass(eq=False)
class Dense(Activated):
    """A fully connected layer: a = f(x @ W + b).

    outputs            the number of units, M
    activation         a name of the activation table
    initializer        a name of the initialiser table or a function (generator, N, M) -> (N, M); by default the
                       activation's own
    bias               True, False for none, or the initial value of the biases (0 for True)
    parameter          the activation's parameter (slope); by default the table's
    freeze             what keeps its initial values: "weights", "bias", "slope" (a learned one), True for all, False
                       for none
    max_weight_norm    the largest norm of each unit's incoming weights, a column of W; longer ones are scaled back to
                       it after each update (max-norm, N. Srivastava et al. 2014, section 5.1); None for no bound
    """

    outputs: int
    activation: str = "identity"
    initializer: str | Initializer | None = None
    bias: float | bool = True
    parameter: float | None = None
    freeze: Freeze = False
    max_weight_norm: float | None = None
    entry: ActivationRule = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.outputs = positive("outputs of a Dense layer", self.outputs)
        self.entry = get_activation(self.activation)
        check_freeze(self.freeze)
        self.max_weight_norm = checked_norm(self.max_weight_norm)
        self.bias = first_bias(self.bias)
        if self.parameter is not None:
            self.parameter = finite("parameter", self.parameter)

    def declare(self, inputs: int, number: int, rng: np.random.Generator) -> list[Declaration]:
        """Return W (N, M), b (M,) and, if the activation learns it, its parameter (M,)."""
        self.inputs, self.number = inputs, number
        weights = draw(self.initializer or self.entry.initializer, rng, inputs, self.outputs)
        wanted = [Declaration(f"{number}.W", weights, "weight", self.freeze, self.max_weight_norm)]
        if self.bias is not False:
            bias = np.full(self.outputs, float(self.bias))
            wanted.append(Declaration(f"{number}.b", bias, "bias", freeze=self.freeze))
        return wanted + self._declare_parameter()

    def bind(self, backend: Backend, dtype: np.dtype[Any], views: dict[str, ParameterView]) -> None:
        """Take the views of W, b, p and their gradients."""
        super().bind(backend, dtype, views)
        weights, bias = views[f"{self.number}.W"], views.get(f"{self.number}.b")
        self.W, self.dW = weights.operand, weights.grad
        self.b, self.db = (bias.value, bias.grad) if bias else (self.no_bias, self.no_bias_grad)

    def allocate(self, batch: int) -> None:
        """Make the buffers; z and a share a buffer if the activation saves its output."""
        self.z = self.backend.empty((batch, self.outputs), self.dtype)
        shared = self.entry.saves == "output"
        self.a = self.z if shared else self.backend.empty((batch, self.outputs), self.dtype)
        self.dx = self.backend.empty((batch, self.inputs), self.input_dtype)

    def forward(self, x: Array, control: Control | None) -> Array:
        """a = f(x @ W + b)."""
        z, a = self._product(x), self.a[: x.shape[0]]
        return self.backend.activate(z, self.b, self.entry, a, parameter=self.p)

    def saved(self, rows: int) -> Array:
        """Return z, which holds a if the two share a buffer."""
        return self.z[:rows]

    def backward(self, delta: Array, wants_input: bool) -> Array | None:
        """delta <- delta * f'(z), db (BP2, BP4); then dW and dL/dx."""
        saved = self.saved(delta.shape[0])
        self.backend.delta(delta, saved, self.entry, self.db, parameter=self.p, parameter_grad=self.dp)
        return self._product_backward(delta, wants_input)

    def forward_to_head(self, x: Array, control: Control | None) -> tuple[Array, Array, Array]:
        """Forward for the last layer; without an activation, the loss head adds the bias in its own pass."""
        if self.activation == "identity":
            return self._product(x), self.b, self.db
        return super().forward_to_head(x, control)

    def backward_from_head(self, delta: Array, wants_input: bool) -> Array | None:
        """Backward for the last layer; without an activation, the head's delta is dL/dz, and db is already computed."""
        if self.activation == "identity":
            return self._product_backward(delta, wants_input)
        return super().backward_from_head(delta, wants_input)

    def _product(self, x: Array) -> Array:
        """z = x @ W."""
        self.x = x
        return self.backend.matmul(x, self.W, self.z[: x.shape[0]])

    def _product_backward(self, delta: Array, wants_input: bool) -> Array | None:
        """dW = x^T @ delta (BP3); dL/dx = delta @ W^T, the first half of BP2 for the layer below."""
        self.backend.matmul(self.x, delta, self.dW, transpose_a=True)
        if not wants_input:
            return None
        return self.backend.matmul(delta, self.W, self.dx[: delta.shape[0]], transpose_b=True)

    def describe(self) -> str:
        """Describe the layer: Dense, and its activation."""
        return f"Dense, {self.activation}"
