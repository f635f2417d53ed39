"""The base class of all layers, which defines how the stack calls a layer.

Shapes: B batch, N inputs, M outputs. x (B, N), W (N, M), b (M,), delta (B, M). A layer's parameters are views into
shared buffers. Its own buffers have the size of the largest batch; a short batch uses their first rows.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, ClassVar, Self

import numpy as np

from bpcore.backends.arrays import Array
from bpcore.backends.base import Backend
from bpcore.backends.control import Control
from bpcore.errors import InputError, InputTypeError, finite
from bpcore.model.parameters import Declaration, ParameterView


class Layer(ABC):
    """A layer of the stack.

    The stack calls `declare` once (the layer sets its sizes and returns the parameters that it needs), `bind` once
    (the layer receives them), `allocate` for each larger batch, then `forward` and `backward`.
    """

    kinds: ClassVar[dict[str, type[Layer]]] = {}
    inputs: int = 0
    outputs: int = 0
    number: int = 0
    """The layer's number in the whole network; a block is counted before the layers inside it. It names the
    parameters, as in "3.W", and keys the dropout masks."""
    owner: object = None
    """The mark of the network that was built with this layer: two networks would overwrite each other's buffers."""
    dtype: np.dtype[Any]
    """The dtype of the output. It is also that of the parameters and the input, except at precision "bfloat16", where
    parameters and the output of the last layer are float32, and what flows between layers is bfloat16."""
    input_dtype: np.dtype[Any]
    """The dtype of x, dL/dx and every delta."""

    def __init_subclass__(cls, abstract: bool = False) -> None:
        if not abstract:
            Layer.kinds[cls.__name__] = cls

    @property
    def paths(self) -> Sequence[Sequence[Layer]]:
        """The paths through a block, each a sequence of layers from the block's input upward."""
        return ()

    @property
    def inside(self) -> Sequence[Layer]:
        """The layers inside this block; empty for any other layer."""
        return [layer for path in self.paths for layer in path]

    def declare(self, inputs: int, number: int, rng: np.random.Generator) -> list[Declaration]:
        """Set the sizes, check the settings, and return the needed parameters with their initial values."""
        self.inputs = self.outputs = inputs
        self.number = number
        return []

    def bind(self, backend: Backend, dtype: np.dtype[Any], views: dict[str, ParameterView]) -> None:
        """Take the views of the parameters that `declare` returned, which have this dtype."""
        self.backend = backend
        self.dtype = self.input_dtype = backend.between_layers(dtype)
        self.no_bias = backend.full((self.outputs,), 0.0, dtype)
        self.no_bias_grad = backend.full((self.outputs,), 0.0, dtype)

    @abstractmethod
    def allocate(self, batch: int) -> None:
        """Make the buffers for batches of up to `batch` rows."""

    @abstractmethod
    def forward(self, x: Array, control: Control | None) -> Array:
        """Return the output (B, M) for x (B, N), in the layer's own buffer. control is given only in training.

        x must not be changed: the layer below needs it again, and in a block another path may.
        """

    @abstractmethod
    def backward(self, delta: Array, wants_input: bool) -> Array | None:
        """Fill the gradients and return dL/dx (B, N), given delta = dL/d(output) (B, M), which may be overwritten.

        Returns None if dL/dx is not wanted, as for the first layer. The caller may overwrite the result.
        """

    def forward_to_head(self, x: Array, control: Control | None) -> tuple[Array, Array, Array]:
        """Forward for the last layer: return the output, a bias for the loss head to add, and that bias's gradient."""
        return self.forward(x, control), self.no_bias, self.no_bias_grad

    def backward_from_head(self, delta: Array, wants_input: bool) -> Array | None:
        """Backward for the last layer, whose delta comes from the loss head."""
        return self.backward(delta, wants_input)

    def measured_by(self, meter: Backend) -> Self:
        """Return a copy that makes its buffers on another backend; the layer itself is not changed."""
        twin = copy.copy(self)
        twin.backend = meter
        return twin

    def config(self) -> dict[str, Any]:
        """Return the name of the layer's class and its fields, from which `layer_from_config` rebuilds it."""
        if not is_dataclass(self):
            raise InputTypeError(
                f"{type(self).__name__} must be a dataclass, @dataclass(eq=False): its fields rebuild it"
            )
        return {"layer": type(self).__name__} | {f.name: getattr(self, f.name) for f in fields(self) if f.init}

    @classmethod
    def from_config(cls, settings: dict[str, Any]) -> Self:
        """Make the layer from its fields."""
        return cls(**settings)

    def describe(self) -> str:
        """Describe the layer for the summary."""
        return type(self).__name__


def layer_from_config(config: dict[str, Any]) -> Layer:
    """Make the layer that `Layer.config` described."""
    settings = dict(config)
    kind = settings.pop("layer", None)
    if kind not in Layer.kinds:
        raise InputError(f"the model has a layer of kind {kind!r}; known: {', '.join(Layer.kinds)}")
    return Layer.kinds[kind].from_config(settings)


def check_layers(layers: Iterable[Layer], what: str) -> list[Layer]:
    """Return layers as a list; raise an error if there are none, if one is not a layer, or if one occurs twice."""
    if not isinstance(layers, Iterable) or isinstance(layers, str):
        raise InputTypeError(f"{what} takes a list of layers, not {layers!r}")
    found = list(layers)
    if not found:
        raise InputError(f"{what} needs at least one layer, such as Dense(10)")
    for layer in found:
        if not isinstance(layer, Layer):
            raise InputTypeError(f"{layer!r} is not a layer; accepted: Dense(...), Dropout(...), Activation(...), ...")
    if len({id(layer) for _, layer in walk(found)}) < len(list(walk(found))):
        raise InputError(f"the same layer object stands twice in {what}; make one for each place")
    return found


def walk(layers: Sequence[Layer], above: str = "") -> Iterator[tuple[str, Layer]]:
    """Yield (place, layer) for every layer: "1", "2", ...; layers inside a block follow it as "2.1", "2.2", ..."""
    for number, layer in enumerate(layers, 1):
        yield f"{above}{number}", layer
        yield from walk(layer.inside, f"{above}{number}.")


def places(layer: Layer) -> int:
    """Return how many numbers a layer takes: one for itself and one for each layer inside."""
    return sum(1 for _ in walk([layer]))


def positive(what: str, value: object, least: int = 1) -> int:
    """Return a count, such as a number of units, as an int; it must be at least `least`."""
    accepted = "a positive integer" if least == 1 else f"an integer of {least} or more"
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InputTypeError(f"the number of {what} must be {accepted}, not {value!r}")
    if value < least:
        raise InputError(f"the number of {what} must be {accepted}, not {value}")
    return int(value)


def first_bias(bias: float | bool) -> float | bool:
    """Return the initial value of the biases as a float: True means 0.0; False, for no biases, stays False."""
    if isinstance(bias, bool):
        return 0.0 if bias else False
    return finite("bias", bias, "a finite number, or False for none")
