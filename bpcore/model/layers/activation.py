"""An activation: what a layer with one does with its parameter, and an activation that stands alone."""

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
    """A layer with an activation: what becomes of the activation's parameter, fixed or learned."""

    entry: ActivationRule
    parameter: float | None
    freeze: Freeze = False
    p: Array
    """The parameter (M,), one for each unit."""
    dp: Array | None
    """Its gradient, where it is learned."""

    def bind(self, backend: Backend, dtype: np.dtype[Any], views: dict[str, ParameterView]) -> None:
        """Take the parameter and its gradient."""
        super().bind(backend, dtype, views)
        learned = views.get(f"{self.number}.p")
        self.p = learned.value if learned else backend.full((self.outputs,), self._first_parameter, dtype)
        self.dp = learned.grad if learned else None

    @abstractmethod
    def saved(self, rows: int) -> Array:
        """What the derivative is a function of, f's output or its input (rows, M), as the last `forward` left it."""

    def _declare_parameter(self) -> list[Declaration]:
        """The parameter (M,) where the activation learns it."""
        if not self.entry.learned:
            return []
        slopes = np.full(self.outputs, self._first_parameter)
        return [Declaration(f"{self.number}.p", slopes, "slope", freeze=self.freeze)]

    @property
    def _first_parameter(self) -> float:
        return self.entry.parameter if self.parameter is None else float(self.parameter)


@dataclass(eq=False)
class Activation(Activated):
    """a = f(x), an activation that stands alone.

    activation         a name of the activation table
    parameter          its parameter (slope), where it is to differ from the table's
    freeze             whether a learned slope stays as it begins: False, True or "slope"
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
        """The parameter (M,) where the activation learns it."""
        super().declare(inputs, number, rng)
        return self._declare_parameter()

    def allocate(self, batch: int) -> None:
        """The output."""
        self.a = self.backend.empty((batch, self.outputs), self.dtype)

    def forward(self, x: Array, control: Control | None) -> Array:
        """a = f(x)."""
        self.x = x
        return self.backend.activate(x, self.no_bias, self.entry, self.a[: x.shape[0]], parameter=self.p)

    def saved(self, rows: int) -> Array:
        """x or a."""
        return self.x if self.entry.saves == "input" else self.a[:rows]

    def backward(self, delta: Array, wants_input: bool) -> Array | None:
        """delta <- delta * f'(x)."""
        saved = self.saved(delta.shape[0])
        self.backend.delta(delta, saved, self.entry, self.no_bias_grad, parameter=self.p, parameter_grad=self.dp)
        return delta

    def describe(self) -> str:
        """Activation, with its name."""
        return f"Activation, {self.activation}"
