"""Steps as CUDA graphs, on the stand-in device: what is captured, what it costs, and that it is the same training."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from bpcore.backends import fusion, get_backend, graphs
from bpcore.backends.base import Array, Control
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.backends.graphs import GraphMaker
from bpcore.backends.operations import Kernel, Operation, Product, Relu
from bpcore.backends.recording import NotRecordableError
from bpcore.errors import InputError
from bpcore.kernels import spec
from bpcore.testing import BackendConformance
from bpcore.training.run import Run
from support import stand_in_cublas
from support.counts import Counts
from support.repository import REPOSITORY, mnist_folder
from support.stand_in import Device

COMPUTE_32, COMPUTE_TF32, COMPUTE_64 = 68, 77, 70


def backend_on(device: Device, *, epilogues: bool = False, refused: frozenset[int] = frozenset()) -> CupyBackend:
    return CupyBackend(device, device.launch, stand_in_cublas.Cublas(device, refused), epilogues=epilogues)


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def backend(device: Device) -> CupyBackend:
    return backend_on(device)


class TestWithCublas(BackendConformance):
    """The conformance suite once more, with cuBLASLt's products."""


# --- products ---------------------------------------------------------------------------------------------------


@given(
    sizes=st.tuples(*[st.integers(1, 9)] * 3),
    transposed=st.tuples(st.booleans(), st.booleans()),
    more_rows=st.integers(0, 3),
    dtype=st.sampled_from([np.float32, np.float64]),
    factors=st.sampled_from([(1.0, 0.0), (2.0, 0.0), (1.0, 1.0), (-0.5, 2.0), "device"]),
)
def test_products_of_any_layout(
    sizes: tuple[int, int, int], transposed: tuple[bool, bool], more_rows: int, dtype: Any, factors: Any
) -> None:
    """Transposed views, one row, one column, leading rows of a larger buffer, factors on the device."""
    rng = np.random.default_rng(1)
    device = Device()
    backend = backend_on(device)
    m, k, n = sizes
    a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
    before = rng.standard_normal((m + more_rows, n)).astype(dtype)
    out = backend.asarray(before)
    alpha, beta = (0.25, -1.5) if factors == "device" else factors
    given_factors = [backend.full((1,), f, dtype) for f in (alpha, beta)] if factors == "device" else factors
    backend.matmul(
        backend.asarray(a.T if transposed[0] else a),
        backend.asarray(b.T if transposed[1] else b),
        out[:m],
        transpose_a=transposed[0],
        transpose_b=transposed[1],
        alpha=given_factors[0],
        beta=given_factors[1],
    )
    close = 1e-5 if dtype == np.float32 else 1e-12
    found = backend.to_numpy(out)
    np.testing.assert_allclose(found[:m], alpha * (a @ b) + beta * before[:m], rtol=close, atol=close)
    np.testing.assert_array_equal(found[m:], before[m:])


def test_precisions_choose_how_cublas_computes(device: Device, rng: np.random.Generator) -> None:
    x, y = rng.integers(0, 256, (20, 6), np.uint8), rng.integers(0, 3, 20)
    for precision, dtype, compute in (
        ("float32", np.float32, COMPUTE_32),
        ("tf32", np.float32, COMPUTE_TF32),
        ("float64", np.float64, COMPUTE_64),
    ):
        library = stand_in_cublas.Cublas(device)
        backend = CupyBackend(device, device.launch, library)
        network = Network([Dense(5, "relu"), Dense(3)], backend=backend, precision=precision)
        network.fit(x, y, epochs=1, batch_size=10)
        assert network.dtype == dtype
        assert library.computed_in == {compute}
        network.predict(x)
    for other in ("numpy", CupyBackend(device, device.launch)):
        with pytest.raises(InputError, match=r"^precision 'tf32' needs"):
            Network([Dense(3)], backend=other, precision="tf32")


def test_describe_names_cublas(backend: CupyBackend, device: Device) -> None:
    assert backend.describe()["cublasLt"] == "12.9.3"
    assert "none" in CupyBackend(device, device.launch).describe()["cublasLt"]


# --- training ---------------------------------------------------------------------------------------------------


def data(rng: np.random.Generator, rows: int = 70) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return rng.integers(0, 256, (rows, 12), np.uint8), rng.integers(0, 3, rows), rng.random(rows) + 0.5


def layers() -> list[Layer]:
    return [Dense(16, "relu"), Dropout(0.3), Dense(9, "relu"), Dense(11, "prelu"), Dense(3)]


