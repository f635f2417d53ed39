"""exp, expm1, tanh, log, log1p, erf and the normal distribution for float32, in loops that vectorise.

Why they exist: Numba compiles math.exp to a call of libm's expf, one element at a time, and such a call keeps
LLVM from vectorising the loop around it. The functions here are straight-line arithmetic: no branch that
survives optimisation, no call, no table, no float64. LLVM inlines them and turns the loop into packed
instructions, with AVX-512 sixteen elements at a time (`tests/kernels/test_elementary.py` reads the assembly).

Each function has the same three steps:

1. reduce the argument to a short interval around 0: for exp, x = n ln 2 + r with |r| <= ln(2) / 2; for log,
   x = 2^k (1 + f) with 1 + f between sqrt(1/2) and sqrt(2);
2. evaluate a polynomial there;
3. put the power of two back, through the exponent bits of the float.

exp, expm1, tanh and erf share the reduction and the polynomial of exp; log and log1p share those of log.
Infinities, NaN, signed zeros and denormals come out as in libm, by selects and copysign.

Rules that the code keeps. Constants are np.float32: a Python float would widen everything to float64. Integer
arithmetic stands inside the bit operations, because Numba widens int32 to int64. No float is converted to an
integer (LLVM leaves that undefined for NaN); integers are read from the bits of a sum. Limits are written
`LIMIT if x > LIMIT else x`, which lets a NaN through. The only fast-math flag is `contract` (a * b + c with
one rounding, `_multiply_add` below), and the error bounds hold without it as well.

Error bounds are in ulp: the distance between neighbouring float32 numbers at the exact result. They were
measured against float64 over every float32 argument, with and without fused multiply-add. Rounding a result
costs 0.5 already.

The polynomials are weighted minimax fits made for this file: Lawson's iteration on 3,000 Chebyshev points in
float64, weighted so that the relative error of the function's value is level. Each coefficient in turn, from
the lowest power, was rounded to float32, and the higher ones were fitted again to what was left.

Under NUMBA_DISABLE_JIT=1 the same lines run as plain Python on np.float32 scalars, and give what a
processor with fused multiply-add gives; one without it rounds differently, within the same bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.errors import NumbaTypeError
from numba.extending import intrinsic

from . import activations

_Function = TypeVar("_Function", bound=Callable[..., Any])

_PLAIN_PYTHON = bool(numba.config.DISABLE_JIT)  # type: ignore[attr-defined]  # set when Numba starts


def _compiled(function: _Function) -> _Function:
    """numba.njit with the options that let a scalar function vanish into a vectorised loop."""
    if _PLAIN_PYTHON:
        # NumPy warns where IEEE arithmetic quietly gives inf or NaN, and compiled code does not.
        return np.errstate(all="ignore")(function)
    compiler = numba.njit(
        fastmath={"contract"},
        error_model="numpy",  # the default model tests every divisor for zero: a branch
        forceinline=True,
    )
    return cast(_Function, compiler(function))


# --- bits of a float32: each operation in plain Python, and as LLVM instructions on int32 -------------------

_SHIFT = np.float32(1.5 * 2**23)
"""x + _SHIFT, for |x| < 2^22, rounds x to the nearest integer and leaves it in the low bits of the sum."""

_ONE_BITS = np.int32(0x3F800000)  # of 1.0
_SQRT_HALF_BITS = np.int32(0x3F3504F3)  # of sqrt(1/2)
_MANTISSA_MASK = np.int32(0x007FFFFF)
_MANTISSA_WIDTH = np.int32(23)
_ONE_BIT = np.int32(1)


def _plain_power_of_half(shifted: np.float32) -> np.float32:
    """2^h with h = n / 2 rounded down, of the same shifted = n + _SHIFT, whose upper bits drop out halved as well."""
    return (((shifted.view(np.int32) >> _ONE_BIT) << _MANTISSA_WIDTH) + _ONE_BITS).view(np.float32)


def _emit_power_of_half(builder: ir.IRBuilder, bits: ir.Value) -> ir.Value:
    exponent = builder.shl(builder.ashr(bits, _int32(_ONE_BIT)), _int32(_MANTISSA_WIDTH))
    return builder.bitcast(builder.add(exponent, _int32(_ONE_BITS)), ir.FloatType())


def _plain_power_of_rest(shifted: np.float32) -> np.float32:
    """2^(n - h), the other factor of 2^n."""
    bits = shifted.view(np.int32)
    return (((bits - (bits >> _ONE_BIT)) << _MANTISSA_WIDTH) + _ONE_BITS).view(np.float32)


def _emit_power_of_rest(builder: ir.IRBuilder, bits: ir.Value) -> ir.Value:
    rest = builder.sub(bits, builder.ashr(bits, _int32(_ONE_BIT)))
    return builder.bitcast(builder.add(builder.shl(rest, _int32(_MANTISSA_WIDTH)), _int32(_ONE_BITS)), ir.FloatType())


def _plain_power_of_2(shifted: np.float32) -> np.float32:
    """2^n of shifted = n + _SHIFT, for an integer n from -126 to 127; any other argument gives some float.

    n moves from the low bits to the exponent bits, where those of 1.0 add the bias; the bits above drop out.
    """
    return ((shifted.view(np.int32) << _MANTISSA_WIDTH) + _ONE_BITS).view(np.float32)


def _emit_power_of_2(builder: ir.IRBuilder, bits: ir.Value) -> ir.Value:
    exponent = builder.shl(bits, _int32(_MANTISSA_WIDTH))
    return builder.bitcast(builder.add(exponent, _int32(_ONE_BITS)), ir.FloatType())


def _plain_exponent(x: np.float32) -> np.float32:
    """k of x = 2^k m, sqrt(1/2) <= m < sqrt(2), for positive x that is not denormal; else some integer.

    Of two positive floats the larger has the larger bits, so the bits above those of sqrt(1/2) count k.
    """
    return np.float32((x.view(np.int32) - _SQRT_HALF_BITS) >> _MANTISSA_WIDTH)


def _emit_exponent(builder: ir.IRBuilder, bits: ir.Value) -> ir.Value:
    above = builder.sub(bits, _int32(_SQRT_HALF_BITS))
    return builder.sitofp(builder.ashr(above, _int32(_MANTISSA_WIDTH)), ir.FloatType())


def _plain_mantissa(x: np.float32) -> np.float32:
    """m of the same x = 2^k m; some float from sqrt(1/2) to sqrt(2) for any other x."""
    return (((x.view(np.int32) - _SQRT_HALF_BITS) & _MANTISSA_MASK) + _SQRT_HALF_BITS).view(np.float32)


def _emit_mantissa(builder: ir.IRBuilder, bits: ir.Value) -> ir.Value:
    above = builder.sub(bits, _int32(_SQRT_HALF_BITS))
    mantissa = builder.and_(above, _int32(_MANTISSA_MASK))
    return builder.bitcast(builder.add(mantissa, _int32(_SQRT_HALF_BITS)), ir.FloatType())


def _int32(value: np.int32) -> ir.Constant:
    return ir.Constant(ir.IntType(32), int(value))


def _bit_operation(
    plain: Callable[[np.float32], np.float32],
    emit: Callable[[ir.IRBuilder, ir.Value], ir.Value],
) -> Callable[[np.float32], np.float32]:
    """A float32 -> float32 function of the bits: `plain` where Numba is off, else `emit` as an intrinsic."""
    if _PLAIN_PYTHON:
        return plain

    def operation(typing_context: Any, x: Any) -> Any:
        if x != types.float32:
            raise NumbaTypeError(f"the functions of bpcore.kernels.elementary take a float32, not {x}")

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            return emit(builder, builder.bitcast(arguments[0], ir.IntType(32)))

        return types.float32(types.float32), generate

    return cast("Callable[[np.float32], np.float32]", intrinsic(operation))


_power_of_2 = _bit_operation(_plain_power_of_2, _emit_power_of_2)
_power_of_half = _bit_operation(_plain_power_of_half, _emit_power_of_half)
_power_of_rest = _bit_operation(_plain_power_of_rest, _emit_power_of_rest)
_exponent = _bit_operation(_plain_exponent, _emit_exponent)
_mantissa = _bit_operation(_plain_mantissa, _emit_mantissa)

# --- constants and arithmetic -------------------------------------------------------------------------------

_ZERO = np.float32(0.0)
_HALF = np.float32(0.5)
_ONE = np.float32(1.0)
_TWO = np.float32(2.0)
_INFINITY = np.float32(math.inf)
_NAN = np.float32(math.nan)

_LOG2_E = np.float32(1.0 / math.log(2.0))

# ln 2 in two parts. The high one has 15 bits, so that n times it is exact for |n| < 2^9.
_LN2_HIGH = np.float32(22713.0 / 2.0**15)
_LN2_LOW = np.float32(math.log(2.0) - 22713.0 / 2.0**15)


def _plain_multiply_add(a: np.float32, b: np.float32, c: np.float32) -> np.float32:
    return np.float32(np.float64(a) * np.float64(b) + np.float64(c))  # the product is exact in float64


def _contracted_multiply_add(a: np.float32, b: np.float32, c: np.float32) -> np.float32:
    return a * b + c


_multiply_add = _compiled(_plain_multiply_add if _PLAIN_PYTHON else _contracted_multiply_add)
"""a * b + c, with one rounding where the processor can."""


def _float32s(*values: float) -> tuple[np.float32, ...]:
    return tuple(np.float32(value) for value in values)


@_compiled
def _polynomial(x: np.float32, coefficients: tuple[np.float32, ...]) -> np.float32:
    """By Horner's rule, the highest power first. The length is part of the type: the loop is unrolled."""
    value = coefficients[0]
    for i in range(1, len(coefficients)):
        value = _multiply_add(value, x, coefficients[i])
    return value


