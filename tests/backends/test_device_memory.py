"""Device memory: predicted before a run, and what does not fit is streamed or refused."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

from bpcore import SGD, Adam, Dense, Dropout, EarlyStopping, Network
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.errors import InputError
from bpcore.training import placement
from support.stand_in import Device
from support.stand_in_cublas import backend_on
from support.streaming import Slots, trained

pytestmark = pytest.mark.usefixtures("small_chunks")


def test_free_bytes(device: Device) -> None:
    backend = CupyBackend(device, device.launch)
    assert backend.free_bytes() == 2**34
    array = backend.empty((1000,), np.uint8)
    assert backend.free_bytes() == 2**34 - 1024
    del array
    assert backend.free_bytes() == 2**34, "the pool has it"
    device.limit = 10_000
    assert backend.free_bytes() == 10_000
    with_cublas = backend_on(device)
    assert with_cublas.free_bytes() == 0, "its workspace is still to come"
    device.limit = 0
    ones = with_cublas.full((4, 4), 1.0, np.float32)
    before = with_cublas.free_bytes()
    with_cublas.matmul(ones, ones, ones)
    assert with_cublas.free_bytes() == before


def test_a_network_predicts_its_memory(device: Device) -> None:
    network = Network([Dense(9, "gelu"), Dropout(0.3), Dense(300)], inputs=12, backend=backend_on(device))
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
        network = Network([Dense(40, "relu"), Dense(3)], inputs=12, backend=backend_on(device))
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
    network = Network([Dense(10, "relu"), Dense(3)], inputs=120, backend=backend_on(device))
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
        backend_on(device).matmul(*[backend.full((4, 4), 1.0, np.float32)] * 3)


@pytest.mark.usefixtures("small_workspace")
def test_arrays_of_an_earlier_run_are_freed(rng: np.random.Generator) -> None:
    x, y = rng.integers(0, 256, (3000, 100), np.uint8), rng.integers(0, 3, 3000)
    device = Device(600_000)
    gc.disable()
    try:
        for _ in range(3):
            assert not trained(backend_on(device), x, y, None, epochs=1)[0].streamed
            device.graphs.clear()
    finally:
        gc.enable()


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
