"""Evaluation, prediction and the confusion matrix, entirely on the device, recorded or not."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bpcore
from bpcore import Adam, Dense, Dropout, Network
from bpcore.backends import cpu_tape, get_backend
from bpcore.backends.base import Backend, Samples
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.errors import InputError
from bpcore.kernels.losses import LOSSES
from bpcore.model.losses import get_loss
from bpcore.testing import references
from bpcore.training import evaluation, passes, samples
from bpcore.training.evaluation import Evaluator
from support.layers import PastTheBackend
from support.stand_in import Device


@pytest.fixture
def device() -> Device:
    return Device()


def network(backend: Any = "numpy", outputs: int = 4, loss: str = "softmax_cross_entropy", **options: Any) -> Network:
    """An untrained network whose predictions differ from row to row, as if trained."""
    layers = options.pop("layers", None) or [Dense(16, "gelu", bias=0.1), Dropout(0.5), Dense(outputs)]
    net = Network(layers, backend=backend, inputs=6, seed=3, **options)
    net.loss, net.classifies = get_loss(loss), get_loss(loss).rule.predicts != "number"
    return net


def on(device: Device) -> CupyBackend:
    return CupyBackend(device, device.launch)


def data(rng: np.random.Generator, rows: int = 45, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((rows, 6)), rng.integers(0, classes, rows)


# --- results --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LOSSES)
def test_both_devices_give_the_same_answers(loss: str, device: Device, rng: np.random.Generator) -> None:
    x, y = data(rng)
    here, there = network(loss=loss), network(on(device), loss=loss)
    for batch_size in (7, 45, 100):
        np.testing.assert_array_equal(here.predict(x, batch_size=batch_size), there.predict(x, batch_size=batch_size))
        np.testing.assert_array_equal(here.output(x, batch_size=batch_size), there.output(x, batch_size=batch_size))
        assert here.evaluate(x, y, batch_size=batch_size) == there.evaluate(x, y, batch_size=batch_size)
        if here.loss.rule.gives_probabilities:
            np.testing.assert_array_equal(here.predict_proba(x), there.predict_proba(x))
        if here.loss.rule.predicts == "label":
            np.testing.assert_array_equal(here.confusion_matrix(x, y), there.confusion_matrix(x, y))


def test_a_network_of_counts_predicts_their_mean(rng: np.random.Generator) -> None:
    x = rng.standard_normal((200, 1))
    y = rng.poisson(np.exp(1.0 + 0.5 * x))
    net = Network([Dense(1)], backend="numpy")
    net.fit(x, y, loss="poisson", optimizer=Adam(learning_rate=0.05), epochs=30, batch_size=20)
    assert not net.classifies
    np.testing.assert_allclose(net.predict(x), np.exp(net.output(x)))
    np.testing.assert_allclose(net.predict(x), np.exp(1.0 + 0.5 * x), rtol=0.3)
    with pytest.raises(InputError, match="zero or more for the Poisson loss"):
        net.fit(x, -y - 1.0, loss="poisson")


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_answers_match_the_output(precision: str, rng: np.random.Generator) -> None:
    x, _ = data(rng)
    close = {"rtol": 1e-6, "atol": 1e-7} if precision == "float32" else {"rtol": 1e-14}
    net = network(precision=precision)
    z = net.output(x, batch_size=7)
    assert z.dtype == precision
    labels, probabilities = net.predict(x, batch_size=7), net.predict_proba(x, batch_size=7)
    assert labels.dtype == np.int64
    assert probabilities.dtype == precision
    np.testing.assert_array_equal(labels, z.argmax(axis=1))
    np.testing.assert_allclose(probabilities, references.softmax(z.astype(float)), **close)
    net.loss = get_loss("binary_cross_entropy")
    yes = net.predict(x, batch_size=7)
    assert yes.dtype == np.int64
    np.testing.assert_array_equal(yes, z > 0)
    np.testing.assert_allclose(net.predict_proba(x, batch_size=7), references.sigmoid(z.astype(float)), **close)


def test_nan_outputs_are_decided_as_in_numpy(device: Device, rng: np.random.Generator) -> None:
    x, _ = data(rng)
    for backend in ("numpy", on(device)):
        net = network(backend)
        net.set_parameters({"2.b": np.array([0.0, np.nan, 1.0, np.nan])})
        assert (net.predict(x) == 1).all()
        net.set_parameters({"2.b": np.full(4, -np.inf)})
        assert (net.predict(x) == 0).all()


@given(
    samples=st.integers(1, 60), classes=st.integers(2, 6), batch_size=st.integers(1, 70), one_hot=st.booleans(),
    seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=40)
def test_confusion_matrix(samples: int, classes: int, batch_size: int, one_hot: bool, seed: int) -> None:
    x, y = data(np.random.default_rng(seed), samples, classes)
    device = Device()
    for backend in ("numpy", on(device)):
        net = network(backend, outputs=classes)
        targets = np.eye(classes)[y] if one_hot else y
        counts = net.confusion_matrix(x, targets, batch_size=batch_size)
        expected = np.zeros((classes, classes), np.int64)
        np.add.at(expected, (y, net.predict(x)), 1)
        assert counts.dtype == np.int64
        np.testing.assert_array_equal(counts, expected)
        assert counts.trace() / samples == pytest.approx(net.evaluate(x, y).accuracy)


def test_confusion_matrix_of_one_output(rng: np.random.Generator) -> None:
    """Two rows and two columns, for yes and no."""
    x, y = data(rng, classes=2)
    net = network(outputs=1, loss="binary_cross_entropy")
    expected = np.zeros((2, 2), np.int64)
    np.add.at(expected, (y, net.predict(x)), 1)
    np.testing.assert_array_equal(net.confusion_matrix(x, y, batch_size=8), expected)
    assert expected.all(), "all four cases are there"


def test_losses_without_a_confusion_matrix_are_refused(rng: np.random.Generator) -> None:
    x, y = data(rng)
    with pytest.raises(InputError, match="of classes, but this network gives numbers"):
        network(loss="squared_error").confusion_matrix(x, rng.standard_normal((45, 4)))
    with pytest.raises(InputError, match="answers several questions with yes or no"):
        network(loss="binary_cross_entropy").confusion_matrix(x, y)
    with pytest.raises(InputError, match="label 4 at row 0"):
        network().confusion_matrix(x[:1], [4])
    with pytest.raises(InputError, match="not been trained"):
        Network([Dense(4)], backend="numpy", inputs=6).confusion_matrix(x, y)


# --- what it costs ----------------------------------------------------------------------------------------------

ANSWERS: dict[str, tuple[str, Callable[[Network, np.ndarray], np.ndarray]]] = {
    "output": ("softmax_cross_entropy", lambda net, x: net.output(x, batch_size=10)),
    "argmax": ("softmax_cross_entropy", lambda net, x: net.predict(x, batch_size=10)),
    "softmax": ("softmax_cross_entropy", lambda net, x: net.predict_proba(x, batch_size=10)),
    "activate": ("binary_cross_entropy", lambda net, x: net.predict_proba(x, batch_size=10)),
    "above_zero": ("binary_cross_entropy", lambda net, x: net.predict(x, batch_size=10)),
    "confusion": (
        "softmax_cross_entropy", lambda net, x: net.confusion_matrix(x, np.zeros(len(x), int), batch_size=10)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_only_the_answer_is_copied_to_the_host(name: str, device: Device, rng: np.random.Generator) -> None:
    """One transfer for any number of batches, and these launches per batch."""
    x, _ = data(rng)
    loss, ask = ANSWERS[name]
    net = network(on(device), loss=loss)
    before = device.to_host
    ask(net, x)
    assert device.to_host == before + 1
    last = {"output": ["scatter"], "confusion": ["argmax", "confusion"]}.get(name, [name, "scatter"])
    assert device.launches == ["gather", "activate_keeping_input", "activate", *last, "advance"] * 5
    assert device.products == 2 * 5
    before, transfers = device.to_host, device.to_device
    ask(net, x[:10])
    assert device.to_host == before + 1
    once = device.to_device - transfers
    ask(net, x)
    assert device.to_device == transfers + 2 * once, "more batches bring no more from the host"


def test_an_evaluation_copies_only_its_slots(device: Device, rng: np.random.Generator) -> None:
    x, y = data(rng)
    net = network(on(device))
    net.evaluate(x, y, batch_size=10)
    assert device.to_host == 3, "losses, sums of weights, right answers"
    assert device.launches == ["gather", "activate_keeping_input", "loss_head", "advance"] * 5


# --- recorded ---------------------------------------------------------------------------------------------------


@pytest.fixture
def replays(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps of each replay; everything is recorded, and uses all threads."""
    monkeypatch.setattr(passes, "STEPS_WORTH_RECORDING", 3)
    monkeypatch.setattr(cpu_tape, "OPERATIONS_WORTH_A_THREAD", 1)
    steps: list[int] = []
    original = cpu_tape.tape.Tape.replay
    monkeypatch.setattr(cpu_tape.tape.Tape, "replay", lambda tape, n: (steps.append(n), original(tape, n))[1])
    return steps


