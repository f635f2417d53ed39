"""Gradient checks in float64: every activation with every loss, every layer; and that a wrong one fails."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import bpcore
from bpcore import Activation, Dense, Dropout, Layer, Network
from bpcore.errors import InputError
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.kernels.losses import LOSSES


def network(*layers: Layer, **options: object) -> Network:
    return Network(list(layers), precision="float64", backend="numpy", **options)


def batch(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return rng.standard_normal((7, 5)), rng.integers(0, 4, 7), rng.random(7) + 0.1


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_with_every_loss(activation: str, loss: str, rng: np.random.Generator) -> None:
    """In a hidden layer and in the last one, with label smoothing where there is such."""
    x, y, weights = batch(rng)
    chosen = bpcore.Loss(loss, 0.1 if loss.endswith("cross_entropy") else 0.0)
    for last in ("identity", activation):
        stack = network(Dense(6, activation, bias=0.1), Dense(4, last, bias=-0.05))
        check = bpcore.gradcheck(stack, x, y, loss=chosen, sample_weight=weights)
        assert check.ok, str(check)


@pytest.mark.parametrize(
    "layers",
    [
        [Dense(4)],
        [Dense(4, bias=False)],
        [Dense(6, "tanh", bias=False), Dense(4, "sigmoid", bias=False)],
        [Dropout(0.4), Dense(6, "tanh"), Dropout(0.5), Dense(4)],
        [Dense(4), Dropout(0.3)],
        [Activation("tanh"), Dense(6), Activation("gelu"), Dense(4)],
        [Dense(6), Activation("prelu"), Dense(4), Activation("softplus")],
        [Dense(6, "leaky_relu", parameter=0.3, bias=0.1), Dense(4)],
        [Dense(6, "elu", parameter=0.7), Dense(5, "selu"), Dense(4)],
    ],
    ids=lambda layers: "-".join(layer.describe() for layer in layers),
)
def test_every_layer(layers: list[Layer], rng: np.random.Generator) -> None:
    x, y, _ = batch(rng)
    check = bpcore.gradcheck(network(*[dataclasses.replace(layer) for layer in layers]), x, y)
    assert check.ok, str(check)
    assert "x" in check.errors


def test_dense_targets_and_one_output(rng: np.random.Generator) -> None:
    x, _, _ = batch(rng)
    for loss, outputs, targets in (
        ("squared_error", 1, rng.standard_normal(7)),
        ("squared_error", 3, rng.standard_normal((7, 3))),
        ("binary_cross_entropy", 1, rng.integers(0, 2, 7)),
        ("binary_cross_entropy", 3, rng.random((7, 3))),
        ("softmax_cross_entropy", 2, np.full((7, 2), 0.5)),
    ):
        check = bpcore.gradcheck(network(Dense(6, "tanh"), Dense(outputs)), x, targets, loss=loss)
        assert check.ok, f"{loss}: {check}"


@pytest.mark.parametrize("wrong", ["activation", "bias", "parameter"])
def test_a_wrong_derivative_fails(wrong: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that cannot fail would prove nothing."""
    x, y, _ = batch(rng)
    entry = ACTIVATIONS["prelu"]
    if wrong == "activation":
        broken = dataclasses.replace(entry, derivative=lambda z, p: 1.0 if z > 0.0 else 1.01 * p)
    elif wrong == "parameter":
        broken = dataclasses.replace(entry, parameter_derivative=lambda z, p: z if z < 0.0 else 0.001)
    else:
        broken = entry
    monkeypatch.setitem(ACTIVATIONS, "prelu", broken)
    stack = network(Dense(6, "prelu"), Dense(4))
    if wrong == "bias":
        column_sums = stack.backend.delta

        def scaled(delta: np.ndarray, saved: np.ndarray, entry: object, bias_grad: np.ndarray, **rest: object) -> None:
            column_sums(delta, saved, entry, bias_grad, **rest)
            bias_grad *= 1.0001

        monkeypatch.setattr(stack.backend, "delta", scaled)
    check = bpcore.gradcheck(stack, x, y)
    assert not check.ok
    assert "FAILS" in str(check)
    assert {"activation": "0.W", "bias": "0.b", "parameter": "0.p"}[wrong] in [
        name for name, error in check.errors.items() if error > check.tolerance
    ]


def test_float32_is_too_coarse_and_said_so(rng: np.random.Generator) -> None:
    x, y, _ = batch(rng)
    with pytest.raises(InputError, match="float64"):
        bpcore.gradcheck(Network([Dense(4)], backend="numpy"), x, y)
