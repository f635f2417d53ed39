"""Network as users see it: copies, predictions, summary, and its errors."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpcore
from bpcore import Activation, Dense, Dropout, Network, Residual
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.errors import InputError, InputTypeError
from bpcore.model.initializers import INITIALIZERS, draw
from bpcore.testing import references
from support.small_network import network
from support.stand_in import Device


def _pickled(network: Network) -> Network:
    copied: Network = pickle.loads(pickle.dumps(network))
    return copied


@pytest.mark.parametrize(
    ("copied", "device"),
    [(copy.deepcopy, "numpy"), (copy.copy, "numpy"), (_pickled, "numpy"), (copy.deepcopy, "stand-in")],
)
@pytest.mark.filterwarnings("ignore:cuBLASLt cannot be loaded")
def test_a_copy_is_independent(copied: Callable[[Network], Network], device: str, rng: np.random.Generator) -> None:
    """A copy learns what the original would have learned next, and the original does not change."""
    stand_in = Device()
    backend = "numpy" if device == "numpy" else CupyBackend(stand_in, stand_in.launch)
    x, y = rng.integers(0, 256, (40, 6), dtype=np.uint8), rng.integers(0, 3, 40)
    inside = [Dense(8, "prelu", freeze="bias"), Dense(6, initializer=lambda rng, n, m: rng.normal(size=(n, m)))]
    if copied is _pickled:
        inside[1] = Dense(6)  # a lambda cannot be pickled
    net = Network([Residual(inside), Dropout(0.2), Dense(4, "tanh"), Dense(3)], backend=backend)
    net.fit(x, y, epochs=2, batch_size=16)
    net.about = {"classes": ["a", "b", "c"]}
    net.freeze("4.W")
    before, said = net.parameters_by_name(), net.predict_proba(x)
    again = copied(net)
    np.testing.assert_array_equal(again.predict_proba(x), said)
    assert again.about == net.about
    assert again.summary() == net.summary()
    history = again.fit(x, y, epochs=3, batch_size=16)
    np.testing.assert_array_equal(net.predict_proba(x), said)
    assert history["loss"] == net.fit(x, y, epochs=3, batch_size=16)["loss"]
    for name, array in net.parameters_by_name().items():
        np.testing.assert_array_equal(again.parameters_by_name()[name], array)
        assert (array != before[name]).any() == (name not in ("1.b", "4.W")), name


def test_an_unbuilt_network_can_be_copied(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((20, 4)), rng.integers(0, 3, 20)
    net = network(seed=7)
    again = _pickled(net)
    assert again.fit(x, y, epochs=2)["loss"] == net.fit(x, y, epochs=2)["loss"]


def test_several_threads_may_use_one_network(rng: np.random.Generator) -> None:
    x = rng.standard_normal((40, 300, 6))
    net = network(Dense(64, "tanh"), Dense(64, "tanh"), Dense(3), inputs=6)
    expected = [net.output(part) for part in x]
    with ThreadPoolExecutor(4) as pool:
        for found, of_one in zip(pool.map(net.output, [*x] * 10), expected * 10, strict=True):
            np.testing.assert_array_equal(found, of_one)


def test_layers_belong_to_the_network_built_last(rng: np.random.Generator) -> None:
    """Two networks that share layers would overwrite each other's buffers; using them in turn is allowed."""
    x, y = rng.standard_normal((20, 4)), rng.integers(0, 3, 20)
    layers = [Residual([Dense(4, "relu")]), Dense(3)]
    first, second = (Network(layers, backend="numpy") for _ in range(2))
    losses = [network.fit(x, y, epochs=2)["loss"] for network in (first, second)]
    assert losses[0] == losses[1]
    said = second.predict(x)
    for use in (lambda: first.fit(x, y), lambda: first.predict(x), lambda: first.evaluate(x, y)):
        with pytest.raises(InputError, match=r"layer 1 \(Residual\) is part of another network now"):
            use()
    np.testing.assert_array_equal(second.predict(x), said)
    assert copy.deepcopy(first).fit(x, y, epochs=1), "a copy has layers of its own"
    Network(layers[0].layers, inputs=4, backend="numpy")
    with pytest.raises(InputError, match=r"layer 1.1 \(Dense, relu\) is part of another network now"):
        second.predict(x)