class Unrecorded(type(get_backend("numpy"))):  # type: ignore[misc]
    """The CPU backend without a tape."""

    def record(self, step: Callable[[], None], **options: Any) -> Callable[[int], None]:
        return Backend.record(self, step, **options)


def evaluator(backend: Any, rng: np.random.Generator, loss: str, rows: int = 45) -> Evaluator:
    net = network(backend, loss=loss, layers=[Dense(16, "gelu"), Dense(8, "tanh"), Dense(4)])
    x, y = data(rng, rows)
    targets = samples.check_targets(y, get_loss(loss), rows, 4, net.dtype)
    held_out = samples.to_device(net.backend, Samples(x.astype(np.float32), targets))
    return Evaluator(net, held_out, get_loss(loss), batch_size=10, repeats=True)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_recorded_evaluation_equals_the_plain_one_bit_for_bit(loss: str, replays: list[int]) -> None:
    """On one thread, in every epoch, with weights that change between epochs."""
    recorded, plain = (evaluator(backend, np.random.default_rng(5), loss) for backend in ("numpy", Unrecorded()))
    for epoch in range(5):
        for one in (recorded, plain):
            one.network.parameters.params *= np.float32(1 + 0.1 * epoch)
        assert recorded.evaluate() == plain.evaluate()
    assert sum(replays) >= 3 * 4 + 3, "full batches, and the short one by itself"


