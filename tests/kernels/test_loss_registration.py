"""Registered losses: what they compute on both devices, and what is refused."""
# ruff: noqa: F821 (holes, which get their values when a kernel is built)

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numba
import numpy as np
import pytest

import bpcore
from bpcore import Dense, Loss, Network
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.errors import InputError, InputTypeError
from bpcore.kernels.check import row_problem
from bpcore.kernels.losses import LOSSES, Setting, Targets
from support.stand_in import Device

LANES: int
real: Any
all_sum: Any
all_max: Any
target_at: Any

SCALE = [Setting("scale", 2.0, above=0.0)]


@pytest.fixture(autouse=True)
def unregister() -> Iterator[None]:
    before = dict(LOSSES)
    yield
    LOSSES.clear()
    LOSSES.update(before)


def scaled(z: Any, i: int, targets: Any, delta: Any, settings: Any, lane: int) -> float:
    loss = 0.0
    for j in range(lane, z.shape[1], LANES):
        difference = z[i, j] - target_at(targets, i, j, z.shape[1], 0.0)
        delta[i, j] = settings.scale * difference
        loss += 0.5 * settings.scale * difference * difference
    return all_sum(loss, lane)


@pytest.mark.parametrize("name", LOSSES)
def test_the_losses_of_the_table_pass_the_check(name: str) -> None:
    assert row_problem(LOSSES[name].row, LOSSES[name].named_settings) is None


@pytest.mark.filterwarnings("ignore:.*cuBLASLt")
def test_a_registered_loss_trains_on_both_devices(rng: np.random.Generator) -> None:
    rule = bpcore.register_loss("mine", scaled, predicts="number", settings=SCALE)
    assert rule is LOSSES["mine"]
    x, y = rng.standard_normal((40, 4)), rng.standard_normal((40, 2))
    check = bpcore.gradcheck(Network([Dense(2)], precision="float64"), x, y, loss=Loss("mine", scale=0.7))
    assert check.ok, str(check)
    device, found = Device(), []
    for backend in ("numpy", CupyBackend(device, device.launch)):
        network = Network([Dense(5, "tanh"), Dense(2)], backend=backend, seed=3)
        network.fit(x, y, loss=Loss("mine", scale=0.5), epochs=3, batch_size=16)
        found.append(network.predict(x))
    np.testing.assert_allclose(found[1], found[0], rtol=1e-4, atol=1e-6)
    halved = Network([Dense(5, "tanh"), Dense(2)], backend="numpy", seed=3)
    halved.fit(x, y, loss="squared_error", epochs=3, batch_size=16)
    assert halved.evaluate(x, y).loss == pytest.approx(2 * network.evaluate(x, y).loss, rel=0.1)


def test_its_declaration_counts(rng: np.random.Generator) -> None:
    shares = Targets("hold numbers from 0 to 1", lambda y: bool(((y >= 0) & (y <= 1)).all()))
    bpcore.register_loss(
        "mine", scaled, predicts="number", link="sigmoid", targets=shares, settings=SCALE, several=True
    )
    x, y = rng.standard_normal((40, 4)), rng.random((40, 2))
    network = Network([Dense(2)], backend="numpy", precision="float64")
    network.fit(x, y, loss="mine", epochs=1)
    np.testing.assert_allclose(network.predict(x), 1 / (1 + np.exp(-network.output(x))))
    with pytest.raises(InputError, match="y must hold numbers from 0 to 1"):
        network.fit(x, -y, loss="mine")
    with pytest.raises(InputError, match="mine of one output"):
        Network([Dense(1)], backend="numpy").fit(x, y[:, :1], loss="mine")
    with pytest.raises(InputError, match=r"scale=0\.0; accepted: 0 < scale"):
        Loss("mine", scale=0.0)


def widens(z: Any, i: int, targets: Any, delta: Any, settings: Any, lane: int) -> float:
    twice = 2 * z[i, 0]
    return all_sum(twice, lane)


