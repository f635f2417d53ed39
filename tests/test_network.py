"""The network as its users see it: building, predicting, saving, and what is refused."""

from __future__ import annotations

import copy
import importlib.metadata
import json
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save

import bpcore
from bpcore import Activation, Dense, Dropout, Network, Residual
from bpcore.backends import ALIASES, available_backends, get_backend
from bpcore.backends.base import PRECISIONS
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.backends.numpy_backend import NumpyBackend
from bpcore.errors import CALLED, BpcoreError, InputError, InputTypeError, unknown_name
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.kernels.losses import LOSSES
from bpcore.model.initializers import INITIALIZERS, draw
from bpcore.testing import references
from bpcore.training.optimizers import OPTIMIZERS
from bpcore.training.schedules import SCHEDULES
from support.stand_in import Device


def network(*layers: bpcore.Layer, **options: Any) -> Network:
    return Network(list(layers) or [Dense(8, "relu"), Dense(3)], backend="numpy", **options)


def test_a_saved_network_is_the_same_network(tmp_path: Path, rng: np.random.Generator) -> None:
    x, y = rng.integers(0, 256, (30, 6), dtype=np.uint8), rng.integers(0, 3, 30)
    net = network(Dense(8, "prelu", bias=0.1), Dropout(0.2), Activation("gelu"), Dense(4, "elu", bias=False), Dense(3))
    net.fit(x, y, loss=bpcore.SoftmaxCrossEntropy(0.1), epochs=2)
    net.about = {"classes": ["a", "b", "c"]}
    path = tmp_path / "deep" / "model.safetensors"
    net.save(path)
    again = Network.load(path, backend="numpy")
    np.testing.assert_array_equal(again.predict_proba(x), net.predict_proba(x))
    assert again.evaluate(x, y) == net.evaluate(x, y)
    assert again.about == net.about
    assert again.summary() == net.summary()
    assert [layer.config() for layer in again.layers] == [layer.config() for layer in net.layers]
    assert list(path.parent.iterdir()) == [path]
    again.fit(x, y, epochs=1)


@pytest.mark.parametrize("saved", ["float32", "float64"])
def test_a_network_is_loaded_at_any_precision(saved: str, tmp_path: Path, rng: np.random.Generator) -> None:
    """Wider it says the same to rounding; narrower its parameters are rounded once; and it can be trained on."""
    x, y = rng.standard_normal((30, 6)), rng.integers(0, 3, 30)
    net = network(Dense(8, "tanh"), Dense(3), precision=saved)
    net.fit(x, y, epochs=2)
    net.save(path := tmp_path / "model.safetensors")
    assert Network.load(path, backend="numpy").dtype == saved
    for precision in ("float32", "float64"):
        again = Network.load(path, backend="numpy", precision=precision)
        for name, array in again.parameters_by_name().items():
            assert array.dtype == precision
            np.testing.assert_array_equal(array, net.parameters_by_name()[name].astype(precision))
        np.testing.assert_allclose(again.predict_proba(x), net.predict_proba(x), rtol=1e-5)
        again.fit(x, y, epochs=1)
    for precision, said in (("bfloat16", "needs a GPU"), ("fp64", r"unknown precision 'fp64' \(here: 'float64'\)")):
        with pytest.raises(InputError, match=said):
            Network.load(path, backend="numpy", precision=precision)


def test_an_initializer_of_ones_own_is_not_needed_to_load(tmp_path: Path) -> None:
    net = network(Dense(2, initializer=lambda rng, n, m: np.full((n, m), 0.5)), inputs=3)
    net.save(tmp_path / "m.safetensors")
    again = Network.load(tmp_path / "m.safetensors", backend="numpy")
    np.testing.assert_array_equal(again.parameters_by_name()["0.W"], 0.5)
    assert callable(net.layers[0].initializer), "saving leaves the network as it is"


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x10\x00\x00\x00\x00\x00\x00\x00{}", None])
def test_files_that_are_no_model(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"no model file|not a model file|holds no bpcore network"):
        Network.load(path)


