"""Random numbers for a device, drawn by NumPy on the host so that a seed gives the same numbers on every device.

Copying them to the device counts as a transfer (`random`), without a warning. Single numbers (no size given) are Python
numbers and are not copied.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from bpcore.numpy.transfers import Border, computing_on_host

NO_NUMBERS = frozenset({"bytes", "get_state", "seed", "set_state", "spawn"})
"""Methods that draw no numbers; these are NumPy's own."""

WRITES: dict[str, list[int | str]] = {"shuffle": [0, "x"]}
"""Methods that write into an argument other than `out`."""


class Drawing:
    """The contents of numpy.random for one device."""

    def __init__(self, border: Border) -> None:
        self._border = border
        self._generator = _generators(border, np.random.Generator)
        self._random_state = _generators(border, np.random.RandomState)

    def find(self, name: str) -> Any:
        """The object of that name; functions and generator classes return device arrays."""
        host = getattr(np.random, name)
        if name == "Generator":
            return self._generator
        if name == "RandomState":
            return self._random_state
        if name == "default_rng":
            return self._default_rng(host)
        if isinstance(getattr(host, "__self__", None), np.random.RandomState) and name not in NO_NUMBERS:
            return self._function(name, host)
        return host

    def _default_rng(self, host: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(host)
        def default_rng(seed: Any = None) -> Any:
            if isinstance(seed, self._generator):
                return seed
            rng = self._border.on_host("random.default_rng", host, (seed,), {}, why="random", back=False)
            return self._generator(rng.bit_generator)

        default_rng.__module__ = "bpcore.numpy.random"
        return default_rng

    def _function(self, name: str, host: Callable[..., Any]) -> Callable[..., Any]:
        """A function that draws from NumPy's global generator and returns a device array."""

        @functools.wraps(host)
        def function(*args: Any, **kwargs: Any) -> Any:
            return _draw(self._border, name, host, args, kwargs)

        function.__module__ = "bpcore.numpy.random"
        return function


def _draw(border: Border, name: str, host: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if computing_on_host.get():
        return host(*args, **kwargs)
    return border.on_host(f"random.{name}", host, args, kwargs, why="random", writes=[*WRITES.get(name, []), "out"])


def _generators(border: Border, base: type) -> type:
    """A subclass of NumPy's Generator or RandomState whose methods return device arrays."""

    def start(self: Any, *args: Any, **kwargs: Any) -> None:
        # A plain generator draws, because NumPy's methods call one another and expect numbers on the host.
        self._plain = base(*args, **kwargs)
        base.__init__(self, self._plain._bit_generator)  # type: ignore[misc]

    def method(name: str) -> Callable[..., Any]:
        host = getattr(base, name)

        @functools.wraps(host)
        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            if name in NO_NUMBERS:
                return getattr(self._plain, name)(*args, **kwargs)
            return _draw(border, name, getattr(self._plain, name), args, kwargs)

        return call

    def restore(self: Any, plain: Any) -> None:
        self._plain = plain

    def spawn(self: Any, n_children: int) -> list[Any]:
        return [type(self)(child.bit_generator) for child in self._plain.spawn(n_children)]

    body = {name: method(name) for name in dir(base) if not name.startswith("_") and callable(getattr(base, name))}
    if "spawn" in body:
        body["spawn"] = functools.wraps(base.spawn)(spawn)  # type: ignore[attr-defined]
    body["__init__"] = start
    body["__reduce__"] = lambda self: (type(self), (self._plain._bit_generator,), self._plain)
    body["__setstate__"] = restore
    return type(base.__name__, (base,), {"__module__": "bpcore.numpy.random", "__doc__": base.__doc__, **body})
