"""bpcore.kernels.elementary: accuracy over all float32 numbers, special values, and packed instructions."""

from __future__ import annotations

import functools
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pytest
from numba import types
from numba.core.errors import TypingError

from bpcore.kernels import elementary
from support.processor import (
    HAS_AVX2,
    HAS_FMA,
    ON_X86,
    OTHER_PROCESSOR,
    PACKED_ARITHMETIC,
    PLAIN_PYTHON,
    SWEEP,
    patterns,
)

Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]


needs_compiler = pytest.mark.skipif(PLAIN_PYTHON, reason="NUMBA_DISABLE_JIT is set: nothing is compiled")


def _erf(x: Float64s) -> Float64s:
    return np.fromiter(map(math.erf, x), dtype=np.float64, count=x.size)


REFERENCES: dict[str, Callable[[Float64s], Float64s]] = {
    "exp": np.exp,
    "expm1": np.expm1,
    "tanh": np.tanh,
    "log": np.log,
    "log1p": np.log1p,
    "erf": _erf,
}

# The error bounds in the docstrings.
MAX_ULP = {"exp": 1.0, "expm1": 1.5, "tanh": 2.0, "log": 1.0, "log1p": 1.5, "erf": 2.0}

NAMES = list(REFERENCES)


@functools.cache
def loop(name: str) -> Any:
    """The function in a loop over an array, compiled as a kernel would be."""
    function = getattr(elementary, name)

    def run(x: Float32s, out: Float32s) -> None:
        for i in range(x.shape[0]):
            out[i] = function(x[i])

    return numba.njit(fastmath={"contract"}, error_model="numpy")(run)


def apply(name: str, x: Float32s) -> Float32s:
    out = np.empty_like(x)
    loop(name)(x, out)
    return out


def exact_values(name: str, x: Float32s) -> Float64s:
    with np.errstate(all="ignore"):
        return REFERENCES[name](x.astype(np.float64))


