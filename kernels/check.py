"""Whether a scalar function stays in float32 when it is compiled: no hidden widening to float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from . import build, elementary


def scalar_problem(function: Callable[..., Any]) -> str | None:
    """Compile function(float32, float32) and say in words what is wrong with it; None where nothing is."""
    if not hasattr(function, "__code__"):
        return f"is {function!r}, not a Python function of (value, p)"
    if (count := function.__code__.co_argcount) != 2:
        return f"has {count} parameter{'s' if count != 1 else ''}; a function of (value, p) is needed"
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return None
    jit = numba.njit(error_model="numpy")
    bound = build.bind(function, np.dtype(np.float32), replace=elementary.FLOAT32, compile_callee=jit)
    compiled = jit(bound)
    try:
        compiled.compile((numba.float32, numba.float32))
    except numba.core.errors.NumbaError as error:
        return f"cannot be compiled: {str(error).strip().splitlines()[-1] or type(error).__name__}"
    return _widened(compiled)


def _widened(compiled: Any) -> str | None:
    """Where the type map of the one compiled signature holds a float64."""
    (result,) = compiled.overloads.values()
    annotation = result.type_annotation
    wide = [name for name, kind in annotation.typemap.items() if kind == numba.float64]
    returned = numba.types.unliteral(result.signature.return_type)  # type: ignore[no-untyped-call]
    if not wide and returned == numba.float32:
        return None
    if not wide:
        return f"returns {returned}, not a float: write 1.0, not 1"
    named = sorted({name.partition(".")[0] for name in wide if not name.startswith("$")})
    where = f"variable {named[0]!r}" if named else f"an expression on line {_line(annotation, wide)}"
    return f"would widen to float64: {where}; write constants as floats (1.0, not 1)"


def _line(annotation: Any, wide: list[str]) -> int:
    """The source line of the first assignment to one of the names."""
    for block in annotation.blocks.values():
        for statement in block.body:
            target = getattr(statement, "target", None)
            if target is not None and target.name in wide:
                return int(statement.loc.line)
    return 0
