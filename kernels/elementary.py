"""exp, expm1, tanh, log, log1p, erf and the normal distribution for float32, in loops that vectorise.

Numba compiles math.exp to a call of libm's expf, one element at a time, and such a call keeps LLVM from vectorising the
loop around it. The functions here are straight-line arithmetic: no branch that survives optimisation, no call, no
table, no float64. LLVM inlines them and turns the loop into packed instructions; with AVX-512 it computes sixteen
elements at a time (`tests/kernels/test_elementary.py` reads the assembly).

Each function has the same three steps:

1. reduce the argument to a short interval around 0: for exp, x = n ln 2 + r with |r| <= ln(2) / 2; for log,
   x = 2^k (1 + f) with 1 + f between sqrt(1/2) and sqrt(2);
2. evaluate a polynomial there;
3. restore the power of two, through the exponent bits of the float.

exp, expm1, tanh and erf share the reduction and the polynomial of exp; log and log1p share those of log.
Selects and copysign give infinities, NaN, signed zeros and denormals as libm does.

Rules for this file. Constants are np.float32: a Python float would widen everything to float64. Integer arithmetic
belongs in float_bits.py, because Numba widens int32 to int64. No float is converted to an integer, which LLVM leaves
undefined for NaN; integers are read from the bits of a sum. Limits are written `LIMIT if x > LIMIT else x`, which lets
a NaN through. The only fast-math flag is `contract` (a * b + c with one rounding, `_multiply_add` below), and the error
bounds also hold without it.

Error bounds are in ulp, the distance between neighbouring float32 numbers at the exact result. They were measured
against float64 over every float32 argument, with and without fused multiply-add. Rounding the result alone costs 0.5.

The polynomials are weighted minimax fits made for this file: Lawson's iteration on 3,000 Chebyshev points in
float64, weighted so that the relative error of the function's value is level. The coefficients were rounded to float32
one by one from the lowest power up, and after each the higher ones were fitted again to the remainder.

Under NUMBA_DISABLE_JIT=1 the same lines run as plain Python on np.float32 scalars and give the results of a processor
with fused multiply-add; a processor without it rounds differently, within the same bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np

from . import activations
from .float_bits import PLAIN_PYTHON, SHIFT, exponent, mantissa, power_of_2, power_of_half, power_of_rest

_Function = TypeVar("_Function", bound=Callable[..., Any])


def _compiled(function: _Function) -> _Function:
    """Compile with numba.njit, so that the scalar function is inlined into a vectorised loop."""
    if PLAIN_PYTHON:
        # NumPy warns about an inf or NaN result; compiled code does not.
        return np.errstate(all="ignore")(function)
    compiler = numba.njit(
        fastmath={"contract"},
        error_model="numpy",  # the default model tests every divisor for zero: a branch
        forceinline=True,
    )
    return cast(_Function, compiler(function))


# --- constants and arithmetic -------------------------------------------------------------------------------

_ZERO = np.float32(0.0)
_HALF = np.float32(0.5)
_ONE = np.float32(1.0)
_TWO = np.float32(2.0)
_INFINITY = np.float32(math.inf)
_NAN = np.float32(math.nan)

_LOG2_E = np.float32(1.0 / math.log(2.0))

# ln 2 in two parts. The high part has 15 bits, so n times it is exact for |n| < 2^9.
_LN2_HIGH = np.float32(22713.0 / 2.0**15)
_LN2_LOW = np.float32(math.log(2.0) - 22713.0 / 2.0**15)


def _plain_multiply_add(a: np.float32, b: np.float32, c: np.float32) -> np.float32:
    return np.float32(np.float64(a) * np.float64(b) + np.float64(c))  # the product is exact in float64


def _contracted_multiply_add(a: np.float32, b: np.float32, c: np.float32) -> np.float32:
    return a * b + c


_multiply_add = _compiled(_plain_multiply_add if PLAIN_PYTHON else _contracted_multiply_add)
"""a * b + c, rounded once where the processor has fused multiply-add."""


def _float32s(*values: float) -> tuple[np.float32, ...]:
    return tuple(np.float32(value) for value in values)


@_compiled
def _polynomial(x: np.float32, coefficients: tuple[np.float32, ...]) -> np.float32:
    """Evaluate by Horner's rule, highest power first. The length is part of the type, so the loop is unrolled."""
    value = coefficients[0]
    for i in range(1, len(coefficients)):
        value = _multiply_add(value, x, coefficients[i])
    return value


# --- exp and the functions built on it ----------------------------------------------------------------------

# (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2; the relative error of e^r - 1 is 4e-10.
_EXPM1_TAIL = _float32s(0.000197625719, 0.00139323308, 0.00833354518, 0.0416664928, 0.166666657, 0.5)

