"""The layers: forward above backward, sharing names and shapes.

Shapes: B batch, N inputs, M outputs. x (B, N), W (N, M), b (M,), delta (B, M). A layer owns no memory but the
views it is given; its buffers are sized at the largest batch, and a short batch takes leading rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

import numpy as np

from bpcore.activations import get_activation
from bpcore.backends.base import Array, Backend, Control
from bpcore.buffers import Declaration, ParameterView
from bpcore.errors import InputError, InputTypeError
from bpcore.initializers import Initializer, draw
from bpcore.kernels.activations import Activation as ActivationEntry


class Layer(ABC):
    """One layer of the stack.

    The stack calls, in this order: `declare` once (the layer learns its sizes and says which parameters it
    wants), `bind` once (it is given them), `allocate` for each larger batch, then `forward` and `backward`.
    """

    kinds: ClassVar[dict[str, type[Layer]]] = {}
    inputs: int = 0
    outputs: int = 0
    number: int = 0
    """The layer's place in the stack; it keys the dropout masks."""

    def __init_subclass__(cls, abstract: bool = False) -> None:
        if not abstract:
            Layer.kinds[cls.__name__] = cls

    @property
    def inside(self) -> Sequence[Layer]:
        """The layers that this one is made of, where it is a block."""
        return ()

    def declare(self, inputs: int, number: int, rng: np.random.Generator) -> list[Declaration]:
        """Take the sizes, check the settings, and say which parameters are wanted, with their first values."""
        self.inputs = self.outputs = inputs
        self.number = number
        return []

    def bind(self, backend: Backend, dtype: np.dtype[Any], views: dict[str, ParameterView]) -> None:
        """Take the views of the parameters that `declare` asked for."""
        self.backend = backend
        self.dtype = dtype
        self.no_bias = backend.full((self.outputs,), 0.0, dtype)
        self.no_bias_grad = backend.full((self.outputs,), 0.0, dtype)

    @abstractmethod
    def allocate(self, batch: int) -> None:
        """Make the buffers for batches of up to `batch` rows."""

    @abstractmethod
    def forward(self, x: Array, control: Control | None) -> Array:
        """The output (B, M) for x (B, N), in the layer's own buffer. control is given in training alone."""

    @abstractmethod
    def backward(self, delta: Array, wants_input: bool) -> Array | None:
        """Take dL/d(output) (B, M), which may be overwritten; fill the gradients and return dL/dx (B, N).

        None where it is not wanted: nothing stands below the first layer.
        """

    def forward_to_head(self, x: Array, control: Control | None) -> tuple[Array, Array, Array]:
        """As `forward` for the last layer: the output, a bias the loss head adds, and where its gradient goes."""
        return self.forward(x, control), self.no_bias, self.no_bias_grad

    def backward_from_head(self, delta: Array, wants_input: bool) -> Array | None:
        """As `backward` for the last layer, whose delta comes from the loss head."""
        return self.backward(delta, wants_input)

    def config(self) -> dict[str, Any]:
        """What rebuilds this layer: its class and its fields."""
        return {"layer": type(self).__name__} | {f.name: getattr(self, f.name) for f in fields(self) if f.init}  # type: ignore[arg-type]

    def describe(self) -> str:
        """One line for the summary."""
        return type(self).__name__


class Activated(Layer, abstract=True):
    """A layer with an activation: what becomes of the activation's parameter, fixed or learned."""

    entry: ActivationEntry
    parameter: float | None
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
        return [Declaration(f"{self.number}.p", np.full(self.outputs, self._first_parameter), "slope")]

    @property
    def _first_parameter(self) -> float:
        return self.entry.parameter if self.parameter is None else float(self.parameter)


