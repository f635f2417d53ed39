"""precision="bfloat16" in training on the stand-in device: rounding, losses, costs; runs on a real GPU at the end.

A bfloat16 has 8 significant bits, so the relative rounding error is at most u = 2^-8 (UNIT_ROUNDOFF).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bpcore import SGD, Adam, Callback, Dense, Network, load_dataset
from bpcore.backends import cuda_graphs
from bpcore.backends.base import Backend
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.backends.memory_meter import bytes_of
from bpcore.kernels.bfloat16 import BFLOAT16, UNIT_ROUNDOFF, rounded, widened
from bpcore.training.run import Run
from support import stand_in_cublas
from support.bfloat16_runs import FLOAT, ROUNDED, data, every_layer
from support.counts import Counts
from support.repository import mnist_folder
from support.stand_in import Device
from support.stand_in_cublas import backend_on

# --- training ---------------------------------------------------------------------------------------------------


def test_which_arrays_are_rounded(device: Device, rng: np.random.Generator) -> None:
    x, y, _ = data(rng)
    library = stand_in_cublas.Cublas(device)
    network = Network([Dense(16, "relu"), Dense(3)], backend=backend_on(device, library), precision="bfloat16")
    network.fit(x, y, epochs=1, batch_size=16, optimizer=Adam())
    hidden, top = network.layers
    assert isinstance(hidden, Dense)
    assert isinstance(top, Dense)
    assert hidden.z.dtype == hidden.a.dtype == top.x.dtype == top.dx.dtype == hidden.W.dtype == BFLOAT16
    for kept in (network.parameters.params, network.parameters.grads, hidden.b, hidden.dW, hidden.db, top.z):
        assert kept.dtype == np.float32
    # hidden layers' outputs and deltas are rounded; logits and the gradients of weights are not
    assert library.multiplied == {(ROUNDED, ROUNDED, ROUNDED), (ROUNDED, ROUNDED, FLOAT)}
    assert network.predict_proba(x).dtype == np.float32
    assert network.backend.to_numpy(network.parameters.params).dtype == np.float32


class Losses(Callback):
    """The loss of every step."""

    def __init__(self) -> None:
        self.found: list[np.ndarray] = []

    def on_epoch_end(self, run: Run) -> None:
        self.found.append(np.array(run.backend.to_numpy(run.control.losses)))


def textbook_losses(network: Network, x: np.ndarray, y: np.ndarray, batch: int, rate: float, epochs: int) -> np.ndarray:
    """Two layers with ReLU, softmax and plain SGD in NumPy, rounding where the library rounds; without a shuffle."""

    def near(numbers: np.ndarray) -> np.ndarray:
        return widened(rounded(numbers))

    p = {name: array.copy() for name, array in network.parameters_by_name().items()}
    losses = []
    for _ in range(epochs):
        for first in range(0, len(x), batch):
            inputs, labels = near(x[first : first + batch] * np.float32(1 / 255)), y[first : first + batch]
            W1, W2 = near(p["0.W"]), near(p["1.W"])
            a = near(np.maximum(near(inputs @ W1) + p["0.b"], 0))
            z = a @ W2 + p["1.b"]
            shifted = z - z.max(axis=1, keepdims=True)
            log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            rows = np.arange(len(labels))
            losses.append(-log_softmax[rows, labels].mean())
            delta = np.exp(log_softmax)
            delta[rows, labels] -= 1
            delta /= np.float32(len(labels))
            below = near(delta)
            below_hidden = near(below @ W2.T) * (a > 0)
            p["1.W"] -= np.float32(rate) * (a.T @ below)
            p["1.b"] -= np.float32(rate) * delta.sum(axis=0)
            p["0.W"] -= np.float32(rate) * (inputs.T @ near(below_hidden))
            p["0.b"] -= np.float32(rate) * below_hidden.sum(axis=0)
    return np.array(losses)


@pytest.mark.parametrize("folds", [False, True])
def test_a_run_matches_the_textbook_rounded_at_the_same_places(
    folds: bool, device: Device, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps in graphs agree with NumPy to 1e-5; the float32 run differs, but by no more than rounding explains.

    Folded updates change only the float32 weights, so a stale bfloat16 copy would still hold the first weights.
    """
    monkeypatch.setattr(cuda_graphs, "BYTES_WORTH_FOLDING", 0 if folds else 2**30)
    x, y, _ = data(rng, 640)
    found = {}
    for precision in ("bfloat16", "float32"):
        network = Network([Dense(24, "relu"), Dense(3)], backend=backend_on(device), precision=precision, inputs=12)
        if precision == "bfloat16":
            expected = textbook_losses(network, x, y, 32, 0.5, 3)
        losses = Losses()
        options: dict[str, Any] = {"epochs": 3, "batch_size": 32, "shuffle": False, "callbacks": [losses]}
        network.fit(x, y, optimizer=SGD(learning_rate=0.5), **options)
        found[precision] = np.concatenate(losses.found)
    assert len(device.graph_launches) > 20
    # Sums in another order differ in the last bits of float32, and now and then one rounds to the other neighbour.
    np.testing.assert_allclose(found["bfloat16"], expected, rtol=1e-5)
    # Each of the two layers rounds its input, weights and output by at most u. A logit may thus be off by 6 u of its
    # size, which is also the size of the loss, and the loss's derivative by a logit is at most 1. This ignores that
    # errors of steps add up, and that roundings cancel in the sums, which is the larger effect.
    differences = np.abs(found["bfloat16"] - found["float32"])
    assert differences.max() < 6 * UNIT_ROUNDOFF * found["float32"].max()
    assert differences.max() > 1e-5, "nothing was rounded"
    assert found["bfloat16"][-20:].mean() < found["bfloat16"][:20].mean()


