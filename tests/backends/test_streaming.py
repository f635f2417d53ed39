"""Data larger than GPU memory, on the stand-in device: the same run in chunks, its costs, and its waits."""

from __future__ import annotations

import gc
import runpy
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bpcore import (
    SGD,
    Adam,
    Callback,
    Dense,
    Dropout,
    EarlyStopping,
    Network,
    NonFiniteLossError,
    StopAtLoss,
)
from bpcore.backends import cupy_backend, streaming
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.cli import app
from bpcore.errors import InputError
from bpcore.kernels import counter
from bpcore.training import placement
from bpcore.training.run import Run
from support import stand_in_cublas
from support.command_line import write_mnist
from support.counts import Counts
from support.repository import REPOSITORY
from support.stand_in import Device
from support.stand_in_streams import RaceError

BATCH = 16


@pytest.fixture
def device() -> Device:
    return Device()


def on(device: Device) -> CupyBackend:
    return CupyBackend(device, device.launch, stand_in_cublas.Cublas(device))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk holds two batches of samples of 12 bytes and a label; two threads gather them."""
    monkeypatch.setattr(placement, "CHUNK_BYTES", 2 * BATCH * (12 + 8))
    monkeypatch.setenv("BPCORE_NUM_THREADS", "2")


def data(rng: np.random.Generator, rows: int = 70) -> tuple[np.ndarray, np.ndarray]:
    return rng.integers(0, 256, (rows, 12), np.uint8), rng.integers(0, 3, rows)


class Slots(Callback):
    """The loss of every batch, and how the data was fed."""

    def __init__(self) -> None:
        self.losses: list[np.ndarray] = []

    def on_begin(self, run: Run) -> None:
        self.streamed = run.feed.streamed
        self.chunk = run.feed.samples.x.shape[0]

    def on_epoch_end(self, run: Run) -> None:
        self.losses.append(run.backend.to_numpy(run.control.losses))


def trained(backend: Any, x: Any, y: Any, resident: bool | None, **options: Any) -> tuple[Slots, Network, Any]:
    slots = Slots()
    loss = "softmax_cross_entropy" if np.ndim(y) == 1 else "squared_error"
    network = Network([Dense(9, "relu"), Dropout(0.3), Dense(3)], backend=backend, seed=4)
    callbacks = [slots, *options.pop("callbacks", [])]
    options = {"epochs": 3, "batch_size": BATCH, "seed": 8, "loss": loss, "callbacks": callbacks, **options}
    history = network.fit(x, y, resident=resident, **options)
    return slots, network, history


# --- the same run -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rows",
    [
        70,  # chunks of 2, 2 and the short batch alone
        64,  # chunks of 2 and 2
        60,  # chunks of 2, and of 1 with the short batch
        48,  # chunks of 2 and 1
        40,  # chunks of 2 and a short batch
        20,  # one chunk
        9,  # one batch
    ],
)
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("kind", ["labels", "weighted", "dense"])
def test_a_streamed_run_equals_the_resident_one_bit_for_bit(
    kind: str, shuffle: bool, rows: int, rng: np.random.Generator
) -> None:
    x, y = data(rng, rows)
    options: dict[str, Any] = {"shuffle": shuffle, "optimizer": Adam(l2=0.01)}
    if kind == "weighted":
        options["sample_weight"] = rng.random(rows) + 0.5
    if kind == "dense":
        x, y = rng.standard_normal((rows, 12)).astype(np.float32), rng.random((rows, 3))
    found = [trained(on(Device()), x, y, resident, **options) for resident in (True, False)]
    (resident, network, _), (streamed, network_of_chunks, _) = found
    assert (resident.streamed, streamed.streamed) == (False, True)
    assert resident.chunk == rows
    assert streamed.chunk == min(rows, 2 * BATCH if kind == "labels" else BATCH), "of a size by bytes"
    np.testing.assert_array_equal(streamed.losses, resident.losses)
    for name, array in network.parameters_by_name().items():
        np.testing.assert_array_equal(network_of_chunks.parameters_by_name()[name], array, err_msg=name)


@pytest.mark.filterwarnings("ignore:cuBLASLt cannot be loaded:UserWarning")
def test_unrecorded_steps_are_fed_too(device: Device, rng: np.random.Generator) -> None:
    x, y = data(rng)
    found = [trained(CupyBackend(device, device.launch), x, y, resident)[0] for resident in (True, False)]
    np.testing.assert_array_equal(found[0].losses, found[1].losses)
    assert not device.graphs


def test_the_cpu_uses_data_in_place(rng: np.random.Generator) -> None:
    x, y = data(rng)
    found = [trained("numpy", x, y, resident)[0] for resident in (None, True, False)]
    assert not any(slots.streamed for slots in found)
    for slots in found:
        np.testing.assert_array_equal(slots.losses, found[0].losses)


def test_runs_that_stop_and_restart(device: Device, rng: np.random.Generator) -> None:
    """Chunks in flight when a run ends are dropped, because their buffers are reused afterwards."""
    x, y = data(rng)
    losses = []
    for resident in (True, False):
        network = Network([Dense(9, "relu"), Dense(3)], backend=on(device), seed=4)
        slots = Slots()
        callbacks = [slots, StopAtLoss(1e9)]
        for _ in range(3):
            network.fit(x, y, epochs=5, batch_size=BATCH, callbacks=callbacks, resident=resident)
        losses.append(slots.losses)
    assert len(losses[0]) == 3
    np.testing.assert_array_equal(losses[0], losses[1])


def test_errors_while_gathering_a_chunk_are_raised(
    device: Device, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(self: streaming.Stream, chunk: streaming.Chunk) -> None:
        if chunk.counters[counter.BATCH] == 4:
            raise OSError("the disk is gone")

    monkeypatch.setattr(streaming.Stream, "_gather", fails)
    with pytest.raises(OSError, match="the disk is gone"):
        trained(on(device), *data(rng), False)


def test_a_loss_that_is_not_finite_is_found_in_a_chunk(device: Device, rng: np.random.Generator) -> None:
    """The run is rewound to the bad step, across chunks that had been replaced."""
    x, y = data(rng)
    x = x.astype(np.float32)
    told, weights = [], []
    for resident in (True, False):
        network = Network([Dense(9), Dense(3)], backend=on(device), seed=4)

        class Spoil(Callback):
            def on_epoch_end(self, run: Run) -> None:
                if run.epoch == 2:
                    run.scale_learning_rate(1e30)

        with pytest.raises(NonFiniteLossError) as error:
            network.fit(x, y, epochs=6, batch_size=BATCH, optimizer=SGD(), callbacks=[Spoil()], resident=resident)
        told.append(str(error.value))
        weights.append(network.parameters_by_name()["0.W"])
    assert told[0] == told[1]
    assert "at epoch 3" in told[0]
    np.testing.assert_array_equal(weights[0], weights[1])


# --- what it costs ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_each_chunk_crosses_once_and_nothing_is_allocated(
    weighted: bool, device: Device, rng: np.random.Generator
) -> None:
    x, y = data(rng, 150)  # 9 full batches and a short one: 5 chunks
    counts = Counts(device)
    weights = {"sample_weight": rng.random(150)} if weighted else {}
    chunks = 10 if weighted else 5
    slots, _, _ = trained(on(device), x, y, False, epochs=6, callbacks=[counts], **weights)
    assert slots.chunk == (BATCH if weighted else 2 * BATCH)
    for before, after in zip(counts.rows[1:4], counts.rows[2:5], strict=True):
        assert after["allocations"] == before["allocations"]
        assert after["graphs"] == before["graphs"]
    # The thread that copies may or may not be a chunk ahead when an epoch ends.
    arrays = 3 if weighted else 2
    whole_run = sum(memory.content.nbytes > 0 for memory in device.pinned)
    assert whole_run == 2 * arrays, "pinned buffers, two for each array"
    sent = counts.rows[4]["to_device"] - counts.rows[0]["to_device"]
    assert abs(sent - 4 * (chunks * arrays + 1)) <= arrays, "each chunk's arrays, and the counters of each epoch"


def test_a_last_epoch_sends_no_more_than_it_needs(device: Device, rng: np.random.Generator) -> None:
    x, y = data(rng, 150)
    counts = []
    for epochs in (1, 2, 3):
        before = device.to_device
        trained(on(device), x, y, False, epochs=epochs)
        counts.append(device.to_device - before)
    assert counts[1] - counts[0] == counts[2] - counts[1] == 5 * 2 + 1


# --- who waits for whom -----------------------------------------------------------------------------------------


def test_the_stand_in_detects_missing_waits(device: Device) -> None:
    memory = device.cuda.alloc_pinned_memory(64)
    host = np.frombuffer(memory, np.uint8, 64)
    array, other = device.empty((64,), np.uint8), device.empty((64,), np.uint8)
    copying, arrived = device.cuda.Stream(non_blocking=True), device.cuda.Event()
    array.set(host, stream=copying)
    with pytest.raises(RaceError, match=r"reads an array \(64,\) that was written"):
        device.copyto(other, array)
    arrived.record(copying)
    device.stream.wait_event(arrived)
    device.copyto(other, array)
    host[3] = 7
    with pytest.raises(RaceError, match="filled again"):
        other.set(host, stream=device.stream)
    host[3] = 111
    arrived.synchronize()
    with pytest.raises(RaceError, match=r"writes an array \(64,\) that was read"):
        array.set(host, stream=copying)
    device.stream.synchronize()
    array.set(host, stream=copying)
    host[3] = 7
    with pytest.raises(RaceError, match="filled again"):
        copying.synchronize()


@pytest.mark.parametrize(
    ("stream", "method", "told"),
    [
        (True, "wait_event", "reads an array .* that was written"),
        (False, "wait_event", "writes an array .* that was read"),
        (False, "synchronize", "filled again"),
    ],
)
def test_removing_any_wait_is_detected(
    stream: bool, method: str, told: str, device: Device, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps wait for a chunk, the copy for its landing buffer, the host for its pinned buffer."""
    original = streaming.Stream.__init__

    def without(self: Any, *arguments: Any) -> None:
        original(self, *arguments)
        if stream:
            monkeypatch.setattr(device.stream, method, lambda event: None)
        elif method == "wait_event":
            monkeypatch.setattr(self._copying, method, lambda event: None)
        else:
            for event in self._left:
                monkeypatch.setattr(event, method, lambda: None)

    monkeypatch.setattr(streaming.Stream, "__init__", without)
    monkeypatch.setattr(device.default_stream, "synchronize", lambda: None)  # a host that never waits for the steps
    x, y = data(rng, 400)
    with pytest.raises(RaceError, match=told):
        trained(on(device), x, y, False)


