"""Streamed data in evaluation, prediction, the command line, files, and the benchmark of streaming."""

from __future__ import annotations

import gc
import runpy
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bpcore import Dense, Network
from bpcore.cli import app
from bpcore.errors import InputError
from bpcore.training import placement
from support.command_line import write_mnist
from support.repository import REPOSITORY
from support.stand_in import Device
from support.stand_in_cublas import backend_on
from support.streaming import BATCH, trained

pytestmark = pytest.mark.usefixtures("small_chunks")


# --- evaluation and prediction --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small_workspace")
@pytest.mark.parametrize("rows", [3000, 2990])
def test_evaluation_and_prediction_stream_data_that_does_not_fit(rows: int, rng: np.random.Generator) -> None:
    x, y = rng.integers(0, 256, (rows, 100), np.uint8), rng.integers(0, 3, rows)
    found = []
    for memory_bytes in (100_000_000, 250_000):
        device = Device(memory_bytes)
        network = trained(backend_on(device), x[:64], y[:64], None)[1]
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
        slots, _, history = trained(backend_on(device), x, y, None, validation=(x[:2900], y[:2900]))
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
    monkeypatch.setattr("bpcore.cli.train.choose_device", lambda name: backend_on(Device(size)))
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
    for backend in ("numpy", backend_on(Device())):
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
    for backend, resident in (("numpy", None), (backend_on(device), False)):
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
    rates = benchmark["measure"](backend_on(device), device, rows=100, features=12, hidden=8, batch=BATCH, epochs=3)
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
