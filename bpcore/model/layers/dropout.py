"""Dropout, which sets random inputs to zero in training."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Real

from bpcore.backends.arrays import Array
from bpcore.backends.control import Control
from bpcore.errors import InputError
from bpcore.model.layers.base import Layer


@dataclass(eq=False)
class Dropout(Layer):
    """In training, sets each input to zero with probability `rate` and scales the others by 1 / (1 - rate).

    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting" (2014). The mask is a
    function of the seed, the step and the layer's number, so it is not stored.
    """

    rate: float

    def __post_init__(self) -> None:
        if isinstance(self.rate, bool) or not isinstance(self.rate, Real) or not 0.0 <= self.rate < 1.0:
            raise InputError(f"dropout rate {self.rate!r} is out of range; accepted: 0 <= rate < 1")
        self.rate = float(self.rate)

    def allocate(self, batch: int) -> None:
        """Make buffers for the output and for dL/dx; the layer below needs the input again."""
        self.a = self.backend.empty((batch, self.outputs), self.dtype)
        self.dx = self.backend.empty((batch, self.outputs), self.input_dtype)

    def forward(self, x: Array, control: Control | None) -> Array:
        """x * mask / (1 - rate) in training, x itself otherwise."""
        self.control = control
        if control is None:
            return x if self.dtype == self.input_dtype else self.backend.duplicate(x, self.a[: x.shape[0]])
        return self.backend.dropout(x, self.rate, self.number, control, self.a[: x.shape[0]])

    def backward(self, delta: Array, wants_input: bool) -> Array | None:
        """delta * mask / (1 - rate), with the same mask computed again."""
        if self.control is None:
            return delta
        return self.backend.dropout(delta, self.rate, self.number, self.control, self.dx[: delta.shape[0]])

    def describe(self) -> str:
        """Describe the layer: Dropout, and its rate."""
        return f"Dropout, {self.rate:g}"
