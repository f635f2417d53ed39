"""Residual, a block that adds the outputs of two paths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from bpcore.backends.arrays import Array
from bpcore.backends.base import Backend
from bpcore.backends.control import Control
from bpcore.errors import InputError
from bpcore.model.layers.base import Layer, check_layers, layer_from_config, places
from bpcore.model.layers.dense import Dense
from bpcore.model.parameters import Declaration, ParameterView, checked_norm


@dataclass(eq=False)
class Residual(Layer):
    """A residual block: y = x + F(x), where F is the layers inside (K. He et al. 2016).

        Residual([Dense(64, "relu"), Dense(64, initializer="zeros")])

    layers             F, from the input upward; it must have as many outputs as inputs, M = N
    projection         y = x @ W_s + F(x) instead, with a learned W_s (N, M), where M may differ from N
    max_weight_norm    the largest norm of a column of W_s, as in Dense; F's layers have their own

    The gradients of the two paths add up. If the weights of the last layer start at zero, the block starts as y = x.
    That makes hundreds of blocks trainable: otherwise each adds to the variance of its input.
    """

    layers: Sequence[Layer]
    projection: bool = False
    max_weight_norm: float | None = None
    shortcut: Layer | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        self.layers = check_layers(self.layers, "a Residual block")
        self.max_weight_norm = checked_norm(self.max_weight_norm)
        if self.max_weight_norm is not None and not self.projection:
            raise InputError(
                f"max_weight_norm={self.max_weight_norm:g} bounds a Residual block's projection, and this has none; "
                "give projection=True, or bound the layers inside"
            )

    @property
    def paths(self) -> Sequence[Sequence[Layer]]:
        """F's layers, and the projection if there is one."""
        return [self.layers] if self.shortcut is None else [self.layers, [self.shortcut]]

    def declare(self, inputs: int, number: int, rng: np.random.Generator) -> list[Declaration]:
        """Return the parameters that the layers inside need."""
        self.inputs = outputs = inputs
        self.number = number
        wanted, following = [], number + 1
        for layer in self.layers:
            wanted += layer.declare(outputs, following, rng)
            outputs = layer.outputs
            following += places(layer)
        self.outputs = outputs
        if self.projection:
            self.shortcut = Dense(outputs, bias=False, max_weight_norm=self.max_weight_norm)
            return wanted + self.shortcut.declare(inputs, following, rng)
        if outputs != inputs:
            raise InputError(
                f"a Residual block adds its {inputs} inputs to the {outputs} outputs of its layers: let the last layer "
                f"have {inputs} outputs, or give projection=True"
            )
        return wanted

    def bind(self, backend: Backend, dtype: np.dtype[Any], views: dict[str, ParameterView]) -> None:
        """Give the layers inside their parameters."""
        super().bind(backend, dtype, views)
        for layer in self.inside:
            layer.bind(backend, dtype, views)

    def allocate(self, batch: int) -> None:
        """Make buffers for the sum, and for a copy of the delta that F's layers may overwrite."""
        for layer in self.inside:
            layer.allocate(batch)
        self.a = self.backend.empty((batch, self.outputs), self.dtype)
        self.delta = self.backend.empty((batch, self.outputs), self.input_dtype)

    def forward(self, x: Array, control: Control | None) -> Array:
        """y = x + F(x), or x @ W_s + F(x)."""
        f = x
        for layer in self.layers:
            f = layer.forward(f, control)
        direct = x if self.shortcut is None else self.shortcut.forward(x, control)
        return self.backend.add(direct, f, self.a[: x.shape[0]])

    def backward(self, delta: Array, wants_input: bool) -> Array | None:
        """dL/dx = delta + (the delta that F passes down), or delta @ W_s^T + ..."""
        passed: Array | None = self.backend.duplicate(delta, self.delta[: delta.shape[0]])
        for layer in reversed(self.layers):
            passed = layer.backward(passed, wants_input or layer is not self.layers[0])
        direct = delta if self.shortcut is None else self.shortcut.backward(delta, wants_input)
        return self.backend.add(direct, passed, passed) if wants_input else None

    def measured_by(self, meter: Backend) -> Self:
        """Return a copy of the block with copies of the layers inside."""
        twin = super().measured_by(meter)
        twin.layers = [layer.measured_by(meter) for layer in self.layers]
        twin.shortcut = None if self.shortcut is None else self.shortcut.measured_by(meter)
        return twin

    def config(self) -> dict[str, Any]:
        """Return the block's fields and those of its layers."""
        return super().config() | {"layers": [layer.config() for layer in self.layers]}

    @classmethod
    def from_config(cls, settings: dict[str, Any]) -> Self:
        """Make the block with its layers."""
        return cls(**settings | {"layers": [layer_from_config(layer) for layer in settings["layers"]]})

    def describe(self) -> str:
        """Describe the block: Residual, and whether it has a projection."""
        return "Residual, projection" if self.projection else "Residual"
