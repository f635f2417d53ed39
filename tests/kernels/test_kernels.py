"""Every CPU kernel runs, also as plain Python: make coverage runs this file with the compiler off."""

from __future__ import annotations

import math
import time

import numba
import numpy as np
import pytest

import bpcore
from bpcore.kernels import cpu, spec
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.kernels.losses import LOSSES


def test_every_template_runs(rng: np.random.Generator) -> None:
    """Runs each kernel in a small training step; the conformance suite checks the values."""
    x = rng.standard_normal((5, 4))
    y = rng.integers(0, 3, 5)
    for activation in ACTIVATIONS:
        for loss in LOSSES:
            network = bpcore.Network(
                [bpcore.Dense(6, activation), bpcore.Dropout(0.5), bpcore.Dense(3)], backend="numpy"
            )
            history = network.fit(x, y, loss=loss, epochs=1, batch_size=2, sample_weight=np.ones(5))
            assert math.isfinite(history["loss"][0])
    for rule in ("sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw"):
        optimizer = bpcore.training.optimizers.get_optimizer(rule, l2=0.1, max_norm=0.1)
        network = bpcore.Network([bpcore.Dense(3)], backend="numpy")
        network.fit(x, np.eye(3)[y], loss="softmax_cross_entropy", optimizer=optimizer, epochs=1, batch_size=5)
    backend = network.backend
    out, winner = backend.empty((5, 2), np.float32), backend.empty((5, 2), np.int32)
    pieces = backend.asarray(x, np.float32)
    backend.max_pieces(pieces, backend.full((4,), 0.0, np.float32), out, winner)
    backend.max_pieces_backward(out, winner, pieces, backend.empty((4,), np.float32))
    backend.duplicate(out, backend.empty((5, 2), np.float32))
    backend.hadamard(out, out)
    backend.add(out, out)
    backend.softmax(out)
    labels = backend.argmax(out)
    backend.above_zero(out)
    backend.confusion(labels, labels, backend.asarray(np.zeros((2, 2), np.int64)))
    backend.scatter(out, backend.control(1, np.float32), backend.empty((5, 2), np.float32))
    backend.scatter(labels, backend.control(1, np.float32), backend.empty((5,), np.int64))
    backend.column_sums(out, backend.empty((2,), np.float32))
    backend.limit_columns(out, 0.1)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")
@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_an_in_place_activation_is_vectorised(name: str) -> None:
    """A loop that must assume that it writes where it reads would take eight times as long."""
    kernel = cpu.compiled(spec.activate(ACTIVATIONS[name], np.dtype(np.float32)))
    z, row = np.ones((64, 512), np.float32), np.zeros(512, np.float32)

    def fastest(out: np.ndarray) -> float:
        kernel(z, row, row, out)
        times = []
        for _ in range(50):
            began = time.perf_counter()
            kernel(z, row, row, out)
            times.append(time.perf_counter() - began)
        return min(times)

    assert fastest(z) < 3 * fastest(np.empty_like(z))