# --- exp and what is made from it ---------------------------------------------------------------------------

# (e^r - 1 - r) / r^2 for |r| <= ln(2) / 2; e^r - 1 gets a relative error of 4e-10.
_EXPM1_TAIL = _float32s(0.000197625719, 0.00139323308, 0.00833354518, 0.0416664928, 0.166666657, 0.5)

_EXP_HIGHEST = np.float32(90.0)  # e^x overflows above 88.73
_EXP_LOWEST = np.float32(-105.0)  # and rounds to 0 below -103.98
_EXPM1_HIGHEST = np.float32(89.0)  # n stays below 129
_EXPM1_LOWEST = np.float32(-20.0)  # e^x - 1 rounds to -1 below -17.33
_EXPM1_IS_X = np.float32(2.0**-25)  # and to x below this size


@_compiled
def _reduce(x: np.float32) -> tuple[np.float32, np.float32]:
    """n + _SHIFT and r of x = n ln 2 + r, n an integer, |r| <= ln(2) / 2; for |x| < 128."""
    shifted = _multiply_add(x, _LOG2_E, _SHIFT)
    n = shifted - _SHIFT
    return shifted, _multiply_add(-n, _LN2_LOW, x - n * _LN2_HIGH)


@_compiled
def _expm1_of_reduced(r: np.float32) -> np.float32:
    """e^r - 1 for |r| <= ln(2) / 2."""
    return _multiply_add(r * r, _polynomial(r, _EXPM1_TAIL), r)