def test_predictions_match_the_formulas(rng: np.random.Generator) -> None:
    x = rng.standard_normal((50, 4))
    net = network(Dense(8, "relu"), Dense(3), precision="float64", inputs=4)
    p = net.parameters_by_name()
    z = np.maximum(x @ p["0.W"] + p["0.b"], 0) @ p["1.W"] + p["1.b"]
    np.testing.assert_allclose(net.output(x, batch_size=7), z, rtol=1e-12)
    net.loss, net.classifies = bpcore.SoftmaxCrossEntropy(), True
    np.testing.assert_allclose(net.predict_proba(x), references.softmax(z), rtol=1e-12)
    np.testing.assert_array_equal(net.predict(x, batch_size=9), z.argmax(axis=1))
    net.loss = bpcore.BinaryCrossEntropy()
    np.testing.assert_allclose(net.predict_proba(x), references.sigmoid(z), rtol=1e-12)
    np.testing.assert_array_equal(net.predict(x), z > 0)
    net.loss, net.classifies = bpcore.SquaredError(), False
    np.testing.assert_array_equal(net.predict(x), net.output(x))
    with pytest.raises(InputError, match="gives no probabilities"):
        net.predict_proba(x)


def test_regression_and_yes_or_no(rng: np.random.Generator) -> None:
    x = rng.standard_normal((200, 3))
    net = network(Dense(16, "tanh"), Dense(1))
    history = net.fit(x, x @ [1.0, -2.0, 0.5], optimizer=bpcore.Adam(learning_rate=0.01), epochs=60, batch_size=20)
    assert history["loss"][-1] < 0.05
    assert "accuracy" not in history
    assert net.predict(x).shape == (200, 1)
    y = (x[:, 0] > 0).astype(int)
    net = network(Dense(8, "tanh"), Dense(1))
    history = net.fit(x, y, loss="binary_cross_entropy", optimizer=bpcore.Adam(learning_rate=0.01), epochs=60)
    assert history["accuracy"][-1] > 0.9
    assert (net.predict(x) == y).mean() > 0.9


def test_several_labels(rng: np.random.Generator) -> None:
    x = rng.standard_normal((300, 4))
    y = (x[:, :3] > 0).astype(int)
    net = network(Dense(3))
    history = net.fit(x, y, loss="binary_cross_entropy", optimizer=bpcore.Adam(learning_rate=0.05), epochs=40)
    assert history["accuracy"][-1] == pytest.approx((net.predict(x) == y).all(axis=1).mean(), abs=0.03)
    assert history["accuracy"][-1] > 0.8


def test_summary_counts_the_parameters() -> None:
    summary = network(Dense(128, "relu"), Dropout(0.5), Dense(10), inputs=784).summary()
    assert "100,480" in summary
    assert "1,290" in summary
    assert "101,770" in summary.splitlines()[-1]
    assert len({len(line) for line in summary.splitlines()}) == 1


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initializers(name: str) -> None:
    n, m = 400, 300
    w = draw(name, np.random.default_rng(1), n, m)
    assert w.shape == (n, m)
    variance = {
        "he_normal": 2 / n, "he_uniform": 2 / n, "xavier_normal": 2 / (n + m), "xavier_uniform": 2 / (n + m),
        "lecun_normal": 1 / n, "lecun_uniform": 1 / n, "standard_normal": 1.0, "zeros": 0.0,
    }  # fmt: skip
    if name == "identity":
        np.testing.assert_array_equal(w, np.eye(n, m))
    else:
        assert w.var() == pytest.approx(variance[name], rel=0.02)
        assert abs(w.mean()) < 0.01
    if name == "xavier_uniform":
        assert abs(w).max() == pytest.approx(np.sqrt(6 / (n + m)), rel=0.01)


