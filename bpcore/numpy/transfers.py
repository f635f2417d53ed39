"""Copy between host and device: allow or refuse each copy, and count it by the line of the script."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

import array_api_compat
import numpy as np

from bpcore.backends.arrays import Array
from bpcore.backends.base import Backend
from bpcore.errors import InputError, bytes_in_words

Policy = Literal["warn", "raise", "ignore"]
POLICIES = ("warn", "raise", "ignore")

Direction = Literal["to host", "to device"]
Why = Literal["fallback", "argument", "creation", "random", "by nature", "asked for"]
"""fallback    the device lacks the function, so NumPy computed it on the host
argument    a host array or list was passed to a function that runs on the device
creation    an array was created from numbers on the host
random      NumPy drew the numbers, so that a seed gives the same ones on every device
by nature   printing, files, comparisons in tests
asked for   to_numpy"""

_FOLDERS = tuple(os.path.dirname(file) + os.sep for file in (__file__, np.__file__, array_api_compat.__file__))

computing_on_host: ContextVar[bool] = ContextVar("computing_on_host", default=False)
"""True while NumPy computes on the host: a user's function that NumPy then calls also gets NumPy's functions."""


class FallbackWarning(UserWarning):
    """The device lacks a function, which was computed on the host instead."""


@dataclass(frozen=True)
class Transfer:
    """The arrays that one function, called from one line of a script, copied: their number and total bytes."""

    place: str
    """file:line"""
    name: str
    """The function, such as "block" or "linalg.multi_dot"."""
    direction: Direction
    why: Why
    arrays: int
    bytes: int

    def __str__(self) -> str:
        count = f"{self.arrays} arrays" if self.arrays > 1 else "1 array"
        return f"{self.place}: {self.name}: {count}, {bytes_in_words(self.bytes)} {self.direction} ({self.why})"


def _line() -> tuple[str, int]:
    """The file and line of the script that called bpcore.numpy, skipping frames of this package and of NumPy."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_FOLDERS):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


class Border:
    """Makes and counts every copy of bpcore.numpy between the host and one device, as the `fallback` policy allows."""

    def __init__(self, backend: Backend, fallback: Policy) -> None:
        self.backend = backend
        self._fallback = fallback
        self._warned: set[str] = set()
        self._crossed: dict[tuple[str, str, Direction, Why], tuple[int, int]] = {}

    def transfers(self) -> list[Transfer]:
        """All copies so far, largest first."""
        found = [Transfer(*key, *counts) for key, counts in self._crossed.items()]
        return sorted(found, key=lambda transfer: -transfer.bytes)

    def allow(self, name: str, problem: str) -> None:
        """Warn (once per name) or raise InputError, as the policy says, before a copy that the user may not expect."""
        if self._fallback == "raise":
            raise InputError(f"bpcore.numpy.{name} {problem}; fallback='raise' forbids it")
        if self._fallback == "warn" and name not in self._warned:
            self._warned.add(name)
            warnings.warn_explicit(f"bpcore.numpy.{name} {problem}", FallbackWarning, *_line())

    def count(self, name: str, direction: Direction, why: Why, size: int) -> None:
        """Count the copy of one array of `size` bytes."""
        file, line = _line()
        key = (f"{file}:{line}", name, direction, why)
        arrays, before = self._crossed.get(key, (0, 0))
        self._crossed[key] = (arrays + 1, before + size)

    def bring(self, host: np.ndarray, name: str, why: Why) -> Array:
        """Copy an array from the host to the device, in the same memory order."""
        self.count(name, "to device", why, host.nbytes)
        if host.flags.f_contiguous and not host.flags.c_contiguous:
            return self.backend.asarray(host.T).T
        return self.backend.asarray(host)

    def on_host(
        self,
        name: str,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        why: Why,
        problem: str = "",
        writes: Iterable[int | str] = (),
        back: bool = True,
    ) -> Any:
        """Call a NumPy function on the host: copy device arrays there, and the results back.

        writes   the arguments that the function writes into, by position or keyword; one that it returns may be omitted
        back     whether to copy results to the device
        """
        crossing = _Crossing(self, name, why, problem)
        host_args, host_kwargs = crossing.fetch(args), crossing.fetch(kwargs)
        before = computing_on_host.set(True)
        try:
            result = function(*host_args, **host_kwargs)
        finally:
            computing_on_host.reset(before)
        for value, its_host in zip(written(args, kwargs, writes), written(host_args, host_kwargs, writes), strict=True):
            crossing.write_back(value, its_host)
        return crossing.bring(result) if back else result

    def fits(self, host: np.ndarray) -> bool:
        """Whether a device can hold the array: booleans, numbers of up to 64 bits (complex: 128), no subclasses."""
        return type(host) is np.ndarray and host.dtype.kind in "biufc" and host.dtype.char not in "gG"