@_compiled
def exp(x: np.float32) -> np.float32:
    """e^x, within 1 ulp; a denormal result too.

    e^x = 2^n e^r. n reaches from -151, for denormal results, to 130, for the overflow to infinity; that is
    more than one exponent field holds, so 2^n is two factors, and only the last product rounds or overflows.
    """
    x = _EXP_HIGHEST if x > _EXP_HIGHEST else x
    x = _EXP_LOWEST if x < _EXP_LOWEST else x
    shifted, r = _reduce(x)
    scale = _power_of_half(shifted)
    return _multiply_add(scale, _expm1_of_reduced(r), scale) * _power_of_rest(shifted)


@_compiled
def expm1(x: np.float32) -> np.float32:
    """e^x - 1, within 1.5 ulp, near 0 too.

    e^x - 1 = 2^n (e^r - 1) + (2^n - 1); computed at half its size, because 2^128 is no float32.
    """
    y = _EXPM1_HIGHEST if x > _EXPM1_HIGHEST else x
    y = _EXPM1_LOWEST if y < _EXPM1_LOWEST else y
    shifted, r = _reduce(y)
    half_scale = _power_of_2(shifted - _ONE)
    result = _TWO * _multiply_add(half_scale, _expm1_of_reduced(r), half_scale - _HALF)
    return x if abs(x) < _EXPM1_IS_X else result  # -0.0 and denormals would lose their sign and last bit


_TANH_IS_1 = np.float32(10.0)  # from 9.02 on


@_compiled
def tanh(x: np.float32) -> np.float32:
    """The hyperbolic tangent, within 2 ulp.

    tanh|x| = (1 - t) / (1 + t) with t = e^(-2|x|) = 2^n + 2^n (e^r - 1). Both sums start from 1 -+ 2^n, which
    is exact while it matters, so that nothing cancels for small x.
    """
    size = abs(x)
    size = _TANH_IS_1 if size > _TANH_IS_1 else size
    shifted, r = _reduce(-(size + size))
    scale = _power_of_2(shifted)
    scaled = scale * _expm1_of_reduced(r)
    result: np.float32 = np.copysign(((_ONE - scale) - scaled) / ((_ONE + scale) + scaled), x)
    return result


