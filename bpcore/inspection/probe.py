"""A probe samples a network between two training steps: gradients, updates, saturated and dead units of each layer.

For each sample the same rows go forward and backward once more, and a copy of the parameters is updated. The training
itself is not changed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from bpcore.backends import memory
from bpcore.backends.memory_meter import bytes_of
from bpcore.backends.samples import Samples
from bpcore.model.layers import Activated, Layer, Maxout, walk
from bpcore.training.batches import BatchPlan, batch_for
from bpcore.training.run import Run
from bpcore.training.samples import to_device

NEAR_ZERO = 0.01
"""A unit is saturated if its derivative is smaller: a sigmoid below 0.01 or above 0.99, a tanh beyond 0.995."""


@dataclass(frozen=True)
class LayerSample:
    """The state of one layer at one moment. None means that a measure does not apply to the layer.

    place           "1" for the lowest layer; "2.1" for the first one inside layer 2
    layer           its description
    gradients       the Euclidean norm of the gradient of each trainable parameter array, by the array's name
    gradient_norm   the norm of all these gradients together
    weight_norm     the Euclidean norm of the trainable weights, without biases and slopes
    update_ratio    how far the next update would move the weights, as a share of weight_norm; about 0.001 is usual
    units           the number of units with an activation; for Maxout the number of pieces, K M
    saturated       the share (0 to 1) of activations, over units and rows, whose derivative is smaller than NEAR_ZERO:
                    saturated sigmoid and tanh units, ReLU units that are 0; None for Maxout, whose derivative is 1 for
                    the winning piece and 0 for the others
    dead            how many units have a derivative of 0 for every row: a ReLU unit that is always 0 and a Maxout piece
                    that never wins no longer learn
    """

    place: str
    layer: str
    gradients: dict[str, float] = field(default_factory=dict)
    gradient_norm: float | None = None
    weight_norm: float | None = None
    update_ratio: float | None = None
    units: int | None = None
    saturated: float | None = None
    dead: int | None = None


@dataclass(frozen=True)
class DiagnosticSample:
    """The state of the network after `step` steps, or `epoch` passes over the training data.

    loss             over the probe's rows
    gradient_norm    likewise, before any clipping
    learning_rate    of the next step
    layers           the layers with parameters or an activation, from the input upward
    """

    step: int
    epoch: float
    loss: float
    gradient_norm: float
    learning_rate: float
    layers: tuple[LayerSample, ...]


class _Norms(NamedTuple):
    """The Euclidean norms of a parameter array, of its gradient, and of its next update; weight: it is a weight."""

    weight: bool
    value: float
    gradient: float
    update: float


class Probe:
    """Takes samples of a run's network with some rows of its training data.

    rows   the number of rows, drawn with the run's seed from those whose weight is not zero

    The forward pass is the one of training, with dropout and the masks of the next step. Raises InputError if the
    device has too little memory.
    """

    def __init__(self, run: Run, rows: int) -> None:
        self.network, self.backend, self.dtype = run.network, run.network.backend, run.network.dtype
        self.run = run
        params = self.network.parameters.params
        data = _some_rows(run, rows)
        self.rows: int = data.x.shape[0]
        batches = bytes_of(
            lambda meter: (to_device(meter, data), batch_for(meter, data, self.rows, self.dtype)), self.backend
        )
        needs = {
            "copies of parameters and optimizer state": (params.size + run.state.size) * self.dtype.itemsize,
            "batch buffers": self.network.bytes_for(self.rows) + batches,
        }
        memory.require(self.backend, self.dtype, needs, "fewer rows, or no diagnostics")
        self.samples = to_device(self.backend, data)
        self.batch = batch_for(self.backend, self.samples, self.rows, self.dtype)
        # The update must find the learning rate of the next step in the run's own table.
        own = self.backend.control(1, self.dtype)
        self.control = replace(own, table=run.control.table, scale=run.control.scale)
        self.params = self.backend.empty(params.shape, self.dtype)
        self.state = self.backend.empty(run.state.shape, self.dtype)
        self.network.reserve(self.rows)

    def sample(self, step: int) -> DiagnosticSample:
        """Run forward, backward and the update of the copies, and return the figures. step: the steps made so far."""
        run, network, backend = self.run, self.network, self.backend
        next_step = min(step, len(run.learning_rates) - 1)
        self._set_counters(next_step)
        backend.gather(self.samples, self.control, self.batch)
        network.backward(network.loss_and_delta(self.batch, run.settings.loss, self.control, training=True))
        self._update_copies()
        norms = self._norms()
        return DiagnosticSample(
            step=step,
            epoch=step / run.steps_per_epoch,
            loss=float(backend.to_numpy(self.control.losses)[0]),
            gradient_norm=_together(norm.gradient for norm in norms.values()),
            learning_rate=run.learning_rate_at(next_step),
            layers=tuple(self._layers(norms)),
        )

    def _set_counters(self, step: int) -> None:
        timetable = self.run.timetable
        counters = BatchPlan(self.rows, self.rows).counters(
            step=step + timetable.extra_steps,
            first_step=timetable.first_step,
            epoch=step // self.run.steps_per_epoch,
            seed=self.run.settings.seed,
        )
        self.backend.write(counters, self.control.counters)

    def _update_copies(self) -> None:
        """Apply the update of these gradients to copies of the parameters and of the optimizer's state."""
        self.backend.copy(self.network.parameters.params, self.params)
        self.backend.copy(self.run.state, self.state)
        self.run.step.update(self.params, self.state, self.control)

    def _norms(self) -> dict[str, _Norms]:
        """Return the norms of each trainable array, by name; they are summed in float64 to keep small squares."""
        buffer, backend = self.network.parameters, self.backend
        params, grads, updated = (
            np.array(backend.to_numpy(array)) for array in (buffer.params, buffer.grads, self.params)
        )
        found = {}
        for name, view in buffer.views.items():
            if view.trainable:
                of_array = slice(view.first, view.first + view.size)
                before, gradient, after = (flat[of_array].astype(np.float64) for flat in (params, grads, updated))
                norms = (float(np.linalg.norm(array)) for array in (before, gradient, after - before))
                found[name] = _Norms(view.kind == "weight", *norms)
        return found

    def _layers(self, norms: dict[str, _Norms]) -> Iterator[LayerSample]:
        """Yield a sample of each layer, with the arrays whose names begin with its number; other arrays come last."""
        left = dict(norms)
        for place, layer in walk(self.network.layers):
            own = {name: left.pop(name) for name in norms if _owner(name) == str(layer.number) and name in left}
            sample = self._with_activation(_with_norms(LayerSample(place, layer.describe()), own), layer)
            if own or sample.units is not None:
                yield sample
        for owner in dict.fromkeys(map(_owner, left)):
            own = {name: norm for name, norm in left.items() if _owner(name) == owner}
            yield _with_norms(LayerSample(owner, "parameters"), own)

    def _with_activation(self, sample: LayerSample, layer: Layer) -> LayerSample:
        """Add the units that are saturated and dead, if the layer has an activation."""
        if isinstance(layer, Maxout):
            pieces = layer.pieces * layer.outputs
            return replace(sample, units=pieces, dead=pieces - self._winning_pieces(layer))
        if not isinstance(layer, Activated) or layer.entry.name == "identity":
            return sample
        slopes = self._slopes(layer)
        saturated, zero = np.abs(slopes) < NEAR_ZERO, slopes == 0.0
        dead = int(zero.all(axis=0).sum())
        return replace(sample, units=layer.outputs, saturated=float(saturated.mean()), dead=dead)

    def _winning_pieces(self, layer: Maxout) -> int:
        """Count the pieces that are the largest of their unit for at least one row."""
        winners = self.backend.to_numpy(layer.winner[: self.rows])
        return sum(int((winners == piece).any(axis=0).sum()) for piece in range(layer.pieces))

    def _slopes(self, layer: Activated) -> np.ndarray:
        """Return f'(z) of each unit for each row (rows, M): what a delta of ones becomes."""
        backend = self.backend
        slopes = backend.full((self.rows, layer.outputs), 1.0, self.dtype)
        sums, of_parameter = (backend.empty((layer.outputs,), self.dtype) for _ in range(2))
        saved = layer.saved(self.rows)
        backend.delta(slopes, saved, layer.entry, sums, parameter=layer.p, parameter_grad=of_parameter)
        return backend.to_numpy(slopes)