@pytest.mark.parametrize("epilogues", [False, True])
@pytest.mark.parametrize("optimizer", [SGD(l2=0.01), Momentum(), Adam(l2=0.01, max_norm=1.0)])
def test_a_recorded_run_gives_what_the_cpu_gives(
    device: Device, epilogues: bool, optimizer: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "BYTES_WORTH_FOLDING", 0)
    x, y, weights = data(rng, 700)  # 43 full steps: a graph of many, of one, and the short batch's
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
def test_maxout_blocks_and_frozen_arrays_as_on_the_cpu(
    device: Device, epilogues: bool, optimizer: Any, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block's copy of the delta and its sum are operations of the step, or a graph would leave them out."""
    monkeypatch.setattr(graphs, "BYTES_WORTH_FOLDING", 0)
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
    monkeypatch.setattr(graphs, "BYTES_WORTH_FOLDING", 0)
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


def test_epilogues_that_cublas_has_not_are_left_as_kernels(device: Device, rng: np.random.Generator) -> None:
    x, y, _ = data(rng)
    results = []
    for refused in (frozenset({134, 152}), frozenset({152}), frozenset({6, 134}), frozenset[int]()):
        device = Device()
        network = Network([Dense(16, "relu"), Dense(3)], backend=backend_on(device, epilogues=True, refused=refused))
        counts = Counts(device)
        network.fit(x, y, epochs=3, batch_size=16, callbacks=[counts])
        results.append((counts.of_an_epoch()["nodes"] // 5, network.parameters_by_name()["0.W"]))
    assert [nodes for nodes, _ in results] == [10, 10, 11, 9]
    for _, weights in results:
        np.testing.assert_allclose(weights, results[0][1], rtol=1e-4, atol=1e-6)


def test_a_mask_is_not_used_when_the_output_changes_in_between(rng: np.random.Generator) -> None:
    """Two products and two kernels, and something that changes the output before the derivative looks at it."""
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
    """All of MNIST: nothing crosses in a replay, nothing is allocated after the first epoch, and the CPU's losses."""
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
    """A layer that goes through the host, which no graph can."""

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


def test_a_layer_through_the_host_is_noticed_and_runs_step_by_step(device: Device, rng: np.random.Generator) -> None:
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
    """Products by CuPy cannot be captured: a product of integers is one."""

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


def test_a_capture_that_becomes_invalid_says_what_made_it_so(backend: CupyBackend, device: Device) -> None:
    """CUDA lets the end of such a capture fail as well, and knows nothing of the reason there."""
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


def test_a_product_that_cublaslt_has_not_is_cupys(device: Device, rng: np.random.Generator) -> None:
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


def test_graphs_are_for_the_gpu_alone() -> None:
    with pytest.raises(InputError, match="float32 and float64"):
        get_backend("numpy").at_precision("tf32")


@pytest.mark.filterwarnings("error::UserWarning")
def test_the_first_questions_can_be_asked(backend: CupyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the barrier, which only a GPU has. What is answered here means nothing; that it is answered does."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    first_questions = importlib.import_module("first_questions")
    monkeypatch.setattr(first_questions, "SHAPES", [(2, 3, 4)])
    monkeypatch.setattr(first_questions, "PRECISION_SHAPES", [(8, 4)])
    monkeypatch.setattr(first_questions, "microseconds", lambda backend, run, repeats: run() or 1.0)
    monkeypatch.setattr(first_questions, "step_microseconds", lambda run, steps: run.begin_epoch(0) or run.run_steps(1))
    left_out = ("grid_barrier", "folding")
    questions = [question for question in first_questions.QUESTIONS if question.__name__ not in left_out]
    answers = first_questions.ask(backend, 1, questions)
    assert not [name for name, answer in answers.items() if "failed" in answer], answers
    everything = ["forward", "gradient", "delta", "relu", "relu and mask", "relu backward"]
    assert answers["algorithms"]["tf32 2x3x4"] == everything
    assert answers["algorithms"]["bfloat16 7x5x3"] == everything[:3]
    assert answers["epilogues"] == {"2x3x4": {"product": 1.0, "two": 1.0, "one": 1.0}}
    assert answers["precisions"]["us_per_step"]["8 batch 4"].keys() == {"float32", "tf32", "bfloat16"}
    assert graphs.STEPS_IN_A_GRAPH == 16


def test_a_question_without_an_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """One process for each, which here finds no GPU, or has no time to look."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    first_questions = importlib.import_module("first_questions")
    assert first_questions.in_own_process("folding") == {"failed": "its process ended with code 1"}
    monkeypatch.setattr(first_questions, "PATIENCE", 0)
    assert first_questions.in_own_process("folding") == {"failed": "no answer after 0 s"}


@pytest.mark.parametrize("crashes", [False, True])
def test_questions_that_failed_are_told(
    crashes: bool, backend: CupyBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    """The others' answers are written all the same."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    first_questions = importlib.import_module("first_questions")
    monkeypatch.setattr(first_questions, "get_backend", lambda name: backend)
    answer = {"failed": "its process ended with code -11"} if crashes else {"blocks": 132}
    found = {"grid_barrier": answer}
    monkeypatch.setattr(first_questions, "in_own_process", lambda name: found.get(name, {"us": 1.0}))
    monkeypatch.setattr(sys, "argv", ["first_questions.py", "--out", str(tmp_path / "new" / "answers.json")])
    assert first_questions.main() == crashes
    answers = json.loads((tmp_path / "new" / "answers.json").read_text(encoding="utf-8"))
    assert answers["grid_barrier"] == answer
    assert answers["precisions"] == {"us": 1.0}
    assert capsys.readouterr().err == ("no answer to grid_barrier\n" if crashes else "")


def test_make_gpu_ends_in_one_line_without_a_gpu() -> None:
    command = [sys.executable, "-P", str(REPOSITORY / "benchmarks" / "first_questions.py"), "--look"]
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, check=False, capture_output=True, text=True, env=hidden)
    assert result.returncode == 1
    assert result.stdout == ""
    assert re.fullmatch(r"first_questions.py needs a GPU: .*\n", result.stderr)


# --- on a real GPU ----------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (7, 5, 3), (128, 784, 30), (30, 128, 784), (2048, 30, 10), (513, 257, 129)]
)
def test_products_on_a_gpu(gpu: CupyBackend, dtype: Any, shape: tuple[int, int, int], rng: np.random.Generator) -> None:
    m, k, n = shape
    a, b, before = (rng.standard_normal(size).astype(dtype) for size in ((m, k), (k, n), (m, n)))
    expected = a.astype(np.float64) @ b
    close = 1e-5 * k**0.5 if dtype == np.float32 else 1e-12 * k**0.5
    for transpose_a in (False, True):
        for transpose_b in (False, True):
            left, right = gpu.asarray(a.T if transpose_a else a), gpu.asarray(b.T if transpose_b else b)
            flags = {"transpose_a": transpose_a, "transpose_b": transpose_b}
            found = gpu.to_numpy(gpu.matmul(left, right, **flags))
            np.testing.assert_allclose(found, expected, atol=close)
            alpha, beta = (gpu.full((1,), f, dtype) for f in (0.5, -1.5))
            out = gpu.asarray(before)
            gpu.matmul(left, right, out, alpha=alpha, beta=beta, **flags)
            np.testing.assert_allclose(gpu.to_numpy(out), 0.5 * expected - 1.5 * before, atol=2 * close)


@pytest.mark.gpu
def test_tf32_rounds_and_float32_does_not(gpu: CupyBackend, rng: np.random.Generator) -> None:
    a, b = (rng.standard_normal((512, 512)).astype(np.float32) for _ in range(2))
    expected = a.astype(np.float64) @ b
    errors = {}
    for precision in ("float32", "tf32"):
        backend, _ = gpu.at_precision(precision)
        found = backend.to_numpy(backend.matmul(backend.asarray(a), backend.asarray(b)))
        errors[precision] = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert errors["float32"] < 2e-6
    assert 1e-5 < errors["tf32"] < 2e-3


@pytest.mark.gpu
@pytest.mark.parametrize("epilogues", [False, True])
@pytest.mark.parametrize("optimizer", [SGD(), Momentum(), Adam(l2=0.01, max_norm=1.0)])
@pytest.mark.filterwarnings("error::UserWarning")
def test_a_gpu_records_what_it_runs_plainly(epilogues: bool, optimizer: Any, gpu: CupyBackend, rng: Any) -> None:
    """Bit for bit without epilogues; a failed capture would be a warning, and so an error."""
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
    monkeypatch.setattr(graphs, "BYTES_WORTH_FOLDING", 0)
    test_a_recorded_run_on_a_gpu_follows_the_cpu(gpu, rng)


@pytest.mark.gpu
def test_a_recorded_run_on_a_gpu_follows_the_cpu(gpu: CupyBackend, rng: np.random.Generator) -> None:
    """The losses of the first 100 steps, one by one, to 1e-4.

    A smooth activation: one that has a kink is on its other side now and then, where two devices round differently.
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
    """Where it did not, weights that have become NaN would go unnoticed behind a ReLU."""
    backend = CupyBackend(epilogues=True)
    x = backend.full((16, 8), 1.0, np.float32)
    weights, bias = backend.full((8, 32), np.nan, np.float32), backend.full((32,), 0.0, np.float32)
    product = Product(x, weights, backend.empty((16, 32), np.float32), epilogue=Relu(bias))
    assert backend.can_multiply(product)
    backend.execute(product)
    assert np.isnan(backend.to_numpy(product.out)).all()
