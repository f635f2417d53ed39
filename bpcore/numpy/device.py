"""NumPy's names for a device: its own function where it has one that takes the call, else NumPy's on the host.

A call is tried on the device's module (CuPy), then on what array-api-compat makes of it. Where neither takes the
arguments, or the device says that it cannot (NotImplementedError, TypeError), NumPy computes it on the host.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import array_api_compat
import numpy as np

from bpcore.backends.base import Backend
from bpcore.numpy import standard
from bpcore.numpy.drawing import Drawing
from bpcore.numpy.transfers import Border, Policy, Why, computing_on_host

CREATION = frozenset({"array", "asanyarray", "asarray", "ascontiguousarray", "asfortranarray", "copy", "require"})
"""Made on the host, where they are made of what is on the host."""

BY_NATURE = frozenset(
    "array2string array_repr array_str format_float_positional format_float_scientific frombuffer fromfile fromfunction "
    "fromiter fromregex fromstring genfromtxt load loadtxt ndenumerate save savetxt savez savez_compressed".split()
)
"""Computed on the host in any case: text, files, and what calls a function of the user's element by element."""

STANDARD_FIRST = frozenset({"broadcast_arrays", "ceil", "floor", "meshgrid", "trunc"})
"""Where array-api-compat gives what NumPy gives and CuPy does not: tuples, and whole numbers that stay integers."""

DEVICE_OBJECTS = frozenset({"broadcast", "c_", "flatiter", "mgrid", "ogrid", "poly1d", "r_"})
"""No functions, but made of arrays."""

WRITES = {"copyto": 0, "fill_diagonal": 0, "place": 0, "put": 0, "put_along_axis": 0, "putmask": 0}
"""Functions that write into an argument other than `out`."""

ARRAYS = frozenset(
    "A X a a1 a2 a_max a_min append ar ar1 ar2 arr array ary aweights b bins choices choicelist condition condlist "
    "element f filt fp fweights ind indices m mask max mean min multi_index object p prepend q sample seq_of_zeros "
    "sorter src test_elements to_begin to_end u v val values w weights where x x1 x2 xp y z".split()
)
"""NumPy's parameters that take an array or a list."""

SEQUENCES = frozenset({"arrays", "arys", "keys", "tup", "args", "xi", "choicelist", "choices", "condlist"})
"""NumPy's parameters that take several arrays."""

LEADING = ARRAYS - {"condition", "object"}
"""Where they come first: those for which a plain number stands for an array. `where` treats numbers in its own way."""

REDUCTIONS = {"maximum": "max", "minimum": "min", "logical_and": "all", "logical_or": "any"}
"""Functions of the device that are the reduction of a ufunc."""


class Unfit(Exception):  # noqa: N818  never raised to a user
    """The device does not take this call; the reason in words."""


