"""Turns a plain Python function into a kernel for either device, in two steps.

**Binding.** The tables and the kernel templates are plain Python. `bind` copies such a function for one dtype. The
float constants of its code object become constants of that dtype; otherwise Numba widens float32 arithmetic to float64
at the first literal. The names it uses get new values: the hole `f` of a template becomes the activation's function,
and on the CPU `math.exp` becomes a vectorisable exp. Functions that it calls are bound recursively. No code is
generated as text, and no kernel is written twice.

**Caching.** Numba's disk cache checks only a kernel's own file and bytecode, so after an edit in a function that the
kernel calls it would return the old machine code. `cached` therefore gives each bound kernel its own source file in the
cache folder. The file lists everything the machine code depends on (bytecode, constants and names of every function
that it calls, versions, flags), and its name is the hash of that text. Any edit changes the name and misses the cache;
an unedited kernel hits it, in any process. When the cache is off, coverage and tracebacks show the real source file.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
import platform
import secrets
import sys
import tempfile
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba import types as numba_types
from numba.core import event
from numba.core.ccallback import CFunc

Function = Callable[..., Any]

CACHE_FORMAT = 3
"""Increase when a change to `bind` or `cached` makes existing entries wrong."""


def bind(
    function: Function,
    dtype: np.dtype[Any],
    holes: Mapping[str, object] | None = None,
    *,
    replace: Mapping[Any, object] | None = None,
    compile_callee: Callable[[Function], object],
) -> types.FunctionType:
    """Copy a plain function for one dtype.

    function: a Python function over scalars or arrays.
    holes: values for names that the function or one of its callees uses and its module leaves undefined.
    replace: replacements for functions, wherever they are reached, such as {math.exp: exp}.
    compile_callee: makes a bound callee callable from the compiled caller; numba.njit, for example.
    """
    replaced = dict(replace or {})

    def convert(value: object) -> object:
        if isinstance(value, float):
            return dtype.type(value)
        if isinstance(value, tuple):
            return tuple(convert(item) for item in value)
        if isinstance(value, types.ModuleType):
            return _converted_module(value, dtype, replaced)
        if callable(value) and _hashable(value) and value in replaced:
            return replaced[value]
        if isinstance(value, types.FunctionType):
            return compile_callee(bind(value, dtype, holes, replace=replaced, compile_callee=compile_callee))
        return value

    names = set(_global_names(function.__code__))
    namespace = {
        name: convert(value) for name, value in {**(holes or {}), **function.__globals__}.items() if name in names
    }
    namespace["__builtins__"] = function.__globals__["__builtins__"]
    namespace["__name__"] = function.__module__
    code = function.__code__.replace(co_consts=tuple(map(convert, function.__code__.co_consts)))
    closure = tuple(types.CellType(convert(cell.cell_contents)) for cell in function.__closure__ or ())
    defaults = None if function.__defaults__ is None else tuple(map(convert, function.__defaults__))
    copy = types.FunctionType(code, namespace, function.__name__, defaults, closure or None)
    copy.__module__ = __name__  # Numba imports this module to load a cached kernel; the user's may be missing
    return copy


def cached(
    function: types.FunctionType, flags: object, content: Sequence[str] | None = None
) -> tuple[types.FunctionType, bool]:
    """Give a bound kernel its own file in the cache folder; returns the kernel and whether Numba may cache it.

    flags: whatever else the machine code depends on (compiler options, target).
    content: lines to list instead of the function's content: the source of code that emits instructions, on which the
        kernel depends although its bytecode does not show that.
    """
    if numba.config.DISABLE_JIT or numba.config.ENABLE_CUDASIM:  # type: ignore[attr-defined]
        return function, False
    try:
        text = "\n".join([*_versions(), repr(flags), *(_content(function, set()) if content is None else content)])
    except _UnknownContentError:
        return function, False
    name = f"{function.__name__}_{hashlib.sha256(text.encode()).hexdigest()[:24]}.txt"
    path = cache_folder() / name
    if not _write_once(path, text):
        return function, False
    # The name becomes part of the machine code's symbol. Numba distinguishes functions of the same name by a counter
    # that restarts in each process, so a process that loads kernels cached by two others could run the wrong one.
    unique = path.stem
    renamed = types.FunctionType(
        function.__code__.replace(co_filename=str(path), co_name=unique, co_qualname=unique),
        function.__globals__,
        unique,
        function.__defaults__,
        function.__closure__,
    )
    renamed.__module__ = function.__module__
    return renamed, True


def keep_apart(compiled: Any) -> Any:
    """Make the names of a function's cache files unique to this process; returns the function.

    Numba numbers these files. Two processes that compile at the same time pick the same number, and then the index of
    one would name the machine code of the other, compiled for other argument types.
    """
    files: Any = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if hasattr(files, "_data_name_pattern"):
        files._data_name_pattern = f"{files._data_name_pattern.removesuffix('.nbc')}.{secrets.token_hex(8)}.nbc"
    return compiled


_CFunc: Any = CFunc  # mypy cannot use its annotations


class _Callback(_CFunc):  # type: ignore[misc]
    """Numba's CFunc, but it reports its compilations as events, as dispatchers do."""

    def _compile_uncached(self) -> Any:
        with event.trigger_event("numba:compile", data={"dispatcher": self, "args": self._sig.args}):
            return super()._compile_uncached()


