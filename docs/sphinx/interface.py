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
from collections.abc import Iterator
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

TITLES = {
    "bpcore.network": "The network",
    "bpcore.model.layers": "Layers",
    "bpcore.model.activations": "Activations",
    "bpcore.model.losses": "Losses",
    "bpcore.training.optimizers": "Optimizers",
    "bpcore.training.schedules": "Learning-rate schedules",
    "bpcore.training.callbacks": "Callbacks",
    "bpcore.training.history": "Results",
    "bpcore.inspection.diagnostics": "Diagnostics",
    "bpcore.gradcheck": "Gradient checking",
    "bpcore.data": "Data",
    "bpcore.backends": "Backends",
    "bpcore.training.progress": "Progress",
    "bpcore.errors": "Errors",
}
"""The order of the sections: headings of modules and of those below them. Other modules come last, by their names."""

FACES = ("ops", "numpy", "sklearn", "testing", "plots")
"""Modules that stand beside bpcore's own names, as far as they exist."""


def public_names() -> dict[str, list[str]]:
    """The names of bpcore.__all__ by the heading that they stand under, in the order of TITLES."""
    names: dict[str, list[str]] = {title: [] for title in TITLES.values()}
    for name in bpcore.__all__:
        if name != "__version__":
            names.setdefault(_heading(getattr(bpcore, name).__module__), []).append(name)
    return {title: sorted(found, key=_place) for title, found in names.items() if found}


def _heading(module: str) -> str:
    return next((TITLES[above] for above in TITLES if f"{module}.".startswith(f"{above}.")), module)


def _place(name: str) -> tuple[str, int]:
    thing = getattr(bpcore, name)
    return thing.__module__, inspect.getsourcelines(thing)[1]


class PublicNames(SphinxDirective):
    """Every name of bpcore.__all__, documented."""

    def run(self) -> list[nodes.Node]:
        """A section for each module that defines some of them."""
        lines = []
        for title, names in public_names().items():
            lines += [title, "-" * len(title), ""]
            for name in names:
                lines += documented("bpcore", name, getattr(bpcore, name))
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


class Faces(SphinxDirective):
    """The modules of FACES that there are."""

    def run(self) -> list[nodes.Node]:
        """A section for each."""
        lines = []
        for module in faces():
            title = module.__name__
            lines += [title, "-" * len(title), "", f".. automodule:: {title}", "   :no-members:", ""]
            for name in own_names(module):
                lines += documented(title, name, getattr(module, name))
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


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
            code = [f".. literalinclude:: ../examples/{path.name}", f"   :lines: {tree.body[1].lineno}-", ""]
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
    app.add_directive("faces", Faces)
    app.add_directive("source", Source)
    app.add_directive("examples", Examples)
    app.connect("build-finished", _check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
