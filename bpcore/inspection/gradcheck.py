"""Check gradients: compare backpropagation with central differences.

The derivative of the loss along a direction v is about (L(w + e v) - L(w - e v)) / 2e, and must equal the product of
the gradient and v. If a kink (of ReLU, Maxout, the hinge loss) lies between the two points, the quotient is a mean of
two slopes and proves nothing: such a direction is recognised, skipped and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from bpcore.backends.samples import Samples
from bpcore.errors import InputError, InputTypeError
from bpcore.model.layer_stack import LayerStack
from bpcore.model.losses import Loss, get_loss
from bpcore.training import samples
from bpcore.training.batches import BatchPlan, batch_for

LARGEST_EPSILON = 1e-3
"""Over a longer distance the difference shows the curvature of the loss, not its slope."""

TRIES = 4
"""The number of random directions to try for each required one: some may meet a kink."""

RESOLUTION = 8 * float(np.finfo(np.float64).eps)
"""The relative accuracy of a loss, which is a sum of many rounded numbers."""


@dataclass(frozen=True)
class ArrayCheck:
    """The comparison of one array's gradient with differences.

    by         "element" for each element of a small array; "direction" for random directions in a large one
    checked    how many differences were compared
    skipped    how many were skipped because of a kink
    error      the largest relative error of those compared; NaN if there are none
    """

    name: str
    shape: tuple[int, ...]
    by: str
    checked: int
    skipped: int
    error: float
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether something was compared, and every error is within the tolerance."""
        return self.checked > 0 and self.error <= self.tolerance

    @property
    def how(self) -> str:
        """A description of how it was checked."""
        what = f"{self.checked} {self.by}{'' if self.checked == 1 else 's'}"
        return f"{what}, {self.skipped} skipped at kinks" if self.skipped else what

    @property
    def verdict(self) -> str:
        """ok, FAILS, or NOT CHECKED if everything was skipped."""
        return "ok" if self.ok else "FAILS" if self.checked else "NOT CHECKED"


@dataclass(frozen=True)
class GradientCheck:
    """The result of `gradcheck`: a check of each parameter array, and of the input ("x")."""

    arrays: tuple[ArrayCheck, ...]
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether every array was checked and is within the tolerance."""
        return all(array.ok for array in self.arrays)

    @property
    def errors(self) -> dict[str, float]:
        """The largest relative error of each array, by the array's name."""
        return {array.name: array.error for array in self.arrays}

    @property
    def skipped(self) -> int:
        """How many differences were skipped at kinks."""
        return sum(array.skipped for array in self.arrays)

    def __str__(self) -> str:
        lines = [
            f"{array.name:>8}  {array.error:.3e}  {array.verdict}  ({array.how}, shape {array.shape})"
            for array in self.arrays
        ]
        return "\n".join([f"relative errors (tolerance {self.tolerance:g})", *lines])


def gradcheck(
    network: LayerStack,
    x: Any,
    y: Any,
    *,
    loss: str | Loss = "softmax_cross_entropy",
    sample_weight: Any = None,
    epsilon: float = 1e-5,
    tolerance: float = 1e-6,
    elements: int = 64,
    directions: int = 4,
    seed: int = 0,
) -> GradientCheck:
    """Compare the gradients of backpropagation with central differences on one batch.

    Every parameter array, frozen or not, and the input are checked: element by element if an array has at most
    `elements` of them, otherwise along `directions` random directions of length 1. The relative error is
    |a - b| / max(|a|, |b|, typical), where typical is the gradient's norm divided by the square root of its size: where
    the loss happens to be flat, the error would otherwise be rounding alone. Dropout masks stay the same throughout.

    network     of precision "float64"; float32 is too coarse for differences
    x, y        one batch, as in Network.fit (x as floats)
    epsilon     the distance of each point from the middle, at most 1e-3

    A ReLU unit with a bias of zero, above units that are all dead for a sample, is exactly at its kink: its bias cannot
    be checked, and the check does not pass. Then start with a small bias, such as bias=0.01.

    Returns the check; its `ok` says whether every array passes. Raises InputError for unusable arguments.
    """
    if not isinstance(network, LayerStack):
        raise InputTypeError(f"gradient checking takes a network, not {network!r}")
    if network.dtype != np.float64:
        raise InputError(f"gradient checking needs precision='float64', but the network has {network.dtype}")
    if not 0.0 < epsilon <= LARGEST_EPSILON:
        raise InputError(f"epsilon={epsilon!r}; accepted: 0 < epsilon <= {LARGEST_EPSILON:g}")
    if not 0.0 < tolerance < 1.0:
        raise InputError(f"tolerance={tolerance!r}; accepted: 0 < tolerance < 1")
    if directions < 1:
        raise InputError(f"directions={directions!r}; accepted: an integer of 1 or more")
    chosen = get_loss(loss)
    data = samples.prepare(network, np.asarray(x, np.float64), y, chosen, sample_weight)
    network.reserve(len(data.x))
    probe = _Probe(network, chosen, data, epsilon, seed)
    rng = np.random.default_rng(seed)
    checks = []
    for name, gradient in probe.gradients().items():
        each = gradient.size <= elements
        errors, skipped = [], 0
        vectors = _axes(gradient.shape) if each else islice(_random(gradient.shape, rng), TRIES * directions)
        for v in vectors:
            error, kink = probe.compare(name, gradient, v, tolerance)
            if kink:
                skipped += 1
            else:
                errors.append(error)
            if not each and len(errors) == directions:
                break
        by = "element" if each else "direction"
        worst = float(np.max(errors)) if errors else float("nan")  # np.max: a NaN among them must be seen
        checks.append(ArrayCheck(name, gradient.shape, by, len(errors), skipped, worst, tolerance))
    return GradientCheck(tuple(checks), tolerance)


