"""Gradient checking: central differences against backpropagation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bpcore import samples
from bpcore.errors import InputError
from bpcore.kernels import counter
from bpcore.losses import Loss, get_loss
from bpcore.network import LayerStack


@dataclass(frozen=True)
class GradientCheck:
    """The relative error of the gradient of each parameter array and of the input ("x")."""

    errors: dict[str, float]
    tolerance: float

    @property
    def ok(self) -> bool:
        """Whether every error is within the tolerance."""
        return all(error <= self.tolerance for error in self.errors.values())

    def __str__(self) -> str:
        lines = [
            f"{name:>8}  {error:.3e}{'' if error <= self.tolerance else '  FAILS'}"
            for name, error in self.errors.items()
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
    directions: int = 4,
    seed: int = 0,
) -> GradientCheck:
    """Compare backpropagation with central differences on one batch.

    The derivative of the loss along a random direction v is (L(w + e v) - L(w - e v)) / 2e; it must equal the
    gradient's product with v. Each parameter array and the input is checked along several directions; the
    relative error is |a - b| / max(|a|, |b|, typical), where typical is the gradient's norm over the root of its
    size: a direction that happens to be level shows rounding alone. Dropout masks stay the same throughout.

    network     of precision "float64": float32 is too coarse for differences
    x, y        one batch, as in Network.fit (x as floats)
    """
    if network.dtype != np.float64:
        raise InputError(f"gradient checking needs precision='float64', but the network has {network.dtype}")
    chosen = get_loss(loss)
    features = samples.check_features(np.asarray(x, np.float64), network.dtype)
    network.build(features.shape[1])
    network.reserve(len(features))
    targets = samples.check_targets(y, chosen, len(features), network.outputs, network.dtype)
    weights = samples.check_weights(sample_weight, len(features), network.dtype)
    probe = _Probe(network, chosen, features, targets, weights, seed)
    gradients = probe.gradients()
    rng = np.random.default_rng(seed)
    errors = {}
    for name, gradient in gradients.items():
        worst = 0.0
        typical = max(float(np.linalg.norm(gradient)) / gradient.size**0.5, 1e-8)
        for _ in range(directions):
            v = rng.standard_normal(gradient.shape)
            v /= np.linalg.norm(v)
            difference = (probe.loss(name, epsilon * v) - probe.loss(name, -epsilon * v)) / (2.0 * epsilon)
            analytic = float((gradient * v).sum())
            worst = max(worst, abs(difference - analytic) / max(abs(difference), abs(analytic), typical))
        errors[name] = worst
    return GradientCheck(errors, tolerance)


class _Probe:
    """The loss of one batch, with one array moved by a little."""

    def __init__(
        self,
        network: LayerStack,
        loss: Loss,
        x: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray | None,
        seed: int,
    ) -> None:
        self.network, self.chosen, self.x = network, loss, x
        backend = network.backend
        data = samples.to_device(backend, x, targets, weights, 1.0, 0.0)
        self.control = backend.control(1, network.dtype, seed=seed)
        counters = backend.to_numpy(self.control.counters).copy()
        counters[counter.BATCH_SIZE] = len(x)
        backend.write(counters, self.control.counters)
        self.batch = samples.batch_for(backend, data, len(x), network.dtype)
        backend.gather(data, self.control, self.batch)

    def gradients(self) -> dict[str, np.ndarray]:
        """Every gradient by backpropagation."""
        network, backend = self.network, self.network.backend
        delta = network.loss_and_delta(self.batch, self.chosen, self.control, training=True)
        by_input = network.backward(delta, wants_input=True)
        found = {name: np.array(backend.to_numpy(view.grad)) for name, view in network.parameters.views.items()}
        return found | {"x": np.array(backend.to_numpy(by_input))}

    def loss(self, name: str, move: np.ndarray) -> float:
        """The loss with array `name` moved."""
        backend = self.network.backend
        array = self.batch.x if name == "x" else self.network.parameters.views[name].value
        before = np.array(backend.to_numpy(array))
        backend.write(before + move, array)
        self.network.loss_and_delta(self.batch, self.chosen, self.control, training=True)
        value = float(backend.to_numpy(self.control.losses)[0])
        backend.write(before, array)
        return value
