"""Powers of two, exponent and mantissa from the bits of a float32, in loops that vectorise (see elementary.py).

Each operation is written twice: as LLVM instructions on int32, because Numba would widen int32 arithmetic to int64, and
in plain Python for NUMBA_DISABLE_JIT=1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core.errors import NumbaTypeError
from numba.extending import intrinsic

PLAIN_PYTHON = bool(numba.config.DISABLE_JIT)  # type: ignore[attr-defined]  # set when Numba starts

SHIFT = np.float32(1.5 * 2**23)
"""x + SHIFT, for |x| < 2^22, rounds x to the nearest integer and leaves it in the low bits of the sum."""

_ONE_BITS = np.int32(0x3F800000)  # 1.0
_SQRT_HALF_BITS = np.int32(0x3F3504F3)  # sqrt(1/2)
_MANTISSA_MASK = np.int32(0x007FFFFF)
_MANTISSA_WIDTH = np.int32(23)
_ONE_BIT = np.int32(1)


def _plain_power_of_2(shifted: np.float32) -> np.float32:
    """2^n from shifted = n + SHIFT, for an integer n from -126 to 127; any other argument gives some float.

    The shift moves n from the low bits to the exponent field and drops the bits above it; adding 1.0's bits adds the
    exponent bias.
    """
    return ((shifted.view(np.int32) << _MANTISSA_WIDTH) + _ONE_BITS).view(np.float32)


def _emit_power_of_2(builder: ir.IRBuilder, bits: ir.Value) -> ir.Value:
    field = builder.shl(bits, _int32(_MANTISSA_WIDTH))
    return builder.bitcast(builder.add(field, _int32(_ONE_BITS)), ir.FloatType())


def _plain_power_of_half(shifted: np.float32) -> np.float32:
    """2^h with h = n / 2 rounded down, from shifted = n + SHIFT.

    The bits of SHIFT are halved along with n; they still drop out.
    """
    return (((shifted.view(np.int32) >> _ONE_BIT) << _MANTISSA_WIDTH) + _ONE_BITS).view(np.float32)


def _emit_power_of_half(builder: ir.IRBuilder, bits: ir.Value) -> ir.Value:
    field = builder.shl(builder.ashr(bits, _int32(_ONE_BIT)), _int32(_MANTISSA_WIDTH))
    return builder.bitcast(builder.add(field, _int32(_ONE_BITS)), ir.FloatType())


def _plain_power_of_rest(shifted: np.float32) -> np.float32:
    """2^(n - h), the factor by which power_of_half falls short of 2^n."""
    bits = shifted.view(np.int32)
    return (((bits - (bits >> _ONE_BIT)) << _MANTISSA_WIDTH) + _ONE_BITS).view(np.float32)


def _emit_power_of_rest(builder: ir.IRBuilder, bits: ir.Value) -> ir.Value:
    rest = builder.sub(bits, builder.ashr(bits, _int32(_ONE_BIT)))
    return builder.bitcast(builder.add(builder.shl(rest, _int32(_MANTISSA_WIDTH)), _int32(_ONE_BITS)), ir.FloatType())


def _plain_exponent(x: np.float32) -> np.float32:
    """k in x = 2^k m with sqrt(1/2) <= m < sqrt(2), for a positive normal x; any other x gives some integer.

    The bit patterns of positive floats have the order of the floats, so the distance to the bits of sqrt(1/2), shifted
    right past the mantissa, is k.
    """
    return np.float32((x.view(np.int32) - _SQRT_HALF_BITS) >> _MANTISSA_WIDTH)


def _emit_exponent(builder: ir.IRBuilder, bits: ir.Value) -> ir.Value:
    above = builder.sub(bits, _int32(_SQRT_HALF_BITS))
    return builder.sitofp(builder.ashr(above, _int32(_MANTISSA_WIDTH)), ir.FloatType())


def _plain_mantissa(x: np.float32) -> np.float32:
    """m in x = 2^k m, as in `_plain_exponent`; any other x gives some float from sqrt(1/2) to sqrt(2)."""
    return (((x.view(np.int32) - _SQRT_HALF_BITS) & _MANTISSA_MASK) + _SQRT_HALF_BITS).view(np.float32)


def _emit_mantissa(builder: ir.IRBuilder, bits: ir.Value) -> ir.Value:
    above = builder.sub(bits, _int32(_SQRT_HALF_BITS))
    field = builder.and_(above, _int32(_MANTISSA_MASK))
    return builder.bitcast(builder.add(field, _int32(_SQRT_HALF_BITS)), ir.FloatType())


def _int32(value: np.int32) -> ir.Constant:
    return ir.Constant(ir.IntType(32), int(value))


def _bit_operation(
    plain: Callable[[np.float32], np.float32],
    emit: Callable[[ir.IRBuilder, ir.Value], ir.Value],
) -> Callable[[np.float32], np.float32]:
    """Make a float32 -> float32 function: `plain` if Numba is disabled, else an intrinsic that uses `emit`."""
    if PLAIN_PYTHON:
        return plain

    def operation(typing_context: Any, x: Any) -> Any:
        if x != types.float32:
            raise NumbaTypeError(f"the functions of bpcore.kernels.elementary take a float32, not {x}")

        def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
            return emit(builder, builder.bitcast(arguments[0], ir.IntType(32)))

        return types.float32(types.float32), generate

    return cast("Callable[[np.float32], np.float32]", intrinsic(operation))


power_of_2 = _bit_operation(_plain_power_of_2, _emit_power_of_2)
power_of_half = _bit_operation(_plain_power_of_half, _emit_power_of_half)
power_of_rest = _bit_operation(_plain_power_of_rest, _emit_power_of_rest)
exponent = _bit_operation(_plain_exponent, _emit_exponent)
mantissa = _bit_operation(_plain_mantissa, _emit_mantissa)