@dataclass(eq=False)
class Dense(Activated):
    """a = f(x @ W + b), every input connected with every output.

    outputs            the number of units, M
    activation         a name of the activation table
    initializer        a name of the initialiser table or a function (generator, N, M) -> (N, M); the
                       activation's own where not given
    bias               the first value of the biases, or False for none
    parameter          the activation's parameter (slope), where it is to differ from the table's
    """

    outputs: int
    activation: str = "identity"
    initializer: str | Initializer | None = None
    bias: float | bool = 0.0
    parameter: float | None = None
    entry: ActivationEntry = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.outputs = _positive("outputs of a Dense layer", self.outputs)
        self.entry = get_activation(self.activation)
        if self.bias is True:
            self.bias = 0.0

    def declare(self, inputs: int, number: int, rng: np.random.Generator) -> list[Declaration]:
        """W (N, M), b (M,) and, where the activation learns it, its parameter (M,)."""
        self.inputs, self.number = inputs, number
        weights = draw(self.initializer or self.entry.initializer, rng, inputs, self.outputs)
        wanted = [Declaration(f"{number}.W", weights, "weight")]
        if self.bias is not False:
            wanted.append(Declaration(f"{number}.b", np.full(self.outputs, float(self.bias)), "bias"))
        return wanted + self._declare_parameter()

    def bind(self, backend: Backend, dtype: np.dtype[Any], views: dict[str, ParameterView]) -> None:
        """Take W, b, p and their gradients."""
        super().bind(backend, dtype, views)
        weights, bias = views[f"{self.number}.W"], views.get(f"{self.number}.b")
        self.W, self.dW = weights.value, weights.grad
        self.b, self.db = (bias.value, bias.grad) if bias else (self.no_bias, self.no_bias_grad)

    def allocate(self, batch: int) -> None:
        """z and a share a buffer where the activation saves its output."""
        self.z = self.backend.empty((batch, self.outputs), self.dtype)
        shared = self.entry.saves == "output"
        self.a = self.z if shared else self.backend.empty((batch, self.outputs), self.dtype)
        self.dx = self.backend.empty((batch, self.inputs), self.dtype)

    def forward(self, x: Array, control: Control | None) -> Array:
        """a = f(x @ W + b)."""
        z, a = self._product(x), self.a[: x.shape[0]]
        return self.backend.activate(z, self.b, self.entry, a, parameter=self.p)

    def saved(self, rows: int) -> Array:
        """z; it holds a where both share the buffer."""
        return self.z[:rows]

    def backward(self, delta: Array, wants_input: bool) -> Array | None:
        """delta <- delta * f'(z), db (BP2, BP4); then dW and dL/dx."""
        self.backend.delta(
            delta, self.saved(delta.shape[0]), self.entry, self.db, parameter=self.p, parameter_grad=self.dp
        )
        return self._product_backward(delta, wants_input)

    def forward_to_head(self, x: Array, control: Control | None) -> tuple[Array, Array, Array]:
        """Without an activation the loss head adds the bias in its own pass."""
        if self.activation == "identity":
            return self._product(x), self.b, self.db
        return super().forward_to_head(x, control)

    def backward_from_head(self, delta: Array, wants_input: bool) -> Array | None:
        """Without an activation the head's delta is dL/dz, and db is already there."""
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
        """Dense, with its activation."""
        return f"Dense, {self.activation}"


@dataclass(eq=False)
class Activation(Activated):
    """a = f(x), an activation that stands alone."""

    activation: str
    parameter: float | None = None
    entry: ActivationEntry = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.entry = get_activation(self.activation)

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


@dataclass(eq=False)
class Dropout(Layer):
    """Each input is dropped with probability `rate` in training, the others are scaled by 1 / (1 - rate).

    N. Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting" (2014). The mask is a
    function of the seed, the step and the layer's place, so nothing is stored.
    """

    rate: float

    def __post_init__(self) -> None:
        if not isinstance(self.rate, int | float) or not 0.0 <= self.rate < 1.0:
            raise InputError(f"dropout rate {self.rate!r} is out of range; accepted: 0 <= rate < 1")

    def allocate(self, batch: int) -> None:
        """The output, since the input belongs to the layer below, which needs it again; and what goes back."""
        self.a = self.backend.empty((batch, self.outputs), self.dtype)
        self.dx = self.backend.empty((batch, self.outputs), self.dtype)

    def forward(self, x: Array, control: Control | None) -> Array:
        """x * mask / (1 - rate) in training, x itself otherwise."""
        self.control = control
        if control is None:
            return x
        return self.backend.dropout(x, self.rate, self.number, control, self.a[: x.shape[0]])

    def backward(self, delta: Array, wants_input: bool) -> Array | None:
        """delta * mask / (1 - rate), with the same mask computed anew."""
        if self.control is None:
            return delta
        return self.backend.dropout(delta, self.rate, self.number, self.control, self.dx[: delta.shape[0]])

    def describe(self) -> str:
        """Dropout, with its rate."""
        return f"Dropout, {self.rate:g}"


def layer_from_config(config: dict[str, Any]) -> Layer:
    """The layer that `Layer.config` described."""
    settings = dict(config)
    kind = settings.pop("layer", None)
    if kind not in Layer.kinds:
        raise InputError(f"the model has a layer of kind {kind!r}; known: {', '.join(Layer.kinds)}")
    return Layer.kinds[kind](**settings)


def _positive(what: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InputTypeError(f"the number of {what} must be a positive integer, not {value!r}")
    if value < 1:
        raise InputError(f"the number of {what} must be a positive integer, not {value}")
    return int(value)