# --- memory is measured -------------------------------------------------------------------------------------------


@pytest.fixture
def small_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuBLAS's workspace would take most of the memory of the devices below."""
    monkeypatch.setattr(cupy_backend, "WORKSPACE_BYTES", 4096)


def test_free_bytes(device: Device) -> None:
    backend = CupyBackend(device, device.launch)
    assert backend.free_bytes() == 2**34
    array = backend.empty((1000,), np.uint8)
    assert backend.free_bytes() == 2**34 - 1024
    del array
    assert backend.free_bytes() == 2**34, "the pool has it"
    device.limit = 10_000
    assert backend.free_bytes() == 10_000
    with_cublas = on(device)
    assert with_cublas.free_bytes() == 0, "its workspace is still to come"
    device.limit = 0
    ones = with_cublas.full((4, 4), 1.0, np.float32)
    before = with_cublas.free_bytes()
    with_cublas.matmul(ones, ones, ones)
    assert with_cublas.free_bytes() == before


def test_a_network_predicts_its_memory(device: Device) -> None:
    network = Network([Dense(9, "gelu"), Dropout(0.3), Dense(300)], inputs=12, backend=on(device))
    wanted, before = network.bytes_for(500), device.used
    assert device.used == before
    network.reserve(500)
    assert device.used - before == wanted
    assert network.bytes_for(500) == network.bytes_for(20) == 0


