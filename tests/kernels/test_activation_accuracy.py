"""The accuracy of every activation in float32 on the CPU, through the compiled kernels, over all exponents.

Values are bounded in ulp, the distance between neighbouring float32 numbers at the exact result: MAX_ULP. Derivatives
are bounded relative to the largest one, MAX_EPSILONS: near their roots, expressions such as 1 - a * a near 1 lose any
number of ulp in float32, and a sum over the batch depends on the absolute error. These bounds hold for every entry of
the table that is not named in TAILS; bpcore.testing.references has the exact values.
"""

from __future__ import annotations

import functools
import math
import re

import numba
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpcore.kernels import cpu, elementary, spec
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.testing import references
from support.processor import HAS_AVX2, OTHER_PROCESSOR, PACKED_ARITHMETIC, PLAIN_PYTHON, SWEEP, patterns

Float32s = npt.NDArray[np.float32]

MAX_ULP = 4.0
MAX_EPSILONS = 4.0
EPSILON = 2.0**-23
FLOAT32 = np.dtype(np.float32)

TAILS = {"gelu": -1.0}
"""Below this z the absolute error of the value is bounded, as for a derivative: it is a small difference."""

MORE_PARAMETERS = {"leaky_relu": (0.25, 0.0, -0.5, 3.0), "prelu": (0.01, 0.0, -0.5, 3.0), "elu": (0.3, 2.7)}
"""Values of p beside the table's own."""

NAMES = list(ACTIVATIONS)
WITH_PARAMETER = [
    (name, p) for name, entry in ACTIVATIONS.items() for p in (entry.parameter, *MORE_PARAMETERS.get(name, ()))
]


@functools.cache
def steepest(name: str, p: float) -> float:
    """The largest size of the derivative."""
    _, derivative = references.ACTIVATIONS[name]
    return float(abs(derivative(np.linspace(-30.0, 30.0, 60_001), p)).max())


# --- through the kernels --------------------------------------------------------------------------------------


def forward_and_derivative(name: str, z: Float32s, p: float) -> tuple[Float32s, Float32s]:
    """The kernels' results for one long row: f(z), and f' from what was saved, as in the backward pass."""
    entry = ACTIVATIONS[name]
    pre, out, delta = z[None].copy(), np.empty_like(z[None]), np.ones_like(z[None])
    parameter, row = np.full_like(z, p), np.empty_like(z)
    no_bias = np.full_like(z, -0.0)  # which leaves the sign of -0.0
    cpu.compiled(spec.activate(entry, FLOAT32))(pre, no_bias, parameter, out)
    saved = out if entry.saves == "output" else pre
    cpu.compiled(spec.delta(entry, FLOAT32))(delta, saved, parameter, row, row.copy())
    return out[0], delta[0]


def assert_accurate(name: str, z: Float32s, p: float) -> None:
    """Check both bounds for finite z."""
    f, derivative = references.ACTIVATIONS[name]
    with np.errstate(all="ignore"):
        values, slopes = forward_and_derivative(name, z, p)
        wide, p = z.astype(np.float64), float(np.float32(p))
        exact, exact_slopes = f(wide, p), derivative(wide, p)
        ulp = np.ldexp(1.0, np.maximum(np.frexp(exact)[1] - 24, -149))
        overflows = abs(exact) >= float(np.finfo(np.float32).max) + 0.5 * ulp
        absolute = MAX_EPSILONS * EPSILON * steepest(name, p)
        bound = np.where(wide < TAILS.get(name, -math.inf), absolute, MAX_ULP * ulp)
        excess = np.where(overflows, np.where(values == np.copysign(np.inf, exact), 0.0, np.inf), abs(values - exact))
        excess = np.where(np.isnan(excess), np.inf, excess / bound)
        slope_excess = abs(slopes - exact_slopes) / absolute
        slope_excess = np.where(np.isnan(slope_excess), np.inf, slope_excess)
    worst = int(excess.argmax())
    assert excess[worst] <= 1.0, (
        f"{name}({z[worst]!r}, {p}) = {values[worst]!r}, but {exact[worst]!r}: {excess[worst]:.3f} of the bound"
    )
    worst = int(slope_excess.argmax())
    assert slope_excess[worst] <= 1.0, (
        f"{name}'({z[worst]!r}, {p}) = {slopes[worst]!r}, but {exact_slopes[worst]!r}: {slope_excess[worst]:.3f} of "
        f"the bound"
    )


