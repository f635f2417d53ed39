"""The training loop: results, allocation, reproducibility, and bad input."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bpcore
from bpcore import SGD, Adam, Callback, Dense, Dropout, EarlyStopping, Momentum, Network, OneCycle
from bpcore.errors import InputError, InputTypeError
from bpcore.testing import references
from bpcore.training.nonfinite import NonFiniteLossError
from bpcore.training.run import Run
from bpcore.training.settings import TrainingState
from support.spirals import network, spirals, weights_of


def test_it_learns_spirals(rng: np.random.Generator) -> None:
    x, y = spirals(rng)
    net = network()
    history = net.fit(x, y, optimizer=Adam(learning_rate=0.01), epochs=150, batch_size=32)
    assert history["accuracy"][-1] > 0.95
    assert history["loss"][-1] < history["loss"][0] / 3
    assert net.evaluate(x, y).accuracy > 0.95
    assert (net.predict(x) == y).mean() > 0.95


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_one_epoch_matches_the_textbook(precision: str, rng: np.random.Generator) -> None:
    """Equals BP1 to BP4 in plain NumPy with the same order, masks and short last batch."""
    x, y = rng.standard_normal((23, 4)), rng.integers(0, 3, 23)
    net = network(Dense(6, "sigmoid"), Dropout(0.25), Dense(3), precision=precision, seed=3)
    net.build(4)
    w1, b1, w2, b2 = (net.parameters_by_name()[name].astype(float) for name in ("0.W", "0.b", "2.W", "2.b"))
    history = net.fit(x, y, optimizer=SGD(learning_rate=0.5), epochs=2, batch_size=8, seed=11)
    step = 0
    for epoch in range(2):
        order, losses = references.epoch_order(23, epoch, 11), []
        for first in range(0, 23, 8):
            rows = order[first : first + 8]
            a1 = references.sigmoid(x[rows] @ w1 + b1)
            mask = references.dropout_mask(len(rows), 6, 0.25, 1, step, 11) / 0.75
            z2 = a1 * mask @ w2 + b2
            loss, delta2 = references.loss_and_delta(
                "softmax_cross_entropy", z2, np.eye(3)[y[rows]], np.ones(len(rows))
            )
            delta1 = (delta2 @ w2.T) * mask * a1 * (1 - a1)
            w2, b2 = w2 - 0.5 * (a1 * mask).T @ delta2, b2 - 0.5 * delta2.sum(axis=0)
            w1, b1 = w1 - 0.5 * x[rows].T @ delta1, b1 - 0.5 * delta1.sum(axis=0)
            losses.append(loss * len(rows))
            step += 1
        close = 1e-5 if precision == "float32" else 1e-12
        assert history["loss"][epoch] == pytest.approx(sum(losses) / 23, rel=close)
    for name, expected in (("0.W", w1), ("0.b", b1), ("2.W", w2), ("2.b", b2)):
        np.testing.assert_allclose(weights_of(net)[name], expected, rtol=100 * close, atol=close)


def test_the_same_seed_is_the_same_run_bit_for_bit(rng: np.random.Generator) -> None:
    x, y = spirals(rng)
    runs = []
    for seed in (5, 5, 6):
        net = network(Dense(16, "relu"), Dropout(0.3), Dense(3), seed=seed)
        net.fit(x, y, epochs=3, batch_size=32, seed=seed)
        runs.append(weights_of(net))
    for name, array in runs[0].items():
        np.testing.assert_array_equal(array, runs[1][name])
        assert (array != runs[2][name]).any()


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", [Adam(max_norm=0.5), SGD(l2=0.1), Momentum(penalty=1.0)])
def test_a_resumed_run_equals_an_uninterrupted_one(
    optimizer: bpcore.Optimizer, precision: str, rng: np.random.Generator
) -> None:
    """Bit for bit, with dropout, a short last batch, a schedule, and a scale set by a callback."""
    x, y = spirals(rng, 70)

    class Watch(Callback):
        def on_epoch_end(self, run: Run) -> None:
            run.scale_learning_rate(0.9 * run.learning_rate_scale)
            states.append(run.training_state())
            if run.epoch == 2 and interrupts:
                run.stop("interrupted")

    def fit(net: Network, start: TrainingState | None = None) -> bpcore.History:
        options: dict[str, Any] = {"optimizer": optimizer, "schedule": OneCycle(), "epochs": 5, "batch_size": 16}
        return net.fit(x, y, callbacks=[Watch()], start=start, seed=3, **options)

    states: list[TrainingState] = []
    interrupts = False
    whole, first, second = (network(Dense(8, "tanh"), Dropout(0.3), Dense(3), precision=precision) for _ in range(3))
    history = fit(whole)
    interrupts = True
    begun = fit(first)
    second.build(2)
    second.set_parameters(weights_of(first))
    ended = fit(second, states[-1])
    assert (states[-1].epoch, states[-1].step) == (5, 25)
    for measure in ("loss", "accuracy", "learning_rate"):
        assert history[measure] == ended[measure]
        assert history[measure][:2] == begun[measure]
    for name, array in weights_of(whole).items():
        np.testing.assert_array_equal(array, weights_of(second)[name])


def test_a_resumed_run_keeps_its_initial_weights(rng: np.random.Generator) -> None:
    """If its first step has a non-finite loss, there is no earlier good step."""
    x, y = spirals(rng, 70)
    net = network(Dense(8, "tanh"), Dense(3))
    net.build(2)
    before = weights_of(net)
    before["1.b"][:] = np.inf
    net.set_parameters(before)
    with pytest.raises(NonFiniteLossError, match="epoch 3, step 1 of 5"):
        net.fit(x, y, epochs=4, batch_size=16, start=TrainingState(epoch=2, step=11))
    np.testing.assert_array_equal(weights_of(net)["0.W"], before["0.W"])


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (TrainingState(epoch=2, step=10), "epochs=2, but the run is to begin after 2"),
        (TrainingState(optimizer=np.zeros((1, 5))), r"holds \(1, 5\) numbers; this network .* has \(2, "),
        (TrainingState(best=np.zeros(5)), r"the best weights are \(5,\) numbers; this network has \("),
    ],
)
def test_a_run_cannot_start_anywhere(start: TrainingState, message: str, rng: np.random.Generator) -> None:
    x, y = spirals(rng, 70)
    with pytest.raises(InputError, match=message):
        network().fit(x, y, epochs=2, start=start)


def test_the_penalty_is_shared_out_over_each_batch_s_weights(rng: np.random.Generator) -> None:
    """Also in a short batch, against the textbook in NumPy; its share of the loss is reported separately."""
    x, y, weights = rng.standard_normal((10, 3)), rng.standard_normal((10, 2)), rng.random(10) + 0.5
    net = network(Dense(2), precision="float64")
    net.build(3)
    w, b = (net.parameters_by_name()[name] for name in ("0.W", "0.b"))
    penalties: list[np.ndarray] = []

    class Watch(Callback):
        def on_epoch_end(self, run: Run) -> None:
            penalties.append(run.control.penalties.copy())

    options: dict[str, Any] = {"batch_size": 4, "sample_weight": weights, "shuffle": False, "callbacks": [Watch()]}
    net.fit(x, y, optimizer=SGD(learning_rate=0.1, penalty=3.0), epochs=1, **options)
    for batch, rows in enumerate((slice(4), slice(4, 8), slice(8, 10))):
        total = weights[rows].sum()
        assert penalties[0][batch] == pytest.approx(1.5 * (w * w).sum() / total)
        delta = (x[rows] @ w + b - y[rows]) * weights[rows, None] / total
        w, b = w - 0.1 * (x[rows].T @ delta + 3.0 / total * w), b - 0.1 * delta.sum(axis=0)
    np.testing.assert_allclose(weights_of(net)["0.W"], w, rtol=1e-10)
    np.testing.assert_allclose(weights_of(net)["0.b"], b, rtol=1e-10)


def test_the_same_weights_in_another_process(tmp_path: Path) -> None:
    """With a cold cache and with a warm one."""
    program = """
        import hashlib, numpy as np, bpcore
        rng = np.random.default_rng(0)
        net = bpcore.Network([bpcore.Dense(16, "gelu"), bpcore.Dense(3)], backend="numpy")
        net.fit(rng.standard_normal((50, 4)), rng.integers(0, 3, 50), epochs=2, batch_size=8)
        print(hashlib.sha256(net.parameters.params.tobytes()).hexdigest())
    """
    environment = {**os.environ, "BPCORE_CACHE_DIR": str(tmp_path)}
    digests = {
        subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        ).stdout
        for _ in range(2)
    }
    assert len(digests) == 1


def test_no_array_is_allocated_from_the_second_epoch_on(rng: np.random.Generator) -> None:
    """Counted by the backend and by NumPy's allocator: nothing of an array's size is allocated by anyone."""
    x, y = rng.standard_normal((1000, 64)), rng.integers(0, 3, 1000)

    class Watch(Callback):
        def on_epoch_end(self, run: Run) -> None:
            counts.append(run.backend.allocations)
            if run.epoch == 1:
                tracemalloc.start()
            if run.epoch == 4:
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()

    counts: list[int] = []
    peaks: list[int] = []
    net = network(Dense(256, "relu"), Dropout(0.5), Dense(256, "gelu"), Dense(3))
    net.fit(
        x, y, epochs=5, batch_size=128, callbacks=[Watch()], validation=(x[:300], y[:300]), optimizer=Adam(max_norm=1.0)
    )
    assert counts[0] > 0
    assert len(set(counts)) == 1
    assert peaks[0] < 64 * 1024, "smaller than the smallest of the buffers (128 x 256 x 4 bytes)"


def test_flat_buffers(rng: np.random.Generator) -> None:
    net = network(Dense(5, "prelu"), Dense(3), inputs=4)
    parameters = net.parameters
    assert parameters.params.ndim == parameters.grads.ndim == 1
    assert parameters.count == 4 * 5 + 5 + 5 + 5 * 3 + 3
    assert [view.kind for view in parameters.views.values()] == ["weight", "weight", "bias", "bias", "slope"]
    for view in parameters.views.values():
        assert np.shares_memory(view.value, parameters.params)
        assert np.shares_memory(view.grad, parameters.grads)
        assert view.first * 4 % 256 == 0
    net.fit(rng.standard_normal((10, 4)), rng.integers(0, 3, 10), epochs=1)
    inside = np.zeros(parameters.params.size, bool)
    for view in parameters.views.values():
        inside[view.first : view.first + view.size] = True
    assert (parameters.params[~inside] == 0).all()


@given(st.integers(1, 40), st.integers(1, 50))
@settings(max_examples=15)
def test_any_number_of_samples_and_batch_size(samples: int, batch_size: int) -> None:
    """Each epoch uses every sample once: with a tiny learning rate the loss is that of all data."""
    rng = np.random.default_rng(samples)
    x, y = rng.standard_normal((samples, 4)), rng.integers(0, 3, samples)
    net = network(precision="float64")
    history = net.fit(x, y, optimizer=SGD(learning_rate=1e-300), epochs=1, batch_size=batch_size)
    whole = net.evaluate(x, y, batch_size=7)
    assert history["loss"][0] == pytest.approx(whole.loss, rel=1e-12)
    assert history["accuracy"][0] == pytest.approx(whole.accuracy)


def test_sample_weights_count_as_repetition(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((6, 4)), rng.integers(0, 3, 6)
    repeats = np.array([1, 2, 0, 3, 1, 1])
    weighted, repeated = network(precision="float64"), network(precision="float64")
    options: dict[str, Any] = {"optimizer": SGD(), "epochs": 4, "batch_size": 100, "shuffle": False}
    weighted.fit(x, y, sample_weight=repeats, **options)
    repeated.fit(np.repeat(x, repeats, axis=0), np.repeat(y, repeats), **options)
    for name, array in weights_of(weighted).items():
        np.testing.assert_allclose(array, weights_of(repeated)[name], rtol=1e-10, atol=1e-13)
    by_weight = weighted.evaluate(x, y, sample_weight=repeats).loss
    assert by_weight == pytest.approx(repeated.evaluate(np.repeat(x, repeats, axis=0), np.repeat(y, repeats)).loss)


def test_uint8_is_scaled_and_floats_are_not(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (20, 3, 2), dtype=np.uint8)
    y = rng.integers(0, 3, 20)
    by_pixel, by_number = network(), network()
    by_pixel.fit(pixels, y, epochs=2)
    by_number.fit(pixels.reshape(20, 6) / 255, y, epochs=2)
    np.testing.assert_allclose(by_pixel.output(pixels), by_number.output(pixels.reshape(20, 6) / 255), atol=1e-6)


# --- input that cannot be used ------------------------------------------------------------------------------

GOOD_X, GOOD_Y = np.zeros((4, 2)), np.array([0, 1, 2, 0])


@pytest.mark.parametrize(
    ("x", "y", "options", "message"),
    [
        (np.zeros(4), GOOD_Y, {}, r"x has shape \(4,\)"),
        (np.zeros((0, 2)), GOOD_Y, {}, "x is empty"),
        (np.array([["a", "b"]]), GOOD_Y, {}, "x has dtype <U1"),
        (np.array([[1, np.nan], [0, 0], [0, 0], [0, 0]]), GOOD_Y, {}, "x holds nan at row 0, feature 1"),
        (GOOD_X, np.array([0, 1, 3, 0]), {}, "label 3 at row 2; accepted: 0 to 2"),
        (GOOD_X, np.array([0, -1, 2, 0]), {}, "label -1 at row 1"),
        (GOOD_X, np.array([0.5, 1, 2, 0]), {"loss": "hinge"}, "class labels must be integers"),
        (GOOD_X, GOOD_Y[:3], {}, "there are 4 samples"),
        (GOOD_X, np.zeros((4, 5)), {}, r"targets \(4, 3\)"),
        (GOOD_X, np.full((4, 3), np.inf), {}, "y holds inf"),
        (GOOD_X, np.zeros((4, 3)), {"loss": "softmax_cross_entropy"}, "sum to one"),
        (GOOD_X, np.full((4, 3), 0.3), {"loss": "hinge"}, "one-hot"),
        (GOOD_X, np.full((4, 3), 2.0), {"loss": "binary_cross_entropy"}, "from 0 to 1"),
        (GOOD_X, GOOD_Y, {"loss": "cross_entropy"}, "unknown loss 'cross_entropy'.*here: 'softmax_cross_entropy'"),
        (GOOD_X, GOOD_Y, {"optimizer": "Adam"}, "did you mean 'adam'"),
        (GOOD_X, GOOD_Y, {"schedule": "onecycle"}, "did you mean 'one_cycle'"),
        (GOOD_X, GOOD_Y, {"epochs": 0}, "epochs=0"),
        (GOOD_X, GOOD_Y, {"batch_size": -1}, "batch_size=-1"),
        (GOOD_X, GOOD_Y, {"batch_size": 2.5}, "batch_size=2.5"),
        (GOOD_X, GOOD_Y, {"seed": -1}, "seed -1"),
        (GOOD_X, GOOD_Y, {"sample_weight": np.zeros(4)}, "not all zero"),
        (GOOD_X, GOOD_Y, {"sample_weight": np.ones(3)}, r"needed: \(4,\)"),
        (GOOD_X, GOOD_Y, {"validation": GOOD_X}, "validation must be a tuple"),
        (GOOD_X, GOOD_Y, {"validation": (np.zeros((2, 3)), [0, 1])}, "validation x has 3 features"),
        (GOOD_X, GOOD_Y, {"callbacks": [EarlyStopping()]}, "watches 'val_loss'"),
    ],
)
def test_bad_input_gets_one_line_and_changes_nothing(x: Any, y: Any, options: Any, message: str) -> None:
    net = network(Dense(3), inputs=2)
    before = weights_of(net)
    with pytest.raises((InputError, InputTypeError), match=message) as caught:
        net.fit(x, y, **options)
    assert "\n" not in str(caught.value)
    if "callbacks" not in options:
        for name, array in before.items():
            np.testing.assert_array_equal(array, weights_of(net)[name])
        assert net.loss is None
