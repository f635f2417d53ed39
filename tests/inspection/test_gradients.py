"""Gradient checks in float64: every activation with every loss, every layer, and wrong gradients that must fail."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

import bpcore
from bpcore import Activation, Dense, Dropout, Layer, Maxout, Network
from bpcore.errors import InputError
from bpcore.inspection.gradcheck import ArrayCheck, GradientCheck
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.kernels.losses import LOSSES
from bpcore.testing.common import settings_to_try


def network(*layers: Layer, **options: object) -> Network:
    return Network(list(layers), precision="float64", backend="numpy", **options)


def batch(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return rng.standard_normal((7, 5)), rng.integers(0, 4, 7), rng.random(7) + 0.1


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_with_every_loss(activation: str, loss: str, rng: np.random.Generator) -> None:
    """In a hidden layer and in the last layer, with other settings of the loss than its defaults."""
    x, y, weights = batch(rng)
    chosen = bpcore.Loss(loss, **settings_to_try(LOSSES[loss])[-1])
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


def linear(*weights: list[float], activation: str = "relu", last: str = "identity") -> Network:
    """Two inputs, one hidden unit per column of weights, and one output that sums them; no biases."""
    net = network(Dense(len(weights[0]), activation, bias=False), Dense(1, last, bias=False), inputs=2)
    net.set_parameters({"0.W": np.array(weights), "1.W": np.ones((len(weights[0]), 1))})
    return net


def by_name(check: GradientCheck) -> dict[str, ArrayCheck]:
    return {array.name: array for array in check.arrays}


@pytest.mark.parametrize("distance", [0.0, 1e-7, 1e-6, 3.3e-6, 5e-6, 9e-6, -1e-7, -3.3e-6, -5e-6, -9e-6])
def test_a_kink_between_the_points_is_recognised(distance: float) -> None:
    """One ReLU unit is at the given distance from its kink, with epsilon 1e-5; the other is far from its kink."""
    net = linear([1.0, 1.0], [1.0, -2.0])
    x = np.array([[1.0, -1.0 + distance]])
    check = bpcore.gradcheck(net, x, [[3.0]], loss="squared_error")
    found = by_name(check)
    assert (found["0.W"].checked, found["0.W"].skipped) == (2, 2), "both weights of the unit meet it"
    assert (found["x"].checked, found["x"].skipped) == (0, 2)
    assert found["0.W"].ok
    assert found["x"].verdict == "NOT CHECKED"
    assert np.isnan(found["x"].error)
    assert not check.ok, "nothing is known of x"
    assert "2 skipped at kinks" in str(check)
    assert "NOT CHECKED" in str(check)


@pytest.mark.parametrize("distance", [1.1e-5, 1e-3, -1.1e-5])
def test_a_kink_outside_does_not_matter(distance: float) -> None:
    check = bpcore.gradcheck(linear([1.0, 1.0], [1.0, -2.0]), [[1.0, -1.0 + distance]], [[3.0]], loss="squared_error")
    assert check.ok, str(check)
    assert check.skipped == 0


def test_kinks_of_hinge_and_maxout() -> None:
    net = network(Dense(2, bias=False), inputs=2)
    net.set_parameters({"0.W": np.array([[1.0, 1.0], [0.0, 1.0]])})
    check = bpcore.gradcheck(net, [[0.5, -1.0 + 2e-6], [0.3, 0.4]], [0, 0], loss="hinge")
    assert by_name(check)["0.W"].skipped > 0, "the first sample's margin is nearly zero"
    net = network(Maxout(1, 2, bias=False), inputs=2)
    net.set_parameters({"0.W": np.array([[1.0, 2.0], [2.0, 1.0]])})
    check = bpcore.gradcheck(net, [[0.5, 0.5 + 2e-6], [0.1, 0.7]], [[0.0], [1.0]], loss="squared_error")
    assert (by_name(check)["0.W"].checked, by_name(check)["0.W"].skipped) == (0, 4)


def test_a_random_direction_at_a_kink_is_replaced_by_another(rng: np.random.Generator) -> None:
    """In a large array one unit of one sample is so near its kink that some directions cross it."""
    net = network(Dense(100, "relu"), Dense(3), inputs=2)
    start = net.parameters_by_name()
    x = rng.standard_normal((4, 2))
    bias = np.full(100, 0.3)
    bias[0] = 1e-6 - x[0] @ start["0.W"][:, 0]
    net.set_parameters({"0.b": bias})
    check = bpcore.gradcheck(net, x, [0, 1, 2, 0], directions=12)
    assert check.ok, str(check)
    assert by_name(check)["0.W"].checked == by_name(check)["0.b"].checked == 12
    assert check.skipped > 0


@pytest.mark.parametrize("factor", [1.001, 0.9, 2.0, -1.0])
def test_a_wrong_derivative_is_not_taken_for_a_kink(
    factor: float, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for an activation with a kink that some directions cross."""
    entry = ACTIVATIONS["relu"]
    broken = dataclasses.replace(entry, derivative=lambda a, p: factor if a > 0.0 else 0.0)
    monkeypatch.setitem(ACTIVATIONS, "relu", broken)
    x, y, _ = batch(rng)
    check = bpcore.gradcheck(network(Dense(30, "relu"), Dense(4)), x, y)
    found = by_name(check)
    assert {name for name, array in found.items() if array.verdict == "FAILS"} == {"0.W", "0.b", "x"}
    check = bpcore.gradcheck(linear([1.0, 1.0], [1.0, -2.0]), [[1.0, -1.0 + 1e-6]], [[3.0]], loss="squared_error")
    assert by_name(check)["0.W"].verdict == "FAILS", "the unit that is far from its kink tells"