def _some_rows(run: Run, wanted: int) -> Samples:
    """Return samples on the host: drawn ones, or the first ones if the data is on the device already."""
    data, backend = run.samples, run.network.backend
    arrays = (data.x, data.targets, data.weights)
    count = min(wanted, data.x.shape[0])
    if backend.owns(data.x):
        pick = slice(count)
        x, targets, weights = (None if a is None else np.array(backend.to_numpy(a[pick])) for a in arrays)
    else:
        counted = np.arange(data.x.shape[0]) if data.weights is None else np.flatnonzero(data.weights)
        rng = np.random.Generator(np.random.Philox(run.settings.seed))
        rows = np.sort(rng.choice(counted, min(count, len(counted)), replace=False))
        x, targets, weights = (None if a is None else np.ascontiguousarray(a[rows]) for a in arrays)
    return Samples(x, targets, weights, data.scale, data.shift)


def _with_norms(sample: LayerSample, norms: dict[str, _Norms]) -> LayerSample:
    if not norms:
        return sample
    weights = [norm for norm in norms.values() if norm.weight]
    length = _together(norm.value for norm in weights)
    return replace(
        sample,
        gradients={name: norm.gradient for name, norm in norms.items()},
        gradient_norm=_together(norm.gradient for norm in norms.values()),
        weight_norm=length if weights else None,
        update_ratio=_together(norm.update for norm in weights) / length if length else None,
    )


def _owner(name: str) -> str:
    """Return the layer's number in an array's name: "0" of "0.W"."""
    return name.rpartition(".")[0]


def _together(norms: Iterable[float]) -> float:
    return math.hypot(*norms)
