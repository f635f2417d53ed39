"""Residual blocks; test_recording.py and test_graphs.py test recording them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpcore
from bpcore import SGD, Activation, Adam, Callback, Dense, Dropout, Layer, Maxout, Network, Residual
from bpcore.backends.memory_meter import bytes_of
from bpcore.model.layers import walk
from bpcore.testing import references
from bpcore.training.nonfinite import NonFiniteLossError
from bpcore.training.run import Run
from support.networks import data, network


def test_a_block_adds_its_input_and_gradients_of_both_paths_add_up(rng: np.random.Generator) -> None:
    """y = x + tanh(x W + b): dL/dx = delta + (delta * tanh') W^T, computed by hand."""
    x, targets = rng.standard_normal((6, 4)), rng.standard_normal((6, 4))
    net = network(Dense(4, initializer="identity", freeze=True), Residual([Dense(4, "tanh", bias=0.3)]), inputs=4)
    w = net.parameters_by_name()["2.W"]
    a = np.tanh(x @ w + 0.3)
    np.testing.assert_allclose(net.output(x), x + a, rtol=1e-12)
    delta = (x + a - targets) / 6
    seen: dict[str, np.ndarray] = {}

    class Read(Callback):
        reads_gradients = True

        def on_end(self, run: Run) -> None:
            seen.update({name: np.array(view.grad) for name, view in run.network.parameters.views.items()})

    net.unfreeze()
    net.fit(x, targets, loss="squared_error", optimizer=SGD(), epochs=1, shuffle=False, callbacks=[Read()])
    back = delta * (1 - a**2)
    np.testing.assert_allclose(seen["2.W"], x.T @ back, rtol=1e-10)
    np.testing.assert_allclose(seen["0.W"], x.T @ (delta + back @ w.T), rtol=1e-10)


BLOCKS: dict[str, Any] = {
    "one layer": lambda: [Dense(6, "tanh"), Residual([Dense(6, "sigmoid")]), Dense(3)],
    "two layers": lambda: [Dense(6, "relu", bias=0.1), Residual([Dense(9, "relu", bias=0.1), Dense(6)]), Dense(3)],
    "first": lambda: [Residual([Dense(5, "tanh")]), Dense(3)],
    "last": lambda: [Dense(3, "tanh"), Residual([Dense(4, "tanh"), Dense(3)])],
    "alone": lambda: [Residual([Dense(3)], projection=True)],
    "projection": lambda: [Dense(6, "tanh"), Residual([Dense(4, "tanh"), Dense(3)], projection=True), Dense(3)],
    "dropout": lambda: [Dense(6, "tanh"), Residual([Dropout(0.4), Dense(6, "tanh"), Dropout(0.4)]), Dense(3)],
    # An Activation layer overwrites its delta, and one that saves its input keeps the block's.
    "activation": lambda: [Dense(6, "tanh"), Residual([Activation("tanh")]), Dense(3)],
    "saved input": lambda: [Dense(6, "tanh"), Residual([Activation("gelu"), Dense(6), Activation("prelu")]), Dense(3)],
    "maxout": lambda: [Dense(6, "tanh"), Residual([Maxout(6, 3)]), Dense(3)],
    "nested": lambda: [
        Dense(6, "tanh"),
        Residual([Residual([Dense(6, "tanh"), Dropout(0.2)]), Dense(6, "silu")]),
        Residual([Residual([Activation("tanh")])]),
        Dense(3),
    ],
}


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_have_the_right_gradients(name: str, rng: np.random.Generator) -> None:
    """A layer that overwrites its delta must not change the parallel path."""
    x, y = data(rng, 8)
    check = bpcore.gradcheck(network(*BLOCKS[name]()), x, y)
    assert check.ok, str(check)
    assert "x" in check.errors


def test_layers_in_blocks_are_numbered_consecutively(rng: np.random.Generator) -> None:
    net = network(*BLOCKS["nested"](), inputs=5)
    layers = [layer for _, layer in walk(net.layers)]
    assert [layer.number for layer in layers] == list(range(len(layers)))
    assert [place for place, _ in walk(net.layers)] == [
        "1",
        "2",
        "2.1",
        "2.1.1",
        "2.1.2",
        "2.2",
        "3",
        "3.1",
        "3.1.1",
        "4",
    ]
    assert sorted(net.parameters.views) == ["0.W", "0.b", "3.W", "3.b", "5.W", "5.b", "9.W", "9.b"]
    projecting = network(*BLOCKS["projection"](), inputs=5)
    assert sorted(projecting.parameters.views) == ["0.W", "0.b", "2.W", "2.b", "3.W", "3.b", "4.W", "5.W", "5.b"]


def test_dropout_in_a_block_has_its_own_mask() -> None:
    """Masks depend on the layer's number; otherwise neighbours would drop the same units."""
    net = network(Residual([Dropout(0.5)]), Dropout(0.5), inputs=8)
    control = net.backend.control(1, net.dtype, seed=3)
    net.reserve(4)
    x = np.ones((4, 8))
    outside, inside = (references.dropout_mask(4, 8, 0.5, number, 0, 3) * 2.0 for number in (2, 1))
    np.testing.assert_array_equal(net.forward(x, control), (1 + inside) * outside)


def test_a_network_of_152_layers_trains() -> None:
    """75 blocks of two layers between a first and a last layer. Without the blocks it learns nothing."""
    y = np.arange(300) % 3
    r = np.linspace(0.1, 1, 300)
    angle = 4 * r + y * 2 * math.pi / 3
    x = np.stack([r * np.sin(angle), r * np.cos(angle)], axis=1)
    accuracies = []
    for blocks in (True, False):
        if blocks:
            middle: list[Layer] = [Residual([Dense(8, "relu"), Dense(8, initializer="zeros")]) for _ in range(75)]
        else:
            middle = [Dense(8, "relu") for _ in range(150)]
        net = network(Dense(8, "relu"), *middle, Dense(3), precision="float32")
        assert sum(isinstance(layer, Dense) for _, layer in walk(net.layers)) == 152
        net.fit(x, y, optimizer=Adam(learning_rate=0.005), epochs=30, batch_size=50, seed=1)
        accuracies.append(net.evaluate(x, y).accuracy)
    assert accuracies[0] > 0.9
    assert accuracies[1] < 0.5


def test_a_saved_block_is_restored(tmp_path: Path, rng: np.random.Generator) -> None:
    x, y = data(rng)
    first = Dense(6, initializer=lambda rng, n, m: rng.standard_normal((n, m)))
    net = network(Dense(5), Residual([first, Residual([Dropout(0.2), Maxout(6, 3)])], projection=True), Dense(3))
    net.fit(x, y, epochs=2)
    net.save(tmp_path / "m.safetensors")
    again = Network.load(tmp_path / "m.safetensors", backend="numpy")
    np.testing.assert_array_equal(again.output(x), net.output(x))
    assert again.summary() == net.summary()
    assert callable(first.initializer), "saving leaves the network as it is"
    assert again.layers[1].config()["layers"][1]["layers"][1] == net.layers[1].config()["layers"][1]["layers"][1]
    again.fit(x, y, epochs=1)


def test_the_summary_shows_the_layers_of_a_block() -> None:
    lines = network(*BLOCKS["nested"](), inputs=5).summary().splitlines()
    assert [line.split("  ")[0] for line in lines[2:4]] == ["Dense, tanh", "Residual"]
    assert lines[4].startswith("  Residual ")
    assert lines[5].startswith("    Dense, tanh ")
    assert len({len(line) for line in lines}) == 1


def test_a_block_is_measured_before_it_is_allocated(rng: np.random.Generator) -> None:
    """Measuring counts what reserving would allocate, and leaves the layers unchanged."""
    for name, make in BLOCKS.items():
        net = network(*make(), inputs=5)
        net.reserve(2)
        before = net.layers[0].a if hasattr(net.layers[0], "a") else None
        counted, measured = net.bytes_for(100), net.backend
        assert all(layer.backend is net.backend for _, layer in walk(net.layers)), name
        assert before is None or net.layers[0].a is before

        def reserve(meter: Any, net: Network = net) -> None:
            for _, layer in walk(net.layers):
                layer.backend = meter
            net.backend = meter
            net.reserve(100)

        assert counted == bytes_of(reserve, measured), name


def test_a_non_finite_loss_names_the_layer_in_the_block(rng: np.random.Generator) -> None:
    x, y = data(rng)
    net = network(Dense(4, "tanh"), Residual([Dense(4, "relu"), Dense(4)]), Dense(3), inputs=5)
    net.set_parameters({"3.W": np.full((4, 4), np.inf)})
    with pytest.raises(NonFiniteLossError, match=r"first in layer 2 \(Residual\), in it layer 2 \(Dense, identity\)"):
        net.fit(x, y, epochs=1)


def test_a_non_finite_loss_may_come_from_the_projection(rng: np.random.Generator) -> None:
    """The projection takes the block's input, not the output of F's layers."""
    x, y = data(rng)
    net = network(Residual([Dense(6, "relu"), Dense(4)], projection=True), Dense(3), inputs=5)
    net.set_parameters({"3.W": np.full((5, 4), np.inf)})
    with pytest.raises(
        NonFiniteLossError, match=r"layer 1 \(Residual, projection\), in it layer 3 \(Dense, identity\)"
    ):
        net.fit(x, y, epochs=1)
