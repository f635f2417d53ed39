"""Steps as CUDA graphs on the stand-in device: what is captured, what it costs, and that training is the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bpcore import (
    SGD,
    Activation,
    Adam,
    Callback,
    Dense,
    Dropout,
    Layer,
    Maxout,
    Momentum,
    Network,
    Residual,
    load_dataset,
)
from bpcore.backends import cuda_graphs, fusion, get_backend
from bpcore.backends.base import Array, Control
from bpcore.backends.cuda_graphs import GraphMaker
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.backends.operations import Kernel, Operation, Product, Relu
from bpcore.backends.recording import NotRecordableError
from bpcore.errors import InputError
from bpcore.kernels import spec
from bpcore.training.run import Run
from support import stand_in_cublas
from support.counts import Counts
from support.repository import mnist_folder
from support.stand_in import Device
from support.stand_in_cublas import Cublas, backend_on

# --- training ---------------------------------------------------------------------------------------------------


def data(rng: np.random.Generator, rows: int = 70) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return rng.integers(0, 256, (rows, 12), np.uint8), rng.integers(0, 3, rows), rng.random(rows) + 0.5


def layers() -> list[Layer]:
    return [Dense(16, "relu"), Dropout(0.3), Dense(9, "relu"), Dense(11, "prelu"), Dense(3)]


@pytest.mark.parametrize("epilogues", [False, True])
@pytest.mark.parametrize("optimizer", [SGD(l2=0.01), Momentum(), Adam(l2=0.01, max_norm=1.0)])
def test_a_recorded_run_matches_the_cpu(
    device: Device, epilogues: bool, optimizer: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda_graphs, "BYTES_WORTH_FOLDING", 0)
    x, y, weights = data(rng, 700)  # 43 full steps: graphs of many steps, of one step, and of the short batch
    networks, histories = [], []
    for chosen in (backend_on(device, epilogues=epilogues), "numpy"):
        network = Network(layers(), backend=chosen, seed=4)
        options: dict[str, Any] = {"epochs": 4, "batch_size": 16, "seed": 8, "sample_weight": weights}
        histories.append(network.fit(x, y, optimizer=optimizer, validation=(x, y), **options))
        networks.append(network)
    assert len(device.graph_launches) > 50
    for column in ("loss", "accuracy", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(histories[0][column], histories[1][column], rtol=2e-4)
    expected = networks[1].parameters_by_name()
    for name, array in networks[0].parameters_by_name().items():
        np.testing.assert_allclose(array, expected[name], rtol=2e-3, atol=2e-5)


@pytest.mark.parametrize("epilogues", [False, True])
@pytest.mark.parametrize("optimizer", [SGD(l2=0.01), Adam(max_norm=1.0)])
def test_maxout_blocks_and_frozen_arrays_match_the_cpu(
    device: Device, epilogues: bool, optimizer: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block's copy and sum of deltas must be recorded operations, or a graph would omit them."""
    monkeypatch.setattr(cuda_graphs, "BYTES_WORTH_FOLDING", 0)
    x, y, _ = data(rng, 200)
    networks = []
    for chosen in (backend_on(device, epilogues=epilogues), "numpy"):
        layers = [
            Dense(16, "relu"),
            Residual([Dense(9, "relu", freeze="bias"), Dropout(0.2), Dense(16, "relu")]),
            Residual([Activation("gelu"), Maxout(7, 3)], projection=True),
            Dense(3, freeze="weights"),
        ]
        networks.append(Network(layers, backend=chosen, seed=4, precision="float64"))
        networks[-1].fit(x, y, optimizer=optimizer, epochs=3, batch_size=16, validation=(x, y))
    assert len(device.graph_launches) > 30
    expected = networks[1].parameters_by_name()
    for name, array in networks[0].parameters_by_name().items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_a_graph_has_the_bits_of_plain_steps(device: Device, rng: np.random.Generator) -> None:
    x, y, _ = data(rng)
    found = []
    for recorded in (True, False):
        backend = backend_on(device)
        if not recorded:
            backend.record = super(CupyBackend, backend).record  # type: ignore[method-assign]
        network = Network(layers(), backend=backend)
        network.fit(x, y, epochs=3, batch_size=16)
        found.append(network.parameters_by_name())
    for name, array in found[0].items():
        np.testing.assert_array_equal(array, found[1][name], err_msg=name)


