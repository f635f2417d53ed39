"""Diagnostics: figures against plain NumPy, when it samples and at what cost, and that training does not change."""

from __future__ import annotations

import json
import math
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
from bpcore.backends import cpu_tape, operations
from bpcore.backends.base import Array, Control, Samples
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.inspection.probe import NEAR_ZERO, DiagnosticSample, Probe
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.model.losses import Loss
from bpcore.model.parameters import Declaration
from bpcore.testing import references
from bpcore.training.loop import train
from bpcore.training.run import Run
from bpcore.training.samples import to_device
from bpcore.training.schedules import Constant, OneCycle
from bpcore.training.settings import Settings
from support import stand_in_cublas
from support.diagnostics import data, look, plain
from support.stand_in import Device


def gradients(weights: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray) -> tuple[float, dict[str, np.ndarray]]:
    """Loss and gradients of Dense(tanh), Dense by BP1 to BP4 in plain NumPy."""
    w1, b1, w2, b2 = (weights[name] for name in ("0.W", "0.b", "1.W", "1.b"))
    a1 = np.tanh(x @ w1 + b1)
    targets = np.eye(w2.shape[1])[y]
    loss, delta2 = references.loss_and_delta("softmax_cross_entropy", a1 @ w2 + b2, targets, np.ones(len(x)))
    delta1 = (delta2 @ w2.T) * (1 - a1**2)
    found = {"0.W": x.T @ delta1, "0.b": delta1.sum(axis=0), "1.W": a1.T @ delta2, "1.b": delta2.sum(axis=0)}
    return loss, found


# --- figures ------------------------------------------------------------------------------------------------------


def test_norms_match_the_textbook(rng: np.random.Generator) -> None:
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


def test_updates_match_the_optimizer(rng: np.random.Generator) -> None:
    """L2 on the weights, clipping by the norm of the whole gradient, the size of Adam's first step, and momentum."""
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
    """Unit 0 gets the input unchanged, unit 1 fifty times, unit 2 far below zero, unit 3 far above."""
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
    """Unit 0 is |x|; in unit 1 one piece is always the largest; the third piece never wins."""
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


def test_dropout_and_layers_without_parameters_are_omitted(rng: np.random.Generator) -> None:
    _, found = look([Dense(6, "prelu"), Dropout(0.5), Activation("prelu"), Dense(3)], *data(rng))
    assert [(layer.place, list(layer.gradients)) for layer in found.samples[0].layers] == [
        ("1", ["0.W", "0.b", "0.p"]),
        ("3", ["2.p"]),
        ("4", ["3.W", "3.b"]),
    ]
    alone = found.samples[0].layers[1]
    assert (alone.weight_norm, alone.update_ratio, alone.units) == (None, None, 6)


def test_rows_of_weight_zero_are_ignored(rng: np.random.Generator) -> None:
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
def test_samples_at_an_interval_of_steps(every: int, rng: np.random.Generator) -> None:
    """Five steps an epoch, three epochs: samples are at the requested steps, however fast the machine is."""
    found = Diagnostics(every)
    x, y = data(rng)
    Network([Dense(4, "tanh"), Dense(3)], backend="numpy").fit(x, y, epochs=3, batch_size=8, callbacks=[found])
    assert [sample.step for sample in found.samples] == list(range(0, 16, every))


def test_a_resumed_run(rng: np.random.Generator) -> None:
    """Samples equal those of an uninterrupted run, updates from Adam's moments included."""
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
def test_diagnostics_do_not_change_training(optimizer: Any, rng: np.random.Generator) -> None:
    """Bit for bit, also if weight gradients are folded into the weights and never stored."""
    x, y = data(rng)
    weights = []
    for callbacks in ([], [Diagnostics()], [Diagnostics(2)]):
        net = Network([Dense(16, "relu"), Dropout(0.3), Dense(3)], backend="numpy", seed=1)
        net.fit(x, y, optimizer=optimizer, epochs=4, batch_size=8, validation=(x, y), callbacks=callbacks)
        weights.append(net.parameters_by_name())
    for other in weights[1:]:
        for name, array in weights[0].items():
            np.testing.assert_array_equal(array, other[name])


def test_diagnostics_do_not_change_the_recorded_step(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    """The recorded operations, after all rewriting, are the same."""
    recorded: list[list[Any]] = []
    make = cpu_tape.TapeMaker.make

    def noting(maker: cpu_tape.TapeMaker, steps: Any) -> Any:
        recorded[-1].append([_said(operation) for operation in steps])
        return make(maker, steps)

    monkeypatch.setattr(cpu_tape.TapeMaker, "make", noting)
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
    """Figures are the CPU's, graphs are the same with and without, and a sample takes five transfers."""
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


def test_data_already_on_the_device(rng: np.random.Generator) -> None:
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


def test_too_little_memory_is_reported_before_any_work(rng: np.random.Generator) -> None:
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
def test_bad_settings_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=rf"^{said}; accepted: an integer of 1 or more$"):
        Diagnostics(**options)


# --- layers of all kinds ------------------------------------------------------------------------------------------


class Scaled(Layer):
    """x * s in plain NumPy, bypassing the backend: a user layer with a parameter."""

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
def test_user_layers_and_layers_inside_layers(rng: np.random.Generator) -> None:
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


# --- reports ------------------------------------------------------------------------------------------------------


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


def test_a_second_run_starts_afresh(rng: np.random.Generator) -> None:
    x, y = data(rng)
    found = Diagnostics()
    for epochs in (3, 1):
        Network([Dense(4, "tanh"), Dense(3)], backend=plain()).fit(x, y, epochs=epochs, callbacks=[found])
    assert len(found.samples) == 2
