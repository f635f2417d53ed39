"""NumPy's ufuncs on a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bpcore.numpy.array_api import NOTHING, signature
from bpcore.numpy.calls import Calls, UnfitError, tried
from bpcore.numpy.transfers import computing_on_host

REDUCTIONS = {"maximum": "max", "minimum": "min", "logical_and": "all", "logical_or": "any"}
"""Functions of the device that do what a ufunc's `reduce` does."""


class Ufunc:
    """A NumPy ufunc on a device: the call and its five methods, with `out=` and `where=`.

    If the device's ufunc lacks the method, or refuses the dtype, NumPy computes the result on the host.
    """

    def __init__(self, calls: Calls, path: str, name: str, host: np.ufunc) -> None:
        self._calls, self._host = calls, host
        self._name = f"{path}.{name}" if path else name
        self._candidates = calls.candidates(path, name)
        self.__name__, self.__doc__ = name, host.__doc__
        self.__module__ = f"bpcore.numpy.{path}".rstrip(".")
        self.__signature__ = signature(host)

    def __getattr__(self, name: str) -> Any:
        """nin, nout, types, identity, signature, ..."""
        return getattr(self.__dict__["_host"], name)

    def __repr__(self) -> str:
        return f"<ufunc {self.__name__!r} of the {self._calls.border.backend.name} backend>"

    def __reduce__(self) -> str:
        return self.__name__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As numpy.ufunc."""

        def on_device() -> Any:
            options = _without(kwargs, order="K", subok=True, where=True)
            where = self._operand(options.pop("where", True))
            masked = where is not True
            if masked and (self._host.nout > 1 or len(args) > self._host.nin):
                raise UnfitError("where= with several outputs, or with an output passed by position")
            out = options.pop("out", None) if masked else None
            result = self._calls.call(self._name, self._host, self._candidates, args, options)
            if out is None:
                return result  # elements outside `where` are undefined, in NumPy too
            out = out[0] if isinstance(out, tuple) else out
            self._calls.xp.copyto(out, result, where=where)
            return out

        return self._try(on_device, "__call__", args, kwargs, [*range(self._host.nin, self._host.nargs), "out"])

    def reduce(
        self,
        array: Any,
        axis: Any = 0,
        dtype: Any = None,
        out: Any = None,
        keepdims: bool = False,
        initial: Any = NOTHING,
        where: Any = True,
    ) -> Any:
        """As numpy.ufunc.reduce."""
        given = {"axis": axis, "dtype": dtype, "out": out, "keepdims": keepdims, "initial": initial, "where": where}
        options = _without(given, dtype=None, out=None, initial=NOTHING, where=True)

        def on_device() -> Any:
            if self.__name__ in REDUCTIONS:
                return tried(getattr(self._calls.xp, REDUCTIONS[self.__name__]), self._operand(array), **options)
            return self._method("reduce", self._operand(array), **options)

        return self._try(on_device, "reduce", (array,), options, ["out"])

    def accumulate(self, array: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        """As numpy.ufunc.accumulate."""
        options = _without({"axis": axis, "dtype": dtype, "out": out}, dtype=None, out=None)

        def on_device() -> Any:
            return self._method("accumulate", self._operand(array), **options)

        return self._try(on_device, "accumulate", (array,), options, ["out"])

    def reduceat(self, array: Any, indices: Any, axis: int = 0, dtype: Any = None, out: Any = None) -> Any:
        """As numpy.ufunc.reduceat."""
        options = _without({"axis": axis, "dtype": dtype, "out": out}, dtype=None, out=None)

        def on_device() -> Any:
            return self._method("reduceat", self._operand(array), self._operand(indices), **options)

        return self._try(on_device, "reduceat", (array, indices), options, ["out"])

    def outer(self, A: Any, B: Any, /, **kwargs: Any) -> Any:
        """As numpy.ufunc.outer."""

        def on_device() -> Any:
            return self._method("outer", self._operand(A), self._operand(B), **kwargs)

        return self._try(on_device, "outer", (A, B), kwargs, ["out"])

    def at(self, a: Any, indices: Any, b: Any = None, /) -> None:
        """As numpy.ufunc.at: changes a[indices] in place, once for each occurrence of an index."""
        operands = (b,) if self._host.nin == 2 else ()

        def on_device() -> Any:
            if not self._calls.has_arrays(a):
                raise UnfitError("it writes into an array on the host")
            where = tuple(map(self._operand, indices)) if isinstance(indices, tuple) else self._operand(indices)
            return self._method("at", a, where, *map(self._operand, operands))

        self._try(on_device, "at", (a, indices, *operands), {}, [0])

    def _operand(self, value: Any) -> Any:
        return self._calls.operand(self._name, value)

    def _method(self, method: str, *args: Any, **options: Any) -> Any:
        for candidate in self._candidates:
            if hasattr(candidate, method):
                return tried(getattr(candidate, method), *args, **options)
        raise UnfitError(self._calls.no_such)

    def _try(
        self,
        on_device: Callable[[], Any],
        method: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        writes: list[int | str],
    ) -> Any:
        """Compute on the device, or on the host if the device cannot."""
        host = getattr(self._host, method)
        if computing_on_host.get():
            return host(*args, **kwargs)
        try:
            return on_device()
        except UnfitError as error:
            name = self._name if method == "__call__" else f"{self._name}.{method}"
            border = self._calls.border
            return border.on_host(name, host, args, kwargs, why="fallback", problem=str(error), writes=writes)


def _without(given: dict[str, Any], **defaults: Any) -> dict[str, Any]:
    """The given arguments without those that have their default."""
    return {key: value for key, value in given.items() if key not in defaults or value is not defaults[key]}