@pytest.mark.parametrize(
    ("epilogues", "optimizer", "kernels", "products"),
    [
        # gather, 3 activations, head, 3 deltas, update, advance; 4 forward, 4 weight gradients, 3 deltas
        (False, Adam(), 1 + 3 + 1 + 3 + 2, 4 + 4 + 3),
        # the two ReLU layers end their products
        (True, Adam(), 1 + 1 + 1 + 1 + 2, 4 + 4 + 3),
        (False, SGD(), 1 + 3 + 1 + 3 + 2 + 1, 4 + 4 + 3),  # the factors for the folded updates
    ],
)
def test_the_launches_of_a_step(
    device: Device,
    epilogues: bool,
    optimizer: Any,
    kernels: int,
    products: int,
    rng: np.random.Generator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cuda_graphs, "BYTES_WORTH_FOLDING", 0)
    x, y, _ = data(rng)
    network = Network([Dense(16, "relu"), Dense(9, "relu"), Dense(11, "gelu"), Dense(3)])
    network = Network(network.layers, backend=backend_on(device, epilogues=epilogues))
    counts = Counts(device)
    network.fit(x, y, epochs=4, batch_size=16, optimizer=optimizer, callbacks=[counts])
    epoch = counts.of_an_epoch()
    steps = 5
    assert (epoch["kernels"], epoch["products"]) == (kernels * steps, products * steps)
    assert epoch["nodes"] == (kernels + products) * steps
    assert epoch["allocations"] == epoch["graphs"] == 0
    weights = 4
    assert kernels + products <= (5 * weights + 2 if not epilogues else 4 * weights + 3), "gelu has no epilogue"


def test_with_relu_alone_a_step_is_three_launches_a_layer(device: Device, rng: np.random.Generator) -> None:
    x, y, _ = data(rng)
    network = Network([Dense(16, "relu"), Dense(9, "relu"), Dense(3)], backend=backend_on(device, epilogues=True))
    counts = Counts(device)
    network.fit(x, y, epochs=3, batch_size=16, optimizer=Adam(), callbacks=[counts])
    assert counts.of_an_epoch()["nodes"] == (3 * 3 + 3) * 5