def test_a_truncated_model_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    network(inputs=2).save(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="damaged"):
        Network.load(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda config, arrays: config.pop("inputs"),
            "damaged, or .* another version of bpcore: KeyError: 'inputs'",
        ),
        (lambda config, arrays: config["layers"][0].update(new=1), "another version of bpcore: TypeError: .*'new'"),
        (lambda config, arrays: config.update(layers=3), "is damaged, or was written by another version"),
        (lambda config, arrays: config.update(frozen=["9.W"]), "is damaged, or was written by another version"),
        (lambda config, arrays: arrays.pop("1.W"), "safetensors lacks parameter '1.W'; it has 0.W, 0.b, 1.b"),
        (lambda config, arrays: config.clear(), "another version of bpcore, which stores it in another way"),
        (None, "is damaged: "),
    ],
)
def test_a_model_that_was_tampered_with_gets_one_line(tmp_path: Path, change: Any, said: str) -> None:
    """One that lacks an array would otherwise keep the random numbers that it begins with."""
    path = tmp_path / "m.safetensors"
    network(inputs=2).save(path)
    with safe_open(str(path), framework="numpy") as file:
        text, arrays = file.metadata()["bpcore"], {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    config = json.loads(text)
    if change is not None:
        change(config, arrays)
    path.write_bytes(save(arrays, metadata={"bpcore": "[1" if change is None else json.dumps(config)}))
    with pytest.raises(InputError, match=said) as caught:
        Network.load(path)
    assert "\n" not in str(caught.value)


def test_paths_are_as_people_write_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    network(inputs=2).save("~/m.safetensors")
    assert Network.load("~/m.safetensors").inputs == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.safetensors"]
    with pytest.raises(InputError, match=r"no model file .*, which is a folder"):
        Network.load(tmp_path)
    with pytest.raises(InputTypeError, match="3 is not a path"):
        Network.load(3)  # type: ignore[arg-type]


def test_a_model_with_an_unknown_activation_says_so(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    network(inputs=2).save(path)
    path.write_bytes(path.read_bytes().replace(b"relu", b"rela"))
    with pytest.raises(InputError, match=r"unknown activation 'rela'.*register"):
        Network.load(path)


def test_a_path_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        network(inputs=2).save(tmp_path / "file" / "m.safetensors")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def _pickled(network: Network) -> Network:
    copied: Network = pickle.loads(pickle.dumps(network))
    return copied


@pytest.mark.parametrize(
    ("copied", "device"),
    [(copy.deepcopy, "numpy"), (copy.copy, "numpy"), (_pickled, "numpy"), (copy.deepcopy, "stand-in")],
)
@pytest.mark.filterwarnings("ignore:cuBLASLt cannot be loaded")
def test_a_copy_is_a_network_of_its_own(
    copied: Callable[[Network], Network], device: str, rng: np.random.Generator
) -> None:
    """It learns what the original would have learned next, and the original stays as it was."""
    stand_in = Device()
    backend = "numpy" if device == "numpy" else CupyBackend(stand_in, stand_in.launch)
    x, y = rng.integers(0, 256, (40, 6), dtype=np.uint8), rng.integers(0, 3, 40)
    inside = [Dense(8, "prelu", freeze="bias"), Dense(6, initializer=lambda rng, n, m: rng.normal(size=(n, m)))]
    if copied is _pickled:
        inside[1] = Dense(6)  # no pickle holds a lambda
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


def test_a_network_that_is_not_built_is_copied_too(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((20, 4)), rng.integers(0, 3, 20)
    net = network(seed=7)
    again = _pickled(net)
    assert again.fit(x, y, epochs=2)["loss"] == net.fit(x, y, epochs=2)["loss"]


def test_several_threads_may_ask_one_network(rng: np.random.Generator) -> None:
    x = rng.standard_normal((40, 300, 6))
    net = network(Dense(64, "tanh"), Dense(64, "tanh"), Dense(3), inputs=6)
    expected = [net.output(part) for part in x]
    with ThreadPoolExecutor(4) as pool:
        for found, of_one in zip(pool.map(net.output, [*x] * 10), expected * 10, strict=True):
            np.testing.assert_array_equal(found, of_one)


def test_a_layer_is_of_the_network_that_was_built_last(rng: np.random.Generator) -> None:
    """Two networks over the same layers would write into each other's buffers; one after the other is well."""
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


def test_predictions_are_those_of_the_formulas(rng: np.random.Generator) -> None:
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


def test_weights_depend_on_the_seed_alone() -> None:
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


def test_a_network_in_short() -> None:
    assert repr(network(Dense(4, "relu"), Dense(3))) == "<Network of 2 layers, not built, on numpy>"
    short = repr(network(Dense(4, "relu"), Dense(3), inputs=5))
    assert short == "<Network of 2 layers, 5 inputs, 3 outputs, 39 parameters, on numpy>"


TABLES = {
    "loss": LOSSES,
    "activation": ACTIVATIONS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "initializer": INITIALIZERS,
    "precision": PRECISIONS,
    "device": ALIASES,
    "setting": {setting.name for kind in OPTIMIZERS.values() for setting in fields(kind)},
}


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        ("loss", "mse", "here: 'squared_error'"),
        ("loss", "MSELoss", "here: 'squared_error'"),
        ("loss", "cross_entropy", "here: 'softmax_cross_entropy'"),
        ("loss", "CrossEntropyLoss", "here: 'softmax_cross_entropy'"),
        ("loss", "sparse_categorical_crossentropy", "here: 'softmax_cross_entropy'"),
        ("loss", "log_loss", "here: 'binary_cross_entropy' or 'softmax_cross_entropy'"),
        ("loss", "hing", "did you mean 'hinge'?"),
        ("activation", "logistic", "here: 'sigmoid'"),
        ("activation", "leaky", "here: 'leaky_relu'"),
        ("activation", "LeakyReLU", "did you mean 'leaky_relu'?"),
        ("optimizer", "Adam", "did you mean 'adam'?"),
        ("schedule", "CosineAnnealingLR", "here: 'cosine'"),
        ("initializer", "kaiming_normal_", "here: 'he_normal'"),
        ("precision", "bf16", "here: 'bfloat16'"),
        ("device", "cuda", "here: 'gpu'"),
        ("setting", "lr", "here: 'learning_rate'"),
    ],
)
def test_a_name_from_elsewhere_is_told_what_it_is_called_here(kind: str, name: str, hint: str) -> None:
    accepted = sorted(TABLES[kind])
    assert (
        str(unknown_name(kind, name, accepted)) == f"unknown {kind} {name!r} ({hint}); accepted: {', '.join(accepted)}"
    )


def test_a_name_that_is_close_to_nothing_gets_no_hint() -> None:
    assert str(unknown_name("loss", "quantile", ["hinge"])) == "unknown loss 'quantile'; accepted: hinge"


def test_the_names_from_elsewhere_lead_to_names_that_are_there() -> None:
    assert set(CALLED) <= {name for table in TABLES.values() for name in table}
    for table in TABLES.values():
        others = {other for name in table for other in CALLED.get(name, "").split()}
        assert not others & set(table)


def test_backends_are_chosen_by_name_and_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    states = available_backends()
    assert states["numpy"] == "available"
    assert set(states) >= {"numpy", "cupy"}
    chosen = get_backend("auto")
    assert chosen.reason
    assert get_backend(chosen) is chosen
    monkeypatch.setenv("BPCORE_BACKEND", "numpy")
    assert get_backend().name == "numpy"
    assert get_backend().reason == "BPCORE_BACKEND=numpy"
    if states["cupy"] != "available":
        with pytest.raises(BpcoreError):
            get_backend("cupy")


def test_devices_have_plain_names_too() -> None:
    assert Network([Dense(3)], backend="cpu").backend.name == "numpy"


def test_a_backend_of_another_package_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = importlib.metadata.EntryPoint("toy", "test_network:ToyBackend", "bpcore.backends")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry] if group == "bpcore.backends" else [])
    assert available_backends()["toy"] == "available"
    assert get_backend("toy").describe() == {"device": "toy"}
    broken = importlib.metadata.EntryPoint("broken", "no_such_module:Backend", "bpcore.backends")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [broken])
    assert "cannot be loaded" in available_backends()["broken"]


