"""Tests of whole training runs, which must agree with the NumPy backend's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bpcore import Activation, Adam, Dense, Dropout, Maxout, Network, Residual, gradcheck, ops
from bpcore.backends import dispatch
from bpcore.backends.base import Backend
from bpcore.kernels.losses import LOSSES
from bpcore.testing.common import Suite
from bpcore.training.optimizers import OPTIMIZERS

CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-6}


def data(rng: np.random.Generator, samples: int = 53) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of bytes (samples, 12), labels of three classes, and weights; the last batch of 16 is short."""
    return rng.integers(0, 256, (samples, 12), np.uint8), rng.integers(0, 3, samples), rng.random(samples) + 0.5


def assert_same_run(backend: Backend, layers: Any, x: np.ndarray, y: np.ndarray, **options: Any) -> None:
    """Train on the backend and on NumPy, and compare histories, weights and predictions."""
    histories, networks = [], []
    for chosen in (backend, "numpy"):
        network = Network(layers(), backend=chosen, seed=4)
        histories.append(network.fit(x, y, epochs=2, batch_size=16, seed=8, **options))
        networks.append(network)
    for column in ("loss", "accuracy", "val_loss", "val_accuracy"):
        if column in histories[1]:
            np.testing.assert_allclose(histories[0][column], histories[1][column], **CLOSE)
    expected = networks[1].parameters_by_name()
    for name, array in networks[0].parameters_by_name().items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-3, atol=1e-5, err_msg=name)
    np.testing.assert_allclose(networks[0].predict(x), networks[1].predict(x), rtol=1e-3, atol=1e-5)


class TrainingConformance(Suite):
    """Tests that a network trains on the backend as it does on NumPy."""

    def test_a_run_gives_what_the_cpu_gives(self, backend: Backend, rng: np.random.Generator) -> None:
        """The run has all kinds of layers, sample weights, clipping, L2, validation, and a short last batch."""
        x, y, weights = data(rng)
        assert_same_run(
            backend,
            lambda: [
                Dense(16, "prelu"),
                Dropout(0.3),
                Residual([Dense(16, "gelu")]),
                Maxout(9, 2),
                Activation("tanh"),
                Dense(3),
            ],
            x,
            y,
            sample_weight=weights,
            optimizer=Adam(l2=0.01, max_norm=1.0),
            validation=(x, y),
        )

    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    def test_every_optimizer(self, backend: Backend, optimizer: str, rng: np.random.Generator) -> None:
        """A small network, with full batches and a short one."""
        x, y, _ = data(rng)
        assert_same_run(backend, lambda: [Dense(7, "relu"), Dense(3)], x, y, optimizer=optimizer)

    @pytest.mark.parametrize("loss", LOSSES)
    def test_every_loss(self, backend: Backend, loss: str, rng: np.random.Generator) -> None:
        """Each loss with labels, or with one-hot targets if it takes no labels."""
        x, y, _ = data(rng)
        targets = np.eye(3)[y] if LOSSES[loss].predicts == "yes_or_no" else y
        assert_same_run(backend, lambda: [Dense(7, "sigmoid"), Dense(3)], x, targets, loss=loss, optimizer="momentum")

    def test_numbers_as_targets(self, backend: Backend, rng: np.random.Generator) -> None:
        """A regression with validation."""
        x, y = rng.standard_normal((40, 5)), rng.standard_normal((40, 2))
        assert_same_run(backend, lambda: [Dense(6, "tanh"), Dense(2)], x, y, optimizer="sgd", validation=(x, y))

    def test_gradients(self, backend: Backend, rng: np.random.Generator) -> None:
        """Backpropagation against finite differences, in float64."""
        layers = [Dense(8, "prelu"), Dropout(0.2), Dense(5, "softplus"), Dense(3)]
        network = Network(layers, backend=backend, precision="float64", inputs=6, seed=3)
        checked = gradcheck(network, rng.standard_normal((9, 6)), rng.integers(0, 3, 9))
        assert checked.ok, str(checked)

    def test_answers(self, backend: Backend, rng: np.random.Generator) -> None:
        """Evaluation, probabilities and the confusion matrix."""
        x, y, _ = data(rng)
        here, there = (Network([Dense(7, "relu"), Dense(3)], backend=b, seed=2) for b in (backend, "numpy"))
        for network in (here, there):
            network.fit(x, y, epochs=1)
        np.testing.assert_allclose(here.evaluate(x, y), there.evaluate(x, y), **CLOSE)
        np.testing.assert_allclose(here.predict_proba(x), there.predict_proba(x), **CLOSE)
        np.testing.assert_array_equal(here.confusion_matrix(x, y), there.confusion_matrix(x, y))

    def test_the_functional_face(self, backend: Backend, rng: np.random.Generator, monkeypatch: Any) -> None:
        """bpcore.ops finds the backend by `owns`, and computes on it."""
        monkeypatch.setitem(dispatch.MADE, backend.name, backend)
        x, W = rng.standard_normal((5, 4)), rng.standard_normal((4, 3))
        a, saved = ops.linear_saving(backend.asarray(x), backend.asarray(W), activation="gelu")
        loss = ops.loss(a, backend.asarray(np.array([0, 2, 1, 1, 0])), "softmax_cross_entropy")
        deltas = ops.delta(loss.delta, saved, "gelu")
        on_cpu = ops.linear_saving(x, W, activation="gelu")
        expected = ops.delta(
            ops.loss(on_cpu.a, np.array([0, 2, 1, 1, 0]), "softmax_cross_entropy").delta, on_cpu.saved, "gelu"
        )
        for array, reference in zip((a, *deltas[:2]), (on_cpu.a, *expected[:2]), strict=True):
            assert backend.owns(array)
            np.testing.assert_allclose(backend.to_numpy(array), reference, rtol=1e-10, atol=1e-12)
