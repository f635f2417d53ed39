"""The command line's reference, made from the program itself: every command, argument, option, default and choice."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import Any

import typer
from docstrings import converted, marked
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from bpcore.cli.app import app


class CommandLine(SphinxDirective):
    """A section for each command of `bpcore`, in the order of `bpcore --help`, and the exit codes."""

    def run(self) -> list[nodes.Node]:
        """The sections."""
        group: Any = typer.main.get_command(app)
        sections = [self._section(name, list(_described(name, command))) for name, command in group.commands.items()]
        return [*sections, self._section("", ["", *converted([group.epilog])])]

    def _section(self, command: str, lines: list[str]) -> nodes.section:
        title = f"bpcore {command}" if command else "Exit codes"
        section = nodes.section("", nodes.title("", title), names=[nodes.fully_normalize_name(title)])
        section += self.parse_text_to_nodes("\n".join(["````{eval-rst}", *lines, "````"]))
        self.state.document.note_implicit_target(section, section)
        return section


def _described(name: str, command: Any) -> Iterator[str]:
    """reStructuredText for one command: its usage, what it does, and its parameters by panel."""
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    usage = " ".join(["bpcore", name, "[OPTIONS]", *map(_in_usage, arguments)])
    yield from ["::", "", f"    {usage}", "", *converted((command.help or "").splitlines())]
    yield from [f".. program:: bpcore {name}", ""]
    options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    yield from ["" if not arguments else ".. rubric:: Arguments", ""]
    for one in arguments:
        yield from [f".. option:: {one.metavar}", "", f"   {_text(one)}", ""]
    for panel, members in groupby(sorted(options, key=_panel_place(options)), key=_panel):
        yield from [f".. rubric:: {panel}", ""]
        for one in members:
            value = "" if one.is_flag else f" {one.metavar}"
            flags = ", ".join(f"{flag}{value}" for flag in one.opts)
            yield from [f".. option:: {flags}", "", f"   {_text(one)}", ""]


def _panel(option: Any) -> str:
    return option.rich_help_panel or "Options"


def _panel_place(options: list[Any]) -> Any:
    """Panels in the order in which they first occur."""
    order = list(dict.fromkeys(map(_panel, options)))
    return lambda option: order.index(_panel(option))


def _in_usage(argument: Any) -> str:
    return argument.metavar if argument.required else f"[{argument.metavar}]"


def _text(parameter: Any) -> str:
    """The help, and the default where there is one that says something."""
    default = parameter.default
    said = default is not None and not isinstance(default, bool) and default not in ("", ())
    return marked(parameter.help or "") + (f" Default: ``{default}``." if said else "")


def setup(app: Sphinx) -> dict[str, bool]:
    """The directive."""
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