def ulp_error(values: Float32s, exact: Float64s) -> Float64s:
    """Error in ulp of the exact value; inf if an infinity, a NaN or the sign of a zero is wrong."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(np.float32)
        exponent = np.maximum(np.frexp(exact)[1] - 24, -149)
        error = np.abs(values - exact) / np.ldexp(1.0, exponent)
    special = ~np.isfinite(rounded) | ~np.isfinite(values) | (exact == 0.0)
    same = (values == rounded) & (np.signbit(values) == np.signbit(rounded))
    same |= np.isnan(values) & np.isnan(rounded)
    return np.where(special, np.where(same, 0.0, np.inf), error)


def assert_accurate(name: str, x: Float32s) -> None:
    values = apply(name, x)
    errors = ulp_error(values, exact_values(name, x))
    worst = int(errors.argmax())
    assert errors[worst] <= MAX_ULP[name], f"{name}({x[worst]!r}) = {values[worst]!r}: {errors[worst]:.3f} ulp"


# --- accuracy -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_accuracy_over_all_bit_patterns(name: str) -> None:
    step = 2**32 // SWEEP | 1  # odd: the low bits of the mantissa vary too
    assert_accurate(name, np.arange(0, 2**32, step).astype(np.uint32).view(np.float32))


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("name", NAMES)
def test_accuracy_where_the_values_vary(name: str, sign: float) -> None:
    """From 0.001 to 100: every reduction and both ends of each polynomial."""
    assert_accurate(name, patterns(sign * 1e-3, sign * 110.0, SWEEP))


@pytest.mark.parametrize(
    ("name", "where"),
    [
        ("exp", 0.5 * math.log(2.0)),
        ("exp", -87.33655),  # denormal results from here down
        ("exp", -103.2789),  # the smallest denormal
        ("exp", 88.72284),  # the largest finite result
        ("expm1", 0.5 * math.log(2.0)),
        ("expm1", -0.5 * math.log(2.0)),
        ("expm1", 88.72284),
        ("tanh", 9.01),  # 1 from here on
        ("erf", 3.9192),  # 1 from here on
        ("log", 1.0),
        ("log", math.sqrt(0.5)),
        ("log", math.sqrt(2.0)),
        ("log", 2.0**-126),  # denormal arguments from here down
        ("log1p", math.sqrt(0.5) - 1.0),
        ("log1p", math.sqrt(2.0) - 1.0),
        ("log1p", -0.9999),
        ("log1p", 2.0**24),  # 1 + x is x from here on
        # the arguments with the largest errors, with fused multiply-add and without
        *(("exp", -27.330153), ("expm1", 17.001972), ("tanh", 0.5101782)),
        *(("log", 0.6308967), ("log1p", 0.4531217), ("erf", 0.2185282)),
        *(("exp", -59.939537), ("expm1", 0.3478867), ("tanh", 0.516238)),
        *(("log", 0.70665926), ("log1p", 0.44127837), ("erf", 0.21029483)),
    ],
)
def test_accuracy_of_the_neighbours_of(name: str, where: float) -> None:
    half = SWEEP // 20
    centre = int(np.float32(where).view(np.uint32))
    assert_accurate(name, np.arange(centre - half, centre + half).astype(np.uint32).view(np.float32))


@pytest.mark.parametrize("name", ["expm1", "tanh", "log1p"])
def test_the_smallest_arguments_are_returned_unchanged(name: str) -> None:
    """f(x) = x + O(x^2) gives x itself, bit for bit, down to the smallest denormal."""
    x = patterns(0.0, 2.0**-26, SWEEP // 100)
    np.testing.assert_array_equal(apply(name, x).view(np.uint32), x.view(np.uint32))
    np.testing.assert_array_equal(apply(name, -x).view(np.uint32), (-x).view(np.uint32))


@pytest.mark.parametrize("name", ["tanh", "erf"])
def test_odd_and_at_most_one(name: str) -> None:
    x = patterns(0.0, math.inf, SWEEP // 10)
    values = apply(name, x)
    np.testing.assert_array_equal(apply(name, -x), -values)
    assert np.all(values >= 0.0)
    assert np.all(values <= 1.0)


def test_expm1_is_at_least_minus_one() -> None:
    assert np.all(apply("expm1", patterns(-1e-3, -math.inf, SWEEP // 10)) >= -1.0)


# --- special values -----------------------------------------------------------------------------------------

INF, NAN = math.inf, math.nan
SPECIAL_VALUES: dict[str, list[tuple[float, float]]] = {
    "exp": [(0.0, 1.0), (-0.0, 1.0), (INF, INF), (-INF, 0.0), (89.0, INF), (3e38, INF), (-104.0, 0.0)],
    "expm1": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1.0), (89.5, INF), (3e38, INF), (-3e38, -1.0)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (3e38, 1.0), (-3e38, -1.0)],
    "log": [(1.0, 0.0), (0.0, -INF), (-0.0, -INF), (INF, INF), (-INF, NAN), (-1.0, NAN), (-1e-45, NAN)],
    "log1p": [
        (0.0, 0.0),
        (-0.0, -0.0),
        (-1.0, -INF),
        (INF, INF),
        (-INF, NAN),
        (-1.0000001, NAN),
        (-2.0, NAN),
    ],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (INF, 1.0), (-INF, -1.0), (3e38, 1.0), (-3e38, -1.0)],
}


@pytest.mark.parametrize("name", NAMES)
def test_special_values(name: str) -> None:
    arguments, expected = np.array([*SPECIAL_VALUES[name], (NAN, NAN), (-NAN, NAN)], dtype=np.float32).T
    values = apply(name, np.ascontiguousarray(arguments))
    np.testing.assert_array_equal(values, expected)
    known = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(values[known]), np.signbit(expected[known]))


def test_exp_at_the_ends_of_float32() -> None:
    largest, overflowing = np.float32(88.72283), np.nextafter(np.float32(88.72284), np.float32(INF))
    smallest, vanishing = np.float32(-103.972), np.float32(-103.973)
    values = apply("exp", np.array([largest, overflowing, smallest, vanishing]))
    assert np.isfinite(values[0])
    assert values[1] == INF
    assert values[2] == np.finfo(np.float32).smallest_subnormal
    assert values[3] == 0.0


# --- what a caller relies on --------------------------------------------------------------------------------


def test_table_maps_each_function_to_its_namesake() -> None:
    for original, replacement in elementary.FLOAT32.items():
        assert original is getattr(math, original.__name__)
        assert replacement is getattr(elementary, original.__name__)
    assert sorted(original.__name__ for original in elementary.FLOAT32) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_value_does_not_depend_on_its_position(name: str) -> None:
    """The vector body and the scalar remainder of a loop, and a single call, agree to the bit."""
    x = np.abs(np.random.default_rng(0).normal(size=517).astype(np.float32)) * np.float32(3.0)
    together = apply(name, x)
    singly = np.array([getattr(elementary, name)(value) for value in x], dtype=np.float32)
    np.testing.assert_array_equal(together, singly)


@needs_compiler
@pytest.mark.parametrize("name", NAMES)
def test_float64_is_refused(name: str) -> None:
    with pytest.raises(TypingError, match="take a float32, not float64"):
        getattr(elementary, name)(1.0)


@needs_compiler
@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_float64(name: str) -> None:
    apply(name, np.ones(1, dtype=np.float32))
    dispatcher = getattr(elementary, name)
    dispatcher(np.float32(1.0))
    helpers = [value for value in vars(elementary).values() if hasattr(value, "overloads") and value.overloads]
    assert dispatcher in helpers
    for helper in helpers:
        for signature in helper.overloads:
            if types.float64 in signature:  # compiled before the call was refused
                continue
            for variable, kind in helper.overloads[signature].type_annotation.typemap.items():
                assert "float64" not in str(kind), f"{helper.__name__}: {variable} is {kind}"
    (llvm,) = loop(name).inspect_llvm().values()
    assert not re.search(r"\bdouble\b", llvm)


SCALAR_CALL = re.compile(r"\$(?:exp|expm1|tanh|log|log1p|erf)f?\b")


@needs_compiler
@pytest.mark.skipif(not ON_X86, reason="reads x86 assembly")
@pytest.mark.skipif(not HAS_AVX2, reason="the processor has no AVX2")
@pytest.mark.skipif(OTHER_PROCESSOR, reason="NUMBA_CPU_NAME asks for another processor")
@pytest.mark.parametrize("name", NAMES)
def test_a_loop_becomes_packed_instructions(name: str) -> None:
    apply(name, np.ones(1, dtype=np.float32))
    (assembly,) = loop(name).inspect_asm().values()
    # reduction and polynomial take at least ten; a loop that only copies, or calls libm, has none
    assert len(PACKED_ARITHMETIC.findall(assembly)) >= 10
    assert not SCALAR_CALL.search(assembly)


PLAIN_PYTHON_SCRIPT = """
import sys
import numba
import numpy as np
from bpcore.kernels import elementary