@pytest.mark.usefixtures("small_workspace")
@pytest.mark.parametrize("optimizer", [SGD(), Adam()])
def test_a_run_fits_or_is_refused_before_it_starts(optimizer: Any, rng: np.random.Generator) -> None:
    """With increasing memory a run is refused, then streamed, then resident; it never runs out of memory."""
    x, y = rng.integers(0, 256, (6000, 12), np.uint8), rng.integers(0, 3, 6000)
    found = []
    for size in range(200_000, 900_000, 30_000):
        device = Device(size)
        network = Network([Dense(40, "relu"), Dense(3)], inputs=12, backend=on(device))
        before, slots = device.allocations, Slots()
        try:
            validation = (x[:100], y[:100])
            callbacks = [slots, EarlyStopping()]
            network.fit(x, y, batch_size=64, epochs=2, optimizer=optimizer, validation=validation, callbacks=callbacks)
            found.append("streamed" if slots.streamed else "resident")
        except InputError as error:
            assert device.allocations == before, size
            assert str(error).startswith("this takes ")  # noqa: PT017 (that none is raised is as good)
            found.append("refused")
    assert found == sorted(found, key=["refused", "streamed", "resident"].index)
    assert {"refused", "streamed", "resident"} == set(found)


@pytest.mark.usefixtures("small_workspace")
def test_what_is_too_large_is_named_with_its_size(rng: np.random.Generator) -> None:
    device = Device(1_000_000)
    x, y = rng.integers(0, 256, (9000, 120), np.uint8), rng.integers(0, 3, 9000)
    network = Network([Dense(10, "relu"), Dense(3)], inputs=120, backend=on(device))
    one_line = r"^this takes [\d.]+ MiB of the cupy device's memory, of which \d\d\d\.\d KiB can be used: "
    with pytest.raises(
        InputError, match=one_line + r"recording [\d.]+ MiB, batch buffers .* training data .* snapshots"
    ):
        network.fit(x, y, batch_size=3000)
    with pytest.raises(InputError, match=r"use a smaller batch_size \(now 3000\), a smaller network$"):
        network.fit(x, y, batch_size=3000)
    with pytest.raises(InputError, match=one_line + r"training data 1\.1 MiB, .* use resident=None, which streams"):
        network.fit(x, y, batch_size=10, resident=True)
    network.fit(x[:500], y[:500], batch_size=10, epochs=1)
    for ask in (network.predict, network.output, network.predict_proba):
        with pytest.raises(InputError, match=one_line + r"batch buffers .* evaluated data .*batch_size \(now 4000\)"):
            ask(x, batch_size=4000)
    with pytest.raises(InputError, match=one_line):
        network.evaluate(x, y, batch_size=4000)
    with pytest.raises(InputError, match=one_line):
        network.confusion_matrix(x, y, batch_size=4000)