def written(args: tuple[Any, ...], kwargs: dict[str, Any], writes: Iterable[int | str]) -> list[Any]:
    """The given arguments that a function writes into."""
    by_place = [args[which] for which in writes if isinstance(which, int) and which < len(args)]
    return by_place + [kwargs[which] for which in writes if isinstance(which, str) and which in kwargs]


class _Crossing:
    """The copies of one call that is computed on the host."""

    def __init__(self, border: Border, name: str, why: Why, problem: str) -> None:
        self._border, self._name, self._why, self._problem = border, name, why, problem
        self._pairs: dict[int, tuple[Array, np.ndarray]] = {}
        """Pairs of a device array and its host copy, by the id of either."""
        self._written: list[np.ndarray] = []
        """Host arrays that the function wrote into and that are copied back, or were on the host from the start."""

    def fetch(self, value: Any) -> Any:
        """The value with device arrays replaced by host copies; the same object if it holds none."""
        if self._border.backend.owns(value):
            if id(value) not in self._pairs:
                self._allow()
                host = self._border.backend.to_numpy(value)
                self._border.count(self._name, "to host", self._why, host.nbytes)
                self._pairs[id(value)] = self._pairs[id(host)] = (value, host)
            return self._pairs[id(value)][1]
        return _mapped(self.fetch, value)

    def bring(self, value: Any) -> Any:
        """The value with host arrays replaced by device arrays; arrays that a device cannot hold stay on the host."""
        if id(value) in self._pairs:
            array, host = self._pairs[id(value)]
            self.write_back(array, host)
            return array
        if isinstance(value, np.ndarray):
            if not self._border.fits(value) or any(value is one for one in self._written):
                return value
            self._allow()
            return self._border.bring(value, self._name, self._why)
        return _mapped(self.bring, value)

    def write_back(self, value: Any, host: Any) -> None:
        """Copy what the function wrote into the host copy to the value itself."""
        if isinstance(host, np.ndarray):
            if value is not host and not any(host is one for one in self._written):
                new = self._border.bring(host, self._name, self._why)
                self._border.backend.array_module.copyto(value, new)
            self._written.append(host)
        elif isinstance(value, list) and value is not host:
            value[:] = [self._pairs[id(one)][0] if id(one) in self._pairs else one for one in host]
        elif isinstance(value, tuple):
            for one, its_host in zip(value, host, strict=True):
                self.write_back(one, its_host)

    def _allow(self) -> None:
        if self._why == "fallback":
            self._border.allow(self._name, f"is computed on the host, and its arrays are copied: {self._problem}")


def _mapped(function: Callable[[Any], Any], value: Any) -> Any:
    """Apply the function to each element of a list, tuple or dict; the same object if nothing changes."""
    if isinstance(value, dict):
        changed = {key: function(one) for key, one in value.items()}
        return value if all(changed[key] is value[key] for key in value) else type(value)(changed)
    if isinstance(value, list | tuple):
        elements = [function(one) for one in value]
        if all(one is before for one, before in zip(elements, value, strict=True)):
            return value
        return type(value)(*elements) if hasattr(value, "_fields") else type(value)(elements)
    return value
