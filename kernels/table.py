"""Table, a dictionary of entries by name, and `named`, which makes classes of named settings."""

from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

Entry = TypeVar("Entry")


class UnknownNameError(KeyError):
    """A name is not in a table; the message lists the names that are."""

    def __str__(self) -> str:
        """The message without the quotes that KeyError adds."""
        return str(self.args[0])


class Table(dict[str, Entry]):
    """A dictionary of entries by name. For an unknown name it raises UnknownNameError, which lists the known ones.

    kind    what the error calls an entry: "activation", "loss", ...
    """

    def __init__(self, kind: str, entries: Mapping[str, Entry] | Iterable[tuple[str, Entry]] = ()) -> None:
        super().__init__(entries)
        self.kind = kind

    @classmethod
    def of(cls, kind: str, *entries: Entry) -> Table[Entry]:
        """Make a table of entries that have a `name`."""
        return cls(kind, {entry.name: entry for entry in entries})  # type: ignore[attr-defined]

    def __missing__(self, name: object) -> Entry:
        raise UnknownNameError(f"unknown {self.kind} {name!r}; accepted: {', '.join(self)}")


@functools.cache
def named(*names: str) -> type[Any]:
    """Return a named-tuple class with these fields, by which a scalar function reads its settings in any kernel.

    Equal names give the same class.
    """
    return namedtuple("Settings", names)