@functools.cache
def all_exponents() -> Float32s:
    """Finite numbers at even steps of the bit pattern; the step is odd, so that the low bits vary too."""
    z = np.arange(0, 2**32, 2**32 // SWEEP | 1).astype(np.uint32).view(np.float32)
    return z[np.isfinite(z)]


@functools.cache
def where_values_vary() -> Float32s:
    """From 0.001 to 100 with both signs, and evenly over the range that networks see."""
    spread = np.linspace(-12.0, 12.0, SWEEP).astype(np.float32)
    return np.concatenate([patterns(1e-3, 110.0, SWEEP // 2), patterns(-1e-3, -110.0, SWEEP // 2), spread])


@functools.cache
def edges() -> Float32s:
    """Zeros, the smallest and largest numbers, and a thousand neighbours of each place where a formula changes."""
    limits = np.finfo(np.float32)
    single = [
        0.0,
        limits.smallest_subnormal,
        limits.smallest_normal,
        1e-40,
        2.0**-25,
        1e10,
        1e19,
        1e20,
        1e38,
        limits.max,
    ]
    places = [0.5 * math.log(2.0), 1.0, 3.95 * math.sqrt(2.0), 5.5, 8.3, 9.02, 13.2, 14.2, 17.3, 64.0, 87.33, 88.72]
    places += [103.28, 103.97, 106.6, 2.0**-24, 2.0**-126]
    bits = np.concatenate([np.float32(place).view(np.int32) + np.arange(-500, 500, dtype=np.int32) for place in places])
    z = np.concatenate([np.array(single, np.float32), bits.view(np.float32)])
    return np.concatenate([z, -z])


@pytest.mark.parametrize(("name", "p"), WITH_PARAMETER)
def test_accuracy(name: str, p: float) -> None:
    for z in (all_exponents(), where_values_vary(), edges()):
        assert_accurate(name, z, p)


@pytest.mark.parametrize("name", NAMES)
@given(
    z=st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=40),
    p=st.floats(0.0078125, 4.0, width=32),
)
@settings(max_examples=60)
def test_accuracy_of_any_numbers(name: str, z: list[float], p: float) -> None:
    assert_accurate(name, np.array(z, np.float32), p if name in MORE_PARAMETERS else 0.0)


@pytest.mark.parametrize("name", NAMES)
def test_nan_and_infinities(name: str) -> None:
    """NaN gives NaN; an infinity gives the limit or NaN, never another number.

    An infinite input is an overflow. Where the limit is the product of 0 and an infinity, the value is NaN, in the
    reference as in the kernel, and training detects it.
    """
    entry = ACTIVATIONS[name]
    f, derivative = references.ACTIVATIONS[name]
    z = np.array([math.nan, -math.inf, math.inf] * 11, np.float32)
    with np.errstate(all="ignore"):
        values, slopes = forward_and_derivative(name, z, entry.parameter)
        expected = f(z.astype(np.float64), entry.parameter)
    np.testing.assert_array_equal(np.isnan(values), np.isnan(expected))
    np.testing.assert_allclose(values, expected, rtol=2 * EPSILON)
    for value, far in ((slopes[1], -1e30), (slopes[2], 1e30)):
        limit = derivative(np.array([far]), entry.parameter)[0]
        assert math.isnan(value) or value == pytest.approx(limit, abs=MAX_EPSILONS * EPSILON)


@pytest.mark.parametrize("name", NAMES)
def test_a_value_does_not_depend_on_its_place(name: str) -> None:
    """The vector body and the remainder of a loop, a long row and a column give the same bits."""
    z = (3.0 * np.random.default_rng(0).standard_normal(517)).astype(np.float32)
    p = ACTIVATIONS[name].parameter
    together = forward_and_derivative(name, z, p)
    for i in (0, 1, 255, 515, 516):
        singly = forward_and_derivative(name, z[i : i + 1], p)
        assert singly[0][0] == together[0][i]
        assert singly[1][0] == together[1][i]


def test_the_normal_distribution_keeps_its_bounds() -> None:
    """Distribution function and density, computed together."""
    z = np.concatenate(
        [all_exponents()[:: 1 + SWEEP // 100_000], where_values_vary()[:: 1 + SWEEP // 200_000], edges()]
    )

    def both(z: Float32s, cdfs: Float32s, densities: Float32s) -> None:
        for i in range(z.shape[0]):
            cdfs[i], densities[i] = elementary.normal(z[i])

    found, densities = np.empty_like(z), np.empty_like(z)
    numba.njit(fastmath={"contract"}, error_model="numpy")(both)(z, found, densities)
    with np.errstate(all="ignore"):
        wide = z.astype(np.float64)
        assert abs(found - references.cdf(wide)).max() < 2e-7
        assert abs(densities - references.phi(wide)).max() < 2e-7


# --- speed ----------------------------------------------------------------------------------------------------

CALL_OF_MATH = re.compile(r"\$(?:exp|expm1|tanh|log|log1p|erf|erfc)f?\b")
ARITHMETIC_OF_AN_EXP = 10


@pytest.mark.skipif(PLAIN_PYTHON, reason="NUMBA_DISABLE_JIT is set: nothing is compiled")
@pytest.mark.skipif(not HAS_AVX2 or OTHER_PROCESSOR, reason="reads the assembly of an x86 processor with AVX2")
@pytest.mark.parametrize("name", NAMES)
def test_the_loops_are_packed_instructions(name: str) -> None:
    """Forward and backward loops do not call the mathematics library, which computes one element at a time."""
    entry = ACTIVATIONS[name]
    matrix, row = np.zeros((2, 3), np.float32), np.zeros(3, np.float32)
    for kernel, arguments in (
        (spec.activate(entry, FLOAT32), (matrix, row, row, matrix)),
        (spec.delta(entry, FLOAT32), (matrix, matrix, row, row, row)),
    ):
        compiled = cpu.compiled(kernel)
        fresh = numba.njit(fastmath=compiled.targetoptions["fastmath"], error_model="numpy")(compiled.py_func)
        fresh.compile(tuple(numba.typeof(argument) for argument in arguments))
        (assembly,) = fresh.inspect_asm().values()
        assert not CALL_OF_MATH.search(assembly)
        transcendental = re.search(r"exp|erf|tanh|log|normal", " ".join(names_of(kernel)))
        assert len(PACKED_ARITHMETIC.findall(assembly)) >= (ARITHMETIC_OF_AN_EXP if transcendental else 1)


def names_of(kernel: spec.Spec) -> list[str]:
    """The names that the scalar functions of a kernel use."""
    return [name for _, function in kernel.holes for name in function.__code__.co_names]