def test_a_network_that_is_too_large(device: Device) -> None:
    device = Device(1_000_000)
    network = Network([Dense(1000), Dense(3)], backend=CupyBackend(device, device.launch))
    with pytest.raises(InputError, match=r"parameters and gradients 7\.\d MiB; use a smaller network$"):
        network.build(1000)
    with pytest.raises(InputError, match="has no weights yet"):
        network.summary()
    wide = Network([Dense(1000), Dense(3)], backend=CupyBackend(device, device.launch), precision="float64")
    with pytest.raises(InputError, match=r"15\.\d MiB; use a smaller network or precision='float32'$"):
        wide.build(1000)
    assert device.allocations == 0


def test_a_layer_that_the_host_cannot_hold() -> None:
    def too_large(rng: np.random.Generator, inputs: int, outputs: int) -> np.ndarray:
        raise MemoryError("Unable to allocate 7.28 TiB for an array with shape (1000000, 1000000)")

    with pytest.raises(InputError, match=r"^not enough memory on the host for layer 1: Unable to allocate 7.28 TiB"):
        Network([Dense(4, initializer=too_large)], inputs=3, backend="numpy")


def test_running_out_of_memory_is_one_line(rng: np.random.Generator) -> None:
    device = Device(100_000)
    backend = CupyBackend(device, device.launch)
    line = (
        r"^the GPU's memory is full: an array \(300, 100\) of float32 takes 117.2 KiB, and 97.7 KiB are free; a smaller"
    )
    for ask in (
        lambda: backend.empty((300, 100), np.float32),
        lambda: backend.full((300, 100), 1.0, np.float32),
        lambda: backend.asarray(np.ones((300, 100), np.float32)),
    ):
        with pytest.raises(InputError, match=line):
            ask()
    with pytest.raises(InputError, match="the GPU's memory is full"):
        on(device).matmul(*[backend.full((4, 4), 1.0, np.float32)] * 3)


