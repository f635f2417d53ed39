"""What the tables of this folder are made of: entries by their names, and settings by theirs."""

from __future__ import annotations

import functools
from collections import namedtuple
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

Entry = TypeVar("Entry")


class UnknownNameError(KeyError):
    """A name that is in no table; the message lists those that are."""

    def __str__(self) -> str:
        """The message as it is: a KeyError would put it in quotes."""
        return str(self.args[0])


class Table(dict[str, Entry]):
    """Entries by their names. Asked for a name that it does not have, it says what it has.

    kind    what an entry is called in that error: "activation", "loss", ...
    """

    def __init__(self, kind: str, entries: Mapping[str, Entry] | Iterable[tuple[str, Entry]] = ()) -> None:
        super().__init__(entries)
        self.kind = kind

    @classmethod
    def of(cls, kind: str, *entries: Entry) -> Table[Entry]:
        """The table of entries that have a `name`."""
        return cls(kind, {entry.name: entry for entry in entries})  # type: ignore[attr-defined]

    def __missing__(self, name: object) -> Entry:
        raise UnknownNameError(f"unknown {self.kind} {name!r}; accepted: {', '.join(self)}")


@functools.cache
def named(*names: str) -> type[Any]:
    """The class of tuples whose values have these names: how a scalar function reads its settings, in any kernel.

    The same names give the same class.
    """
    return namedtuple("Settings", names)