class ToyBackend(NumpyBackend):
    """What another package might bring."""

    name = "toy"

    def describe(self) -> dict[str, str]:
        return {"device": "toy"}


def test_about_is_json(tmp_path: Path) -> None:
    net = network(inputs=2)
    net.about = {"classes": ["ä", "b"], "nested": {"numbers": [1, 2.5, None]}}
    net.save(tmp_path / "m.safetensors")
    assert Network.load(tmp_path / "m.safetensors", backend="numpy").about == json.loads(json.dumps(net.about))
    net.about = {"mean": np.float32(0.5)}
    with pytest.raises(InputTypeError, match=r"np.float32\(0.5\) cannot be saved, in `about` say: it is no JSON value"):
        net.save(tmp_path / "n.safetensors")


def test_a_layer_that_is_no_dataclass_says_so(tmp_path: Path) -> None:
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


def test_numbers_of_numpy_are_numbers(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((20, 4)), rng.integers(0, 3, 20)
    of_python = network(Dense(8, "relu", bias=0.5), Dropout(0.5), Dense(3))
    of_numpy = network(Dense(np.int32(8), "relu", bias=np.float32(0.5)), Dropout(np.float32(0.5)), Dense(3))
    losses = [
        net.fit(x, y, epochs=2, scale=kind(0.5))["loss"] for net, kind in ((of_python, float), (of_numpy, np.float32))
    ]
    assert losses[0] == losses[1]
    json.dumps([layer.config() for layer in of_numpy.layers])
    json.dumps(bpcore.SoftmaxCrossEntropy(np.float32(0.5)).config())
