"""Make a NumPy call on the device, with the arguments arranged as the device's function takes them.

The device's module (CuPy) is tried first, then array-api-compat's version of it. If neither accepts the arguments, or
the device refuses (NotImplementedError, TypeError), UnfitError tells the caller to compute on the host.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import array_api_compat
import numpy as np

from bpcore.numpy import array_api
from bpcore.numpy.transfers import Border


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


ARRAYS = _words(
    "A X a a1 a2 a_max a_min append ar ar1 ar2 arr array ary aweights b bins condition element f filt fp fweights ind "
    "indices m mask max mean min object p prepend q sample seq_of_zeros sorter src test_elements to_begin to_end u v "
    "val values w weights where x x1 x2 xp y z"
)
"""Names of NumPy parameters that take an array or a list."""

NOT_ARRAYS = _words("histogram2d.bins histogramdd.bins")
"""Exceptions to ARRAYS: function.parameter."""

SEQUENCES = _words("args arrays arys choicelist choices condlist keys multi_index tup xi")
"""Names of NumPy parameters that take several arrays."""

WEAK = _words("choicelist choices condition object")
"""Parameters for which a plain number stays a number; for others, a number as first argument becomes an array."""

STANDARD_FIRST = _words("broadcast_arrays ceil floor meshgrid trunc")
"""Functions where array-api-compat follows NumPy and CuPy does not: results are tuples, and integers stay integers."""

NAMED_RESULTS = _words("linalg.eig linalg.eigh linalg.qr linalg.slogdet linalg.svd")
"""Functions that return a named tuple in NumPy and a plain tuple in CuPy."""


class UnfitError(Exception):
    """The device cannot make this call; the message says why. Never reaches a user."""


class Calls:
    """Makes NumPy calls on one device; the border copies their arguments."""

    def __init__(self, border: Border) -> None:
        self.border = border
        self.xp = border.backend.array_module
        self._standard = array_api_compat.array_namespace(border.backend.empty((0,), np.float32))
        self._direct: dict[tuple[object, ...], tuple[str, ...] | None] = {}
        self.no_such = f"the {border.backend.name} backend has no such function"

    def candidates(self, path: str, name: str) -> list[Any]:
        """The device's objects of that name, in the order in which to try them."""
        found = []
        for module in (self.xp, self._standard):
            space = getattr(module, path, None) if path else module
            candidate = getattr(space, name, None)
            if candidate is not None and candidate not in found:
                found.append(candidate)
        return found[::-1] if name in STANDARD_FIRST else found

    def call(self, name: str, host: Any, candidates: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Make a call of NumPy's function `host` with the first candidate that accepts it; else raise UnfitError."""
        if not candidates:
            raise UnfitError(self.no_such)
        problem = ""
        shape = (name, len(args), *kwargs)
        if shape not in self._direct:
            self._direct[shape] = _direct_names(host, candidates[0], args, kwargs)
        names = self._direct[shape]
        if names is not None:
            args = tuple([self._argument(name, *each) for each in zip(names, args, range(len(args)), strict=True)])
            kwargs = {key: self._argument(name, key, value, len(args)) for key, value in kwargs.items()}
            try:
                return _named(name, host, tried(candidates[0], *args, **kwargs))
            except UnfitError as error:
                problem, candidates = str(error), candidates[1:]
        positional, named = self.arguments(name, host, candidates, args, kwargs)
        for candidate in candidates:
            fitting = _fitting(candidate, host, positional, named)
            if fitting is None:
                problem = problem or f"the {self.border.backend.name} backend's function does not take these arguments"
                continue
            try:
                return _named(name, host, tried(candidate, *positional, **fitting))
            except UnfitError as error:
                problem = str(error)
        raise UnfitError(problem)

    def arguments(
        self, name: str, host: Any, candidates: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """Positional and keyword arguments for the device, with lists and host arrays copied to it.

        NumPy's parameters without a default become positional: CuPy has them in the same order, often under other
        names. The others become keywords: CuPy has the same names, sometimes in another order. TypeError if NumPy
        itself would refuse the call.
        """
        if isinstance(host, np.ufunc):
            return [*(self.operand(name, value) for value in args[: host.nin]), *args[host.nin :]], kwargs
        known = array_api.signature(host)
        bound = known.bind(*args, **kwargs) if known is not None else _first_bound(candidates, args, kwargs)
        for place, (key, value) in enumerate(bound.arguments.items()):
            if bound.signature.parameters[key].kind is not inspect.Parameter.VAR_KEYWORD:
                bound.arguments[key] = self._argument(name, key, value, place)
        return ([*bound.args], {**bound.kwargs}) if known is None else _by_place_and_name(bound)

    def _argument(self, name: str, key: str, value: Any, place: int) -> Any:
        strong = key not in WEAK
        if key in SEQUENCES and isinstance(value, list | tuple):
            return type(value)([self.operand(name, one, number=strong) for one in value])
        if (key in ARRAYS and f"{name}.{key}" not in NOT_ARRAYS) or (isinstance(value, np.ndarray) and key != "out"):
            return self.operand(name, value, number=strong and place == 0)
        return value

    def operand(self, name: str, value: Any, *, number: bool = False) -> Any:
        """Copy a host array or a list to the device, with `number` also a plain number; return other values unchanged.

        UnfitError if a device cannot hold the dtype: text, objects, dates.
        """
        if isinstance(value, list | tuple) and self.has_arrays(value):
            return tried(self.xp.asarray, value)
        is_number = number and isinstance(value, bool | int | float | complex | np.generic)
        if not isinstance(value, np.ndarray | list | tuple) and not is_number:
            return value
        host = np.asarray(value)
        if not self.border.fits(host):
            raise UnfitError(f"a device cannot hold {host.dtype}")
        if isinstance(value, np.ndarray):
            self.border.allow(name, "was given an array on the host, and copies it to the device at each call")
        return self.border.bring(host, name, "argument")

    def has_arrays(self, value: Any) -> bool:
        """Whether the value is or contains a device array."""
        if isinstance(value, list | tuple):
            return any(map(self.has_arrays, value))
        if isinstance(value, dict):
            return any(map(self.has_arrays, value.values()))
        return self.border.backend.owns(value)


def tried(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call the function; turn NotImplementedError and TypeError into UnfitError with the first line of the message."""
    try:
        return function(*args, **kwargs)
    except (NotImplementedError, TypeError) as error:
        raise UnfitError(f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}") from error


def _named(name: str, host: Any, result: Any) -> Any:
    """The result, as a named tuple if NumPy returns one."""
    return type(host(np.eye(1)))(*result) if name in NAMED_RESULTS and type(result) is tuple else result


def _direct_names(host: Any, candidate: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, ...] | None:
    """NumPy's names of the positional arguments, if the device's function takes the call exactly as written.

    This is true of most calls, and saves most of the work. None if the call must be rearranged, or a signature is
    unknown.
    """
    known, theirs = array_api.signature(host), array_api.signature(candidate)
    if known is None or theirs is None or isinstance(host, np.ufunc):
        return None
    try:
        ours, its = known.bind(*args, **kwargs), theirs.bind(*args, **kwargs)
    except TypeError:
        return None
    kinds = {parameter.kind for parameter in [*known.parameters.values(), *theirs.parameters.values()]}
    if inspect.Parameter.VAR_POSITIONAL in kinds or not {*kwargs} <= {*known.parameters} & {*theirs.parameters}:
        return None
    names = tuple(list(known.parameters)[: len(args)])
    by_place, _ = _by_place_and_name(ours)
    same = names[len(by_place) :] == tuple(list(theirs.parameters)[len(by_place) : len(args)])
    return names if same and len(ours.arguments) == len(its.arguments) else None


def _first_bound(candidates: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
    """The arguments bound to the device function's signature, for NumPy functions that have no signature."""
    for signature in filter(None, map(array_api.signature, candidates)):
        try:
            return signature.bind(*args, **kwargs)
        except TypeError:
            continue
    raise UnfitError("the device's function does not take these arguments")


def _by_place_and_name(bound: inspect.BoundArguments) -> tuple[list[Any], dict[str, Any]]:
    """Split the arguments: parameters without a default by position, the others by name."""
    positional: list[Any] = []
    named: dict[str, Any] = {}
    for key, value in bound.arguments.items():
        parameter = bound.signature.parameters[key]
        if parameter.kind is parameter.VAR_KEYWORD:
            named.update(value)
        elif parameter.kind is parameter.VAR_POSITIONAL:
            positional.extend(value)
        elif parameter.kind is parameter.POSITIONAL_ONLY or parameter.default is parameter.empty:
            positional.append(value)
        else:
            named[key] = value
    return positional, named


def _fitting(candidate: Any, host: Any, positional: list[Any], named: dict[str, Any]) -> dict[str, Any] | None:
    """The keywords to pass to this function; None if it does not accept the call.

    Keywords that it lacks are dropped if they have NumPy's default value.
    """
    theirs, known = array_api.signature(candidate), array_api.signature(host)
    if theirs is None:
        return named
    defaults = {} if known is None else {key: parameter.default for key, parameter in known.parameters.items()}
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in theirs.parameters.values())
    kept = {
        key: value
        for key, value in named.items()
        if open_ended or key in theirs.parameters or key not in defaults or not _same(value, defaults[key])
    }
    try:
        theirs.bind(*positional, **kept)
    except TypeError:
        return None
    return kept


def _same(value: Any, default: Any) -> bool:
    return value is default or (isinstance(value, bool | int | float | str) and bool(value == default))
