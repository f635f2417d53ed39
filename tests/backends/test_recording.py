"""The CPU's tape: replayed steps equal plain steps, on any number of threads, for every layer, loss and optimizer."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpcore
from bpcore import Activation, Adam, Dense, Dropout, Layer, Maxout, Network, Residual
from bpcore.backends import cpu_tape, cpu_threads, get_backend
from bpcore.backends.cpu_tape import TapeMaker
from bpcore.errors import InputError
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.kernels.losses import LOSSES
from bpcore.training.optimizers import OPTIMIZERS, get_optimizer
from bpcore.training.run import Run
from support.layers import PastTheBackend

pytestmark = pytest.mark.usefixtures("every_thread_is_worth_it")


def trained(layers: list[Layer], *, recorded: bool, rows: int = 47, **options: Any) -> dict[str, np.ndarray]:
    """The weights after three epochs of batches of 10 and a short last batch."""
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((rows, 9)), rng.integers(0, 4, rows)
    net = Network(layers, backend="numpy", precision=options.pop("precision", "float32"))
    if not recorded:
        net.backend.record = super(type(net.backend), net.backend).record  # type: ignore[method-assign]
    history = net.fit(x, y, **{"epochs": 3, "batch_size": 10, "sample_weight": rng.random(rows), **options})
    return {**net.parameters_by_name(), "loss": np.array(history["loss"]), "accuracy": np.array(history["accuracy"])}


def assert_recorded_is_plain(make: Any, monkeypatch: pytest.MonkeyPatch, parts: int, **options: Any) -> None:
    """Compare to rounding, because the tape sums in another order; the recording's own check is bit for bit."""
    monkeypatch.setenv("BPCORE_NUM_THREADS", str(parts))
    replays: list[int] = []
    original = cpu_tape.tape.Tape.replay
    monkeypatch.setattr(cpu_tape.tape.Tape, "replay", lambda tape, n: (replays.append(n), original(tape, n))[1])
    taped, plain = trained(make(), recorded=True, **options), trained(make(), recorded=False, **options)
    assert sum(replays) > 8, "most steps were replayed"
    close = 2e-4 if options.get("precision", "float32") == "float32" else 1e-10
    for name, array in plain.items():
        np.testing.assert_allclose(taped[name], array, rtol=close, atol=close, err_msg=name)