def test_a_nan_gradient_fails(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = dataclasses.replace(ACTIVATIONS["tanh"], derivative=lambda a, p: math.nan)
    monkeypatch.setitem(ACTIVATIONS, "tanh", broken)
    x, y, _ = batch(rng)
    check = bpcore.gradcheck(network(Dense(6, "tanh"), Dense(4)), x, y)
    assert by_name(check)["0.W"].verdict == "FAILS"


def test_small_gradients_are_checked_within_rounding(rng: np.random.Generator) -> None:
    """Gradients of saturated units that rounding hides do not fail; one that is wrong by much does."""
    x, y, _ = batch(rng)
    net = network(Dense(6, "sigmoid", bias=9.0), Dense(4), inputs=5)
    check = bpcore.gradcheck(net, x, y)
    assert check.ok, str(check)
    assert check.skipped == 0


def test_large_arrays_use_directions_and_small_ones_elements(rng: np.random.Generator) -> None:
    x, y, _ = batch(rng)
    found = by_name(bpcore.gradcheck(network(Dense(20, "tanh"), Dense(4)), x, y, directions=3, elements=20))
    assert {name: (array.by, array.checked) for name, array in found.items()} == {
        "0.W": ("direction", 3), "0.b": ("element", 20), "1.W": ("direction", 3), "1.b": ("element", 4),
        "x": ("direction", 3),
    }  # fmt: skip
    assert {name: array.shape for name, array in found.items()}["0.W"] == (5, 20)


def test_a_check_leaves_the_network_unchanged(rng: np.random.Generator) -> None:
    x, y, _ = batch(rng)
    net = network(Dense(6, "relu"), Dense(4), inputs=5)
    before = net.parameters_by_name()
    bpcore.gradcheck(net, x, y)
    for name, array in net.parameters_by_name().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epsilon": 0.0}, "epsilon=0.0; accepted: 0 < epsilon <= 0.001"),
        ({"epsilon": 0.1}, "epsilon=0.1"),
        ({"tolerance": 0.0}, "tolerance=0.0"),
        ({"directions": 0}, "directions=0"),
        ({"loss": "hinges"}, "unknown loss"),
    ],
)
def test_bad_input_gets_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        bpcore.gradcheck(network(Dense(4)), np.ones((2, 3)), [0, 1], **options)


def test_float32_is_refused_as_too_coarse(rng: np.random.Generator) -> None:
    x, y, _ = batch(rng)
    with pytest.raises(InputError, match="float64"):
        bpcore.gradcheck(Network([Dense(4)], backend="numpy"), x, y)
