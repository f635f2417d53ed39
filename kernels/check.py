"""Checks that a user's function compiles for both devices and stays in float32, without widening to float64."""

from __future__ import annotations

import dis
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any

import numba
import numpy as np

from . import build, elementary
from .cpu.compiling import alone
from .losses import dense_target, label_target

SCALAR = "(value, p)"
ROW = "(z, i, targets, delta, settings, lane)"

ACCEPTED = {
    SCALAR: "accepted: a Python function of two scalars (value, p), written in arithmetic and `math`",
    ROW: f"accepted: a Python function of {ROW}, written in loops, arithmetic and `math`",
}

FOREIGN: dict[type, str] = {
    numba.types.List: "a list",
    numba.types.ListType: "a list",
    numba.types.Set: "a set",
    numba.types.DictType: "a dictionary",
    numba.types.UnicodeType: "a string",
}
"""Types of values that the CPU's compiler supports but a GPU kernel cannot create."""


def scalar_problem(function: Callable[..., Any]) -> str | None:
    """Compile function(float32, float32) and describe the first problem found; None if there is none."""
    return _shape_problem(function, SCALAR) or _compiled_problem(function, {}, (numba.float32, numba.float32))


def row_problem(function: Callable[..., Any], named_settings: type[Any]) -> str | None:
    """As scalar_problem, for a loss's row function, compiled both for class labels and for a target matrix."""
    if problem := _shape_problem(function, ROW):
        return problem
    holes = {"real": np.float32, "LANES": 1, "all_sum": alone, "all_max": alone, "target_at": label_target}
    assert isinstance(function, FunctionType)
    if defined := sorted(set(holes) & set(function.__globals__) & set(function.__code__.co_names)):
        return f"finds a value of {defined[0]} in its module; declare it there by a line such as {defined[0]}: object"
    matrix, labels = numba.float32[:, ::1], numba.int64[::1]
    settings = numba.typeof(named_settings(*map(np.float32, range(len(named_settings._fields)))))  # type: ignore[no-untyped-call]
    for targets, target_at in ((labels, label_target), (matrix, dense_target)):
        arguments = (matrix, numba.int64, targets, matrix, settings, numba.int64)
        if problem := _compiled_problem(function, holes | {"target_at": target_at}, arguments):
            return problem
    return None


def _shape_problem(function: Callable[..., Any], parameters: str) -> str | None:
    """Describe the first problem that can be found without compiling the function; None if there is none."""
    if not isinstance(function, FunctionType):
        return f"is {function!r}, not a Python function of {parameters}; {ACCEPTED[parameters]}"
    found = inspect.signature(function).parameters.values()
    if len(found) != parameters.count(",") + 1 or any(one.kind is not one.POSITIONAL_OR_KEYWORD for one in found):
        return f"takes {inspect.signature(function)}; {ACCEPTED[parameters]}"
    if problem := _unfit(function):
        return f"{problem}; {ACCEPTED[parameters]}"
    return None


def _compiled_problem(
    function: Callable[..., Any], holes: Mapping[str, object], arguments: tuple[Any, ...]
) -> str | None:
    """Compile the function and describe the first problem found; None if there is none."""
    if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
        return None
    jit = numba.njit(error_model="numpy")
    bound = build.bind(function, np.dtype(np.float32), holes, replace=elementary.FLOAT32, compile_callee=jit)
    compiled = jit(bound)
    try:
        compiled.compile(arguments)
    except (numba.core.errors.NumbaError, numba.core.errors.UnsupportedBytecodeError) as error:
        return f"cannot be compiled: {_first_line(error)}"
    return _widened(compiled)


def _unfit(function: FunctionType, callers: tuple[FunctionType, ...] = ()) -> str | None:
    """Describe the first use of what no GPU kernel supports: recursion, NumPy, compiled functions, exceptions."""
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
    """Yield (name, value) for what a function uses of its module and of enclosing functions."""
    for step in dis.get_instructions(function):
        if step.opname == "LOAD_GLOBAL" and step.argval in function.__globals__:
            yield step.argval, function.__globals__[step.argval]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield name, cell.cell_contents


def _first_line(error: Exception) -> str:
    """Return the first statement of Numba's message, without its heading."""
    lines = (line.strip(" >") for line in str(error).splitlines())
    said = [line for line in lines if line and not line.startswith("Failed in")] or [type(error).__name__]
    return " ".join(said[: 2 if said[0].endswith(":") else 1])


def _widened(compiled: Any) -> str | None:
    """Describe values that are float64 or that no GPU has, or a result that is not float32; None if there are none."""
    (result,) = compiled.overloads.values()
    annotation = result.type_annotation
    foreign = {name.partition(".")[0]: kind for name, kind in annotation.typemap.items() if type(kind) in FOREIGN}
    if foreign:
        variables = [name for name in compiled.py_func.__code__.co_varnames if name in foreign]
        where = f" (variable {variables[0]!r})" if variables else ""
        return f"makes {FOREIGN[type(next(iter(foreign.values())))]}{where}, which a GPU's kernel cannot"
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
    """Return the source line of the first assignment to one of these names; 0 if there is none."""
    for block in annotation.blocks.values():
        for statement in block.body:
            target = getattr(statement, "target", None)
            if target is not None and target.name in wide:
                return int(statement.loc.line)
    return 0
