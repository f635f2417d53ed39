"""What the pages take from the code: the public names, the faces, the source of a function, the examples.

A new name comes in without an edit here, and a function that is no more, or no longer says what a page shows, is an
error.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from docstrings import converted
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.directives.code import LiteralInclude
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

import bpcore

FACES = ("ops", "numpy", "sklearn", "testing", "plots")
"""Modules that stand beside bpcore's own names, as far as they exist; each needs a page."""


def public_names(modules: Sequence[str]) -> list[str]:
    """The names of bpcore.__all__ that these modules, or modules below them, define, in the order of the source."""
    homes = {name: getattr(bpcore, name).__module__ for name in bpcore.__all__ if name != "__version__"}
    found = [name for name, home in homes.items() if any(f"{home}.".startswith(f"{module}.") for module in modules)]
    return sorted(found, key=_place)


def _place(name: str) -> tuple[str, int]:
    thing = getattr(bpcore, name)
    return thing.__module__, inspect.getsourcelines(thing)[1]


class PublicNames(SphinxDirective):
    """The names of bpcore.__all__ that some modules define, documented; the arguments are these modules."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """One entry a name."""
        names = public_names(self.arguments[0].split())
        if not names:
            raise self.error(f"no public name comes from {self.arguments[0]}")
        return _parsed(self, [line for name in names for line in documented("bpcore", name, getattr(bpcore, name))])


class Face(SphinxDirective):
    """A module of FACES: its docstring and its own names. The argument is the module."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The module, then one entry a name."""
        module = importlib.import_module(self.arguments[0])
        lines = [f".. automodule:: {module.__name__}", "   :no-members:", ""]
        for name in own_names(module):
            lines += documented(module.__name__, name, getattr(module, name))
        return _parsed(self, lines)


def _parsed(directive: SphinxDirective, lines: list[str]) -> list[nodes.Node]:
    """reStructuredText, on a page in Markdown."""
    return directive.parse_text_to_nodes("\n".join(["````{eval-rst}", *lines, "````"]))


class Source(LiteralInclude):
    """The code of a function, or the part of it between :start-at: and :end-at:, wherever it now stands."""

    def run(self) -> list[nodes.Node]:
        """As literalinclude, of the file that the function is in."""
        try:
            thing: Any = pkgutil.resolve_name(self.arguments[0])
        except (ImportError, AttributeError, ValueError) as error:
            raise self.error(f"there is no {self.arguments[0]}: {error}") from error
        page = Path(self.env.doc2path(self.env.docname))
        self.arguments[0] = os.path.relpath(inspect.getsourcefile(thing) or "", page.parent)
        self.options |= {"pyobject": thing.__qualname__, "dedent": None}
        return super().run()


class Examples(SphinxDirective):
    """The programs of examples/: what each says of itself, and its code."""

    def run(self) -> list[nodes.Node]:
        """A section for each."""
        lines = []
        for path in sorted(Path(self.env.srcdir).parent.glob("examples/*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            said = converted((ast.get_docstring(tree) or "").splitlines())
            place = os.path.relpath(path, Path(self.env.doc2path(self.env.docname)).parent)
            code = [f".. literalinclude:: {place}", f"   :lines: {tree.body[1].lineno}-", ""]
            lines += [path.name, "-" * len(path.name), "", *said, "", *code]
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def faces() -> Iterator[ModuleType]:
    """The modules of FACES that exist; what they need is part of the extra `docs`."""
    for name in FACES:
        if find_spec(f"bpcore.{name}"):
            yield importlib.import_module(f"bpcore.{name}")


def own_names(module: ModuleType) -> list[str]:
    """What a face brings of its own: of what it hands on as `import name as name`, of its __all__, or of all names."""
    handed_on = [
        alias.name
        for node in ast.parse(inspect.getsource(module)).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    ]
    names = handed_on or getattr(module, "__all__", None) or sorted(vars(module))
    inside = f"{module.__name__}."
    return [name for name in names if name[0] != "_" and f"{_home(getattr(module, name))}.".startswith(inside)]


def _home(thing: object) -> str:
    return str(getattr(thing, "__module__", ""))


def documented(module: str, name: str, thing: object) -> list[str]:
    """The directive of autodoc for one name."""
    if not inspect.isclass(thing):
        return [f".. auto{'function' if callable(thing) else 'data'}:: {module}.{name}", ""]
    options = ["   :members:", *([] if thing.__bases__ == (object,) else ["   :show-inheritance:"])]
    if issubclass(thing, BaseException):
        return [f".. autoexception:: {module}.{name}", "   :show-inheritance:", ""]
    return [f".. autoclass:: {module}.{name}", *options, ""]


def _check(app: Sphinx, error: Exception | None) -> None:
    """A public name that is on no page is an error."""
    if error is None:
        objects = app.env.domains.python_domain.objects
        missing = [f"bpcore.{name}" for name in bpcore.__all__ if f"bpcore.{name}" not in objects]
        missing = [name for name in missing if name != "bpcore.__version__"]
        missing += [module.__name__ for module in faces() if module.__name__ not in objects]
        if missing:
            raise ExtensionError(f"no page documents {', '.join(missing)}")


def setup(app: Sphinx) -> dict[str, bool]:
    """The directives, and the check at the end."""
    app.add_directive("public-names", PublicNames)
    app.add_directive("face", Face)
    app.add_directive("source", Source)
    app.add_directive("examples", Examples)
    app.connect("build-finished", _check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
