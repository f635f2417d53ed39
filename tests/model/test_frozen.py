"""Frozen layers and parameters."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpcore
from bpcore import SGD, Callback, Dense, Layer, Maxout, Network, Residual
from bpcore.backends.base import Array, Control
from bpcore.training.optimizers import OPTIMIZERS, get_optimizer
from bpcore.training.run import Run
from support.networks import data, network


def changed(net: Network, rng: np.random.Generator, **options: Any) -> set[str]:
    """The names of the arrays that a fit changes."""
    x, y = data(rng)
    net.build(5)
    before = net.parameters_by_name()
    net.fit(x, y, **{"epochs": 2, "batch_size": 8, "optimizer": SGD(), **options})
    return {name for name, array in net.parameters_by_name().items() if array.tobytes() != before[name].tobytes()}


EVERYTHING = {"0.W", "0.b", "0.p", "1.W", "1.b", "2.W", "2.b"}


def three(*freeze: Any) -> list[Layer]:
    return [Dense(6, "prelu", bias=0.1, freeze=freeze[0]), Maxout(4, freeze=freeze[1]), Dense(3, freeze=freeze[2])]


@pytest.mark.parametrize(
    ("freeze", "stays"),
    [
        ((False, False, False), set()),
        (("bias", "bias", "bias"), {"0.b", "1.b", "2.b"}),
        (("weights", False, "bias"), {"0.W", "2.b"}),
        (("slope", "weights", False), {"0.p", "1.W"}),
        ((True, False, True), {"0.W", "0.b", "0.p", "2.W", "2.b"}),
        ((False, True, False), {"1.W", "1.b"}),
    ],
)
@pytest.mark.parametrize("max_norm", [None, 0.1])
def test_frozen_arrays_keep_their_bits(
    freeze: Any, stays: set[str], max_norm: float | None, rng: np.random.Generator
) -> None:
    net = network(*three(*freeze), precision="float32")
    assert changed(net, rng, optimizer=SGD(l2=0.1, max_norm=max_norm)) == EVERYTHING - stays


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_leaves_frozen_arrays_unchanged(name: str, rng: np.random.Generator) -> None:
    net = network(*three("weights", False, "bias"), precision="float32")
    assert changed(net, rng, optimizer=get_optimizer(name, l2=0.1, max_norm=0.5)) == EVERYTHING - {"0.W", "2.b"}


def test_the_network_freezes_and_unfreezes(rng: np.random.Generator) -> None:
    net = network(*three(False, False, False), inputs=5)
    net.freeze(0, "2.b")
    assert changed(net, rng) == {"1.W", "1.b", "2.W"}
    net.unfreeze("slope")
    assert changed(net, rng) == {"0.p", "1.W", "1.b", "2.W"}
    net.unfreeze()
    assert changed(net, rng) == EVERYTHING
    net.freeze("weights", "bias")
    assert changed(net, rng) == {"0.p"}


def test_freezing_a_block_freezes_its_layers(rng: np.random.Generator) -> None:
    net = network(Dense(5, "tanh"), Residual([Dense(6, "tanh"), Dense(5)], projection=True), Dense(3), inputs=5)
    net.freeze(1)
    assert changed(net, rng) == {"0.W", "0.b", "5.W", "5.b"}
    net.unfreeze(2)
    assert changed(net, rng) == {"0.W", "0.b", "2.W", "2.b", "5.W", "5.b"}


def test_frozen_biases_change_nothing_else(rng: np.random.Generator) -> None:
    """A step gives the weights that it gives with trained biases, and clipping uses only the weights."""
    x, y = data(rng)
    weights, norms = [], []
    for freeze in (False, "bias"):
        net = network(Dense(6, "tanh", freeze=freeze), Dense(3, freeze=freeze), inputs=5)

        class Norm(Callback):
            reads_gradients = True

            def on_end(self, run: Run) -> None:
                grads = [view.grad for view in run.network.parameters.views.values() if view.trainable]
                expected = math.sqrt(sum(float((grad**2).sum()) for grad in grads))
                norms.append((float(run.control.norm[0]), expected))

        net.fit(x, y, epochs=1, optimizer=SGD())
        weights.append([net.parameters_by_name()[name] for name in ("0.W", "1.W")])
        net.fit(x, y, epochs=1, optimizer=SGD(max_norm=0.1), callbacks=[Norm()])
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)
    for norm, expected in norms:
        assert norm == pytest.approx(expected, rel=1e-12)
    assert norms[0][0] > norms[1][0]


def test_gradients_flow_through_a_frozen_layer_only_as_far_as_needed(rng: np.random.Generator) -> None:
    x, y = data(rng)
    check = bpcore.gradcheck(network(*three(False, True, "weights")), x, y)
    assert check.ok, str(check)
    net = network(Dense(6, "tanh"), Watched(), Dense(4, "tanh"), Dense(3), inputs=5)
    watched = net.layers[1]
    assert isinstance(watched, Watched)
    net.freeze(0, 2)
    net.fit(x, y, epochs=1)
    assert not watched.asked, "only the last layer learns"
    net.unfreeze("0.b")
    net.fit(x, y, epochs=1)
    assert watched.asked


class Watched(Layer):
    """Passes its input on, and records whether its backward pass was called."""

    asked = False

    def allocate(self, batch: int) -> None:
        pass

    def forward(self, x: Array, control: Control | None) -> Array:
        return x

    def backward(self, delta: Array, wants_input: bool) -> Array | None:
        self.asked = True
        return delta


def test_the_frozen_state_is_saved(tmp_path: Path, rng: np.random.Generator) -> None:
    net = network(*three("bias", False, False), inputs=5)
    net.freeze(2)
    net.unfreeze("0.b")
    net.save(tmp_path / "m.safetensors")
    again = Network.load(tmp_path / "m.safetensors", backend="numpy")
    assert "total, 15 frozen" in again.summary()
    assert changed(again, rng) == EVERYTHING - {"2.W", "2.b"}
