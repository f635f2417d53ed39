"""Textbook methods: formulas written out in NumPy, and worked examples to their published digits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import bpcore
from bpcore import SGD, Callback, Dense, Network
from bpcore.testing import references
from bpcore.training.run import Run

X, TARGETS = np.array([[0.05, 0.10]]), np.array([[0.01, 0.99]])


def network(*layers: bpcore.Layer, **options: Any) -> Network:
    return Network(list(layers), precision="float64", backend="numpy", **options)


def gradients(net: Network, x: np.ndarray, y: np.ndarray, **options: Any) -> dict[str, np.ndarray]:
    """Every parameter's gradient on one batch, as fit computes it, without changing the weights."""

    class Read(Callback):
        reads_gradients = True

        def on_end(self, run: Run) -> None:
            views = run.network.parameters.views.items()
            found.update({name: np.array(run.backend.to_numpy(view.grad)) for name, view in views})

    found: dict[str, np.ndarray] = {}
    net.build(x.shape[1])
    before = net.parameters_by_name()
    net.fit(x, y, optimizer=SGD(), epochs=1, batch_size=len(x), shuffle=False, callbacks=[Read()], **options)
    net.set_parameters(before)
    return found


# --- worked examples ------------------------------------------------------------------------------------------


def mazur(freeze: bool | str) -> Network:
    """M. Mazur's worked example of backpropagation (2015)."""
    net = network(Dense(2, "sigmoid", freeze=freeze), Dense(2, "sigmoid", freeze=freeze), inputs=2)
    net.set_parameters(
        {
            "0.W": np.array([[0.15, 0.25], [0.20, 0.30]]), "0.b": np.array([0.35, 0.35]),
            "1.W": np.array([[0.40, 0.50], [0.45, 0.55]]), "1.b": np.array([0.60, 0.60]),
        }
    )  # fmt: skip
    net.loss = bpcore.SquaredError()
    return net


def descend(net: Network, steps: int) -> float:
    net.fit(X, TARGETS, loss="squared_error", optimizer=SGD(learning_rate=0.5), epochs=steps)
    return net.evaluate(X, TARGETS).loss


@pytest.mark.parametrize("freeze", ["bias", False])
def test_mazur(freeze: bool | str) -> None:
    net = mazur(freeze)
    start = net.parameters_by_name()
    hidden = references.sigmoid(X @ start["0.W"] + start["0.b"])
    np.testing.assert_allclose(hidden, [[0.59326999, 0.59688438]], atol=5e-9)
    np.testing.assert_allclose(net.output(X), [[0.75136507, 0.77292847]], atol=5e-9)
    assert net.evaluate(X, TARGETS).loss == pytest.approx(0.29837110876, abs=5e-12)
    after_one = descend(net, 1)
    weights = net.parameters_by_name()
    w1_to_w4, w5_to_w8 = weights["0.W"].T.ravel(), weights["1.W"].T.ravel()
    np.testing.assert_allclose(w5_to_w8, [0.358916480, 0.408666186, 0.511301270, 0.561370121], atol=5e-10)
    np.testing.assert_allclose(w1_to_w4, [0.149780716, 0.199561432, 0.249751144, 0.299502287], atol=5e-10)
    after_ten_thousand = descend(net, 9999)
    if freeze == "bias":
        assert after_one == pytest.approx(0.29102777369, abs=5e-12)
        assert after_ten_thousand == pytest.approx(3.51018778e-5, abs=5e-14)
        for name in ("0.b", "1.b"):
            np.testing.assert_array_equal(net.parameters_by_name()[name], start[name])
    else:
        assert after_one == pytest.approx(0.28047145, abs=5e-9)
        assert after_ten_thousand == pytest.approx(2.44756e-6, abs=5e-12)
        assert (net.parameters_by_name()["0.b"] != start["0.b"]).all()
    assert bpcore.gradcheck(mazur(freeze), X, TARGETS, loss="squared_error").ok


