"""The tree of the source, and lists of files to read, with the first sentence of each module's docstring."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from docstrings import marked
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective


class Tree(SphinxDirective):
    """A nested list of packages and modules; the argument is a folder of the repository."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The list."""
        root = Path(self.env.srcdir).parent / self.arguments[0]
        lines = list(_listed(root, 0))
        node = nodes.container(classes=["tree"])
        node += self.parse_text_to_nodes("\n".join(["````{eval-rst}", *lines, "````"]))
        for path in root.rglob("*.py"):
            self.env.note_dependency(path)
        return [node]


class ReadingList(SphinxDirective):
    """A table of files to read, in the order given, each with its lines and what it says of itself; one path a line."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The table, and the sum of the lines."""
        root = Path(self.env.srcdir).parent
        rows, total = ["| file | lines | |", "|---|---:|---|"], 0
        for name in self.content:
            path = root / name
            lines = len(path.read_text(encoding="utf-8").splitlines())
            total += lines
            rows.append(f"| `{name}` | {lines} | {first_sentence(path)} |")
            self.env.note_dependency(path)
        return self.parse_text_to_nodes("\n".join([*rows, f"| together | {total:,} | |"]))


def _listed(folder: Path, depth: int) -> Iterator[str]:
    """A folder and all below it as items of a list; a link to another folder is left out."""
    indent = "  " * depth
    yield from [f"{indent}- ``{folder.name}/`` {_said(folder / '__init__.py')}", ""]
    inside = sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name))
    for path in inside:
        if path.is_dir() and not path.is_symlink() and (path / "__init__.py").is_file():
            yield from _listed(path, depth + 1)
        elif path.suffix == ".py" and path.name != "__init__.py":
            yield from [f"{indent}  - ``{path.name}`` {_said(path)}", ""]


def _said(path: Path) -> str:
    """The first sentence of a module's docstring."""
    return marked(first_sentence(path))


def first_sentence(path: Path) -> str:
    """The first sentence of a module's docstring. ExtensionError where it has none."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    if not text:
        raise ExtensionError(f"{path} has no docstring")
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<=[.!?])\s+(?=[A-Z`(])", paragraph)[0]


def setup(app: Sphinx) -> dict[str, bool]:
    """The directive."""
    app.add_directive("tree", Tree)
    app.add_directive("reading-list", ReadingList)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
