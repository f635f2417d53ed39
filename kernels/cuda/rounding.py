"""Device functions to read and write elements that may be bfloat16 (kernels/bfloat16.py).

A float32 kernel takes either dtype: `number(x[i, j])` is the element as a float32, and `out[i, j] = fitted(value, out)`
rounds if out is bfloat16. For arrays of float32 and float64 both compile to no instructions.
"""

from __future__ import annotations

from typing import Any

import numba
from llvmlite import ir

from .. import bfloat16
from ..bfloat16 import BFLOAT16
from .environment import IN_SIMULATOR


def _plain_number(element: Any) -> Any:
    return bfloat16.widened(element) if element.dtype == BFLOAT16 else element


def _plain_fitted(value: Any, out: Any) -> Any:
    return bfloat16.rounded(value) if out.dtype == BFLOAT16 else value


def _number(typing_context: Any, element: Any) -> Any:
    """The intrinsic `number`: an element of an array as a number."""
    wide = element == numba.types.uint16

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        return _emit_widened(builder, arguments[0]) if wide else arguments[0]

    return (numba.types.float32 if wide else element)(element), generate


def _fitted(typing_context: Any, value: Any, out: Any) -> Any:
    """The intrinsic `fitted`: a value in the representation of the array `out`."""
    narrow = out.dtype == numba.types.uint16
    result = numba.types.uint16 if narrow else value

    def generate(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> ir.Value:
        return _emit_rounded(builder, arguments[0]) if narrow else arguments[0]

    return result(numba.types.float32 if narrow else value, out), generate


def _emit_widened(builder: ir.IRBuilder, element: ir.Value) -> ir.Value:
    word = ir.IntType(32)
    return builder.bitcast(builder.shl(builder.zext(element, word), word(16)), ir.FloatType())


def _emit_rounded(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    """The same steps as bfloat16.rounded."""
    word = ir.IntType(32)
    bits = builder.bitcast(value, word)
    upper = builder.lshr(bits, word(16))
    above_half = builder.add(bits, builder.add(word(0x7FFF), builder.and_(upper, word(1))))
    nearest = builder.lshr(above_half, word(16))
    a_nan = builder.or_(upper, word(0x0040))
    is_nan = builder.fcmp_unordered("uno", value, value)
    return builder.trunc(builder.select(is_nan, a_nan, nearest), ir.IntType(16))


if IN_SIMULATOR:
    number, fitted = _plain_number, _plain_fitted
else:
    from numba.cuda.extending import intrinsic  # the simulator does not have it

    number, fitted = intrinsic(_number), intrinsic(_fitted)