_EXP_HIGHEST = np.float32(90.0)  # e^x overflows above 88.73
_EXP_LOWEST = np.float32(-105.0)  # e^x rounds to 0 below -103.98
_EXPM1_HIGHEST = np.float32(89.0)  # keeps n below 129
_EXPM1_LOWEST = np.float32(-20.0)  # e^x - 1 rounds to -1 below -17.33
_EXPM1_IS_X = np.float32(2.0**-25)  # e^x - 1 rounds to x where |x| is smaller


@_compiled
def _reduce(x: np.float32) -> tuple[np.float32, np.float32]:
    """Split x = n ln 2 + r into n + SHIFT and r; n is an integer, |r| <= ln(2) / 2, and |x| must be below 128."""
    shifted = _multiply_add(x, _LOG2_E, SHIFT)
    n = shifted - SHIFT
    return shifted, _multiply_add(-n, _LN2_LOW, x - n * _LN2_HIGH)


@_compiled
def _expm1_of_reduced(r: np.float32) -> np.float32:
    """e^r - 1 for |r| <= ln(2) / 2."""
    return _multiply_add(r * r, _polynomial(r, _EXPM1_TAIL), r)


@_compiled
def exp(x: np.float32) -> np.float32:
    """e^x, within 1 ulp, denormal results included.

    e^x = 2^n e^r. n ranges from -151 (denormal results) to 130 (overflow to infinity), more than one exponent field
    holds. So 2^n is split into two factors, and only the last product rounds or overflows.
    """
    x = _EXP_HIGHEST if x > _EXP_HIGHEST else x
    x = _EXP_LOWEST if x < _EXP_LOWEST else x
    shifted, r = _reduce(x)
    scale = power_of_half(shifted)
    return _multiply_add(scale, _expm1_of_reduced(r), scale) * power_of_rest(shifted)


@_compiled
def expm1(x: np.float32) -> np.float32:
    """e^x - 1, within 1.5 ulp, also near 0.

    e^x - 1 = 2^n (e^r - 1) + (2^n - 1), computed at half its size because 2^128 is not a float32.
    """
    y = _EXPM1_HIGHEST if x > _EXPM1_HIGHEST else x
    y = _EXPM1_LOWEST if y < _EXPM1_LOWEST else y
    shifted, r = _reduce(y)
    half_scale = power_of_2(shifted - _ONE)
    result = _TWO * _multiply_add(half_scale, _expm1_of_reduced(r), half_scale - _HALF)
    return x if abs(x) < _EXPM1_IS_X else result  # -0.0 and denormals would lose their sign and last bit


_TANH_IS_1 = np.float32(10.0)  # tanh rounds to 1 from 9.02 on


@_compiled
def tanh(x: np.float32) -> np.float32:
    """The hyperbolic tangent, within 2 ulp.

    tanh|x| = (1 - t) / (1 + t) with t = e^(-2|x|) = 2^n + 2^n (e^r - 1). Both sums start from 1 -+ 2^n, which is exact
    where accuracy depends on it, so nothing cancels for small x.
    """
    size = abs(x)
    size = _TANH_IS_1 if size > _TANH_IS_1 else size
    shifted, r = _reduce(-(size + size))
    scale = power_of_2(shifted)
    scaled = scale * _expm1_of_reduced(r)
    result: np.float32 = np.copysign(((_ONE - scale) - scaled) / ((_ONE + scale) + scaled), x)
    return result


# -ln(erfc(x)) / x - 1 for 0 <= x <= 3.95; the relative error of erf is 4e-9.
_ERF_EXPONENT = _float32s(
    -9.38809808e-06,
    0.000118862132,
    -0.000637365098,
    0.00167567784,
    -0.000169504696,
    -0.0191478226,
    0.102776304,
    0.636619568,
    0.128379166,
)
_ERF_IS_1 = np.float32(3.95)  # erf rounds to 1 from 3.92 on


@_compiled
def erf(x: np.float32) -> np.float32:
    """The error function, within 2 ulp, also near 0.

    erf|x| = 1 - e^-q with q = -ln(erfc|x|), which is smooth and starts as 2 |x| / sqrt(pi), so one polynomial serves
    small and large x alike. An error in q matters less the closer erf is to 1; the fit is weighted accordingly.
    """
    size = abs(x)
    size = _ERF_IS_1 if size > _ERF_IS_1 else size
    q = _multiply_add(size, _polynomial(size, _ERF_EXPONENT), size)
    shifted, r = _reduce(-q)
    scale = power_of_2(shifted)
    result: np.float32 = np.copysign(_multiply_add(-scale, _expm1_of_reduced(r), _ONE - scale), x)
    return result