def test_the_two_layer_net_of_cs231n() -> None:
    net = network(Dense(50, "relu"), Dense(7), inputs=5)
    net.set_parameters(
        {
            "0.W": np.linspace(-0.7, 0.3, 250).reshape(5, 50), "0.b": np.linspace(-0.1, 0.9, 50),
            "1.W": np.linspace(-0.3, 0.4, 350).reshape(50, 7), "1.b": np.linspace(-0.9, 0.1, 7),
        }
    )  # fmt: skip
    net.loss = bpcore.SoftmaxCrossEntropy()
    x, y = np.linspace(-5.5, 4.5, 15).reshape(5, 3).T, np.array([0, 5, 1])
    loss = net.evaluate(x, y).loss
    assert loss == pytest.approx(3.4702243556, abs=1e-8)
    squares = sum((array**2).sum() for name, array in net.parameters_by_name().items() if name.endswith("W"))
    assert loss + squares / 2 == pytest.approx(26.5948426952, abs=1e-8)
    assert bpcore.gradcheck(net, x, y).ok


def test_the_toy_net_of_cs231n() -> None:
    weights, data = np.random.RandomState(0), np.random.RandomState(1)
    net = network(Dense(10, "relu"), Dense(3), inputs=4)
    net.set_parameters({"0.W": 0.1 * weights.randn(4, 10), "1.W": 0.1 * weights.randn(10, 3)})
    net.loss = bpcore.SoftmaxCrossEntropy()
    loss = net.evaluate(10 * data.randn(5, 4), np.array([0, 1, 2, 2, 1])).loss
    squares = sum((array**2).sum() for name, array in net.parameters_by_name().items() if name.endswith("W"))
    assert loss + 0.05 * squares == pytest.approx(1.30378789133, abs=1e-8)


