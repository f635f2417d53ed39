"""Layers with an activation: their common base class, and the activation as a layer of its own."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bpcore.backends.arrays import Array
from bpcore.backends.base import Backend
from bpcore.backends.control import Control
from bpcore.errors import finite
from bpcore.kernels.activations import ActivationRule
from bpcore.model.activations import get_activation
from bpcore.model.layers.base import Layer
from bpcore.model.parameters import Declaration, Freeze, ParameterView, check_freeze


class Activated(Layer, abstract=True):
    """Base class of layers with an activation, which handles the activation's fixed or learned parameter."""

    entry: ActivationRule
    parameter: float | None
    freeze: Freeze = False
    p: Array
    """The parameter of each unit (M,)."""
    dp: Array | None
    """Its gradient, if it is learned."""

    def bind(self, backend: Backend, dtype: np.dtype[Any], views: dict[str, ParameterView]) -> None:
        """Take the views of the parameter and its gradient."""
        super().bind(backend, dtype, views)
        learned = views.get(f"{self.number}.p")
        self.p = learned.value if learned else backend.full((self.outputs,), self._first_parameter, dtype)
        self.dp = learned.grad if learned else None

    @abstractmethod
    def saved(self, rows: int) -> Array:
        """Return the derivative's argument: f's output or input (rows, M) in the last `forward`."""

    def _declare_parameter(self) -> list[Declaration]:
        """Return the parameter (M,) if the activation learns it."""
        if not self.entry.learned:
            return []
        slopes = np.full(self.outputs, self._first_parameter)
        return [Declaration(f"{self.number}.p", slopes, "slope", freeze=self.freeze)]

    @property
    def _first_parameter(self) -> float:
        return self.entry.parameter if self.parameter is None else float(self.parameter)


@dataclass(eq=False)
class Activation(Activated):
    """An activation as a layer of its own: a = f(x).

    activation         a name of the activation table
    parameter          its parameter (slope); by default the table's
    freeze             whether a learned slope keeps its initial value: False, True or "slope"
    """

    activation: str
    parameter: float | None = None
    freeze: Freeze = False
    entry: ActivationRule = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.entry = get_activation(self.activation)
        check_freeze(self.freeze)
        if self.parameter is not None:
            self.parameter = finite("parameter", self.parameter)

    def declare(self, inputs: int, number: int, rng: np.random.Generator) -> list[Declaration]:
        """Set the sizes; return the parameter (M,) if the activation learns it."""
        super().declare(inputs, number, rng)
        return self._declare_parameter()

    def allocate(self, batch: int) -> None:
        """Make the output's buffer."""
        self.a = self.backend.empty((batch, self.outputs), self.dtype)

    def forward(self, x: Array, control: Control | None) -> Array:
        """a = f(x)."""
        self.x = x
        return self.backend.activate(x, self.no_bias, self.entry, self.a[: x.shape[0]], parameter=self.p)

    def saved(self, rows: int) -> Array:
        """Return x or a, whichever the activation saves."""
        return self.x if self.entry.saves == "input" else self.a[:rows]

    def backward(self, delta: Array, wants_input: bool) -> Array | None:
        """delta <- delta * f'(x)."""
        saved = self.saved(delta.shape[0])
        self.backend.delta(delta, saved, self.entry, self.no_bias_grad, parameter=self.p, parameter_grad=self.dp)
        return delta

    def describe(self) -> str:
        """Describe the layer: Activation, and its name."""
        return f"Activation, {self.activation}"
