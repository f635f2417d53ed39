"""The names of one of NumPy's modules, found for the device at hand when they are first asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from bpcore.numpy import choice, standard


class Namespace:
    """What a module of this package offers: `find` is its __getattr__, `names` its __dir__.

    path    the module within NumPy: "" or "linalg", ...
    within  the module's globals(), where a name is kept once it is found, so that it costs nothing afterwards
    own     names of its own that the module has beside NumPy's
    """

    _all: ClassVar[list[Namespace]] = []

    def __init__(self, path: str, within: dict[str, Any], own: Sequence[str] = ()) -> None:
        self._path, self._within, self._own = path, within, own
        self._found: set[str] = set()
        self._all.append(self)

    def find(self, name: str) -> Any:
        """The object of that name for the device at hand; AttributeError where NumPy and the standard have none."""
        if name == "__all__":
            return standard.names(self._path)
        if name.startswith("__") and name not in standard.names(self._path):
            raise AttributeError(f"module {self._within['__name__']!r} has no attribute {name!r}")
        device = choice.at_hand()
        value = standard.find(self._path, name) if device is None else device.find(self._path, name)
        self._within[name] = value
        self._found.add(name)
        return value

    def names(self) -> list[str]:
        """All names, whether they were asked for or not."""
        return sorted({*standard.names(self._path), *self._own})

    @classmethod
    def forget(cls) -> None:
        """Another device was chosen: every name is to be found anew."""
        for namespace in cls._all:
            for name in namespace._found:
                del namespace._within[name]
            namespace._found.clear()


choice.on_change(Namespace.forget)
