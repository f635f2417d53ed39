"""NumPy's names on a device: the device's own function if it accepts the call, else NumPy's on the host."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from bpcore.backends.base import Backend
from bpcore.numpy import array_api
from bpcore.numpy.calls import Calls, UnfitError
from bpcore.numpy.random_numbers import Drawing
from bpcore.numpy.transfers import Border, Policy, Why, computing_on_host, written
from bpcore.numpy.ufuncs import Ufunc

CREATION = {"array", "asanyarray", "asarray", "ascontiguousarray", "asfortranarray", "copy", "require"}
"""Computed on the host if their arguments are on the host."""

TEXT = {"array2string", "array_repr", "array_str", "format_float_positional", "format_float_scientific"}
FILES = {"frombuffer", "fromfile", "fromregex", "fromstring", "genfromtxt", "load", "loadtxt"}
FILES |= {"save", "savetxt", "savez", "savez_compressed"}
BY_NATURE = TEXT | FILES | {"fromfunction", "fromiter", "min_scalar_type", "ndenumerate"}
"""Always computed on the host, like numpy.testing: text, files, and functions that loop over elements in Python."""

DEVICE_OBJECTS = {"__array_namespace_info__", "broadcast", "c_", "flatiter", "mgrid", "ogrid", "poly1d", "r_"}
"""Names that are taken from the device although they are not functions."""

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
    """The contents of bpcore.numpy while a device is chosen."""

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
        """The object for a name in numpy.<path> on this device."""
        if path == "random":
            return self._drawing.find(name)
        host = array_api.find(path, name)
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
            return array_api.clip_by(self._function(path, name, np.clip, candidates))
        return self._function(path, name, host, candidates)

    def _function(self, path: str, name: str, host: Callable[..., Any], candidates: list[Any]) -> Callable[..., Any]:
        """A function with the name, signature and docstring of NumPy's that runs on the device if it can."""
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
        """Make CuPy raise LinAlgError as NumPy does; by default it skips the check, which waits for the device."""
        if self._calls.xp.__name__ != "cupy":
            return nullcontext()
        import cupyx

        return cupyx.errstate(linalg="raise")  # type: ignore[no-any-return]


class _Vectorize(np.vectorize):
    """numpy.vectorize; it calls a Python function for each element, so it runs on the host."""

    _border: Border

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As numpy.vectorize, with device arrays."""
        if computing_on_host.get():
            return super().__call__(*args, **kwargs)
        return self._border.on_host("vectorize", super().__call__, args, kwargs, why="by nature")