def _axes(shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    for place in range(int(np.prod(shape))):
        v = np.zeros(shape)
        v.flat[place] = 1.0
        yield v


def _random(shape: tuple[int, ...], rng: np.random.Generator) -> Iterator[np.ndarray]:
    while True:
        v = rng.standard_normal(shape)
        yield v / np.linalg.norm(v)


class _Probe:
    """The loss of one batch as a function of one array."""

    def __init__(self, network: LayerStack, loss: Loss, data: Samples, epsilon: float, seed: int) -> None:
        self.network, self.loss, self.epsilon = network, loss, epsilon
        backend, rows = network.backend, len(data.x)
        self.control = backend.control(1, network.dtype)
        backend.write(BatchPlan(rows, rows).counters(seed=seed), self.control.counters)
        self.batch = batch_for(backend, data, rows, network.dtype)
        backend.gather(samples.to_device(backend, data), self.control, self.batch)

    def gradients(self) -> dict[str, np.ndarray]:
        """Return every gradient by backpropagation, by the array's name."""
        network, backend = self.network, self.network.backend
        delta = network.loss_and_delta(self.batch, self.loss, self.control, training=True)
        by_input = network.backward(delta, wants_input=True)
        found = {name: np.array(backend.to_numpy(view.grad)) for name, view in network.parameters.views.items()}
        return found | {"x": np.array(backend.to_numpy(by_input))}

    def compare(self, name: str, gradient: np.ndarray, v: np.ndarray, tolerance: float) -> tuple[float, bool]:
        """Return the relative error of the gradient along v, and whether a kink causes it."""
        below, above = self._losses(name, -v, v)
        difference = (above - below) / (2.0 * self.epsilon)
        analytic = float((gradient * v).sum())
        miss = abs(difference - analytic)
        # A derivative that the loss's own rounding hides must not fail.
        finest = RESOLUTION * max(abs(above), abs(below)) / (self.epsilon * tolerance)
        typical = max(float(np.linalg.norm(gradient)) / gradient.size**0.5, finest)
        error = miss / max(abs(difference), abs(analytic), typical) if miss else 0.0
        return error, not error <= tolerance and self._meets_kink(name, v, miss)

    def _meets_kink(self, name: str, v: np.ndarray, miss: float) -> bool:
        """Whether a kink lies between the two points, and bends the loss enough to explain the miss.

        The third and fourth differences of five points vanish for a smooth loss. A slope that jumps by J at distance
        t < e makes the central difference miss by J (e - t) / 2e, and one of these two differences at least 2/3 e times
        as large as that, wherever the kink lies. A wrong derivative causes a miss without any bend.
        """
        a, b, c, d, e = self._losses(name, -v, -0.5 * v, 0.0 * v, 0.5 * v, v)
        bend = max(abs(e - 2.0 * d + 2.0 * b - a), abs(e - 4.0 * d + 6.0 * c - 4.0 * b + a))
        return bend > max(0.5 * self.epsilon * miss, 8.0 * RESOLUTION * max(map(abs, (a, b, c, d, e))))

    def _losses(self, name: str, *moves: np.ndarray) -> list[float]:
        """Return the loss with array `name` changed by epsilon times each of these moves."""
        backend = self.network.backend
        array = self.batch.x if name == "x" else self.network.parameters.views[name].value
        before = np.array(backend.to_numpy(array))
        found = []
        for move in moves:
            backend.write(before + self.epsilon * move, array)
            self.network.loss_and_delta(self.batch, self.loss, self.control, training=True)
            found.append(float(backend.to_numpy(self.control.losses)[0]))
        backend.write(before, array)
        return found