assert numba.config.DISABLE_JIT
arguments = np.load(sys.argv[1])
results = {name: [getattr(elementary, name)(x) for x in arguments[name]] for name in arguments}
assert all(isinstance(value, np.float32) for values in results.values() for value in values)
np.savez(sys.argv[2], **results)
"""


@needs_compiler
def test_plain_python_gives_the_same(tmp_path: Path) -> None:
    """With NUMBA_DISABLE_JIT=1: no warning, float32 throughout, and at most 1 ulp from the compiled value.

    Plain Python rounds a * b + c once. A processor that cannot may differ by more, within the error bounds.
    """
    max_ulp = 1 if HAS_FMA else 4
    random = np.random.default_rng(1)
    arguments = {}
    for name in NAMES:
        ordinary = random.normal(scale=4.0, size=500)
        special = [argument for argument, _ in SPECIAL_VALUES[name]]
        x = np.concatenate([ordinary, special, [NAN, 1e-40, -1e-40, 1e-10, -1e-10, 80.0, -80.0, -100.0]])
        arguments[name] = x.astype(np.float32)
    np.savez(tmp_path / "arguments.npz", **arguments)  # type: ignore[arg-type]  # it takes ** as allow_pickle
    subprocess.run(
        [
            *(sys.executable, "-W", "error::RuntimeWarning", "-c", PLAIN_PYTHON_SCRIPT),
            *(str(tmp_path / "arguments.npz"), str(tmp_path / "results.npz")),
        ],
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
        check=True,
        timeout=120,
    )
    results = np.load(tmp_path / "results.npz")
    for name in NAMES:
        plain, compiled = results[name], apply(name, arguments[name])
        np.testing.assert_array_equal(np.isnan(plain), np.isnan(compiled))
        finite = np.isfinite(compiled)
        np.testing.assert_array_equal(np.isfinite(plain), finite)
        np.testing.assert_array_equal(plain[np.isinf(compiled)], compiled[np.isinf(compiled)])
        np.testing.assert_array_max_ulp(plain[finite], compiled[finite], maxulp=max_ulp)
        np.testing.assert_array_equal(np.signbit(plain[finite]), np.signbit(compiled[finite]))
