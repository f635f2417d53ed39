"""The docstrings of bpcore are plain text for a reader of the code; here they become what Sphinx takes.

Four things have a form: a block that is indented by four or begins with >>> is code, a line `name    what it is` is an
entry of a list (its continuation is indented), a line that begins with "- " is an item, and `name` in backticks is
code. All else is text, without any mark-up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ENTRY = re.compile(r"(?P<term>\S(?:.*?\S)?) {2,}(?P<text>\S.*)")
INDENT = "    "
SIGNS = r"([\\*|_:<>`])"
"""What would mean something to Sphinx."""


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
            found += [INDENT + marked(" ".join([entry["text"], *(line.strip() for line in block[1:])]))]
        elif block[0].startswith(">>>"):
            found += ["::", "", *[INDENT + line for line in block]]
        else:
            found += _text(block)
        found.append("")
    return found


def _text(block: list[str]) -> Iterator[str]:
    """Lines of text; each item of a list as one line between empty ones."""
    item = ""
    for line in map(str.strip, block):
        if line.startswith("- "):
            if item:
                yield from (item, "")
            else:
                yield ""
            item = "- " + marked(line[2:])
        elif item:
            item += " " + marked(line)
        else:
            yield marked(line)
    if item:
        yield item


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


def marked(text: str) -> str:
    """Text in which nothing means anything to Sphinx, but for code in backticks."""
    if re.fullmatch(r"[^\w\s]{2,}", text):
        return "\\" + text  # it would underline a heading
    parts = re.split(r"`+([^`]+)`+", text)
    marked = re.sub(
        r"^(?=\(?\w{1,4}[.)]\s|[-+.#])", r"\\", re.sub(SIGNS, r"\\\1", parts[0])
    )  # nor does it begin a list
    for code, after in zip(parts[1::2], parts[2::2], strict=True):
        before = "" if re.search(r"(^|[\s(])$", marked) else "\\ "
        marked += f"{before}``{code}``" + ("\\ " if after[:1].isalnum() else "") + re.sub(SIGNS, r"\\\1", after)
    return marked


def _process(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    written_by_python = lines and lines[0].startswith("Alias for field number")
    lines[:] = [] if written_by_python else converted(lines)


def setup(app: Sphinx) -> dict[str, bool]:
    """Each docstring passes here."""
    app.connect("autodoc-process-docstring", _process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
