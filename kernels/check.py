"""Checks that a scalar function compiles for both devices and stays in float32, without widening to float64."""

from __future__ import annotations

import dis
import inspect
import math
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import numba
import numpy as np

from . import build, elementary

ACCEPTED = "accepted: a Python function of two scalars (value, p), written in arithmetic and `math`"


def scalar_problem(function: Callable[..., Any]) -> str | None:
    """Compile function(float32, float32) and describe the first problem found; None if there is none."""
    if not isinstance(function, FunctionType):
        return f"is {function!r}, not a Python function of (value, p); {ACCEPTED}"
    parameters = inspect.signature(function).parameters.values()
    if len(parameters) != 2 or any(one.kind is not one.POSITIONAL_OR_KEYWORD for one in parameters):
        return f"takes {inspect.signature(function)}; {ACCEPTED}"
    if problem := _unfit(function):
        return f"{problem}; {ACCEPTED}"
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return None
    jit = numba.njit(error_model="numpy")
    bound = build.bind(function, np.dtype(np.float32), replace=elementary.FLOAT32, compile_callee=jit)
    compiled = jit(bound)
    try:
        compiled.compile((numba.float32, numba.float32))
    except (numba.core.errors.NumbaError, numba.core.errors.UnsupportedBytecodeError) as error:
        return f"cannot be compiled: {_first_line(error)}"
    return _widened(compiled)


def _unfit(function: FunctionType, callers: tuple[FunctionType, ...] = ()) -> str | None:
    """The first use of what only CPU kernels support: recursion, NumPy or compiled functions, exceptions."""
    if function in callers:
        return f"calls itself ({function.__name__})"
    if any(step.opname == "RAISE_VARARGS" for step in dis.get_instructions(function)):
        return f"raises an exception in {function.__name__}, which a kernel cannot: return a number for every value"
    for name, value in _outside(function):
        if isinstance(value, FunctionType):
            if problem := _unfit(value, (*callers, function)):
                return problem
        elif inspect.ismodule(value):
            if value is not math:
                return f"uses the module {name}"
        elif callable(value) and getattr(value, "__module__", "") != "math":
            return f"uses {name}, {value!r}"
    return None


def _outside(function: FunctionType) -> Iterator[tuple[str, object]]:
    """The (name, value) pairs that a function takes from its module and from enclosing functions."""
    for step in dis.get_instructions(function):
        if step.opname == "LOAD_GLOBAL" and step.argval in function.__globals__:
            yield step.argval, function.__globals__[step.argval]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield name, cell.cell_contents


def _first_line(error: Exception) -> str:
    """The first statement of Numba's message, without its heading."""
    lines = (line.strip(" >") for line in str(error).splitlines())
    said = [line for line in lines if line and not line.startswith("Failed in")] or [type(error).__name__]
    return " ".join(said[: 2 if said[0].endswith(":") else 1])


def _widened(compiled: Any) -> str | None:
    """The problem if the compiled signature's type map holds a float64 or it returns no float32; None if neither."""
    (result,) = compiled.overloads.values()
    annotation = result.type_annotation
    wide = [name for name, kind in annotation.typemap.items() if kind == numba.float64]
    returned = numba.types.unliteral(result.signature.return_type)  # type: ignore[no-untyped-call]
    if not wide and returned == numba.float32:
        return None
    if not wide:
        return f"returns {returned}, not a float32: return a float in every case, written 1.0 and not 1"
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