@pytest.mark.parametrize("parts", [2, 3])
def test_an_evaluation_on_several_threads_is_reproducible(
    parts: int, replays: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recording, check and replay give the same bits; compared with one thread, sums are in another order."""
    monkeypatch.setenv("BPCORE_NUM_THREADS", str(parts))
    recorded = evaluator("numpy", np.random.default_rng(5), "softmax_cross_entropy")
    plain = evaluator(Unrecorded(), np.random.default_rng(5), "softmax_cross_entropy").evaluate()
    results = [recorded.evaluate() for _ in range(5)]
    assert len(set(results)) == 1
    assert results[0].loss == pytest.approx(plain.loss, rel=1e-6)
    assert results[0].accuracy == plain.accuracy
    assert replays


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("name", ANSWERS)
def test_recorded_answers_equal_plain_ones(
    name: str, parts: int, replays: list[int], monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    monkeypatch.setenv("BPCORE_NUM_THREADS", str(parts))
    x, _ = data(rng, 97)
    loss, ask = ANSWERS[name]
    found = ask(network(loss=loss), x)
    assert sum(replays) >= 8, "nine full batches: one records, the others are replayed"
    assert (found.dtype.kind == "f") == (name in ("output", "softmax", "activate"))
    np.testing.assert_allclose(found, ask(network(Unrecorded(), loss=loss), x), rtol=1e-5, atol=1e-6)


def test_few_batches_are_not_recorded(replays: list[int], rng: np.random.Generator) -> None:
    """Recording would cost more than it saves."""
    x, y = data(rng, 29)
    net = network()
    net.predict(x, batch_size=10)
    net.evaluate(x, y, batch_size=10)
    assert not replays


@pytest.mark.usefixtures("replays")
def test_a_layer_that_bypasses_the_backend_is_detected(rng: np.random.Generator) -> None:
    x, _ = data(rng, 97)
    layers = [Dense(8, "tanh"), PastTheBackend(), Dense(4)]
    net = network(layers=layers)
    with pytest.warns(UserWarning, match="a replayed step differs"):
        found = net.output(x, batch_size=10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(found, net.output(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("parts", [1, 2])
def test_validation_is_the_same_recorded_or_not(
    parts: int, replays: list[int], monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """Training and validation alternate on the same layer buffers."""
    monkeypatch.setenv("BPCORE_NUM_THREADS", str(parts))
    monkeypatch.setattr(evaluation.Evaluator.__init__, "__defaults__", (10,))
    x, y = data(rng, 97)
    histories = []
    for backend in ("numpy", Unrecorded()):
        net = Network([Dense(16, "gelu"), Dropout(0.3), Dense(4)], backend=backend, precision="float64")
        callback = [bpcore.EarlyStopping(patience=50)]
        histories.append(net.fit(x, y, epochs=6, batch_size=16, validation=(x[:45], y[:45]), callbacks=callback))
    assert replays
    for column in ("loss", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(histories[0][column], histories[1][column], rtol=1e-10)
