"""Maxout, residual blocks, and what is frozen; recording them stands in test_recording.py and test_graphs.py."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bpcore
from bpcore import SGD, Activation, Adam, Callback, Dense, Dropout, Layer, Maxout, Network, Residual
from bpcore.backends import get_backend
from bpcore.backends.base import Array, Control
from bpcore.backends.metering import bytes_of
from bpcore.errors import InputError, InputTypeError
from bpcore.model.layers import walk
from bpcore.testing import references
from bpcore.training.nonfinite import NonFiniteLossError
from bpcore.training.optimizers import OPTIMIZERS, get_optimizer
from bpcore.training.run import Run


def network(*layers: Layer, **options: Any) -> Network:
    return Network(list(layers), backend="numpy", **{"precision": "float64"} | options)


def data(rng: np.random.Generator, samples: int = 20) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((samples, 5)), rng.integers(0, 3, samples)


# --- Maxout -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [2, 3, 5])
def test_maxout_is_the_largest_of_its_maps(pieces: int, rng: np.random.Generator) -> None:
    x, _ = data(rng)
    net = network(Maxout(4, pieces, bias=0.5), inputs=5)
    p = net.parameters_by_name()
    assert (p["0.W"].shape, p["0.b"].shape) == ((5, 4 * pieces), (4 * pieces,))
    net.set_parameters({"0.b": rng.standard_normal(4 * pieces)})
    p = net.parameters_by_name()
    maps = [x @ p["0.W"][:, 4 * k : 4 * k + 4] + p["0.b"][4 * k : 4 * k + 4] for k in range(pieces)]
    np.testing.assert_allclose(net.output(x, batch_size=7), np.max(maps, axis=0), rtol=1e-12)


@given(rows=st.integers(1, 9), columns=st.integers(1, 20), pieces=st.integers(2, 6), seed=st.integers(0, 99))
def test_pieces_of_any_shape(rows: int, columns: int, pieces: int, seed: int) -> None:
    """There and back, with many equals: the first of them wins."""
    rng = np.random.default_rng(seed)
    backend = get_backend("numpy")
    z = rng.integers(-2, 3, (rows, pieces * columns)).astype(np.float32)
    bias, delta = (rng.integers(-1, 2, shape).astype(np.float32) for shape in ((pieces * columns,), (rows, columns)))
    out, winner = backend.empty((rows, columns), np.float32), backend.empty((rows, columns), np.int32)
    backend.max_pieces(z, bias, out, winner)
    maps = (z + bias).reshape(rows, pieces, columns)
    np.testing.assert_array_equal(out, maps.max(axis=1))
    np.testing.assert_array_equal(winner, maps.argmax(axis=1))
    backend.max_pieces_backward(delta, winner, z, bias)
    won = np.arange(pieces)[None, :, None] == maps.argmax(axis=1)[:, None]
    expected = np.where(won, delta[:, None], 0).reshape(rows, -1)
    np.testing.assert_array_equal(z, expected)
    np.testing.assert_array_equal(bias, expected.sum(axis=0))


@pytest.mark.parametrize(
    "make",
    [
        lambda: [Maxout(3, 2)],
        lambda: [Maxout(6, 3, bias=0.1), Dense(3)],
        lambda: [Dense(6, "tanh"), Dropout(0.3), Maxout(4, 4, bias=False), Maxout(3)],
    ],
)
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "hinge"])
def test_maxout_has_the_right_gradients(make: Any, loss: str, rng: np.random.Generator) -> None:
    x, y = data(rng)
    check = bpcore.gradcheck(network(*make()), x, y, loss=loss)
    assert check.ok, str(check)


def test_maxout_learns_a_circle(rng: np.random.Generator) -> None:
    """Its decision is made of straight pieces, without any other activation."""
    x = rng.uniform(-1, 1, (400, 2))
    y = ((x**2).sum(axis=1) < 0.6).astype(int)
    net = network(Maxout(12, 3), Dense(2), precision="float32")
    net.fit(x, y, optimizer=Adam(learning_rate=0.03), epochs=60, batch_size=50)
    assert net.evaluate(x, y).accuracy > 0.97


# --- residual blocks --------------------------------------------------------------------------------------------


def test_a_block_adds_its_input_and_gradients_of_both_paths_add_up(rng: np.random.Generator) -> None:
    """y = x + tanh(x W + b): dL/dx = delta + (delta * tanh') W^T, written out."""
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
    # An activation alone overwrites the delta that it is given, and one that saves its input keeps the block's.
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
    """A layer that overwrites the delta it is given must not spoil the path beside it."""
    x, y = data(rng, 8)
    check = bpcore.gradcheck(network(*BLOCKS[name]()), x, y)
    assert check.ok, str(check)
    assert "x" in check.errors


def test_layers_are_numbered_through(rng: np.random.Generator) -> None:
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


def test_dropout_in_a_block_has_a_mask_of_its_own() -> None:
    """The masks are those of the layers' numbers; each would otherwise drop the same units as its neighbour."""
    net = network(Residual([Dropout(0.5)]), Dropout(0.5), inputs=8)
    control = net.backend.control(1, net.dtype, seed=3)
    net.reserve(4)
    x = np.ones((4, 8))
    outside, inside = (references.dropout_mask(4, 8, 0.5, number, 0, 3) * 2.0 for number in (2, 1))
    np.testing.assert_array_equal(net.forward(x, control), (1 + inside) * outside)


def test_a_network_of_152_layers_trains() -> None:
    """75 blocks of two layers between a first and a last one. Without the blocks it learns nothing at all."""
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


def test_a_saved_block_is_the_same_block(tmp_path: Path, rng: np.random.Generator) -> None:
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


def test_the_summary_shows_what_is_in_a_block() -> None:
    lines = network(*BLOCKS["nested"](), inputs=5).summary().splitlines()
    assert [line.split("  ")[0] for line in lines[2:4]] == ["Dense, tanh", "Residual"]
    assert lines[4].startswith("  Residual ")
    assert lines[5].startswith("    Dense, tanh ")
    assert len({len(line) for line in lines}) == 1


def test_a_block_is_measured_before_it_is_made(rng: np.random.Generator) -> None:
    """The meter counts what reserving takes, and leaves the layers with what they have."""
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


def test_a_loss_that_is_not_finite_names_the_layer_in_the_block(rng: np.random.Generator) -> None:
    x, y = data(rng)
    net = network(Dense(4, "tanh"), Residual([Dense(4, "relu"), Dense(4)]), Dense(3), inputs=5)
    net.set_parameters({"3.W": np.full((4, 4), np.inf)})
    with pytest.raises(NonFiniteLossError, match=r"first in layer 2 \(Residual\), in it layer 2 \(Dense, identity\)"):
        net.fit(x, y, epochs=1)


def test_a_loss_that_is_not_finite_may_come_from_the_projection(rng: np.random.Generator) -> None:
    """It takes the block's input, and not what F's layers have made of it."""
    x, y = data(rng)
    net = network(Residual([Dense(6, "relu"), Dense(4)], projection=True), Dense(3), inputs=5)
    net.set_parameters({"3.W": np.full((5, 4), np.inf)})
    with pytest.raises(
        NonFiniteLossError, match=r"layer 1 \(Residual, projection\), in it layer 3 \(Dense, identity\)"
    ):
        net.fit(x, y, epochs=1)


# --- what is frozen ---------------------------------------------------------------------------------------------


def changed(net: Network, rng: np.random.Generator, **options: Any) -> set[str]:
    """The names of the arrays that a fit changes; all others keep their bits."""
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
def test_every_optimizer_leaves_frozen_arrays_alone(name: str, rng: np.random.Generator) -> None:
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


def test_a_block_is_frozen_with_all_that_is_in_it(rng: np.random.Generator) -> None:
    net = network(Dense(5, "tanh"), Residual([Dense(6, "tanh"), Dense(5)], projection=True), Dense(3), inputs=5)
    net.freeze(1)
    assert changed(net, rng) == {"0.W", "0.b", "5.W", "5.b"}
    net.unfreeze(2)
    assert changed(net, rng) == {"0.W", "0.b", "2.W", "2.b", "5.W", "5.b"}


def test_frozen_biases_change_nothing_else(rng: np.random.Generator) -> None:
    """The weights after a step are those of a step with biases that learn, and clipping looks at the weights alone."""
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


def test_gradients_flow_through_a_frozen_layer_and_no_further_than_something_learns(rng: np.random.Generator) -> None:
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
    """Passes everything on, and knows whether it was asked on the way back."""

    asked = False

    def allocate(self, batch: int) -> None:
        pass

    def forward(self, x: Array, control: Control | None) -> Array:
        return x

    def backward(self, delta: Array, wants_input: bool) -> Array | None:
        self.asked = True
        return delta


def test_what_is_frozen_is_saved(tmp_path: Path, rng: np.random.Generator) -> None:
    net = network(*three("bias", False, False), inputs=5)
    net.freeze(2)
    net.unfreeze("0.b")
    net.save(tmp_path / "m.safetensors")
    again = Network.load(tmp_path / "m.safetensors", backend="numpy")
    assert "total, 15 frozen" in again.summary()
    assert changed(again, rng) == EVERYTHING - {"2.W", "2.b"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dense(3, freeze="biases"), "freeze='biases'; accepted: True, False, 'weights', 'bias', 'slope'"),
        (lambda: Maxout(3, freeze=2), "freeze=2"),
        (lambda: Activation("prelu", freeze="p"), "freeze='p'"),
        (lambda: Maxout(3, 1), "pieces of a Maxout layer must be an integer of 2 or more, not 1"),
        (lambda: Maxout(3, 2.5), r"must be an integer of 2 or more, not 2\.5"),
        (lambda: Maxout(0), "outputs of a Maxout layer must be a positive integer, not 0"),
        (lambda: Residual([]), "a Residual block needs at least one layer"),
        (lambda: Residual(Dense(3)), "a Residual block takes a list of layers"),
        (lambda: Residual([Dense(3), "relu"]), "'relu' is not a layer"),
        (lambda: Residual([Dense(3)] * 2), "stands twice in a Residual block"),
        (lambda: network(Residual([Dense(6)]), inputs=5), "adds its 5 inputs to the 6 outputs .* projection=True"),
        (lambda: network(Dense(3)).freeze(0), "no weights yet"),
        (lambda: network(Dense(3), inputs=2).freeze(1), "no parameter 1 to freeze .* number \\(0 to 0\\)"),
        (lambda: network(Dense(3), inputs=2).unfreeze("0.w"), "no parameter '0.w'"),
        (lambda: network(Dense(3, freeze=True)).fit(np.ones((2, 2)), [0, 1]), "every parameter is frozen"),
        (lambda: network(Activation("tanh")).fit(np.ones((2, 2)), [0, 1]), "no layer has parameters"),
    ],
)
def test_bad_input_gets_one_line(make: Any, message: str) -> None:
    with pytest.raises((InputError, InputTypeError), match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_layer_twice_is_refused_also_in_blocks() -> None:
    shared = Dense(4)
    with pytest.raises(InputError, match="stands twice in a network"):
        network(shared, Residual([Dense(4), shared]))