def test_epilogues_that_cublas_lacks_stay_kernels(device: Device, rng: np.random.Generator) -> None:
    x, y, _ = data(rng)
    results = []
    for refused in (frozenset({134, 152}), frozenset({152}), frozenset({6, 134}), frozenset[int]()):
        device = Device()
        backend = backend_on(device, Cublas(device, refused), epilogues=True)
        network = Network([Dense(16, "relu"), Dense(3)], backend=backend)
        counts = Counts(device)
        network.fit(x, y, epochs=3, batch_size=16, callbacks=[counts])
        results.append((counts.of_an_epoch()["nodes"] // 5, network.parameters_by_name()["0.W"]))
    assert [nodes for nodes, _ in results] == [10, 10, 11, 9]
    for _, weights in results:
        np.testing.assert_allclose(weights, results[0][1], rtol=1e-4, atol=1e-6)


def test_a_mask_is_not_used_when_the_output_changes_in_between(rng: np.random.Generator) -> None:
    """Two products and two kernels, and an operation that changes the output before the derivative reads it."""
    device = Device()
    backend = backend_on(device, epilogues=True)
    network = Network([Dense(16, "relu"), Dense(3)], backend=backend)
    x, y, _ = data(rng)
    written: list[Any] = []

    class Write(Callback):
        def on_begin(self, run: Run) -> None:
            run.begin_epoch(0)
            backend.watcher = written.append
            run.step(run.buffers.full)
            backend.watcher = None

    network.fit(x, y, epochs=1, batch_size=16, callbacks=[Write()])
    fused = fusion.fuse_epilogues(backend, written, backend.can_multiply)
    assert len(fused) == len(written) - 2
    place = next(n for n, one in enumerate(written) if getattr(one, "spec", None) and one.spec.template == "loss_head")
    hidden = written[1].out
    changes = Product(hidden, backend.full((16, 16), 1.0, np.float32), hidden)
    changed = [*written[:place], changes, *written[place:]]
    fused = fusion.fuse_epilogues(backend, changed, backend.can_multiply)
    assert len(fused) == len(changed) - 1, "the forward product may still end with ReLU"
    assert fusion.fuse_epilogues(backend, written, lambda product: False) is written


@pytest.mark.skipif(mnist_folder() is None, reason="there is no MNIST")
def test_an_epoch_of_mnist(device: Device) -> None:
    """All of MNIST: no transfer in a replay, no allocation after the first epoch, and the CPU's losses."""
    mnist = load_dataset("mnist", data_dir=mnist_folder())
    histories, counts = [], Counts(device)
    for chosen, callbacks in ((backend_on(device), [counts]), ("numpy", [])):
        network = Network([Dense(32, "relu"), Dense(10)], backend=chosen)
        options: dict[str, Any] = {"epochs": 2, "batch_size": 256, "optimizer": SGD(learning_rate=0.1)}
        histories.append(network.fit(mnist.x_train, mnist.y_train, callbacks=callbacks, **options))
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=1e-5)
    epoch, steps = counts.of_an_epoch(), -(-60000 // 256)
    assert epoch["allocations"] == 0
    assert epoch["nodes"] == (6 + 5) * steps
    assert epoch["to_device"] == 1, "the counters at the epoch's beginning"


# --- what cannot be captured ------------------------------------------------------------------------------------


class ThroughTheHost(Layer):
    """A layer that computes on the host, which a graph cannot."""

    def allocate(self, batch: int) -> None:
        self.a = self.backend.empty((batch, self.outputs), self.dtype)

    def forward(self, x: Array, control: Control | None) -> Array:
        out = self.a[: x.shape[0]]
        self.backend.write(np.sin(self.backend.to_numpy(x)), out)
        self.x = x
        return out

    def backward(self, delta: Array, wants_input: bool) -> Array | None:
        self.backend.write(self.backend.to_numpy(delta) * np.cos(self.backend.to_numpy(self.x)), delta)
        return delta


def test_a_layer_that_uses_the_host_is_detected_and_runs_unrecorded(device: Device, rng: np.random.Generator) -> None:
    x, y, _ = data(rng)
    found = []
    for chosen in (backend_on(device), "numpy"):
        network = Network([Dense(8, "tanh"), ThroughTheHost(), Dense(3)], backend=chosen, precision="float64")
        with pytest.warns(
            UserWarning,
            match="cannot be recorded and runs step by step: a replayed step differs",
        ):
            network.fit(x, y, epochs=2, batch_size=16)
        found.append(network.parameters_by_name()["0.W"])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-10)


def test_a_capture_that_fails_says_why(device: Device, rng: np.random.Generator) -> None:
    """CuPy's products cannot be captured, and integer products are CuPy's."""

    class ByCupy(Activation):
        def forward(self, x: Array, control: Control | None) -> Array:
            self.backend.matmul(self.whole, self.whole, self.whole)
            return super().forward(x, control)

        def allocate(self, batch: int) -> None:
            super().allocate(batch)
            self.whole = self.backend.asarray(np.eye(3, dtype=np.int64))

    x, y, _ = data(rng)
    network = Network([Dense(8, "tanh"), ByCupy("relu"), Dense(3)], backend=backend_on(device))
    with pytest.warns(
        UserWarning,
        match=r"runs step by step: it cannot be captured as a CUDA graph \(calling cuBLAS",
    ):
        history = network.fit(x, y, epochs=3, batch_size=16)
    assert history["loss"][-1] < history["loss"][0]
    assert device.stream.captured is None


def test_an_invalidated_capture_reports_the_cause(backend: CupyBackend, device: Device) -> None:
    """In CUDA the end of such a capture also fails, without telling the reason."""
    array = backend.full((2, 2), 1.0, np.float32)
    add = Kernel(spec.plain("add", np.dtype(np.float32)), (array, array, array))
    maker = GraphMaker(backend, device, folds=False)
    execute = backend.execute

    def and_look(operation: Operation) -> None:
        execute(operation)
        backend.to_numpy(array)

    backend.execute = and_look  # type: ignore[method-assign]
    with pytest.raises(NotRecordableError, match=r"\(cudaErrorStreamCaptureUnsupported: operation not permitted"):
        maker.make([add])


def test_without_cublas_steps_are_launched_one_by_one(device: Device, rng: np.random.Generator) -> None:
    x, y, _ = data(rng)
    network = Network([Dense(8, "relu"), Dense(3)], backend=CupyBackend(device, device.launch))
    with pytest.warns(UserWarning, match="^cuBLASLt cannot be loaded, so nothing is captured"):
        network.fit(x, y, epochs=2, batch_size=16)
    assert not device.graphs


def test_products_that_cublaslt_lacks_use_cupy(device: Device, rng: np.random.Generator) -> None:
    cublas = stand_in_cublas.Cublas(device, refused_types=frozenset({0}))
    backend = CupyBackend(device, device.launch, cublas)
    a, b, c = (rng.standard_normal(shape).astype(np.float32) for shape in ((3, 4), (4, 5), (3, 5)))
    out = backend.asarray(c.copy())
    backend.matmul(backend.asarray(a), backend.asarray(b), out, alpha=0.5, beta=-2.0)
    np.testing.assert_allclose(backend.to_numpy(out), 0.5 * a @ b - 2 * c, rtol=1e-5)
    x, y, _ = data(rng)
    network = Network([Dense(8, "tanh"), Dense(3)], backend=backend)
    with pytest.warns(
        UserWarning,
        match=r"runs step by step: it cannot be captured as a CUDA graph \(calling cuBLAS",
    ):
        network.fit(x, y, epochs=1, batch_size=16)


def test_graphs_need_a_gpu() -> None:
    with pytest.raises(InputError, match="float32 and float64"):
        get_backend("numpy").at_precision("tf32")


@pytest.mark.gpu
@pytest.mark.parametrize("epilogues", [False, True])
@pytest.mark.parametrize("optimizer", [SGD(), Momentum(), Adam(l2=0.01, max_norm=1.0)])
@pytest.mark.filterwarnings("error::UserWarning")
def test_recorded_and_plain_steps_agree_on_a_gpu(epilogues: bool, optimizer: Any, gpu: CupyBackend, rng: Any) -> None:
    """Bit for bit without epilogues; a failed capture would be a warning, which is an error here."""
    x, y, weights = data(rng, 700)
    found, losses = [], []
    for recorded in (True, False):
        backend = CupyBackend(epilogues=epilogues)
        if not recorded:
            backend.record = super(CupyBackend, backend).record  # type: ignore[method-assign]
        network = Network(layers(), backend=backend)
        history = network.fit(x, y, epochs=4, batch_size=16, optimizer=optimizer, sample_weight=weights)
        found.append(network.parameters_by_name())
        losses.append(history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)
    if not epilogues:
        for name, array in found[0].items():
            np.testing.assert_array_equal(array, found[1][name], err_msg=name)


@pytest.mark.gpu
def test_updates_folded_on_a_gpu(gpu: CupyBackend, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "BYTES_WORTH_FOLDING", 0)
    test_a_recorded_run_on_a_gpu_follows_the_cpu(gpu, rng)


@pytest.mark.gpu
def test_a_recorded_run_on_a_gpu_follows_the_cpu(gpu: CupyBackend, rng: np.random.Generator) -> None:
    """The losses of the first 100 steps, one by one, to 1e-4.

    The activation is smooth: one with a kink would now and then be on different sides of it on devices that round
    differently.
    """
    x, y = rng.integers(0, 256, (3200, 784), np.uint8), rng.integers(0, 10, 3200)
    losses = []

    class Slots(Callback):
        def on_epoch_end(self, run: Run) -> None:
            losses.append(np.array(run.backend.to_numpy(run.control.losses)))

    for backend in (gpu, "numpy"):
        network = Network([Dense(128, "tanh"), Dropout(0.2), Dense(10)], backend=backend, seed=1)
        network.fit(x, y, epochs=1, batch_size=32, optimizer=SGD(learning_rate=0.05), callbacks=[Slots()], seed=3)
    assert len(losses[0]) == 100
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


@pytest.mark.gpu
def test_a_nan_comes_out_of_an_epilogue(rng: np.random.Generator) -> None:
    """Otherwise NaN weights would go unnoticed behind a ReLU."""
    backend = CupyBackend(epilogues=True)
    x = backend.full((16, 8), 1.0, np.float32)
    weights, bias = backend.full((8, 32), np.nan, np.float32), backend.full((32,), 0.0, np.float32)
    product = Product(x, weights, backend.empty((16, 32), np.float32), epilogue=Relu(bias))
    assert backend.can_multiply(product)
    backend.execute(product)
    assert np.isnan(backend.to_numpy(product.out)).all()