# -ln(erfc(x)) / x - 1 for 0 <= x <= 3.95; erf gets a relative error of 4e-9.
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
_ERF_IS_1 = np.float32(3.95)  # from 3.92 on


@_compiled
def erf(x: np.float32) -> np.float32:
    """The error function, within 2 ulp, near 0 too.

    erf|x| = 1 - e^-q with q = -ln(erfc|x|), which is smooth and starts as 2 |x| / sqrt(pi): one polynomial
    serves for small and large x alike. Its error counts the less the nearer erf is to 1: so it was weighted.
    """
    size = abs(x)
    size = _ERF_IS_1 if size > _ERF_IS_1 else size
    q = _multiply_add(size, _polynomial(size, _ERF_EXPONENT), size)
    shifted, r = _reduce(-q)
    scale = _power_of_2(shifted)
    result: np.float32 = np.copysign(_multiply_add(-scale, _expm1_of_reduced(r), _ONE - scale), x)
    return result


# e^(z^2 / 2) P(Z > z) of a standard normal Z, for 0 <= z <= 5.5; times e^(-z^2 / 2) it has an absolute error of 7e-8.
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
_NORMAL_TAIL_ENDS = np.float32(5.5)  # what is beyond, 2e-8, goes on to fall with e^(-z^2 / 2)
_NORMAL_PEAK = np.float32(1.0 / math.sqrt(2.0 * math.pi))


@_compiled
def normal(z: np.float32) -> tuple[np.float32, np.float32]:
    """The normal distribution function and its density, each within 2e-7, from one exp.

    That bounds the absolute error: of the relative one far down the tail nothing is promised.
    """
    size = abs(z)
    e = exp(-_HALF * z * z)
    size = _NORMAL_TAIL_ENDS if size > _NORMAL_TAIL_ENDS else size
    tail = e * _polynomial(size, _NORMAL_TAIL)
    return tail if z < _ZERO else _ONE - tail, _NORMAL_PEAK * e


# --- log ----------------------------------------------------------------------------------------------------

# (ln(1 + f) - f + f^2 / 2) / f^3 for sqrt(1/2) <= 1 + f <= sqrt(2); ln(1 + f) gets a relative error of 6e-9.
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
    """ln(2^k (1 + f)) for sqrt(1/2) <= 1 + f <= sqrt(2), added up from the small terms to the large."""
    square = f * f
    tail = _multiply_add(k, _LN2_LOW, -_HALF * square)
    tail = _multiply_add(f * square, _polynomial(f, _LOG_TAIL), tail)
    return k * _LN2_HIGH + (f + tail)


@_compiled
def log(x: np.float32) -> np.float32:
    """The natural logarithm, within 1 ulp; -inf at 0 and NaN below.

    ln x = k ln 2 + ln(1 + f). A denormal x is scaled up first, and k made smaller.
    """
    denormal = x < _SMALLEST_NORMAL
    y = x * _DENORMAL_SCALE if denormal else x
    k = _exponent(y) - (_DENORMAL_EXPONENT if denormal else _ZERO)
    result = _log_of_parts(k, _mantissa(y) - _ONE)
    result = result if x < _INFINITY else x  # inf and NaN
    result = _NAN if x < _ZERO else result
    return -_INFINITY if x == _ZERO else result


@_compiled
def log1p(x: np.float32) -> np.float32:
    """ln(1 + x), within 1.5 ulp, near 0 too; -inf at -1 and NaN below.

    ln u of the rounded u = 1 + x, where f gets back what the rounding lost, at its own scale 2^-k. While
    k = 0, f is x itself. From k = 25 on nothing that counts is lost; the limit on k keeps 2^-k a float32.
    """
    u = _ONE + x
    lost = x - (u - _ONE)
    k = _exponent(u)
    limited = _LARGEST_CORRECTED if k > _LARGEST_CORRECTED else k
    f = _multiply_add(lost, _power_of_2(_SHIFT - limited), _mantissa(u) - _ONE)
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
"""What stands for a function of `math` in a scalar function that is compiled for float32 on the CPU."""

TABLES: dict[Callable[..., Any], Callable[..., Any]] = {activations.normal: normal}
"""Likewise for a function of the tables whose parts have something in common."""
