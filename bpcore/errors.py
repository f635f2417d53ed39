"""The errors that a user can cause, each told in one clear line.

Every message says what was given, what is accepted and, where it helps, how to mend it. They are raised
before any work is done. The command line prints the message alone and exits with code 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BpcoreError(Exception):
    """Base of every error that comes from what a user gave, not from a defect in bpcore."""


class InputError(BpcoreError, ValueError):
    """A value, shape, label, file or option that cannot be used."""


class InputTypeError(BpcoreError, TypeError):
    """An argument of a type that cannot be used."""


class MissingExtraError(BpcoreError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it, or those to choose from."""

    def __init__(self, feature: str, *extras: str) -> None:
        packages = " or ".join(f'"bpcore[{extra}]"' for extra in extras)
        super().__init__(f"{feature} needs an optional package: pip install {packages}")


def bytes_in_words(count: int) -> str:
    """A size as people say it: 512 bytes, 1.5 MiB, 80.0 GiB."""
    for power, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count >= 2**power:
            return f"{count / 2**power:,.1f} {unit}"
    return f"{count} bytes"


def unknown_name(kind: str, name: object, accepted: Iterable[str]) -> InputError:
    """The error for a name that is in no table, with the nearest accepted name as a hint."""
    names = sorted(accepted)
    near = difflib.get_close_matches(str(name), names, n=1) or difflib.get_close_matches(str(name).lower(), names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    return InputError(f"unknown {kind} {name!r}{hint}; accepted: {', '.join(names)}")
