"""The names of one NumPy module, resolved for the current device when first used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from bpcore.numpy import array_api, device_choice


class Namespace:
    """The contents of a module of this package: `find` is its __getattr__, `names` its __dir__.

    path    the module within NumPy: "" or "linalg", ...
    within  the module's globals(), in which each name is stored when found, so that later uses cost nothing
    own     names that the module defines in addition to NumPy's
    """

    _all: ClassVar[list[Namespace]] = []

    def __init__(self, path: str, within: dict[str, Any], own: Sequence[str] = ()) -> None:
        self._path, self._within, self._own = path, within, own
        self._found: set[str] = set()
        self._all.append(self)

    def find(self, name: str) -> Any:
        """The object of that name on the current device; AttributeError if neither NumPy nor the standard has it."""
        if name == "__all__":
            return array_api.names(self._path)
        if name.startswith("__") and name not in array_api.names(self._path):
            raise AttributeError(f"module {self._within['__name__']!r} has no attribute {name!r}")
        device = device_choice.at_hand()
        value = array_api.find(self._path, name) if device is None else device.find(self._path, name)
        self._within[name] = value
        self._found.add(name)
        return value

    def names(self) -> list[str]:
        """All names, whether or not they have been used."""
        return sorted({*array_api.names(self._path), *self._own})

    @classmethod
    def forget(cls) -> None:
        """Drop all names found so far, because another device was chosen."""
        for namespace in cls._all:
            for name in namespace._found:
                del namespace._within[name]
            namespace._found.clear()


device_choice.on_change(Namespace.forget)
