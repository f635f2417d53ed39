"""How a program ends: in one line and an exit code, whatever its user has caused, and never in a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from bpcore.errors import BpcoreError
from bpcore.training.nonfinite import NonFiniteLossError

FAILED, REFUSED, INTERRUPTED = 1, 2, 130

Count = Annotated[int, typer.Option(min=1)]
"""An option of a program: how many of something, one or more."""


def run(function: Callable[..., Any]) -> None:
    """Let a function be a program: its parameters are the options of the command line.

    What bpcore refuses ends in its one line and exit code 2, a loss that is not finite in exit code 1, Ctrl-C in 130.
    """
    name = Path(sys.argv[0]).name

    @wraps(function)
    def command(**options: Any) -> int:
        with ended_by_ctrl_c(name):
            function(**options)
        return 0

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    sys.exit(exit_code(app, sys.argv[1:], name))


def exit_code(app: typer.Typer, arguments: Sequence[str] | None, name: str) -> int:
    """Run a Typer program; whatever a user can cause ends in one line on the standard error."""
    try:
        code = app(None if arguments is None else list(arguments), prog_name=name, standalone_mode=False)
        return code if isinstance(code, int) else 0
    except NonFiniteLossError as error:
        return _error(name, str(error), FAILED)
    except BpcoreError as error:
        return _error(name, str(error), REFUSED)
    except MemoryError as error:
        return _error(name, f"not enough memory: {error}", REFUSED)
    except _UsageError as error:
        return _error(name, error.format_message(), REFUSED)


@contextmanager
def ended_by_ctrl_c(name: str) -> Iterator[None]:
    """Say that it was. Typer would make an exit code of Ctrl-C without a word."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\n{name}: stopped", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


_UsageError: Any = typer.BadParameter.__mro__[1]  # typer gives it no name of its own


def _error(name: str, message: str, code: int) -> int:
    print(f"{name}: error: {' '.join(message.split())}", file=sys.stderr)
    return code
