"""Callbacks, and how runs end: early stopping, Ctrl-C, non-finite losses, errors."""

from __future__ import annotations

import math
import os
import signal
import threading
from typing import Any

import numpy as np
import pytest

from bpcore import SGD, Adam, Callback, Dense, EarlyStopping, StopAtLoss
from bpcore.errors import InputTypeError
from bpcore.testing import references
from bpcore.training.nonfinite import NonFiniteLossError
from bpcore.training.run import Run
from support.spirals import network, spirals, weights_of


def test_early_stopping_restores_the_best_weights(rng: np.random.Generator) -> None:
    """With random labels the validation loss soon rises."""
    x, y = rng.standard_normal((60, 10)), rng.integers(0, 3, 60)
    held_out = rng.standard_normal((60, 10)), rng.integers(0, 3, 60)
    net = network(Dense(64, "relu"), Dense(3))
    history = net.fit(
        x, y, optimizer=Adam(learning_rate=0.01), epochs=200, batch_size=10, validation=held_out,
        callbacks=[EarlyStopping(patience=3)],
    )  # fmt: skip
    assert len(history) < 200
    assert "has not improved for 3 epochs" in history.stopped
    assert np.argmin(history["val_loss"]) == len(history) - 4
    assert net.evaluate(*held_out).loss == pytest.approx(min(history["val_loss"]), rel=1e-6)


def test_stop_at_a_target_loss(rng: np.random.Generator) -> None:
    x, y = spirals(rng)
    history = network().fit(x, y, optimizer=Adam(learning_rate=0.01), epochs=500, callbacks=[StopAtLoss(0.5)])
    assert history["loss"][-1] <= 0.5 < history["loss"][-2]
    assert "at or below 0.5" in history.stopped


def test_a_callback_may_scale_the_learning_rate(rng: np.random.Generator) -> None:
    x, y = spirals(rng)

    class Freeze(Callback):
        def on_epoch_end(self, run: Run) -> None:
            run.scale_learning_rate(0.0)

    nets = [network(), network()]
    nets[0].fit(x, y, epochs=1)
    history = nets[1].fit(x, y, epochs=3, callbacks=[Freeze()])
    np.testing.assert_array_equal(weights_of(nets[0])["0.W"], weights_of(nets[1])["0.W"])
    assert history["learning_rate"] == [0.001, 0.0, 0.0]


def test_callbacks_are_called_in_order(rng: np.random.Generator) -> None:
    events = []

    class Listener(Callback):
        def on_begin(self, run: Run) -> None:
            events.append("begin")

        def on_progress(self, run: Run) -> None:
            assert math.isfinite(run.running().loss)
            events.append("progress")

        def on_epoch_end(self, run: Run) -> None:
            events.append(f"epoch {run.epoch}")

        def on_end(self, run: Run) -> None:
            events.append("end")

    x, y = spirals(rng)
    network().fit(x, y, epochs=2, callbacks=[Listener()])
    kept = [event for event in events if event != "progress"]
    assert kept == ["begin", "epoch 1", "epoch 2", "end"]
    assert events.count("progress") >= 2


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        (StopAtLoss(0.5), r"callbacks=<.*StopAtLoss.*>; accepted: a list of callbacks"),
        ([EarlyStopping], r"EarlyStopping in callbacks is a class; accepted: EarlyStopping\(...\)"),
        ("stop", "'s' is not a callback; accepted: EarlyStopping"),
    ],
)
def test_bad_callbacks_are_refused(callbacks: Any, message: str) -> None:
    with pytest.raises(InputTypeError, match=message):
        network().fit(np.zeros((4, 2)), np.zeros(4, int), callbacks=callbacks)


def test_ctrl_c_ends_cleanly_with_what_was_learned(rng: np.random.Generator) -> None:
    class PressCtrlC(Callback):
        def on_progress(self, run: Run) -> None:
            if run.epoch == 20:
                os.kill(os.getpid(), signal.SIGINT)

    x, y = spirals(rng)
    handler = signal.getsignal(signal.SIGINT)
    net = network()
    history = net.fit(x, y, optimizer=Adam(learning_rate=0.01), epochs=10**4, callbacks=[PressCtrlC()])
    assert history.stopped == "stopped by Ctrl-C"
    assert len(history) in (20, 21)
    assert net.evaluate(x, y).loss < history["loss"][0]
    assert signal.getsignal(signal.SIGINT) is handler


def test_training_in_another_thread(rng: np.random.Generator) -> None:
    x, y = spirals(rng)
    histories = []
    threads = [threading.Thread(target=lambda: histories.append(network().fit(x, y, epochs=5))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert histories[0]["loss"] == histories[1]["loss"]


@pytest.mark.parametrize("batch_size", [300, 7])
def test_a_non_finite_loss_stops_and_keeps_the_last_good_weights(batch_size: int, rng: np.random.Generator) -> None:
    x, y = spirals(rng)
    net = network(Dense(8, "relu"), Dense(3))
    with pytest.raises(NonFiniteLossError) as caught:
        net.fit(1e4 * x, y, loss="squared_error", optimizer=SGD(learning_rate=10.0), epochs=50, batch_size=batch_size)
    message = str(caught.value)
    assert "\n" not in message
    assert "learning rate 10" in message
    assert "first in" in message
    assert all(np.isfinite(array).all() for array in weights_of(net).values())


def test_non_finite_weights_are_those_of_the_step_before(rng: np.random.Generator) -> None:
    """One sample overflows in the second epoch; the weights are exactly those after the good steps."""
    x, y = spirals(rng, 64)
    poisoned = x.copy()
    poisoned[17] = 3e38
    order = references.epoch_order(64, 0, 0)
    good_steps = order.index(17) // 8
    net = network(Dense(8, "relu"), Dense(3))
    with pytest.raises(NonFiniteLossError, match=f"epoch 1, step {good_steps + 1} of 8, first in layer 1"):
        net.fit(poisoned, y, optimizer=SGD(), epochs=1, batch_size=8)

    class StopAfter(Callback):
        def on_progress(self, run: Run) -> None:
            run.pace.steps = 1
            if run.batch == max(good_steps - 1, 0):
                kept.append({name: array.copy() for name, array in weights_of(other).items()})

    kept: list[dict[str, np.ndarray]] = []
    other = network(Dense(8, "relu"), Dense(3))
    other.build(2)
    if good_steps <= 1:
        kept.append(weights_of(other))
    other.fit(x, y, optimizer=SGD(), epochs=1, batch_size=8, callbacks=[StopAfter()])
    for name, array in weights_of(net).items():
        np.testing.assert_array_equal(array, kept[0][name])


def test_on_end_is_called_also_after_an_error(rng: np.random.Generator) -> None:
    """A progress bar restores the terminal there."""
    ended = []

    class Fails(Callback):
        def on_epoch_end(self, run: Run) -> None:
            raise ValueError("from a callback")

        def on_end(self, run: Run) -> None:
            ended.append(run.epoch)

    x, y = spirals(rng)
    with pytest.raises(ValueError, match="from a callback"):
        network().fit(x, y, epochs=2, callbacks=[Fails()])
    assert ended == [1]
