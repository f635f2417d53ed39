"""Registered activations: the gradient check, and what is refused."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numba
import numpy as np
import pytest

import bpcore
from bpcore.errors import InputError
from bpcore.kernels.activations import ACTIVATIONS, ActivationRule


@pytest.fixture
def unregister() -> object:
    before = dict(ACTIVATIONS)
    yield
    ACTIVATIONS.clear()
    ACTIVATIONS.update(before)


@pytest.mark.usefixtures("unregister")
def test_a_registered_activation_runs_and_passes_the_gradient_check(rng: np.random.Generator) -> None:
    def swish(z: float, p: float) -> float:
        return z / (1.0 + math.exp(-p * z))

    def swish_derivative(z: float, p: float) -> float:
        s = 1.0 / (1.0 + math.exp(-p * z))
        return s * (1.0 + p * z * (1.0 - s))

    def swish_by_p(z: float, p: float) -> float:
        s = 1.0 / (1.0 + math.exp(-p * z))
        return z * z * s * (1.0 - s)

    entry = bpcore.register_activation("swish", swish, swish_derivative, parameter=1.5, parameter_derivative=swish_by_p)
    assert isinstance(entry, ActivationRule)
    network = bpcore.Network([bpcore.Dense(5, "swish"), bpcore.Dense(3)], precision="float64", backend="numpy")
    check = bpcore.gradcheck(network, rng.standard_normal((6, 4)), rng.integers(0, 3, 6))
    assert check.ok, str(check)
    assert "0.p" in check.errors


@pytest.mark.skipif(numba.config.DISABLE_JIT, reason="widening shows in the compiler's types")
@pytest.mark.usefixtures("unregister")
def test_widening_to_float64_is_refused_by_name() -> None:
    def widens(z: float, p: float) -> float:
        doubled = 2 * z
        return doubled + 1.0

    def good(z: float, p: float) -> float:
        return z

    def nameless(z: float, p: float) -> float:
        return z * (1 - z)

    def whole(z: float, p: float) -> float:
        return 1

    def broken(z: float, p: float) -> float:
        return z + "x"  # type: ignore[operator]

    for functions, message in (
        ((widens, good), r"f would widen to float64: variable 'doubled'.*1\.0, not 1"),
        ((good, nameless), "derivative would widen to float64: an expression on line"),
        ((good, whole), "derivative returns int64"),
        ((broken, good), "f cannot be compiled"),
    ):
        with pytest.raises(InputError, match=message):
            bpcore.register_activation("mine", *functions)
        assert "mine" not in ACTIVATIONS


def by_numpy(z: float, p: float) -> float:
    return float(np.tanh(z))


def by_a_callee(z: float, p: float) -> float:
    return by_numpy(z, p)


def endless(z: float, p: float) -> float:
    return endless(z, p)


def raises(z: float, p: float) -> float:
    if z < 0.0:
        raise ValueError
    return z


compiled = numba.vectorize(lambda z: z)


def by_a_compiled_one(z: float, p: float) -> float:
    return float(compiled(z))


class Callable:
    def __call__(self, z: float, p: float) -> float:
        return z

    def method(self, z: float, p: float) -> float:
        return z


@pytest.mark.usefixtures("unregister")
@pytest.mark.parametrize(
    ("f", "message"),
    [
        (np.tanh, "f is <ufunc 'tanh'>, not a Python function"),
        (math.exp, "f is <built-in function exp>, not a Python function"),
        (partial(raises, p=1.0), "f is .*, not a Python function"),
        (np.vectorize(by_numpy), "f is .*, not a Python function"),
        (Callable(), "f is .*, not a Python function"),
        (Callable().method, "f is .*, not a Python function"),
        ("tanh", "f is 'tanh', not a Python function"),
        (lambda z: z, r"f takes \(z\);"),
        (lambda *both: both[0], r"f takes \(\*both\);"),
        (lambda z, *, p: z, r"f takes \(z, \*, p\);"),
        (by_numpy, "f uses the module np;"),
        (by_a_callee, "f uses the module np;"),
        (lambda z, p, numpys=np.tanh: z, r"f takes \(z, p, numpys="),
        (by_a_compiled_one, "f uses compiled, "),
        (raises, "f raises an exception in raises"),
        (endless, "f calls itself"),
    ],
)
def test_functions_unfit_for_both_devices_are_refused(f: Any, message: str) -> None:
    """The CPU could run some of these, but a GPU cannot, and a tape cannot raise."""
    accepted = r"accepted: a Python function of two scalars \(value, p\), written in arithmetic and `math`$"
    with pytest.raises(InputError, match=f"activation 'mine': {message}.*{accepted}"):
        bpcore.register_activation("mine", f, lambda z, p: 1.0)
    assert "mine" not in ACTIVATIONS


@pytest.mark.usefixtures("unregister")
def test_a_scalar_function_may_call_another_and_use_outer_constants() -> None:
    slope = 2.0

    def helper(z: float) -> float:
        return math.exp(-slope * z)

    def f(z: float, p: float) -> float:
        return max(abs(z), 1.0) / (1.0 + helper(z))

    assert bpcore.register_activation("mine", f, f).f is f


@pytest.mark.usefixtures("unregister")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "relu"}, "built in"),
        ({"name": "two words"}, "cannot be used"),
        ({"saves": "both"}, "accepted: 'output'"),
        ({"parameter": math.nan}, "finite"),
    ],
)
def test_bad_registrations_are_refused(arguments: dict[str, object], message: str) -> None:
    def f(z: float, p: float) -> float:
        return z

    with pytest.raises(InputError, match=message):
        bpcore.register_activation(**{"name": "mine", "f": f, "derivative": f, **arguments})
