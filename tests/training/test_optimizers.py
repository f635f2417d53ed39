"""Optimizers against their textbook formulas in float64, and the schedules."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import bpcore
from bpcore import SGD, Adam, Dense, Momentum, Network, ops
from bpcore.errors import InputError, InputTypeError
from bpcore.testing import references
from bpcore.training.optimizers import OPTIMIZERS, get_optimizer
from bpcore.training.schedules import SCHEDULES, get_schedule


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_layer_follows_the_formula(name: str, rng: np.random.Generator) -> None:
    """A linear layer with squared error, whose gradient is known: x^T (x W - y) / samples."""
    x, y, start = rng.standard_normal((8, 3)), rng.standard_normal((8, 2)), rng.standard_normal((3, 2))
    decay = {"weight_decay": 0.1} if hasattr(OPTIMIZERS[name], "weight_decay") else {}
    optimizer = get_optimizer(name, learning_rate=0.05, **decay)
    network = Network([Dense(2, bias=False, initializer=lambda *_: start)], precision="float64", backend="numpy")
    network.fit(x, y, optimizer=optimizer, epochs=7, batch_size=8, shuffle=False)
    seen = [start]

    def gradients() -> Iterator[np.ndarray]:
        for _ in range(7):
            yield x.T @ (x @ seen[-1] - y) / 8

    w = start
    for t in range(1, 8):  # the gradient depends on the formula's current point, so it runs step by step
        w = references.OPTIMIZERS[name](optimizer, start, (x.T @ (x @ point - y) / 8 for point in seen[:t]))
        seen.append(w)
    np.testing.assert_allclose(network.parameters_by_name()["0.W"], w, rtol=1e-10, atol=1e-12)


def test_l2_is_half_lambda_sum_of_squares_over_weights_alone(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((8, 3)), rng.standard_normal((8, 2))
    found = {}
    for l2 in (0.0, 0.4):
        network = Network([Dense(2, bias=0.5)], precision="float64", backend="numpy", inputs=3)
        before = network.parameters_by_name()
        network.fit(x, y, optimizer=SGD(learning_rate=0.1, l2=l2), epochs=1, batch_size=8)
        found[l2] = network.parameters_by_name()
    np.testing.assert_allclose(found[0.4]["0.W"], found[0.0]["0.W"] - 0.1 * 0.4 * before["0.W"], rtol=1e-12)
    np.testing.assert_array_equal(found[0.4]["0.b"], found[0.0]["0.b"])


def test_clipping_bounds_the_step(rng: np.random.Generator) -> None:
    x, y = 100 * rng.standard_normal((8, 3)), rng.standard_normal((8, 2))
    network = Network([Dense(2)], precision="float64", backend="numpy", inputs=3)
    before = np.concatenate([a.ravel() for a in network.parameters_by_name().values()])
    network.fit(x, y, optimizer=SGD(learning_rate=0.1, max_norm=2.0), epochs=1, batch_size=8)
    after = np.concatenate([a.ravel() for a in network.parameters_by_name().values()])
    assert np.linalg.norm(after - before) == pytest.approx(0.1 * 2.0, rel=1e-9)


def test_schedules() -> None:
    np.testing.assert_allclose(bpcore.Constant().factors(5, 2), 1)
    np.testing.assert_allclose(bpcore.Step(epochs=2, factor=0.5).factors(7, 1), [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125])
    cosine = bpcore.Cosine(final=0.1).factors(100, 10)
    assert cosine[0] == 1
    assert cosine[50] == pytest.approx(0.55)
    assert 0.1 < cosine[-1] < 0.102
    cycle = bpcore.OneCycle(warm_up=0.3, initial=0.04, final=0.001).factors(100, 10)
    assert cycle[0] == pytest.approx(0.04)
    assert cycle[30] == pytest.approx(1.0)
    assert cycle.argmax() == 30
    assert cycle[-1] < 0.003
    assert (np.diff(cycle[:31]) > 0).all()
    assert (np.diff(cycle[30:]) < 0).all()
    warm = bpcore.WarmUp(bpcore.Cosine(), epochs=2).factors(50, 5)
    np.testing.assert_allclose(warm[:10], np.arange(1, 11) / 10)
    np.testing.assert_allclose(warm[10:], bpcore.Cosine().factors(40, 5))
    assert len(bpcore.WarmUp(steps=100).factors(7, 5)) == 7
    for name in SCHEDULES:
        assert get_schedule(name).factors(13, 5).shape == (13,)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.ones(3), r"gave an array of shape \(3,\); needed: a factor for each of 4 steps"),
        (np.ones((4, 1)), r"gave an array of shape \(4, 1\)"),
        (None, "gave None"),
        ("abcd", "gave 'abcd'"),
        ([1.0, np.nan, 1.0, 1.0], "gave nan for step 2; accepted: 0 or more"),
        ([1.0, 1.0, 1.0, -0.5], "gave -0.5 for step 4"),
    ],
)
def test_bad_factors(given: Any, message: str, rng: np.random.Generator) -> None:
    """Refused before any step, because the update would read past the end of a short table."""

    class Own:
        def factors(self, steps: int, steps_per_epoch: int) -> Any:
            return given

    x, y = rng.standard_normal((10, 3)), rng.integers(0, 2, 10)
    with pytest.raises(InputError, match=f"the schedule Own {message}"):
        Network([Dense(2)], backend="numpy").fit(x, y, schedule=Own(), epochs=2, batch_size=5)


def test_factors_may_be_a_list(rng: np.random.Generator) -> None:
    class Own:
        def factors(self, steps: int, steps_per_epoch: int) -> Any:
            return [1, 1, 0, 0]

    x, y = rng.standard_normal((10, 3)), rng.integers(0, 2, 10)
    history = Network([Dense(2)], backend="numpy").fit(x, y, schedule=Own(), optimizer=SGD(), epochs=2, batch_size=5)
    assert history["learning_rate"] == [0.1, 0.0]


def test_the_schedule_reaches_the_weights(rng: np.random.Generator) -> None:
    """A factor of zero in the second half leaves the weights where they are."""
    x, y = rng.standard_normal((10, 3)), rng.integers(0, 2, 10)

    class Half:
        def factors(self, steps: int, steps_per_epoch: int) -> np.ndarray:
            return (np.arange(steps) < steps // 2) * 1.0

    weights = []
    for epochs, schedule in ((2, None), (4, Half())):
        network = Network([Dense(2)], backend="numpy")
        history = network.fit(x, y, optimizer=SGD(), schedule=schedule, epochs=epochs, batch_size=5)
        weights.append(network.parameters_by_name()["0.W"])
    np.testing.assert_array_equal(weights[0], weights[1])
    assert history["learning_rate"] == [0.1, 0.1, 0.0, 0.0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(learning_rate=0.0), "learning_rate=0.0"),
        (lambda: SGD(learning_rate=float("nan")), "finite"),
        (lambda: SGD(l2=-1.0), "l2=-1.0"),
        (lambda: SGD(max_norm=0.0), "max_norm"),
        (lambda: Momentum(momentum=1.0), "momentum=1.0"),
        (lambda: Adam(beta2=1.5), "beta2"),
        (lambda: get_optimizer("adma"), "did you mean 'adam'"),
        (lambda: get_optimizer("sgd", momentun=0.9), "setting of SGD 'momentun'"),
        (lambda: Adam(lr=0.1), r"unknown setting of Adam 'lr' \(here: 'learning_rate'\); accepted: beta1, beta2, "),
        (
            lambda: SGD(learning_rate=0.1, momentum=0.9),
            "unknown setting of SGD 'momentum'; accepted: l2, learning_rate",
        ),
        (lambda: bpcore.RMSProp(rho=0.9), "here: 'decay'"),
        (lambda: SGD(learning_rate="0.1"), "learning_rate='0.1'; accepted: a finite number"),
        (lambda: get_schedule("cosin"), "did you mean 'cosine'"),
        (lambda: bpcore.OneCycle(warm_up=1.0), "OneCycle.warm_up is 1.0"),
        (lambda: bpcore.Step(epochs=0), "Step.epochs is 0"),
        (lambda: bpcore.Step(epochs="3"), "Step.epochs is '3'; accepted: 1 or more"),
        (lambda: bpcore.Step(factor=float("inf")), "Step.factor is inf"),
        (lambda: bpcore.OneCycle(warm_up=None), "OneCycle.warm_up is None"),
        (lambda: bpcore.Loss("softmax_cross_entropy", "0.1"), "label_smoothing='0.1'"),
        (lambda: bpcore.Loss("hinge", 0.1), "label_smoothing is for"),
        (lambda: bpcore.Loss("softmax_cross_entropy", 1.0), "label_smoothing=1.0"),
    ],
)
def test_bad_settings_get_one_line(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make()  # type: ignore[operator]
    assert "\n" not in str(caught.value)


def test_arguments_of_the_wrong_type() -> None:
    with pytest.raises(InputTypeError, match="optimizer 3"):
        get_optimizer(3)  # type: ignore[arg-type]
    with pytest.raises(InputTypeError, match="schedule 3"):
        get_schedule(3)  # type: ignore[arg-type]
    with pytest.raises(InputTypeError, match=r"schedule <class .*OneCycle'> cannot be used"):
        get_schedule(bpcore.OneCycle)  # type: ignore[arg-type]
    with pytest.raises(InputTypeError, match=r"Adam\(0.1\): settings are given by name, as in Adam\(learning_rate"):
        Adam(0.1)  # type: ignore[misc]


def test_an_optimizer_can_be_copied_and_takes_numpy_numbers() -> None:
    """np.float32 is not a Python float, and reports must store it; editors see the settings."""
    assert list(inspect.signature(Adam).parameters)[-3:] == ["beta1", "beta2", "epsilon"]
    chosen = Adam(learning_rate=np.float32(0.5), max_norm=np.int64(2))  # type: ignore[arg-type]
    assert chosen == Adam(learning_rate=0.5, max_norm=2.0)
    assert copy.deepcopy(chosen) == pickle.loads(pickle.dumps(chosen)) == replace(chosen, beta1=0.9) == chosen
    assert json.loads(json.dumps(chosen.config()))["learning_rate"] == 0.5


def test_l2_and_penalty_exclude_each_other(rng: np.random.Generator) -> None:
    with pytest.raises(InputError, match="accepted: one of the two"):
        Adam(l2=0.1, penalty=0.1)
    w = rng.standard_normal(5)
    with pytest.raises(InputError, match="give l2"):
        ops.update(w, w.copy(), np.zeros((0, 5)), SGD(penalty=0.1), step=0)
