"""The docstrings of bpcore are plain text for a reader of the code; here they become what Sphinx takes.

Three things have a form: an indented block is code, a line `name    what it is` is an entry of a list (its
continuation is indented), and `name` in backticks is code. All else is text, without any mark-up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ENTRY = re.compile(r"(?P<term>\S(?:.*?\S)?) {2,}(?P<text>\S.*)")
INDENT = "    "


def converted(lines: Sequence[str]) -> list[str]:
    """reStructuredText for the lines of a docstring."""
    found: list[str] = []
    for kind, block in _blocks(lines):
        if kind == "code":
            found += ["::", "", *block]
        elif kind == "entry":
            entry = ENTRY.match(block[0])
            assert entry is not None
            found += [f"``{entry['term']}``"]
            found += [INDENT + _marked(" ".join([entry["text"], *(line.strip() for line in block[1:])]))]
        else:
            found += [_marked(line) for line in block]
        found.append("")
    return found


def _blocks(lines: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """The lines, cut into ("text" | "entry" | "code", lines)."""
    kind, block = "", list[str]()
    for line in [*lines, ""]:
        indented = line.startswith(INDENT)
        if not line.strip():
            new = "code" if kind == "code" else ""  # code goes on after an empty line, if it does
        elif indented:
            new = kind if kind in ("entry", "code") else "code"
        else:
            new = "entry" if ENTRY.fullmatch(line) else "text"
        if block and (new != kind or (new == "entry" and not indented)):
            yield kind, _trimmed(block)
            block = []
        kind = new
        if new:
            block.append(line)
    if block:
        yield kind, _trimmed(block)


def _trimmed(block: list[str]) -> list[str]:
    while not block[-1].strip():
        block.pop()
    return block


def _marked(text: str) -> str:
    """Text in which nothing means anything to Sphinx, but for code in backticks."""
    parts = re.split(r"`+([^`]+)`+", text)
    return "".join(
        f"``{part}``" if number % 2 else re.sub(r"([\\*|_:<>])", r"\\\1", part) for number, part in enumerate(parts)
    )


def _process(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = converted(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Each docstring passes here."""
    app.connect("autodoc-process-docstring", _process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