def callback(function: Function, cacheable: bool) -> Any:
    """Compile a function of one int64; the result has an `address` to call, valid while the result is alive."""
    compiled: Any = _Callback(function, ((numba_types.int64,), numba_types.void), locals={}, options={})
    if cacheable:
        compiled.enable_caching()
    compiled.compile()
    return compiled


@functools.cache
def cache_folder() -> Path:
    """The folder for compiled kernels, in $BPCORE_CACHE_DIR or else in the user's cache folder."""
    chosen = os.environ.get("BPCORE_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser() / "kernels"
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "bpcore" / "kernels"


def bits(value: Any) -> int:
    """The bits of a floating-point number as an integer that fits an int64."""
    number = np.array(value)
    return int(number.view(np.int32 if number.itemsize == 4 else np.int64))


def _write_once(path: Path, text: str) -> bool:
    """Write the file unless it exists; False if that fails. With a fixed time stamp, racing processes agree."""
    if path.exists():
        return True
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False, encoding="utf-8") as file:
            file.write(text)
        os.utime(file.name, (946684800, 946684800))
        os.replace(file.name, path)
    except OSError:
        return False
    return True


def _converted_module(
    module: types.ModuleType, dtype: np.dtype[Any], replaced: Mapping[Any, object]
) -> types.ModuleType:
    """A copy of the `math` module whose constants have the dtype, with functions replaced; other modules unchanged."""
    if module is not math:
        return module
    stand_in = types.ModuleType(module.__name__)
    for name, value in vars(module).items():
        if isinstance(value, float):
            value = dtype.type(value)
        elif callable(value) and _hashable(value):
            value = replaced.get(value, value)
        setattr(stand_in, name, value)
    return stand_in


def _hashable(value: object) -> bool:
    return getattr(type(value), "__hash__", None) is not None


def _global_names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _global_names(constant)


class _UnknownContentError(Exception):
    """A value has content that `_content` cannot list; a kernel that uses it is recompiled in every process."""


def _versions() -> list[str]:
    return [
        "Everything that one compiled kernel of bpcore depends on; the file name is the hash of this text.",
        f"format {CACHE_FORMAT}",
        f"python {platform.python_version()} {platform.machine()}",
        f"numba {numba.__version__} numpy {np.__version__}",
    ]


def _content(value: object, seen: set[int]) -> Iterator[str]:
    """Yield lines of text that change whenever the machine code made from `value` would."""
    if isinstance(value, types.FunctionType):
        if id(value) in seen:
            yield f"function {value.__name__} again"
            return
        seen.add(id(value))
        yield from _code_content(value.__code__)
        yield f"defaults {value.__defaults__!r}"
        for cell in value.__closure__ or ():
            yield from _content(cell.cell_contents, seen)
        for name in sorted(set(_global_names(value.__code__)) & set(value.__globals__)):
            yield f"global {name}:"
            yield from _content(value.__globals__[name], seen)
    elif hasattr(value, "py_func"):  # a Numba dispatcher
        yield f"compiled {_stable(getattr(value, 'targetoptions', None))}"
        yield from _content(value.py_func, seen)
    elif hasattr(value, "_defn"):  # a Numba intrinsic
        yield "intrinsic"
        yield from _content(value._defn, seen)
    elif isinstance(value, types.ModuleType):
        yield f"module {value.__name__}"
        for name, item in sorted(vars(value).items()):
            if hasattr(item, "py_func"):
                yield f"{name}:"
                yield from _content(item, seen)
    elif isinstance(value, type) and issubclass(value, tuple):
        yield f"named tuple {getattr(value, '_fields', ())} {getattr(value, '_field_defaults', {})!r}"
    elif isinstance(value, type | types.BuiltinFunctionType):
        yield f"builtin {value.__module__}.{value.__qualname__}"
    elif isinstance(value, np.generic | int | float | str | bytes | bool | None | tuple | np.ufunc):
        yield f"{type(value).__name__} {value!r}"
    elif isinstance(value, np.ndarray):
        yield f"array {value.dtype} {value.shape} {hashlib.sha256(value.tobytes()).hexdigest()}"
    elif type(value).__module__.startswith(("numba.", "llvmlite.")):
        yield f"{type(value).__qualname__} {value}"
    else:
        raise _UnknownContentError


def _code_content(code: types.CodeType) -> Iterator[str]:
    yield f"code {code.co_name} {code.co_varnames} {code.co_code.hex()} {code.co_names} {code.co_freevars}"
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _code_content(constant)
        else:
            yield f"constant {type(constant).__name__} {_stable(constant)}"


def _stable(value: object) -> str:
    """Like repr, but with sets sorted, because their order differs from process to process."""
    if isinstance(value, dict):
        return str(sorted((str(name), _stable(item)) for name, item in value.items()))
    if isinstance(value, set | frozenset):
        return str(sorted(map(repr, value)))
    return repr(value)
