"""What Diagnostics finds in the layers, beside plain NumPy; what it says; and that the training is the same with it."""

from __future__ import annotations

import json
import math
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bpcore import (
    SGD,
    Activation,
    Adam,
    Callback,
    Dense,
    Diagnostics,
    Dropout,
    InputError,
    Layer,
    Maxout,
    Momentum,
    Network,
    Residual,
)
from bpcore.backends import get_backend, operations, taping
from bpcore.backends.base import Array, Backend, Control, Samples
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.inspection.advice import advice
from bpcore.inspection.probe import NEAR_ZERO, DiagnosticSample, LayerSample, Probe
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.model.losses import Loss
from bpcore.model.parameters import Declaration
from bpcore.testing import references
from bpcore.training.loop import train
from bpcore.training.nonfinite import NonFiniteLossError
from bpcore.training.run import Run
from bpcore.training.samples import to_device
from bpcore.training.schedules import Constant, OneCycle
from bpcore.training.settings import Settings
from support import stand_in_cublas
from support.stand_in import Device


def data(rng: np.random.Generator, rows: int = 40, inputs: int = 5) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((rows, inputs)), rng.integers(0, 3, rows)


def plain() -> Backend:
    """A CPU that runs each step in Python: what is looked at here needs no compiled products."""
    backend = get_backend("numpy")
    backend.record = super(type(backend), backend).record  # type: ignore[method-assign]
    return backend


def look(
    layers: list[Layer], x: Any, y: Any, *, precision: str = "float64", **options: Any
) -> tuple[Network, Diagnostics]:
    """Train for two epochs of batches of 8, and look at every row before the first step and after each epoch."""
    found = Diagnostics(notify=lambda line: None)
    net = Network(layers, backend=plain(), precision=precision, seed=3)
    net.build(np.shape(x)[1])
    options = {"optimizer": SGD(learning_rate=0.2), "epochs": 2, "batch_size": 8, **options}
    net.fit(x, y, callbacks=[found, *options.pop("callbacks", ())], **options)
    return net, found