@pytest.mark.parametrize("parts", [1, 2, 3, 16])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_any_number_of_threads(parts: int, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Including more threads than rows."""
    assert_recorded_is_plain(
        lambda: [Dense(33, "gelu"), Dropout(0.3), Dense(17, "sigmoid"), Activation("prelu"), Dense(4)],
        monkeypatch, parts, precision=precision, optimizer=Adam(max_norm=0.5, l2=0.01),
    )  # fmt: skip


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_recorded_is_plain(lambda: [Dense(8, activation), Dense(4, activation)], monkeypatch, 2, precision="float64")


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss(loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_recorded_is_plain(lambda: [Dense(8, "tanh"), Dense(4)], monkeypatch, 2, loss=loss, precision="float64")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_recorded_is_plain(
        lambda: [Dense(8, "tanh"), Dense(4)], monkeypatch, 2, optimizer=get_optimizer(name), precision="float64"
    )


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("optimizer", [bpcore.SGD(l2=0.01), Adam(max_norm=0.5)])
def test_maxout_and_blocks(parts: int, optimizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """With folded updates, and with a clipped gradient; some parameters are frozen."""
    assert_recorded_is_plain(
        lambda: [
            Dense(6, "tanh", freeze="bias"),
            Residual([Dense(7, "relu", bias=0.1), Dropout(0.3), Residual([Activation("gelu")]), Dense(6)]),
            Maxout(5, 3),
            Residual([Maxout(4, bias=False)], projection=True),
            Dense(4, freeze="weights"),
        ],
        monkeypatch, parts, precision="float64", optimizer=optimizer,
    )  # fmt: skip


def test_large_batches_are_cut_by_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_recorded_is_plain(lambda: [Dense(8, "relu"), Dense(4)], monkeypatch, 2, rows=200, batch_size=64)


def test_the_same_run_twice_has_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many short steps on more threads than cores, where a missing wait would sooner or later show as a difference."""
    monkeypatch.setenv("BPCORE_NUM_THREADS", "3")
    options: dict[str, Any] = {"epochs": 20, "batch_size": 12, "rows": 300}
    runs = [trained([Dense(40, "relu"), Dense(30, "gelu"), Dense(4)], recorded=True, **options) for _ in range(3)]
    for name, array in runs[0].items():
        np.testing.assert_array_equal(array, runs[1][name])
        np.testing.assert_array_equal(array, runs[2][name])


def test_a_layer_that_bypasses_the_backend_is_detected_and_runs_unrecorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPCORE_NUM_THREADS", "2")
    make = [Dense(8, "tanh"), PastTheBackend(), Dense(4)]
    with pytest.warns(
        UserWarning,
        match="cannot be recorded and runs step by step: a replayed step differs",
    ) as caught:
        taped = trained(make, recorded=True, precision="float64")
    assert len(caught) == 2, "once for full batches, once for the short one"
    plain = trained([Dense(8, "tanh"), PastTheBackend(), Dense(4)], recorded=False, precision="float64")
    for name, array in plain.items():
        np.testing.assert_allclose(taped[name], array, rtol=1e-10, err_msg=name)


def test_a_step_has_few_waits(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward and backward passes of a large batch wait only for the sums over the whole batch."""
    found: list[list[bool]] = []
    original = cpu_tape.waits
    monkeypatch.setattr(cpu_tape, "waits", lambda entries: (found.append(original(entries)), found[-1])[1])
    monkeypatch.setenv("BPCORE_NUM_THREADS", "2")
    trained(
        [Dense(64, "relu"), Dense(64, "relu"), Dense(4)], recorded=True, rows=256, batch_size=128, sample_weight=None
    )
    assert sum(found[0]) == 6, "the step's beginning, the sums of the head and of two deltas, the update, the end"


def test_small_steps_run_on_fewer_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_tape, "OPERATIONS_WORTH_A_THREAD", 10**6)
    monkeypatch.setenv("BPCORE_NUM_THREADS", "4")
    parts: list[int] = []
    original = TapeMaker.make
    monkeypatch.setattr(TapeMaker, "make", lambda self, done: (original(self, done), parts.append(self.parts))[0])
    trained([Dense(8, "relu"), Dense(4)], recorded=True)
    assert set(parts) == {1}


def test_two_trainings_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two trainings share the cores."""
    monkeypatch.setenv("BPCORE_NUM_THREADS", "2")
    results: list[dict[str, np.ndarray]] = []

    def work() -> None:
        results.append(trained([Dense(16, "tanh"), Dense(4)], recorded=True, epochs=20))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(results[0]["0.W"], results[1]["0.W"])


def test_work_of_another_thread_is_not_recorded() -> None:
    """Networks may share a backend, which records the operations of a step."""
    backend = get_backend("numpy")
    a, mine, theirs = np.ones((2, 3), np.float32), np.zeros((2, 3), np.float32), np.zeros((2, 3), np.float32)
    written: list[Any] = []
    backend.watcher = written.append
    try:
        thread = threading.Thread(target=backend.add, args=(a, a, theirs))
        thread.start()
        thread.join()
        assert not written
        np.testing.assert_array_equal(theirs, 2.0)
        backend.add(a, a, mine)
    finally:
        backend.watcher = None
    assert len(written) == 1
    np.testing.assert_array_equal(mine, 0.0)


def test_networks_that_share_a_backend_train_at_once(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((200, 8)), rng.integers(0, 3, 200)
    shared = get_backend("numpy")

    def losses(seed: int, backend: Any) -> list[float]:
        network = Network([Dense(16, "tanh"), Dense(3)], seed=seed, backend=backend)
        return network.fit(x, y, epochs=3, batch_size=20)["loss"]

    expected = [losses(seed, "numpy") for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(losses, range(8), [shared] * 8)) == expected


def _train_in_child(queue: Any) -> None:
    queue.put(trained([Dense(16, "tanh"), Dense(4)], recorded=True)["0.W"])


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_can_train(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPCORE_NUM_THREADS", "2")
    here = trained([Dense(16, "tanh"), Dense(4)], recorded=True)["0.W"]
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_train_in_child, args=(queue,))
    child.start()
    np.testing.assert_array_equal(queue.get(timeout=60), here)
    child.join(timeout=60)
    assert child.exitcode == 0


def test_threads_follow_the_settings_and_the_containers_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in cpu_threads.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cpu_threads.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    limit = tmp_path / "cpu.max"
    original = cpu_threads._container_limit
    monkeypatch.setattr(cpu_threads, "_container_limit", lambda path: original(str(limit)))
    assert cpu_threads.threads() == 64
    for text, expected in (("max 100000", 64), ("250000 100000", 2), ("50000 100000", 1)):
        limit.write_text(text)
        assert cpu_threads.threads() == expected
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert cpu_threads.threads() == 5
    monkeypatch.setenv("BPCORE_NUM_THREADS", "3")
    assert cpu_threads.threads() == 3
    for wrong in ("0", "-1", "two", "1.5", "²"):
        monkeypatch.setenv("BPCORE_NUM_THREADS", wrong)
        with pytest.raises(InputError, match=f"BPCORE_NUM_THREADS={wrong}; accepted: an integer of 1 or more"):
            cpu_threads.threads()
    monkeypatch.delenv("BPCORE_NUM_THREADS")
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")  # of nested teams
    assert cpu_threads.threads() == 1


def test_no_thread_waits_forever_if_the_system_refuses_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPCORE_NUM_THREADS", "3")
    starts: list[threading.Thread] = []
    original = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        starts.append(thread)
        if len(starts) == 2:
            raise RuntimeError("can't start new thread")
        original(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        trained([Dense(8, "tanh"), Dense(4)], recorded=True)
    starts[0].join(timeout=60)
    assert not starts[0].is_alive()


def test_callbacks_that_need_every_step(rng: np.random.Generator) -> None:
    """Replays of a single step give the same results."""

    class EveryStep(bpcore.Callback):
        def on_progress(self, run: Run) -> None:
            run.pace.steps = 1

    options: dict[str, Any] = {"precision": "float64"}
    by_one = trained([Dense(8, "tanh"), Dense(4)], recorded=True, callbacks=[EveryStep()], **options)
    by_many = trained([Dense(8, "tanh"), Dense(4)], recorded=True, **options)
    np.testing.assert_array_equal(by_one["0.W"], by_many["0.W"])