# --- losses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("g", ["identity", "sigmoid", "tanh", "relu"])
def test_softmax_on_logits_and_on_an_activated_output(g: str, rng: np.random.Generator) -> None:
    """y_hat = softmax(g(z)): delta(L) = (y_hat - y) * g'(z); with g the identity that is y_hat - y."""
    x, y = rng.standard_normal((6, 5)), rng.integers(0, 4, 6)
    net = network(Dense(4, g, bias=0.1), inputs=5)
    z = x @ net.parameters_by_name()["0.W"] + 0.1
    f, derivative = references.ACTIVATIONS[g]
    delta = (references.softmax(f(z)) - np.eye(4)[y]) * derivative(z)
    found = gradients(net, x, y)
    np.testing.assert_allclose(found["0.W"], x.T @ delta / 6, rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(found["0.b"], delta.mean(axis=0), rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(net.predict_proba(x), references.softmax(f(z)), rtol=1e-12)
    check = bpcore.gradcheck(net, x, y)
    assert check.ok, str(check)


@pytest.mark.parametrize("f", ["sigmoid", "tanh", "elu", "leaky_relu"])
def test_squared_error_through_the_activation(f: str, rng: np.random.Generator) -> None:
    """BP1, delta(L) = (a - y) * f'(z), followed by BP2 to BP4; the mean over the batch."""
    x, y = rng.standard_normal((6, 5)), rng.standard_normal((6, 3))
    net = network(Dense(4, "tanh", bias=0.1), Dense(3, f), inputs=5)
    p = net.parameters_by_name()
    a1 = np.tanh(x @ p["0.W"] + 0.1)
    z2 = a1 @ p["1.W"]
    value, derivative = references.ACTIVATIONS[f]
    delta2 = (value(z2) - y) * derivative(z2) / 6
    delta1 = (delta2 @ p["1.W"].T) * (1 - a1**2)
    found = gradients(net, x, y, loss="squared_error")
    expected = {"1.W": a1.T @ delta2, "1.b": delta2.sum(axis=0), "0.W": x.T @ delta1, "0.b": delta1.sum(axis=0)}
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-10, atol=1e-14, err_msg=name)


def test_the_hinge_loss(rng: np.random.Generator) -> None:
    """sum over j != y of max(0, s_j - s_y + 1); each violated margin lowers its score and raises the right one."""
    x, y = 2 * rng.standard_normal((8, 5)), rng.integers(0, 4, 8)
    net = network(Dense(4), inputs=5)
    net.loss = bpcore.Hinge()
    scores = x @ net.parameters_by_name()["0.W"]
    loss, delta = 0.0, np.zeros((8, 4))
    for i in range(8):
        for j in set(range(4)) - {y[i]}:
            margin = scores[i, j] - scores[i, y[i]] + 1
            loss += max(0.0, margin)
            delta[i, j] += margin > 0
            delta[i, y[i]] -= margin > 0
    assert net.evaluate(x, y).loss == pytest.approx(loss / 8, rel=1e-12)
    np.testing.assert_allclose(gradients(net, x, y, loss="hinge")["0.W"], x.T @ delta / 8, rtol=1e-11)
    assert 0 < (delta > 0).sum() < 24, "some margins are kept, some are not"


# --- initialisation and regularisation ----------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [0.01, 0.1, 1.0])
def test_identity_weights_with_relu_and_positive_biases(bias: float, rng: np.random.Generator) -> None:
    """For positive inputs such a stack gives x + depth * bias at any depth, and every unit learns."""
    x, y = rng.random((6, 4)), rng.integers(0, 4, 6)
    layers = [Dense(4, "relu", initializer="identity", bias=bias) for _ in range(3)]
    net = network(*layers, inputs=4)
    np.testing.assert_allclose(net.output(x), x + 3 * bias, rtol=1e-12)
    check = bpcore.gradcheck(net, x, y)
    assert check.ok, str(check)
    assert all((array != 0).all() for array in gradients(net, x, y).values())


def test_each_layer_has_its_own_activation_initializer_and_bias() -> None:
    net = network(
        Dense(5, "tanh", initializer="xavier_normal", bias=0.5),
        Dense(4, "elu", initializer="identity", bias=False),
        Dense(3, initializer="zeros", bias=-1.0),
        inputs=5,
    )
    p = net.parameters_by_name()
    assert sorted(p) == ["0.W", "0.b", "1.W", "2.W", "2.b"]
    np.testing.assert_array_equal(p["0.b"], 0.5)
    np.testing.assert_array_equal(p["1.W"], np.eye(5, 4))
    np.testing.assert_array_equal(p["2.W"], 0.0)
    np.testing.assert_array_equal(p["2.b"], -1.0)
    x = np.random.default_rng(0).standard_normal((3, 5))
    np.testing.assert_allclose(net.output(x), np.full((3, 3), -1.0))


def test_l2_does_not_affect_biases(rng: np.random.Generator) -> None:
    """A step descends the mean loss + 1/2 l2 sum W^2; its gradient is checked by differences of that."""
    x, y, l2, rate = rng.standard_normal((6, 4)), rng.integers(0, 3, 6), 0.3, 0.5
    net = network(Dense(5, "tanh", bias=0.2), Dense(3, bias=0.1), inputs=4)
    before = net.parameters_by_name()
    net.fit(x, y, optimizer=SGD(learning_rate=rate, l2=l2), epochs=1, batch_size=6)
    after = net.parameters_by_name()

    def objective(name: str, move: np.ndarray) -> float:
        moved = before | {name: before[name] + move}
        net.set_parameters(moved)
        squares = sum((array**2).sum() for name, array in moved.items() if name.endswith("W"))
        return float(net.evaluate(x, y).loss + l2 / 2 * squares)

    for name, array in before.items():
        for place in range(0, array.size, 3):
            v = np.zeros_like(array)
            v.flat[place] = 1e-5
            slope = (objective(name, v) - objective(name, -v)) / 2e-5
            step = (before[name] - after[name]).flat[place] / rate
            assert step == pytest.approx(slope, rel=1e-6, abs=1e-9), name
