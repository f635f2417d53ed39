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
from bpcore.training.optimizers import OPTIMIZERS, get_optimizer
from support import kernel_cases


def test_every_template_runs(rng: np.random.Generator) -> None:
    """Runs the kernels in small training steps, and each by itself; the conformance suite checks the values."""
    x = rng.standard_normal((5, 4))
    y = rng.integers(0, 3, 5)
    for activation in ACTIVATIONS:
        for loss in LOSSES:
            network = bpcore.Network(
                [bpcore.Dense(6, activation), bpcore.Dropout(0.5), bpcore.Dense(3)], backend="numpy"
            )
            history = network.fit(x, y, loss=loss, epochs=1, batch_size=2, sample_weight=np.ones(5))
            assert math.isfinite(history["loss"][0])
    for rule in OPTIMIZERS:
        optimizer = get_optimizer(rule, l2=0.1, max_norm=0.1)
        network = bpcore.Network([bpcore.Dense(3)], backend="numpy")
        network.fit(x, np.eye(3)[y], loss="softmax_cross_entropy", optimizer=optimizer, epochs=1, batch_size=5)
    with np.errstate(all="ignore"):
        for case in kernel_cases.every_case(np.float32, 5, 4):
            cpu.compiled(case.spec)(*case.arguments)


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