def gradients(weights: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
    """The loss and the gradients of Dense(tanh), Dense by BP1 to BP4 in plain NumPy."""
    w1, b1, w2, b2 = (weights[name] for name in ("0.W", "0.b", "1.W", "1.b"))
    a1 = np.tanh(x @ w1 + b1)
    targets = np.eye(w2.shape[1])[y]
    loss, delta2 = references.loss_and_delta("softmax_cross_entropy", a1 @ w2 + b2, targets, np.ones(len(x)))
    delta1 = (delta2 @ w2.T) * (1 - a1**2)
    found = {"0.W": x.T @ delta1, "0.b": delta1.sum(axis=0), "1.W": a1.T @ delta2, "1.b": delta2.sum(axis=0)}
    return loss, found


# --- figures ------------------------------------------------------------------------------------------------------


def test_norms_are_those_of_the_textbook(rng: np.random.Generator) -> None:
    x, y = data(rng)
    net, found = look([Dense(6, "tanh"), Dense(3)], x, y)
    assert [sample.step for sample in found.samples] == [0, 5, 10]
    assert [sample.epoch for sample in found.samples] == [0.0, 1.0, 2.0]
    fresh = Network([Dense(6, "tanh"), Dense(3)], inputs=5, backend=plain(), precision="float64", seed=3)
    for sample, weights in (
        (found.samples[0], fresh.parameters_by_name()),
        (found.samples[-1], net.parameters_by_name()),
    ):
        loss, expected = gradients(weights, x, y)
        assert sample.loss == pytest.approx(loss, rel=1e-12)
        assert sample.learning_rate == 0.2
        assert [(layer.place, layer.layer) for layer in sample.layers] == [
            ("1", "Dense, tanh"),
            ("2", "Dense, identity"),
        ]
        for number, layer in enumerate(sample.layers):
            norms = {name: np.linalg.norm(expected[name]) for name in (f"{number}.W", f"{number}.b")}
            assert layer.gradients == pytest.approx(norms, rel=1e-10)
            assert layer.gradient_norm == pytest.approx(math.hypot(*norms.values()), rel=1e-10)
            assert layer.weight_norm == pytest.approx(np.linalg.norm(weights[f"{number}.W"]), rel=1e-12)
            ratio = 0.2 * norms[f"{number}.W"] / layer.weight_norm
            assert layer.update_ratio == pytest.approx(ratio, rel=1e-8)
        assert sample.gradient_norm == pytest.approx(
            math.hypot(*(np.linalg.norm(array) for array in expected.values())), rel=1e-10
        )


def test_the_update_is_the_optimizers(rng: np.random.Generator) -> None:
    """L2 on the weights, clipping by the whole gradient's norm, a momentum that remembers, a bound on Adam's steps."""
    x, y = data(rng)
    fresh = Network([Dense(6, "tanh"), Dense(3)], inputs=5, backend=plain(), precision="float64", seed=3)
    weights = fresh.parameters_by_name()
    _, expected = gradients(weights, x, y)
    norm = math.hypot(*(float(np.linalg.norm(array)) for array in expected.values()))
    for optimizer, of_first in (
        (SGD(learning_rate=0.2, l2=0.5), 0.2 * (expected["0.W"] + 0.5 * weights["0.W"])),
        (SGD(learning_rate=0.2, max_norm=norm / 4), 0.2 * expected["0.W"] / 4),
        (Adam(learning_rate=0.01, epsilon=1e-30), np.full((5, 6), 0.01)),
    ):
        _, found = look([Dense(6, "tanh"), Dense(3)], x, y, optimizer=optimizer, epochs=1)
        ratio = np.linalg.norm(of_first) / np.linalg.norm(weights["0.W"])
        assert found.samples[0].layers[0].update_ratio == pytest.approx(ratio, rel=1e-7)
    _, light = look([Dense(6, "tanh"), Dense(3)], x, y, optimizer=Momentum(learning_rate=0.01, momentum=0.0))
    _, heavy = look([Dense(6, "tanh"), Dense(3)], x, y, optimizer=Momentum(learning_rate=0.01, momentum=0.99))
    ratios = [found.samples[-1].layers[0].update_ratio for found in (light, heavy)]
    assert ratios[0] is not None
    assert ratios[1] is not None
    assert ratios[1] > 2 * ratios[0], "the state that the run has gathered belongs to the update"


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("alone", [False, True])
def test_saturated_and_dead(name: str, alone: bool, rng: np.random.Generator) -> None:
    """Unit 0 sees the input as it is, unit 1 fifty times, unit 2 far below zero, unit 3 far above."""
    x = rng.standard_normal((30, 1))
    net = Network(
        [Dense(4), Activation(name), Dense(3)] if alone else [Dense(4, name), Dense(3)],
        inputs=1,
        backend=plain(),
        precision="float64",
    )
    factors, shifts = np.array([[1.0, 50.0, 0.0, 0.0]]), np.array([0.0, 0.0, -200.0, 200.0])
    net.set_parameters({"0.W": factors, "0.b": shifts})
    found = Diagnostics(notify=lambda line: None)
    net.fit(x, rng.integers(0, 3, 30), optimizer=SGD(learning_rate=1e-9), epochs=1, callbacks=[found])
    layer = found.samples[0].layers[1 if alone else 0]
    entry, z = ACTIVATIONS[name], x @ factors + shifts
    f, derivative = (np.vectorize(function, otypes=[float]) for function in (entry.f, entry.derivative))
    slopes = derivative(f(z, entry.parameter) if entry.saves == "output" else z, entry.parameter)
    if name == "identity":
        assert (layer.units, layer.saturated, layer.dead) == (None, None, None)
        return
    assert layer.units == 4
    assert layer.saturated == (np.abs(slopes) < NEAR_ZERO).mean()
    assert layer.dead == (slopes == 0).all(axis=0).sum()
    assert {"relu": 1, "sigmoid": 1, "tanh": 2, "leaky_relu": 0}.get(name, layer.dead) == layer.dead


@pytest.mark.filterwarnings("ignore:cuBLASLt cannot be loaded:UserWarning")
@pytest.mark.parametrize("on_device", [False, True])
def test_pieces_of_maxout_that_never_win_are_dead(on_device: bool, rng: np.random.Generator) -> None:
    """Unit 0 is |x|, unit 1 has a piece that is always the larger; a third piece wins nowhere."""
    device = Device()
    backend = CupyBackend(device, device.launch) if on_device else plain()
    net = Network([Maxout(2, pieces=3), Dense(3)], inputs=1, backend=backend, precision="float64")
    net.set_parameters(
        {"0.W": np.array([[1.0, 0.0, -1.0, 0.0, 0.0, 0.0]]), "0.b": np.array([0.0, 9.0, 0.0, 0.0, -9.0, -9.0])}
    )
    found = Diagnostics(notify=lambda line: None)
    x, y = rng.standard_normal((30, 1)), rng.integers(0, 3, 30)
    net.fit(x, y, optimizer=SGD(learning_rate=1e-9), epochs=1, callbacks=[found])
    layer = found.samples[0].layers[0]
    assert (layer.units, layer.saturated, layer.dead) == (6, None, 3)
    assert "Maxout, 3 pieces" in str(found)
    assert "3 of 6" in str(found)


def test_dropout_and_layers_without_anything_are_left_out(rng: np.random.Generator) -> None:
    _, found = look([Dense(6, "prelu"), Dropout(0.5), Activation("prelu"), Dense(3)], *data(rng))
    assert [(layer.place, list(layer.gradients)) for layer in found.samples[0].layers] == [
        ("1", ["0.W", "0.b", "0.p"]),
        ("3", ["2.p"]),
        ("4", ["3.W", "3.b"]),
    ]
    alone = found.samples[0].layers[1]
    assert (alone.weight_norm, alone.update_ratio, alone.units) == (None, None, 6)


def test_rows_without_a_weight_are_not_looked_at(rng: np.random.Generator) -> None:
    x, y = data(rng)
    weights = (np.arange(40) % 4 == 0).astype(float)
    x[weights == 0] = 1e30
    _, some = look([Dense(6, "tanh"), Dense(3)], x, y, sample_weight=weights, batch_size=40)
    kept = weights > 0
    _, same = look([Dense(6, "tanh"), Dense(3)], x[kept], y[kept], batch_size=40)
    assert some.samples[0].loss == pytest.approx(same.samples[0].loss, rel=1e-12)
    assert some.samples[0].gradient_norm == pytest.approx(same.samples[0].gradient_norm, rel=1e-12)


def test_images_in_a_file_and_fewer_rows(rng: np.random.Generator, tmp_path: Path) -> None:
    x, y = rng.integers(0, 256, (300, 8), np.uint8), rng.integers(0, 3, 300)
    np.save(tmp_path / "x.npy", x)
    figures = []
    for source in (x, np.load(tmp_path / "x.npy", mmap_mode="r")):
        found = Diagnostics(rows=20)
        Network([Dense(4, "relu"), Dense(3)], backend=plain()).fit(source, y, epochs=1, callbacks=[found])
        figures.append(found.samples)
    assert figures[0] == figures[1]
    assert figures[0][0].layers[0].gradient_norm > 0


# --- when, and at what cost ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 3, 5, 7])
def test_every_so_many_steps(every: int, rng: np.random.Generator) -> None:
    """Five steps an epoch, three epochs: at the steps that were asked for, however fast the machine is."""
    found = Diagnostics(every)
    x, y = data(rng)
    Network([Dense(4, "tanh"), Dense(3)], backend="numpy").fit(x, y, epochs=3, batch_size=8, callbacks=[found])
    assert [sample.step for sample in found.samples] == list(range(0, 16, every))


def test_a_run_that_goes_on_where_another_stood(rng: np.random.Generator) -> None:
    """Its samples are those of a run that was never interrupted, the updates by Adam's moments included."""
    x, y = data(rng)
    whole, parts = Diagnostics(), [Diagnostics(), Diagnostics()]
    settings = [Settings(Loss("softmax_cross_entropy"), Adam(), OneCycle(), epochs, 8, seed=0) for epochs in (4, 4)]
    nets = [Network([Dense(6, "tanh"), Dense(3)], inputs=5, backend=plain(), precision="float64") for _ in range(2)]
    samples = Samples(x, y)
    train(Run(nets[0], samples, settings[0]), [whole])
    first = Run(nets[1], samples, settings[1])
    train(first, [parts[0], _StopAfter(2)])
    train(Run(nets[1], samples, settings[1], start=first.training_state()), [parts[1]])
    assert [sample.step for sample in parts[1].samples] == [10, 15, 20]
    assert parts[0].samples + parts[1].samples[1:] == whole.samples
    assert parts[1].samples[0] == whole.samples[2]


class _StopAfter(Callback):
    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_epoch_end(self, run: Run) -> None:
        if run.epoch == self.epochs:
            run.stop("half of it")


@pytest.mark.parametrize("optimizer", [SGD(learning_rate=0.1), Adam(max_norm=0.5)])
def test_the_training_is_the_same_with_it(optimizer: Any, rng: np.random.Generator) -> None:
    """Bit for bit, also where weight gradients are folded into the weights and never exist."""
    x, y = data(rng)
    weights = []
    for callbacks in ([], [Diagnostics()], [Diagnostics(2)]):
        net = Network([Dense(16, "relu"), Dropout(0.3), Dense(3)], backend="numpy", seed=1)
        net.fit(x, y, optimizer=optimizer, epochs=4, batch_size=8, validation=(x, y), callbacks=callbacks)
        weights.append(net.parameters_by_name())
    for other in weights[1:]:
        for name, array in weights[0].items():
            np.testing.assert_array_equal(array, other[name])


def test_the_recorded_step_is_the_same_with_it(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    """The operations that are recorded, after all rewriting."""
    recorded: list[list[Any]] = []
    make = taping.TapeMaker.make

    def noting(maker: taping.TapeMaker, steps: Any) -> Any:
        recorded[-1].append([_said(operation) for operation in steps])
        return make(maker, steps)

    monkeypatch.setattr(taping.TapeMaker, "make", noting)
    x, y = data(rng, 43)
    for callbacks in ([], [Diagnostics()], [Diagnostics(3)]):
        recorded.append([])
        net = Network([Dense(16, "relu"), Dropout(0.3), Dense(3)], backend="numpy")
        net.fit(x, y, optimizer=SGD(), epochs=2, batch_size=8, callbacks=callbacks)
    assert len(recorded[0]) >= 2
    assert recorded[0] == recorded[1] == recorded[2]


def _said(operation: operations.Operation) -> tuple[Any, ...]:
    shapes = tuple(array.shape for array in (*operation.reads, *operation.writes))
    return type(operation).__name__, getattr(getattr(operation, "spec", None), "template", ""), shapes


def test_on_the_stand_in_device(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    """The CPU's figures; the same graphs with and without; and five transfers a sample."""
    x, y = data(rng, 64)
    device = Device()
    transfers = []
    sample = Probe.sample

    def counted(probe: Probe, step: int) -> DiagnosticSample:
        before = device.to_host
        taken = sample(probe, step)
        transfers.append(device.to_host - before)
        return taken

    monkeypatch.setattr(Probe, "sample", counted)
    graphs, found = [], [Diagnostics(), Diagnostics()]
    for callbacks in ([], found[:1]):
        device = Device()
        backend = CupyBackend(device, device.launch, stand_in_cublas.Cublas(device))
        net = Network([Dense(16, "relu"), Dropout(0.3), Dense(3)], backend=backend, seed=1)
        net.fit(x, y, optimizer=SGD(), epochs=3, batch_size=16, callbacks=callbacks)
        graphs.append([len(graph.nodes) for graph in device.graphs])
    assert graphs[0] == graphs[1]
    # Parameters, gradients, updated parameters; the loss; the derivatives of one layer with an activation.
    assert transfers == [5] * 4
    device = Device()
    net = Network([Dense(16, "relu"), Dropout(0.3), Dense(3)], backend=plain(), seed=1)
    net.fit(x, y, optimizer=SGD(), epochs=3, batch_size=16, callbacks=found[1:])
    for here, there in zip(found[1].samples, found[0].samples, strict=True):
        assert here.loss == pytest.approx(there.loss, rel=1e-4)
        for a, b in zip(here.layers, there.layers, strict=True):
            assert a.gradients == pytest.approx(b.gradients, rel=1e-3)
            assert a.update_ratio == pytest.approx(b.update_ratio, rel=1e-3)
            assert (a.units, a.dead) == (b.units, b.dead)


def test_data_that_lies_on_the_device_already(rng: np.random.Generator) -> None:
    x, y = data(rng, 30)
    device = Device()
    backend = CupyBackend(device, device.launch, stand_in_cublas.Cublas(device))
    net = Network([Dense(4, "tanh"), Dense(3)], inputs=5, backend=backend)
    samples: Samples = to_device(backend, Samples(x.astype(np.float32), y))
    found = Diagnostics(rows=10)
    settings = Settings(Loss("softmax_cross_entropy"), SGD(), Constant(), epochs=1, batch_size=10, seed=0)
    train(Run(net, samples, settings), [found])
    assert [sample.step for sample in found.samples] == [0, 3]
    assert found.samples[0].gradient_norm > 0


def test_too_little_memory_is_told_before_any_work(rng: np.random.Generator) -> None:
    device = Device(memory=56 * 2**20)
    backend = CupyBackend(device, device.launch, stand_in_cublas.Cublas(device))
    net = Network([Dense(64, "relu"), Dense(3)], backend=backend)
    with pytest.raises(InputError, match=r"batch buffers.*use fewer rows, or no diagnostics"):
        net.fit(
            rng.standard_normal((40_000, 20)),
            rng.integers(0, 3, 40_000),
            batch_size=16,
            callbacks=[Diagnostics(rows=40_000)],
        )


@pytest.mark.parametrize(
    ("options", "said"), [({"every": 0}, "every=0"), ({"rows": 2.5}, "rows=2.5"), ({"rows": True}, "rows=True")]
)
def test_what_cannot_be_used_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=rf"^{said}; accepted: an integer of 1 or more$"):
        Diagnostics(**options)


# --- layers of all kinds ------------------------------------------------------------------------------------------


class Scaled(Layer):
    """x * s past the backend's operations: a user's layer in plain NumPy, with a parameter."""

    def declare(self, inputs: int, number: int, rng: np.random.Generator) -> list[Declaration]:
        super().declare(inputs, number, rng)
        return [Declaration(f"{number}.s", np.full(inputs, 2.0), "weight")]

    def bind(self, backend: Any, dtype: Any, views: Any) -> None:
        super().bind(backend, dtype, views)
        self.view = views[f"{self.number}.s"]

    def allocate(self, batch: int) -> None:
        self.a = self.backend.empty((batch, self.outputs), self.dtype)

    def forward(self, x: Array, control: Control | None) -> Array:
        self.x = x
        return np.multiply(x, self.view.value, out=self.a[: len(x)])

    def backward(self, delta: Array, wants_input: bool) -> Array | None:
        self.view.grad[...] = (delta * self.x).sum(axis=0)
        return delta * self.view.value


@pytest.mark.filterwarnings("ignore:this cannot be recorded:UserWarning")
def test_a_users_layer_and_layers_inside_layers(rng: np.random.Generator) -> None:
    block = Residual([Dense(4, "sigmoid"), Dropout(0.1), Dense(5, freeze=True)])
    _, found = look([Dense(5, "tanh"), Scaled(), block, Maxout(3)], *data(rng))
    for sample in found.samples:
        assert [(layer.place, layer.layer, list(layer.gradients), layer.units) for layer in sample.layers] == [
            ("1", "Dense, tanh", ["0.W", "0.b"], 5),
            ("2", "Scaled", ["1.s"], None),
            ("3.1", "Dense, sigmoid", ["3.W", "3.b"], 4),
            ("4", "Maxout, 2 pieces", ["6.W", "6.b"], 6),
        ]
        assert all(layer.gradient_norm and layer.update_ratio for layer in sample.layers)


# --- warnings -----------------------------------------------------------------------------------------------------


def told(layers: list[Layer], rng: np.random.Generator, **options: Any) -> dict[str, str]:
    x, y = rng.standard_normal((60, 8)), rng.integers(0, 3, 60)
    lines: list[str] = []
    found = Diagnostics(notify=lines.append)
    net = Network(layers, backend=plain())
    net.fit(x, y, **{"epochs": 2, "optimizer": SGD(learning_rate=0.1), "callbacks": [found], **options})
    assert lines == found.warnings
    return {line.split(":")[0]: line for line in lines}


def test_a_deep_network_of_sigmoids(rng: np.random.Generator) -> None:
    lines = told([Dense(8, "sigmoid") for _ in range(30)] + [Dense(3)], rng)
    assert list(lines) == ["gradients vanish"]
    line = lines["gradients vanish"]
    assert "in layer 1 (Dense, sigmoid)" in line
    assert "in layer 31" in line
    assert "layers from 1 to 2" in line
    assert "learn next to nothing" in line
    assert "the activation relu with He's initialiser (he_normal), residual blocks (Residual)" in line
    assert "\n" not in line


def test_residual_blocks_let_gradients_through(rng: np.random.Generator) -> None:
    """Twice as deep as the network above. A block begins as y = x: its lower layer learns nothing in the first step."""
    blocks: list[Layer] = [Residual([Dense(8, "sigmoid"), Dense(8, initializer="zeros")]) for _ in range(30)]
    for layers in ([Dense(8), *blocks, Dense(3)], [*blocks, Dense(3)]):
        x, y = rng.standard_normal((60, 8)), rng.integers(0, 3, 60)
        found = Diagnostics(notify=pytest.fail)
        net = Network(layers, backend=plain())
        net.fit(x, y, epochs=20, optimizer=Adam(learning_rate=0.01), callbacks=[found])
        places = [layer.place for layer in found.samples[0].layers]
        assert places[-3:] == [f"{len(layers) - 1}.1", f"{len(layers) - 1}.2", f"{len(layers)}"]
        assert found.samples[0].layers[-3].gradient_norm == 0.0


def test_saturated_layers_are_named() -> None:
    layers = (
        LayerSample("1", "Dense, tanh", {}, 1e-5, 1.0, 0.001, 8, 0.75, 0),
        LayerSample("2", "Dense, identity", {}, 1.0, 1.0, 0.001),
    )
    assert list(advice(DiagnosticSample(7, 1.0, 1.0, 1.0, 0.1, layers))) == [
        (
            "vanishing",
            "gradients vanish: after step 7 their norm is 1e-05 in layer 1 (Dense, tanh), where 75 % is saturated, but "
            "1 in layer 2; layer 1 learns next to nothing; try the activation relu with He's initialiser (he_normal), "
            "residual blocks (Residual), or fewer layers",
        )
    ]


def test_weights_that_are_too_large(rng: np.random.Generator) -> None:
    layers: list[Layer] = [
        Dense(8, "relu", initializer=lambda g, n, m: 3.0 * g.standard_normal((n, m))) for _ in range(8)
    ]
    lines = told([*layers, Dense(3)], rng, optimizer=SGD(learning_rate=1e-12))
    assert list(lines) == ["gradients explode"]
    assert "try clipping (max_norm=1), a smaller learning rate (now 1e-12)" in lines["gradients explode"]


def test_a_run_that_fails_keeps_what_was_found(rng: np.random.Generator) -> None:
    x, y = data(rng)
    found = Diagnostics(1, notify=lambda line: None)
    net = Network([Dense(8, "relu"), Dense(1)], backend=plain())
    with pytest.raises(NonFiniteLossError):
        net.fit(
            1e3 * x,
            1e3 * y.astype(float),
            loss="squared_error",
            optimizer=SGD(learning_rate=1.0),
            epochs=50,
            callbacks=[found],
        )
    assert found.samples[0].loss > 0
    assert any(line.startswith("gradients explode") for line in found.warnings)
    assert any(line.startswith("updates are as large as the weights") for line in found.warnings)


def test_dead_units(rng: np.random.Generator) -> None:
    lines = told([Dense(8, "relu", bias=-100.0), Dense(3)], rng)
    assert lines["units are dead"].startswith("units are dead: after step 1 8 of the 8 in layer 1 (Dense, relu)")
    assert list(told([Dense(8, "leaky_relu", bias=-100.0), Dense(3)], rng)) == []


def test_dead_pieces(rng: np.random.Generator) -> None:
    """Five pieces that begin as one, of which the first wins."""
    line = told([Maxout(4, pieces=5, initializer="zeros"), Dense(3)], rng)["pieces are dead"]
    assert re.match(
        r"pieces are dead: after step 1 1\d of the 20 in layer 1 \(Maxout, 5 pieces\) have no gradient", line
    )
    assert line.endswith(" or fewer pieces")


@pytest.mark.parametrize(
    "make",
    [
        lambda: [Dense(32, "relu"), Dropout(0.2), Dense(3)],
        lambda: [Dense(16, "tanh"), Dense(16, "tanh"), Dense(3)],
        lambda: [Dense(16, "sigmoid"), Dense(3)],
        lambda: [Dense(32, "relu") for _ in range(8)] + [Dense(3)],
    ],
)
def test_a_healthy_network_is_left_alone(make: Any, rng: np.random.Generator) -> None:
    assert told(make(), rng, epochs=20) == {}
    assert told(make(), rng, epochs=20, optimizer="adam") == {}


def test_a_warning_is_told_once_and_by_warn_where_nobody_listens(rng: np.random.Generator) -> None:
    x, y = data(rng)
    found = Diagnostics()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Network([Dense(8, "relu", bias=-100.0), Dense(3)], backend=plain()).fit(x, y, epochs=3, callbacks=[found])
    assert [str(one.message) for one in caught] == found.warnings
    assert [line.split(":")[0] for line in found.warnings] == ["gradients vanish", "units are dead"]


# --- what is handed on --------------------------------------------------------------------------------------------


def test_json_and_text(rng: np.random.Generator) -> None:
    _, found = look([Dense(6, "relu"), Dense(3)], *data(rng))
    assert str(Diagnostics()) == "no samples yet"
    read = json.loads(json.dumps(found.to_json()))
    assert read["samples"][-1]["layers"][0]["gradients"] == found.samples[-1].layers[0].gradients
    assert [sample["step"] for sample in read["samples"]] == [0, 5, 10]
    assert read["seconds"] > 0
    title, header, first, second = str(found).splitlines()
    assert title.startswith("after step 10 (epoch 2): loss ")
    assert header.split("  ")[0] == "layer"
    assert len({len(line) for line in (header, first, second)}) == 1
    assert first.startswith("1 Dense, relu")
    assert second.split()[-1] == "-"


def test_a_second_run_begins_anew(rng: np.random.Generator) -> None:
    x, y = data(rng)
    found = Diagnostics()
    for epochs in (3, 1):
        Network([Dense(4, "tanh"), Dense(3)], backend=plain()).fit(x, y, epochs=epochs, callbacks=[found])
    assert len(found.samples) == 2