@pytest.mark.parametrize("epilogues", [False, True])
@pytest.mark.parametrize("optimizer", [SGD(l2=0.01), Adam(max_norm=1.0, penalty=0.1)])
def test_every_layer_follows_float32(
    epilogues: bool, optimizer: Any, device: Device, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_graphs, "BYTES_WORTH_FOLDING", 0)
    x, y, weights = data(rng, 200)
    histories = []
    for precision in ("bfloat16", "float32"):
        backend = backend_on(device, epilogues=epilogues)
        network = Network(every_layer(), backend=backend, seed=4, precision=precision)
        options: dict[str, Any] = {"epochs": 3, "batch_size": 16, "sample_weight": weights, "validation": (x, y)}
        histories.append(network.fit(x, y, optimizer=optimizer, **options))
    assert len(device.graph_launches) > 30
    for column in ("loss", "val_loss"):  # roundings cancel in the mean over an epoch, so the bound of one holds
        np.testing.assert_allclose(histories[0][column], histories[1][column], rtol=UNIT_ROUNDOFF)


def test_a_graph_has_the_bits_of_plain_steps(
    device: Device, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y, _ = data(rng)
    found = []
    for recorded in (True, False):
        if not recorded:
            monkeypatch.setattr(CupyBackend, "record", Backend.record)
        network = Network(every_layer(), backend=backend_on(device), precision="bfloat16")
        network.fit(x, y, epochs=3, batch_size=16)
        found.append(network.parameters_by_name())
    for name, array in found[0].items():
        np.testing.assert_array_equal(array, found[1][name], err_msg=name)


@pytest.mark.parametrize("epilogues", [False, True])
def test_the_launches_of_a_step(epilogues: bool, device: Device, rng: np.random.Generator) -> None:
    """Two more than in float32, which round the weights and the loss's delta; nothing crosses in a replay."""
    x, y, _ = data(rng)
    network = Network(
        [Dense(16, "relu"), Dense(9, "relu"), Dense(11, "gelu"), Dense(3)],
        backend=backend_on(device, epilogues=epilogues),
        precision="bfloat16",
    )
    counts = Counts(device)
    network.fit(x, y, epochs=4, batch_size=16, optimizer=Adam(), callbacks=[counts])
    epoch, steps = counts.of_an_epoch(), 5
    kernels, products = 1 + 3 + 1 + 3 + 2 + 2, 4 + 4 + 3
    assert (epoch["kernels"], epoch["products"]) == (kernels * steps, products * steps)
    assert epoch["nodes"] == (kernels + products) * steps
    assert epoch["allocations"] == epoch["graphs"] == 0
    assert epoch["to_device"] == 1, "the counters at the epoch's beginning"


@pytest.mark.skipif(mnist_folder() is None, reason="there is no MNIST")
def test_an_epoch_of_mnist(device: Device) -> None:
    """As for float32 in test_graphs.py: nothing crosses in a replay, and the losses follow those of float32."""
    mnist = load_dataset("mnist", data_dir=mnist_folder())
    histories, counts = [], Counts(device)
    for precision, callbacks in (("bfloat16", [counts]), ("float32", [])):
        network = Network([Dense(32, "relu"), Dense(10)], backend=backend_on(device), precision=precision)
        options: dict[str, Any] = {"epochs": 2, "batch_size": 256, "optimizer": SGD(learning_rate=0.1)}
        histories.append(network.fit(mnist.x_train, mnist.y_train, callbacks=callbacks, **options))
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=UNIT_ROUNDOFF)
    epoch, steps = counts.of_an_epoch(), -(-60000 // 256)
    assert epoch["allocations"] == 0
    assert epoch["nodes"] == (6 + 2 + 5) * steps
    assert epoch["to_device"] == 1, "the counters at the epoch's beginning"


def test_half_of_the_memory_between_the_layers(device: Device) -> None:
    sizes = {}
    for precision in ("bfloat16", "float32"):
        network = Network([Dense(512, "relu"), Dense(512)], backend=backend_on(device), precision=precision, inputs=512)
        before = device.used
        expected = network.bytes_for(1024)
        network.reserve(1024)
        assert device.used - before == expected
        sizes[precision] = expected
    # float32: 2 of a, 2 of dx and the delta; bfloat16: the logits and the loss's delta are as large, the rest is half
    assert sizes["bfloat16"] / sizes["float32"] == (2 + 4 * 0.5) / 5
    assert bytes_of(lambda meter: meter.empty((1,), BFLOAT16), network.backend) == 512


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_streamed_and_resident_data_are_the_same(
    kind: Any, device: Device, rng: np.random.Generator, scratch: Path
) -> None:
    """uint16 features in a file are copied to the device unchanged, and stay integers there."""
    x, y, _ = data(rng)
    in_file = np.lib.format.open_memmap(scratch / "x.npy", "w+", kind, x.shape)
    in_file[:] = x
    found = []
    for resident in (True, False):
        network = Network([Dense(8, "relu"), Dense(3)], backend=backend_on(device), precision="bfloat16", seed=1)
        network.fit(in_file, y, epochs=2, batch_size=16, resident=resident, scale=1 / 255)
        found.append(network.parameters_by_name())
    plain = Network([Dense(8, "relu"), Dense(3)], backend=backend_on(device), precision="bfloat16", seed=1)
    plain.fit(x, y, epochs=2, batch_size=16)
    for name, array in plain.parameters_by_name().items():
        np.testing.assert_array_equal(found[0][name], array, err_msg=name)
        np.testing.assert_array_equal(found[1][name], array, err_msg=name)


@pytest.mark.gpu
@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("optimizer", [SGD(), Adam(l2=0.01, max_norm=1.0)])
def test_a_run_on_a_gpu_follows_float32(optimizer: Any, gpu: CupyBackend, rng: np.random.Generator) -> None:
    """A failed capture would be a warning, which is an error here."""
    x, y, weights = data(rng, 700)
    losses = []
    for precision in ("bfloat16", "float32"):
        network = Network(every_layer(), backend=gpu, precision=precision, seed=4)
        history = network.fit(x, y, epochs=3, batch_size=16, optimizer=optimizer, sample_weight=weights)
        losses.append(history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=UNIT_ROUNDOFF)


@pytest.mark.gpu
def test_a_run_on_a_gpu_is_the_textbook(gpu: CupyBackend, rng: np.random.Generator) -> None:
    """Against NumPy that rounds at the same places; the GPU sums in another order, which may change a rounding."""
    x, y, _ = data(rng, 640)
    network = Network([Dense(24, "relu"), Dense(3)], backend=gpu, precision="bfloat16", inputs=12)
    expected = textbook_losses(network, x, y, 32, 0.5, 1)
    losses = Losses()
    options: dict[str, Any] = {"epochs": 1, "batch_size": 32, "shuffle": False, "callbacks": [losses]}
    network.fit(x, y, optimizer=SGD(learning_rate=0.5), **options)
    np.testing.assert_allclose(losses.found[0], expected, rtol=1e-3)