def test_weights_depend_only_on_the_seed() -> None:
    a, b, c = (network(inputs=5, seed=seed).parameters_by_name()["0.W"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: network(Dense(0)), "positive integer, not 0"),
        (lambda: network(Dense(2.5)), "positive integer, not 2.5"),
        (lambda: network(Dense(3, "rleu")), "unknown activation 'rleu'.*did you mean 'relu'"),
        (lambda: network(Dense(3, "ReLU")), "unknown activation 'ReLU'.*did you mean 'relu'"),
        (lambda: network(Dense(3, "softmax")), "part of the loss softmax_cross_entropy"),
        (lambda: network(Dense(3, None)), r"activation None is not a name.*\(identity is none\)"),
        (lambda: network(Dense(3, initializer="h"), inputs=2), "unknown initializer 'h'"),
        (lambda: network(Dense(3, initializer=3), inputs=2), "initializer 3 cannot be used"),
        (lambda: network(Dense(3, initializer=lambda *_: np.zeros((1, 1))), inputs=2), "gave shape"),
        (lambda: network(Dropout(1.0)), "dropout rate 1.0"),
        (lambda: network(Dropout("half")), "dropout rate 'half'"),
        (lambda: network(Dropout(True)), "dropout rate True"),
        (lambda: network(Dense(3, bias=None)), "bias=None; accepted: a finite number, or False for none"),
        (lambda: network(bpcore.Maxout(3, bias="zeros")), "bias='zeros'; accepted: a finite number"),
        (lambda: network(Dense(3, bias=float("nan"))), "bias=nan"),
        (lambda: network(Dense(3, "prelu", parameter="a")), "parameter='a'"),
        (lambda: network(Activation("elu", parameter=float("inf"))), "parameter=inf"),
        (lambda: bpcore.EarlyStopping(patience="3"), "patience='3'; accepted: an integer of 1 or more"),
        (lambda: bpcore.EarlyStopping(min_delta=None), "min_delta=None; accepted: a finite number"),
        (lambda: bpcore.StopAtLoss("low"), "target='low'; accepted: a finite number"),
        (lambda: bpcore.Diagnostics(rows=0), "rows=0; accepted: an integer of 1 or more"),
        (lambda: bpcore.gradcheck([Dense(3)], np.zeros((2, 2)), [0, 1]), "gradient checking takes a network, not"),
        (lambda: network().fit([[1.0, 2.0], [3.0]], [0, 1]), "x cannot be made an array"),
        (lambda: network().fit(np.zeros((2, 2)), [[1, 0, 0], [0, 1]]), "y cannot be made an array"),
        (lambda: network().fit(np.zeros((2, 2)), [0, 1], scale="x"), "scale='x'; accepted: a finite number"),
        (lambda: network().fit(np.zeros((2, 2)), [0, 1], scale=float("nan")), "scale=nan"),
        (lambda: network().fit(np.zeros((2, 2)), [0, 1], shift=np.ones(2)), "shift=.*accepted: a finite number"),
        (lambda: network().fit(np.zeros((2, 2)), [0, 1], shuffle="no"), "shuffle='no'; accepted: True or False"),
        (lambda: Network([], backend="numpy"), "at least one layer"),
        (lambda: network("dense"), "is not a layer"),
        (lambda: network(*[Dense(3)] * 2), "stands twice"),
        (lambda: network(precision="float16"), "precision 'float16'"),
        (lambda: network(seed=1.5), "seed 1.5"),
        (lambda: network(inputs=0), "input features must be a positive integer, not 0"),
        (lambda: network(inputs=6.0), "input features must be a positive integer, not 6.0"),
        (lambda: network(inputs="6"), "input features must be a positive integer, not '6'"),
        (lambda: Network([Dense(3)], backend="cuda"), "unknown backend 'cuda'.*accepted: auto, cpu, cupy, gpu, numpy"),
        (lambda: network().summary(), "no weights yet"),
        (lambda: network(inputs=2).predict([[1.0, 2.0]]), "not been trained"),
        (lambda: network(inputs=2).output(np.zeros((1, 3))), "3 features a sample, but the network takes 2"),
        (lambda: network(inputs=2).set_parameters({"9.W": np.zeros(1)}), "no parameter '9.W'"),
        (lambda: network(inputs=2).set_parameters({"0.b": np.zeros(1)}), "has shape"),
        (lambda: network(inputs=2).set_parameters([np.zeros(1)]), "list given; accepted: a dictionary from names to"),
    ],
)
def test_bad_input_gets_one_line(make: Any, message: str) -> None:
    with pytest.raises((InputError, InputTypeError), match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_measure_that_a_run_has_not(rng: np.random.Generator) -> None:
    """One-hot rows are numbers to predict, unless the loss says otherwise; it is said what would help."""
    x, labels = rng.standard_normal((20, 4)), np.arange(20) % 3
    history = network(Dense(3)).fit(x, np.eye(3)[labels], epochs=1)
    with pytest.raises(InputError, match=r"not measured 'accuracy', but loss, .*loss='softmax_cross_entropy'$"):
        history["accuracy"]
    with pytest.raises(InputError, match=r"not measured 'val_accuracy', but .*; val_ measures need validation data$"):
        history["val_accuracy"]
    with pytest.raises(InputError, match=r"not measured 'los', but loss, learning_rate, seconds, samples_per_second$"):
        history["los"]
    history = network(Dense(3)).fit(x, np.eye(3)[labels], epochs=1, loss="softmax_cross_entropy")
    assert 0.0 <= history["accuracy"][0] <= 1.0


def test_the_repr_of_a_network() -> None:
    assert repr(network(Dense(4, "relu"), Dense(3))) == "<Network of 2 layers, not built, on numpy>"
    short = repr(network(Dense(4, "relu"), Dense(3), inputs=5))
    assert short == "<Network of 2 layers, 5 inputs, 3 outputs, 39 parameters, on numpy>"


def test_a_layer_that_is_not_a_dataclass_is_refused(tmp_path: Path) -> None:
    class Twice(bpcore.Layer, abstract=True):
        def allocate(self, batch: int) -> None:
            self.a = self.backend.empty((batch, self.outputs), self.dtype)

        def forward(self, x: Any, control: Any) -> Any:
            return self.backend.add(x, x, self.a[: x.shape[0]])

        def backward(self, delta: Any, wants_input: bool) -> Any:
            return self.backend.add(delta, delta, delta)

    net = network(Twice(), Dense(3), inputs=2)
    assert net.output([[1.0, 2.0]]).shape == (1, 3)
    with pytest.raises(InputTypeError, match="Twice must be a dataclass"):
        net.save(tmp_path / "m.safetensors")


def test_numpy_numbers_are_accepted(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((20, 4)), rng.integers(0, 3, 20)
    of_python = network(Dense(8, "relu", bias=0.5), Dropout(0.5), Dense(3))
    of_numpy = network(Dense(np.int32(8), "relu", bias=np.float32(0.5)), Dropout(np.float32(0.5)), Dense(3))
    losses = [
        net.fit(x, y, epochs=2, scale=kind(0.5))["loss"] for net, kind in ((of_python, float), (of_numpy, np.float32))
    ]
    assert losses[0] == losses[1]
    json.dumps([layer.config() for layer in of_numpy.layers])
    json.dumps(bpcore.SoftmaxCrossEntropy(np.float32(0.5)).config())