class Device:
    """Everything that bpcore.numpy offers while a device is at hand."""

    def __init__(self, backend: Backend, fallback: Policy) -> None:
        self.border = Border(backend, fallback)
        self.xp = backend.array_module
        self._drawing = Drawing(self.border)
        self._standard = array_api_compat.array_namespace(backend.empty((0,), np.float32))

    def find(self, path: str, name: str) -> Any:
        """NumPy's name of numpy.<path>: a function that takes arrays of the device, or what stands for it here."""
        if path == "random":
            return self._drawing.find(name)
        host = standard.find(path, name)
        if not path and name == "ndarray":
            return self.border.backend.array_type
        if not path and name == "vectorize":
            return functools.partial(Vectorized, self.border)
        if not path and name == "ufunc":
            return Ufunc
        if name == "__array_namespace_info__" or (not path and name in DEVICE_OBJECTS):
            return next(iter(self._candidates(path, name)), host)
        if isinstance(host, np.ufunc):
            return Ufunc(self, path, name, host)
        if name == "ndenumerate" or (callable(host) and not isinstance(host, type)):
            return self._function(path, name, host)
        return host

    def _candidates(self, path: str, name: str) -> list[Any]:
        """The device's objects of that name."""
        found = []
        for module in (self.xp, self._standard):
            space = getattr(module, path, None) if path else module
            if (candidate := getattr(space, name, None)) is not None and candidate not in found:
                found.append(candidate)
        return found[::-1] if name in STANDARD_FIRST else found

    def _function(self, path: str, name: str, host: Callable[..., Any]) -> Callable[..., Any]:
        """A function of NumPy's, with its name, signature and documentation."""
        whole = f"{path}.{name}" if path else name
        always: Why | None = "by nature" if path == "testing" or name in BY_NATURE else None
        candidates = [] if always else self._candidates(path, name)
        guard = self._singular_matrices_raise if path == "linalg" else nullcontext
        writes = [*([WRITES[name]] if name in WRITES else []), "out"]

        @functools.wraps(host)
        def function(*args: Any, **kwargs: Any) -> Any:
            if computing_on_host.get():
                return host(*args, **kwargs)
            why, problem = always, ""
            if why is None and name in CREATION and not self.has_arrays((args, kwargs)):
                why = "creation"
            if why is None:
                try:
                    with guard():
                        return self._call(whole, host, candidates, args, kwargs)
                except Unfit as error:
                    why, problem = "fallback", str(error)
            result = self.border.on_host(whole, host, args, kwargs, why=why, problem=problem, writes=writes)
            return Ufunc(self, path, name, result) if isinstance(result, np.ufunc) else result

        function.__module__ = f"bpcore.numpy.{path}".rstrip(".")
        return function

    def _call(self, name: str, host: Any, candidates: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The call on the device; Unfit where it has none that takes it."""
        problem = f"the {self.border.backend.name} backend has no such function"
        positional, named = self.arguments(name, host, args, kwargs)
        for candidate in candidates:
            fitting = _fitting(candidate, host, positional, named)
            if fitting is None:
                problem = f"the {self.border.backend.name} backend's function does not take these arguments"
                continue
            try:
                return candidate(*positional, **fitting)
            except (NotImplementedError, TypeError) as error:
                problem = reason(error)
        raise Unfit(problem)

    def arguments(
        self, name: str, host: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """What NumPy names in its own way goes by place, the rest by name; lists and host arrays become the device's.

        The first are the parameters without a default: CuPy has them in the same order, often by other names. The
        others have the same names, now and then in another order. TypeError as in NumPy where the call is wrong.
        """
        known = standard.parameters(host)
        if not known or isinstance(host, np.ufunc):
            return [self.operand(name, value) for value in args], {
                key: self.operand(name, value) if key in ARRAYS else value for key, value in kwargs.items()
            }
        positional: list[Any] = []
        named: dict[str, Any] = {}
        bound = inspect.signature(host).bind(*args, **kwargs)
        for place, (key, value) in enumerate(bound.arguments.items()):
            parameter = known[key]
            if parameter.kind is parameter.VAR_KEYWORD:
                named.update(value)
            elif parameter.kind is parameter.VAR_POSITIONAL:
                positional.extend(self._several(name, value) if key in SEQUENCES else value)
            else:
                if key in SEQUENCES and isinstance(value, list | tuple):
                    value = type(value)(self._several(name, value))
                elif key in ARRAYS or isinstance(value, np.ndarray):
                    value = self.operand(name, value, number=place == 0 and key in LEADING)
                by_place = parameter.kind is parameter.POSITIONAL_ONLY or parameter.default is parameter.empty
                if by_place:
                    positional.append(value)
                else:
                    named[key] = value
        return positional, named

    def _several(self, name: str, values: Any) -> list[Any]:
        return [self.operand(name, value, number=True) for value in values]

    def operand(self, name: str, value: Any, *, number: bool = False) -> Any:
        """An array or list on the host as an array of the device, and with `number` a plain number too.

        Unfit where it holds what a device cannot hold: text, objects, dates.
        """
        if isinstance(value, list | tuple) and self.has_arrays(value):
            return self.xp.asarray(value)
        is_number = number and isinstance(value, bool | int | float | complex | np.generic)
        if not isinstance(value, np.ndarray | list | tuple) and not is_number:
            return value
        host = np.asarray(value)
        if not self.border.fits(host):
            raise Unfit(f"a device cannot hold {host.dtype}")
        if isinstance(value, np.ndarray):
            self.border.allow(name, "was given an array on the host, and copies it to the device at each call")
        return self.border.bring(host, name, "argument")

    def has_arrays(self, value: Any) -> bool:
        """Whether there are arrays of the device in it."""
        if isinstance(value, list | tuple):
            return any(map(self.has_arrays, value))
        if isinstance(value, dict):
            return any(map(self.has_arrays, value.values()))
        return self.border.backend.owns(value)

    def _singular_matrices_raise(self) -> Any:
        """CuPy looks for what makes NumPy raise LinAlgError only where it is told to."""
        if self.xp.__name__ != "cupy":
            return nullcontext()
        import cupyx

        return cupyx.errstate(linalg="raise")


def _fitting(candidate: Any, host: Any, positional: list[Any], named: dict[str, Any]) -> dict[str, Any] | None:
    """The keywords that this function takes; None where it does not take the call.

    Keywords that it has not are left out where they say what it does anyway: NumPy's default.
    """
    theirs = standard.parameters(candidate)
    if not theirs:
        return named
    known = standard.parameters(host)
    everything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in theirs.values())
    kept = {
        key: value
        for key, value in named.items()
        if everything or key in theirs or key not in known or not _same(value, known[key].default)
    }
    try:
        inspect.signature(candidate).bind(*positional, **kept)
    except TypeError:
        return None
    return kept


def _same(value: Any, default: Any) -> bool:
    return value is default or (isinstance(value, bool | int | float | str) and bool(value == default))


def reason(error: Exception) -> str:
    """The first line of what a library says."""
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


class Ufunc:
    """A ufunc of NumPy's for a device: the call and its five methods, with `out=` and `where=`."""

    def __init__(self, device: Device, path: str, name: str, host: np.ufunc) -> None:
        self._device, self._host = device, host
        self._name = f"{path}.{name}" if path else name
        self._candidates = device._candidates(path, name)
        self.__name__, self.__doc__ = name, host.__doc__
        self.__module__ = f"bpcore.numpy.{path}".rstrip(".")

    def __getattr__(self, name: str) -> Any:
        """nin, nout, types, identity, signature, ..."""
        return getattr(self.__dict__["_host"], name)

    def __repr__(self) -> str:
        return f"<ufunc {self.__name__!r} of the {self._device.border.backend.name} backend>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        def on_device() -> Any:
            options = _without(kwargs, order="K", subok=True, where=True)
            where = options.pop("where", True)
            if where is True:
                return self._device._call(self._name, self._host, self._candidates, args, options)
            out = options.pop("out", None)
            out = out[0] if isinstance(out, tuple) else out
            result = self._device._call(self._name, self._host, self._candidates, args, options)
            if out is None:
                return result  # NumPy leaves undefined what `where` leaves out
            self._device.xp.copyto(out, result, where=self._device.operand(self._name, where))
            return out

        return self._try(on_device, "__call__", args, kwargs, [*range(self._host.nin, self._host.nargs), "out"])

    def reduce(
        self,
        array: Any,
        axis: Any = 0,
        dtype: Any = None,
        out: Any = None,
        keepdims: bool = False,
        initial: Any = standard._NOTHING,
        where: Any = True,
    ) -> Any:
        """As numpy.ufunc.reduce."""
        options = _without(
            {"axis": axis, "dtype": dtype, "out": out, "keepdims": keepdims, "initial": initial, "where": where},
            dtype=None,
            out=None,
            initial=standard._NOTHING,
            where=True,
        )

        def on_device() -> Any:
            if self.__name__ in REDUCTIONS:
                function = getattr(self._device.xp, REDUCTIONS[self.__name__])
                return _tried(function, self._operand(array), **options)
            return self._method("reduce", array, **options)

        return self._try(on_device, "reduce", (array,), options, ["out"])

    def accumulate(self, array: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        """As numpy.ufunc.accumulate."""
        options = _without({"axis": axis, "dtype": dtype, "out": out}, dtype=None, out=None)
        return self._try(lambda: self._method("accumulate", array, **options), "accumulate", (array,), options, ["out"])

    def reduceat(self, array: Any, indices: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        """As numpy.ufunc.reduceat."""
        options = _without({"axis": axis, "dtype": dtype, "out": out}, dtype=None, out=None)

        def on_device() -> Any:
            return self._method("reduceat", array, indices, **options)

        return self._try(on_device, "reduceat", (array, indices), options, ["out"])

    def outer(self, A: Any, B: Any, /, **kwargs: Any) -> Any:
        """As numpy.ufunc.outer."""
        return self._try(lambda: self._method("outer", A, B, **kwargs), "outer", (A, B), kwargs, ["out"])

    def at(self, a: Any, indices: Any, b: Any = None, /) -> None:
        """As numpy.ufunc.at: a[indices] is changed in place, once for each time that an index occurs."""
        operands = (indices,) if self._host.nin == 1 else (indices, b)

        def on_device() -> Any:
            where = tuple(map(self._operand, indices)) if isinstance(indices, tuple) else self._operand(indices)
            return self._method("at", a, where, *operands[1:])

        self._try(on_device, "at", (a, *operands), {}, [0])

    def _operand(self, value: Any) -> Any:
        return self._device.operand(self._name, value)

    def _method(self, method: str, *args: Any, **options: Any) -> Any:
        for candidate in self._candidates:
            if hasattr(candidate, method):
                return _tried(getattr(candidate, method), *map(self._operand, args), **options)
        raise Unfit(f"the {self._device.border.backend.name} backend's function has no {method}")

    def _try(
        self,
        on_device: Callable[[], Any],
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        writes: list[int | str],
    ) -> Any:
        """On the device, or by NumPy on the host."""
        host = getattr(self._host, method)
        if computing_on_host.get():
            return host(*args, **kwargs)
        try:
            return on_device()
        except Unfit as error:
            name = self._name if method == "__call__" else f"{self._name}.{method}"
            border = self._device.border
            return border.on_host(name, host, args, kwargs, why="fallback", problem=str(error), writes=writes)


def _tried(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The device's function; Unfit where it says that it cannot."""
    try:
        return function(*args, **kwargs)
    except (NotImplementedError, TypeError) as error:
        raise Unfit(reason(error)) from error


def _without(given: dict[str, Any], **defaults: Any) -> dict[str, Any]:
    """What was given and is not the default."""
    return {key: value for key, value in given.items() if key not in defaults or value is not defaults[key]}


class Vectorized(np.vectorize):
    """numpy.vectorize: a function of Python's for each element, so on the host."""

    def __init__(self, border: Border, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._border = border

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As numpy.vectorize, with arrays of the device."""
        return self._border.on_host("vectorize", super().__call__, args, kwargs, why="by nature")