@pytest.mark.usefixtures("small_workspace")
def test_arrays_of_an_earlier_run_are_freed(rng: np.random.Generator) -> None:
    x, y = rng.integers(0, 256, (3000, 100), np.uint8), rng.integers(0, 3, 3000)
    device = Device(600_000)
    gc.disable()
    try:
        for _ in range(3):
            assert not trained(on(device), x, y, None, epochs=1)[0].streamed
            device.graphs.clear()
    finally:
        gc.enable()


# --- evaluation and prediction --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_workspace")
@pytest.mark.parametrize("rows", [3000, 2990])
def test_evaluation_and_prediction_stream_data_that_does_not_fit(rows: int, rng: np.random.Generator) -> None:
    x, y = rng.integers(0, 256, (rows, 100), np.uint8), rng.integers(0, 3, rows)
    found = []
    for memory_bytes in (100_000_000, 250_000):
        device = Device(memory_bytes)
        network = trained(on(device), x[:64], y[:64], None)[1]
        gc.collect()
        options = {"batch_size": 100}
        found.append(
            [
                network.predict(x, **options),
                network.predict_proba(x, **options),
                network.output(x, **options),
                network.confusion_matrix(x, y, **options),
                network.evaluate(x, y, sample_weight=np.arange(rows), **options),
            ]
        )
        streamed = len(device.pinned) > 0
        assert streamed == (memory_bytes < x.nbytes)
    for resident, streamed in zip(*found, strict=True):
        np.testing.assert_array_equal(resident, streamed)


@pytest.mark.usefixtures("small_workspace")
def test_validation_data_is_streamed_beside_training_data(rng: np.random.Generator) -> None:
    x, y = rng.integers(0, 256, (5000, 100), np.uint8), rng.integers(0, 3, 5000)
    found = []
    for memory_bytes in (10_000_000, 4_180_000):
        device = Device(memory_bytes)
        slots, _, history = trained(on(device), x, y, None, validation=(x[:2900], y[:2900]))
        found.append([history["loss"], history["val_loss"], history["val_accuracy"]])
    assert len(device.pinned) == 4
    assert not slots.streamed, "the training data fits, and has the first claim"
    np.testing.assert_array_equal(found[0], found[1])


@pytest.mark.usefixtures("small_workspace")
@pytest.mark.parametrize("size", [2**34, 2_500_000])
def test_the_command_line_says_so(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mnist(tmp_path, train=2000)
    monkeypatch.setattr("bpcore.cli.train.choose_device", lambda name: on(Device(size)))
    arguments = ["--epochs", "1", "--network", "16", "--batch-size", "16", "--data-dir", str(tmp_path)]
    app.main(["train", "mnist", *arguments, "--output", str(tmp_path / "runs")])
    said = capsys.readouterr().out
    line = "the training data is larger than the device's memory: in host memory, streamed to the device in chunks of"
    assert (line in said) == (size == 2_500_000)
    assert line not in said.partition("epoch  ")[2], "it stands before the numbers"


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_a_file_in_memory_gives_the_same_run(dtype: Any, rng: np.random.Generator, tmp_path: Path) -> None:
    rows = 100
    x = rng.integers(0, 256, (rows, 12)).astype(dtype)
    x[:] = x / 3
    y = rng.integers(0, 3, rows)
    np.save(tmp_path / "x.npy", x)
    file = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert isinstance(file, np.memmap)
    for backend in ("numpy", on(Device())):
        expected = trained(backend, x, y, None)[0].losses
        for resident in (None, False):
            np.testing.assert_array_equal(trained(backend, file, y, resident)[0].losses, expected)
    network = trained("numpy", x, y, None)[1]
    np.testing.assert_array_equal(network.predict(file), network.predict(x))


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_a_file_is_not_read_into_memory(dtype: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "CHUNK_BYTES", 100_000)
    rows = 40_000
    file = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", dtype, (rows, 400))
    file[::7, ::3] = 5
    y = np.arange(rows) % 3
    device = Device()
    for backend, resident in (("numpy", None), (on(device), False)):
        network = Network([Dense(4, "relu"), Dense(3)], backend=backend)
        network.fit(file[:300], y[:300], epochs=1, batch_size=100, resident=resident)
        tracemalloc.start()
        network.fit(file, y, epochs=1, batch_size=100, resident=resident)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < file.nbytes / 3


def test_a_file_with_a_nan(tmp_path: Path) -> None:
    file = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float64, (9000, 1000))
    file[8123, 77] = np.inf
    with pytest.raises(InputError, match=r"^x holds inf at row 8123, feature 77; finite numbers are needed"):
        Network([Dense(3)], backend="numpy").fit(file, np.zeros(9000, int))


