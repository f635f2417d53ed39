"""NumPy's names for a device: its own function where it has one that takes the call, else NumPy's on the host."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from bpcore.backends.base import Backend
from bpcore.numpy import standard
from bpcore.numpy.border import Border, Policy, Why, computing_on_host, written
from bpcore.numpy.calls import Calls, UnfitError
from bpcore.numpy.drawing import Drawing
from bpcore.numpy.ufuncs import Ufunc

CREATION = {"array", "asanyarray", "asarray", "ascontiguousarray", "asfortranarray", "copy", "require"}
"""Made on the host, where they are made of what is on the host."""

TEXT = {"array2string", "array_repr", "array_str", "format_float_positional", "format_float_scientific"}
FILES = {"frombuffer", "fromfile", "fromregex", "fromstring", "genfromtxt", "load", "loadtxt"}
FILES |= {"save", "savetxt", "savez", "savez_compressed"}
BY_NATURE = TEXT | FILES | {"fromfunction", "fromiter", "min_scalar_type", "ndenumerate"}
"""Computed on the host in any case, as is numpy.testing: text, files, and what goes element by element in Python."""

DEVICE_OBJECTS = {"__array_namespace_info__", "broadcast", "c_", "flatiter", "mgrid", "ogrid", "poly1d", "r_"}
"""No functions, but the device's own all the same."""

WRITES: dict[str, list[int | str]] = {
    "copyto": [0, "dst"],
    "fill_diagonal": [0, "a"],
    "place": [0, "arr"],
    "put": [0, "a"],
    "put_along_axis": [0, "arr"],
    "putmask": [0, "a"],
}
"""Functions that write into an argument other than `out`."""


class Device:
    """Everything that bpcore.numpy offers while a device is at hand."""

    def __init__(self, backend: Backend, fallback: Policy) -> None:
        self.border = Border(backend, fallback)
        self._calls = Calls(self.border)
        self._drawing = Drawing(self.border)
        self._own = {
            "ndarray": backend.array_type,
            "ufunc": Ufunc,
            "vectorize": type("vectorize", (_Vectorize,), {"_border": self.border, "__module__": "bpcore.numpy"}),
        }

    def find(self, path: str, name: str) -> Any:
        """What NumPy's name in numpy.<path> stands for on this device."""
        if path == "random":
            return self._drawing.find(name)
        host = standard.find(path, name)
        if not path and name in self._own:
            return self._own[name]
        candidates = self._calls.candidates(path, name)
        if not path and name in DEVICE_OBJECTS:
            return candidates[0] if candidates else host
        if isinstance(host, np.ufunc):
            return Ufunc(self._calls, path, name, host)
        if (
            not callable(host)
            or (isinstance(host, type) and name not in BY_NATURE)
            or host in [*candidates, np.isscalar]
        ):
            return host
        if not path and name == "clip":
            return standard.clip_by(self._function(path, name, np.clip, candidates))
        return self._function(path, name, host, candidates)

    def _function(self, path: str, name: str, host: Callable[..., Any], candidates: list[Any]) -> Callable[..., Any]:
        """A function of NumPy's, with its name, signature and documentation."""
        whole = f"{path}.{name}" if path else name
        always: Why | None = "by nature" if path == "testing" or name in BY_NATURE else None
        guard = self._singular_matrices_raise if path == "linalg" else nullcontext
        writes = [*WRITES.get(name, []), "out"]

        @functools.wraps(host)
        def function(*args: Any, **kwargs: Any) -> Any:
            if computing_on_host.get():
                return host(*args, **kwargs)
            why, problem = always, ""
            if why is None and name in CREATION and not self._calls.has_arrays((args, kwargs)):
                why = "creation"
            if why is None:
                try:
                    if any(isinstance(value, np.ndarray) for value in written(args, kwargs, writes)):
                        raise UnfitError("it writes into an array on the host")
                    with guard():
                        return self._calls.call(whole, host, candidates, args, kwargs)
                except UnfitError as error:
                    why, problem = "fallback", str(error)
            result = self.border.on_host(whole, host, args, kwargs, why=why, problem=problem, writes=writes)
            return Ufunc(self._calls, path, name, result) if isinstance(result, np.ufunc) else result

        function.__module__ = f"bpcore.numpy.{path}".rstrip(".")
        return function

    def _singular_matrices_raise(self) -> AbstractContextManager[None]:
        """CuPy looks for what makes NumPy raise LinAlgError only where it is told to: it has to wait for that."""
        if self._calls.xp.__name__ != "cupy":
            return nullcontext()
        import cupyx

        return cupyx.errstate(linalg="raise")  # type: ignore[no-any-return]


class _Vectorize(np.vectorize):
    """numpy.vectorize: a function of Python's for each element, so on the host."""

    _border: Border

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As numpy.vectorize, with arrays of the device."""
        if computing_on_host.get():
            return super().__call__(*args, **kwargs)
        return self._border.on_host("vectorize", super().__call__, args, kwargs, why="by nature")
