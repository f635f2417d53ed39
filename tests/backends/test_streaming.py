"""Data larger than GPU memory, on the stand-in device: the same run in chunks, its costs, and its waits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bpcore import SGD, Adam, Callback, Dense, Network, NonFiniteLossError, StopAtLoss
from bpcore.backends import streaming
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.kernels import counter
from bpcore.training import placement
from bpcore.training.run import Run
from support.counts import Counts
from support.stand_in import Device
from support.stand_in_cublas import backend_on
from support.stand_in_streams import RaceError
from support.streaming import BATCH, Slots, data, trained

pytestmark = pytest.mark.usefixtures("small_chunks")


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
    found = [trained(backend_on(Device()), x, y, resident, **options) for resident in (True, False)]
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
        network = Network([Dense(9, "relu"), Dense(3)], backend=backend_on(device), seed=4)
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
        trained(backend_on(device), *data(rng), False)


def test_a_loss_that_is_not_finite_is_found_in_a_chunk(device: Device, rng: np.random.Generator) -> None:
    """The run is rewound to the bad step, across chunks that had been replaced."""
    x, y = data(rng)
    x = x.astype(np.float32)
    told, weights = [], []
    for resident in (True, False):
        network = Network([Dense(9), Dense(3)], backend=backend_on(device), seed=4)

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
    slots, _, _ = trained(backend_on(device), x, y, False, epochs=6, callbacks=[counts], **weights)
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
        trained(backend_on(device), x, y, False, epochs=epochs)
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
        trained(backend_on(device), x, y, False)


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
