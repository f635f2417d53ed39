"""The layer stack: the forward pass, the loss and the backward pass, in textbook order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bpcore.backends import get_backend, memory
from bpcore.backends.arrays import Array
from bpcore.backends.base import Backend
from bpcore.backends.control import Control
from bpcore.backends.memory_meter import bytes_of
from bpcore.backends.samples import Batch
from bpcore.errors import InputError
from bpcore.model.layers import Layer, check_layers, places, walk
from bpcore.model.layers.base import positive
from bpcore.model.losses import Loss
from bpcore.model.parameters import FREEZABLE, ParameterBuffer


class LayerStack:
    """A sequence of layers, with their parameters in one flat buffer, and buffers for a batch.

    layers      the layers, from the input upward; a layer object belongs to the network that was built with it last
    inputs      N, the number of features; by default taken from the first data
    backend     "auto", a backend's name, or a backend
    precision   "float32", "float64" or, on a GPU, "tf32" or "bfloat16" (bpcore.backends.precision.PRECISIONS)
    seed        the seed of the initial weights
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        inputs: int | None = None,
        backend: str | Backend = "auto",
        precision: str = "float32",
        seed: int = 0,
    ) -> None:
        self.layers = check_layers(layers, "a network")
        self.backend, self.dtype = get_backend(backend).at_precision(precision)
        self.seed = check_seed(seed)
        self.inputs = 0
        self.capacity = 0
        if inputs is not None:
            self.build(inputs)

    def build(self, inputs: int) -> None:
        """Draw the weights for `inputs` features. A network is built only once."""
        if self.inputs:
            if inputs != self.inputs:
                raise InputError(f"the network takes {self.inputs} features, but {inputs} were given")
            return
        inputs = positive("input features", inputs)
        rng = np.random.Generator(np.random.Philox(self.seed))
        declarations = []
        outputs, number = inputs, 0
        for place, layer in enumerate(self.layers, 1):
            try:
                declarations += layer.declare(outputs, number, rng)
            except MemoryError as error:
                raise InputError(f"not enough memory on the host for layer {place}: {error}") from error
            outputs = layer.outputs
            number += places(layer)
        between = self.backend.between_layers(self.dtype)
        each = 2 * self.dtype.itemsize + (between.itemsize if between != self.dtype else 0)
        needs = each * sum(declared.values.size for declared in declarations)
        memory.require(self.backend, self.dtype, {"parameters and gradients": needs}, "a smaller network")
        self.parameters = ParameterBuffer(self.backend, self.dtype, declarations)
        self.inputs, self.outputs = inputs, outputs
        self._mark = object()
        for layer in self.layers:
            layer.bind(self.backend, self.dtype, self.parameters.views)
        for _, layer in walk(self.layers):
            layer.owner = self._mark
        self.layers[-1].dtype = self.dtype  # the network's output is not rounded
        self.begin_learning()

    def begin_learning(self) -> None:
        """Find the lowest layer that learns, at which the backward pass ends; call this after freezing."""
        learning = (number_in(name) for name, view in self.parameters.views.items() if view.trainable)
        self._lowest = min(learning, default=sum(map(places, self.layers)))

    def freeze(self, *what: int | str) -> None:
        """Keep parameters unchanged in every later fit; gradients still flow through them.

        what    the number of a layer (for a block, everything in it), the name of an array ("0.b"), or "weights",
                "bias" or "slope" for all of that kind; without arguments, everything

        The network must be built. Saving it also saves what is frozen. Raises InputError for what does not exist.
        """
        self.require_built()
        self.parameters.set_trainable(self._named(what), False)

    def unfreeze(self, *what: int | str) -> None:
        """Let parameters learn again, named as in `freeze`."""
        self.require_built()
        self.parameters.set_trainable(self._named(what), True)

    def _named(self, what: Sequence[int | str]) -> list[str]:
        """Return the names of the arrays that these arguments of `freeze` select."""
        views = self.parameters.views
        if not what:
            return list(views)
        layers = {layer.number: layer for _, layer in walk(self.layers)}
        found: list[str] = []
        for one in what:
            if isinstance(one, str) and one in FREEZABLE:
                found += [name for name, view in views.items() if view.kind == FREEZABLE[one]]
            elif isinstance(one, str) and one in views:
                found.append(one)
            elif not isinstance(one, bool) and isinstance(one, int) and one in layers:
                stop = one + places(layers[one])
                found += [name for name in views if one <= number_in(name) < stop]
            else:
                accepted = f"a layer's number (0 to {len(layers) - 1}), {', '.join(FREEZABLE)}, {', '.join(views)}"
                raise InputError(f"there is no parameter {one!r} to freeze or unfreeze; accepted: {accepted}")
        return found

    def reserve(self, batch: int) -> None:
        """Make the buffers for batches of up to `batch` rows, unless they are large enough already.

        Every use of the network calls this first. Raises InputError if a network that was built later took its layers.
        """
        for where, layer in walk(self.layers):
            if layer.owner is not self._mark:
                raise InputError(
                    f"layer {where} ({layer.describe()}) is part of another network now, which was built with it "
                    f"later; make new layers for each network"
                )
        if batch <= self.capacity:
            return
        for layer in self.layers:
            layer.allocate(batch)
        self._delta, self._passed = self._deltas(self.backend, batch)
        self.capacity = batch

    def bytes_for(self, batch: int) -> int:
        """Return the bytes that `reserve` would allocate, by copies of the layers on a backend that only counts."""
        if batch <= self.capacity:
            return 0

        def reserve(meter: Backend) -> None:
            for layer in self.layers:
                layer.measured_by(meter).allocate(batch)
            self._deltas(meter, batch)

        return bytes_of(reserve, self.backend)

    def _deltas(self, backend: Backend, batch: int) -> tuple[Array, Array]:
        """Make the loss head's delta and the delta that is passed down: one array, unless the latter is rounded."""
        of_loss = backend.empty((batch, self.outputs), self.dtype)
        kind = backend.between_layers(self.dtype)
        return of_loss, of_loss if kind == self.dtype else backend.empty((batch, self.outputs), kind)

    def forward(self, x: Array, control: Control | None = None) -> Array:
        """Return the output (B, M) for x (B, N), a view that the next call overwrites; control only for training."""
        self.parameters.round_weights()
        for layer in self.layers:
            x = layer.forward(x, control)
        return self._checked(x)

    def loss_and_delta(self, batch: Batch, loss: Loss, control: Control, *, training: bool) -> Array:
        """Run forward, write the loss into its slot, and return the delta of the last layer (BP1)."""
        x = batch.x
        passed = control if training else None
        self.parameters.round_weights()
        for layer in self.layers[:-1]:
            x = layer.forward(x, passed)
        z, bias, bias_grad = self.layers[-1].forward_to_head(x, passed)
        delta = self._delta[: z.shape[0]]
        self.backend.loss_head(
            loss.rule, self._checked(z), bias, batch, delta, bias_grad, control, settings=loss.settings
        )
        return delta

    def backward(self, delta: Array, *, wants_input: bool = False) -> Array | None:
        """Compute every gradient from the delta of the last layer (BP2 to BP4); return dL/dx (B, N) if wanted."""
        last = self.layers[-1]
        if self._passed is not self._delta:
            delta = self.backend.duplicate(delta, self._passed[: delta.shape[0]])
        passed: Array | None = last.backward_from_head(delta, wants_input or last.number > self._lowest)
        for layer in reversed(self.layers[:-1]):
            if passed is None:
                break
            passed = layer.backward(passed, wants_input or layer.number > self._lowest)
        return passed if wants_input else None

    def _checked(self, z: Array) -> Array:
        """Return the output of the last layer; raise InputError if it is rounded, which is too coarse for a loss."""
        if z.dtype != self.dtype and z.dtype == self.backend.between_layers(self.dtype):
            raise InputError(
                f"the last layer ({self.layers[-1].describe()}) gives the dtype of its input and not its own, float32; "
                f"let it make its output with self.dtype and dL/dx with self.input_dtype, or end with a Dense layer"
            )
        return z

    def require_built(self) -> None:
        """Raise InputError if the network has no weights yet."""
        if not self.inputs:
            raise InputError("the network has no weights yet: give inputs=..., or call fit first")


def number_in(name: str) -> int:
    """Return the number of the layer in an array's name: 3 of "3.W"."""
    return int(name.partition(".")[0])


def check_seed(seed: int) -> int:
    """Return a seed as an int; it must be an integer from 0 to 2^63 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < 2**63:
        raise InputError(f"seed {seed!r} cannot be used; accepted: an integer from 0 to 2^63 - 1")
    return int(seed)
