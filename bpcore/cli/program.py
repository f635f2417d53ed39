"""Run a Typer program: a user's error gives one line and an exit code, never a traceback."""

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
"""The type of an option that is an integer of 1 or more."""


def run(function: Callable[..., Any]) -> None:
    """Run a function as a program whose command-line options are the function's parameters.

    A BpcoreError ends in one line and exit code 2, a loss that is not finite in exit code 1, Ctrl-C in 130.
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
    """Run a Typer program and return the exit code; a user's error becomes one line on the standard error."""
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
    """Print a line on Ctrl-C and exit with its code; Typer would exit silently."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\n{name}: stopped", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


_UsageError: Any = typer.BadParameter.__mro__[1]  # click's UsageError, which Typer does not export


def _error(name: str, message: str, code: int) -> int:
    print(f"{name}: error: {' '.join(message.split())}", file=sys.stderr)
    return code