# --- the benchmark ----------------------------------------------------------------------------------------------------


def test_the_benchmark_measures(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """It runs; its numbers mean nothing here."""
    benchmark = runpy.run_path(str(REPOSITORY / "benchmarks" / "streaming.py"))
    rates = benchmark["measure"](on(device), device, rows=100, features=12, hidden=8, batch=BATCH, epochs=3)
    assert min(rates.resident, rates.streamed, rates.copied) > 0
    assert rates.wanted < rates.resident
    assert len(device.pinned) == 2 * 2 + 1, "streamed once, and the copy"


def test_the_benchmark_without_a_gpu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(sys, "argv", ["streaming.py"])
    benchmark = runpy.run_path(str(REPOSITORY / "benchmarks" / "streaming.py"))
    assert benchmark["main"]() == 2
    said = capsys.readouterr()
    assert said.err.startswith("there is nothing to measure without a GPU: the CuPy backend")
    assert said.err.count("\n") == 1
    assert not said.out


# --- on a real GPU ----------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["labels", "dense"])
def test_a_streamed_run_equals_the_resident_one_on_a_gpu(
    kind: str, gpu: CupyBackend, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "CHUNK_BYTES", 4 * 2**20)
    rows = 60_050
    x, y = rng.integers(0, 256, (rows, 784), np.uint8), rng.integers(0, 3, rows)
    options: dict[str, Any] = {"batch_size": 128, "sample_weight": rng.random(rows) + 0.5}
    if kind == "dense":
        x, y = rng.standard_normal((rows, 200)).astype(np.float32), rng.random((rows, 3))
    found = [trained(gpu, x, y, resident, **options) for resident in (True, False)]
    (resident, network, _), (streamed, network_of_chunks, _) = found
    assert (resident.streamed, streamed.streamed) == (False, True)
    assert streamed.chunk < rows / 4
    np.testing.assert_array_equal(streamed.losses, resident.losses)
    for name, array in network.parameters_by_name().items():
        np.testing.assert_array_equal(network_of_chunks.parameters_by_name()[name], array, err_msg=name)


@pytest.mark.gpu
def test_a_gpu_reports_its_free_memory(
    gpu: CupyBackend, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit on CuPy's pool simulates a small GPU: data that does not fit is streamed or refused in one line."""
    import cupy

    monkeypatch.setattr(placement, "CHUNK_BYTES", 16 * 2**20)
    free = gpu.free_bytes()
    array = gpu.empty((2**26,), np.uint8)
    assert gpu.free_bytes() <= free - 2**26
    del array
    x, y = rng.integers(0, 256, (400_000, 784), np.uint8), rng.integers(0, 3, 400_000)
    pool = cupy.get_default_memory_pool()
    gpu.matmul(*[gpu.full((4, 4), 1.0, np.float32)] * 3)
    pool.free_all_blocks()
    pool.set_limit(size=pool.used_bytes() + 200 * 2**20)
    try:
        slots, network, _ = trained(gpu, x, y, None, epochs=1, batch_size=128)
        assert slots.streamed
        assert len(network.predict(x)) == len(x)
        with pytest.raises(InputError, match=r"^this takes .* of the cupy device's memory"):
            trained(gpu, x, y, None, epochs=1, batch_size=100_000)
    finally:
        pool.set_limit(size=0)
