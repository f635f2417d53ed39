"""Maxout, whose units learn their activation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bpcore.backends.arrays import Array
from bpcore.backends.base import Backend
from bpcore.backends.control import Control
from bpcore.model.initializers import Initializer, draw
from bpcore.model.layers.base import Layer, first_bias, positive
from bpcore.model.parameters import Declaration, Freeze, ParameterView, check_freeze, checked_norm


@dataclass(eq=False)
class Maxout(Layer):
    """The largest of several affine maps: a_j = max over k of (x @ W_k + b_k)_j (I. Goodfellow et al. 2013).

    outputs            the number of units, M
    pieces             the number of affine maps of each unit, K
    initializer        of each W_k (N, M): a name of the initialiser table or a function (generator, N, M) -> (N, M)
    bias               True, False for none, or the initial value of the biases (0 for True)
    freeze             what keeps its initial values: "weights", "bias", True for both, False for none
    max_weight_norm    the largest norm of each piece's incoming weights, a column of W; longer ones are scaled back to
                       it after each update (max-norm, N. Srivastava et al. 2014, section 5.1); None for no bound

    The maps are stored side by side: W (N, K M) is W_1, W_2, ... and b (K M,) likewise.
    """

    outputs: int
    pieces: int = 2
    initializer: str | Initializer = "lecun_normal"
    bias: float | bool = True
    freeze: Freeze = False
    max_weight_norm: float | None = None

    def __post_init__(self) -> None:
        self.outputs = positive("outputs of a Maxout layer", self.outputs)
        self.pieces = positive("pieces of a Maxout layer", self.pieces, least=2)
        check_freeze(self.freeze)
        self.max_weight_norm = checked_norm(self.max_weight_norm)
        self.bias = first_bias(self.bias)

    def declare(self, inputs: int, number: int, rng: np.random.Generator) -> list[Declaration]:
        """Return W (N, K M) and b (K M,)."""
        self.inputs, self.number = inputs, number
        maps = [draw(self.initializer, rng, inputs, self.outputs) for _ in range(self.pieces)]
        weights = np.concatenate(maps, axis=1)
        wanted = [Declaration(f"{number}.W", weights, "weight", self.freeze, self.max_weight_norm)]
        if self.bias is not False:
            bias = np.full(self.pieces * self.outputs, float(self.bias))
            wanted.append(Declaration(f"{number}.b", bias, "bias", freeze=self.freeze))
        return wanted

    def bind(self, backend: Backend, dtype: np.dtype[Any], views: dict[str, ParameterView]) -> None:
        """Take the views of W, b and their gradients; without biases, zeros are added and their gradient is unused."""
        super().bind(backend, dtype, views)
        weights, bias = views[f"{self.number}.W"], views.get(f"{self.number}.b")
        self.W, self.dW = weights.operand, weights.grad
        width = (self.pieces * self.outputs,)
        self.b = bias.value if bias else backend.full(width, 0.0, dtype)
        self.db = bias.grad if bias else backend.full(width, 0.0, dtype)

    def allocate(self, batch: int) -> None:
        """Make buffers: the maps z, which `backward` overwrites with their delta; the largest; its index; and dL/dx."""
        self.z = self.backend.empty((batch, self.pieces * self.outputs), self.input_dtype)
        self.a = self.backend.empty((batch, self.outputs), self.dtype)
        self.winner = self.backend.empty((batch, self.outputs), np.int32)
        self.dx = self.backend.empty((batch, self.inputs), self.input_dtype)

    def forward(self, x: Array, control: Control | None) -> Array:
        """z = x @ W, a = the largest piece of z + b."""
        rows = x.shape[0]
        self.x = x
        z = self.backend.matmul(x, self.W, self.z[:rows])
        return self.backend.max_pieces(z, self.b, self.a[:rows], self.winner[:rows])

    def backward(self, delta: Array, wants_input: bool) -> Array | None:
        """Pass delta to the winning piece (BP2), with db (BP4); then dW (BP3) and dL/dx."""
        rows = delta.shape[0]
        dz = self.z[:rows]
        self.backend.max_pieces_backward(delta, self.winner[:rows], dz, self.db)
        self.backend.matmul(self.x, dz, self.dW, transpose_a=True)
        if not wants_input:
            return None
        return self.backend.matmul(dz, self.W, self.dx[:rows], transpose_b=True)

    def describe(self) -> str:
        """Describe the layer: Maxout, and its number of pieces."""
        return f"Maxout, {self.pieces} pieces"