def whole(z: Any, i: int, targets: Any, delta: Any, settings: Any, lane: int) -> float:
    return 1


def lists(z: Any, i: int, targets: Any, delta: Any, settings: Any, lane: int) -> float:
    outputs = [z[i, j] for j in range(z.shape[1])]
    return all_sum(outputs[0], lane)


def by_numpy(z: Any, i: int, targets: Any, delta: Any, settings: Any, lane: int) -> float:
    return float(np.exp(z[i, 0]))


def other_settings(z: Any, i: int, targets: Any, delta: Any, settings: Any, lane: int) -> float:
    return settings.skale * z[i, 0]  # type: ignore[no-any-return]


def unknown(z: Any, i: int, targets: Any, delta: Any, settings: Any, lane: int) -> float:
    return nowhere(z[i, 0])  # type: ignore[name-defined,no-any-return]


def raises(z: Any, i: int, targets: Any, delta: Any, settings: Any, lane: int) -> float:
    raise ValueError


ACCEPTED = r"accepted: a Python function of \(z, i, targets, delta, settings, lane\), written in loops"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (by_numpy, f"row uses the module np; {ACCEPTED}"),
        (raises, f"row raises an exception in raises, .*; {ACCEPTED}"),
        (lambda z, i: 0.0, rf"row takes \(z, i\); {ACCEPTED}"),
        (np.exp, rf"row is <ufunc 'exp'>, not a Python function of \(z, .*; {ACCEPTED}"),
        (numba.njit(scaled), f"row is .*, not a Python function of .*; {ACCEPTED}"),
    ],
)
def test_functions_unfit_for_both_devices_are_refused(row: Any, message: str) -> None:
    refused(row, message)


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="the compiler notices")
@pytest.mark.parametrize(
    ("row", "message"),
    [
        (widens, "row would widen to float64: variable 'twice'; write constants as floats"),
        (whole, "row returns int64, not a float32"),
        (lists, r"row makes a list \(variable 'outputs'\), which a GPU's kernel cannot"),
        (other_settings, "row cannot be compiled: .*skale"),
        (unknown, "row cannot be compiled: .*nowhere"),
    ],
)
def test_what_the_compiler_finds_is_refused(row: Any, message: str) -> None:
    refused(row, message)


def refused(row: Any, message: str) -> None:
    with pytest.raises(InputError, match=f"^loss 'mine': {message}") as caught:
        bpcore.register_loss("mine", row, predicts="number", settings=SCALE)
    assert "\n" not in str(caught.value)
    assert "mine" not in LOSSES


def test_a_module_must_leave_the_holes_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """A value there would be used in the place of the kernel's own."""
    monkeypatch.setitem(globals(), "target_at", math.exp)
    with pytest.raises(InputError, match=r"row finds a value of target_at in its module; .* such as target_at: object"):
        bpcore.register_loss("mine", scaled, predicts="number", settings=SCALE)


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"name": "hinge"}, InputError, "loss 'hinge' is built in"),
        ({"name": "two words"}, InputError, "loss name 'two words' cannot be used"),
        ({"predicts": "numbers"}, InputError, "predicts='numbers'; accepted: 'label', 'yes_or_no', 'number', 'count'"),
        ({"link": "tanh"}, InputError, "link='tanh'; accepted: 'identity', 'softmax', 'sigmoid', 'exp'"),
        ({"targets": lambda y: True}, InputTypeError, "targets=<function .*accepted: a bpcore.kernels.losses.Targets"),
        ({"settings": ["scale"]}, InputTypeError, "settings hold 'scale'; accepted: bpcore.kernels.losses.Setting"),
        ({"settings": [Setting("name", 1.0)]}, InputError, "setting 'name' is built in"),
        ({"settings": [Setting("scale", 0.0, above=0.0)]}, InputError, "the default scale=0.0 is refused"),
    ],
)
def test_bad_declarations_are_refused(arguments: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        bpcore.register_loss(**{"name": "mine", "row": scaled, "predicts": "number", "settings": SCALE, **arguments})