# e^(z^2 / 2) P(Z > z) for a standard normal Z and 0 <= z <= 5.5; times e^(-z^2 / 2), the absolute error is 7e-8.
_NORMAL_TAIL = _float32s(
    1.6785383e-06,
    -3.6045316e-05,
    0.00034602205,
    -0.002000446,
    0.008002992,
    -0.024410592,
    0.061244775,
    -0.13256279,
    0.24993107,
    -0.39893836,
    0.5,
)
_NORMAL_TAIL_ENDS = np.float32(5.5)  # the tail beyond, at most 2e-8, still falls with e^(-z^2 / 2)
_NORMAL_PEAK = np.float32(1.0 / math.sqrt(2.0 * math.pi))


@_compiled
def normal(z: np.float32) -> tuple[np.float32, np.float32]:
    """The normal distribution function and its density, from one exp, each with an absolute error below 2e-7.

    The relative error far out in the tail is not bounded.
    """
    size = abs(z)
    e = exp(-_HALF * z * z)
    size = _NORMAL_TAIL_ENDS if size > _NORMAL_TAIL_ENDS else size
    tail = e * _polynomial(size, _NORMAL_TAIL)
    return tail if z < _ZERO else _ONE - tail, _NORMAL_PEAK * e


# --- log ----------------------------------------------------------------------------------------------------

# (ln(1 + f) - f + f^2 / 2) / f^3 for sqrt(1/2) <= 1 + f <= sqrt(2); the relative error of ln(1 + f) is 6e-9.
_LOG_TAIL = _float32s(
    -0.0763589442,
    0.127621144,
    -0.131597534,
    0.142016098,
    -0.166234016,
    0.200012401,
    -0.250008196,
    0.333333313,
)

_SMALLEST_NORMAL = np.float32(2.0**-126)
_DENORMAL_SCALE = np.float32(2.0**23)
_DENORMAL_EXPONENT = np.float32(23.0)
_LARGEST_CORRECTED = np.float32(64.0)


@_compiled
def _log_of_parts(k: np.float32, f: np.float32) -> np.float32:
    """ln(2^k (1 + f)) for sqrt(1/2) <= 1 + f <= sqrt(2), summed from the small terms to the large."""
    square = f * f
    tail = _multiply_add(k, _LN2_LOW, -_HALF * square)
    tail = _multiply_add(f * square, _polynomial(f, _LOG_TAIL), tail)
    return k * _LN2_HIGH + (f + tail)


@_compiled
def log(x: np.float32) -> np.float32:
    """The natural logarithm, within 1 ulp; -inf at 0 and NaN below.

    ln x = k ln 2 + ln(1 + f). A denormal x is scaled up first, and k reduced to match.
    """
    denormal = x < _SMALLEST_NORMAL
    y = x * _DENORMAL_SCALE if denormal else x
    k = exponent(y) - (_DENORMAL_EXPONENT if denormal else _ZERO)
    result = _log_of_parts(k, mantissa(y) - _ONE)
    result = result if x < _INFINITY else x  # inf and NaN
    result = _NAN if x < _ZERO else result
    return -_INFINITY if x == _ZERO else result


@_compiled
def log1p(x: np.float32) -> np.float32:
    """ln(1 + x), within 1.5 ulp, also near 0; -inf at -1 and NaN below.

    This is ln u for the rounded u = 1 + x, with the rounding error added back to f at f's scale, 2^-k. While k = 0, f
    is x itself. From k = 25 on the rounding error no longer matters; the limit on k keeps 2^-k a float32.
    """
    u = _ONE + x
    lost = x - (u - _ONE)
    k = exponent(u)
    limited = _LARGEST_CORRECTED if k > _LARGEST_CORRECTED else k
    f = _multiply_add(lost, power_of_2(SHIFT - limited), mantissa(u) - _ONE)
    result: np.float32 = np.copysign(_log_of_parts(k, f), x)
    result = result if x < _INFINITY else x  # inf and NaN
    result = _NAN if u < _ZERO else result
    return -_INFINITY if u == _ZERO else result


FLOAT32: dict[Callable[..., float], Callable[..., Any]] = {
    math.exp: exp,
    math.expm1: expm1,
    math.tanh: tanh,
    math.log: log,
    math.log1p: log1p,
    math.erf: erf,
}
"""Replaces functions of `math` in scalar functions that are compiled for float32 on the CPU."""

TABLES: dict[Callable[..., Any], Callable[..., Any]] = {activations.normal: normal}
"""Replaces functions of the tables that compute several values at once, and can share work between them."""
