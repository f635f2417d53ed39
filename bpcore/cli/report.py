"""A command's output: lines of text for the user, and JSON for programs."""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from bpcore.data.files import as_path, replaced
from bpcore.errors import InputError

STANDARD_OUTPUT = "-"


class Report:
    """The output of one command.

    json    a file for the results, "-" for the standard output (text then goes to the standard error), or None
    quiet   whether to print only the result

    InputError, before any work is done, for a file that cannot be written.
    """

    def __init__(self, json: str | None = None, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.json = json
        self.stream = sys.stderr if json == STANDARD_OUTPUT else sys.stdout
        if json not in (None, STANDARD_OUTPUT):
            check_writable_file(as_path(json))

    def say(self, *lines: str) -> None:
        """Print lines, unless --quiet was given."""
        if not self.quiet:
            self.result(*lines)

    def result(self, *lines: str) -> None:
        """Print lines of the result, even with --quiet."""
        for line in lines:
            print(line, file=self.stream, flush=True)

    def write(self, results: dict[str, Any]) -> None:
        """Write the results as JSON, if --json was given."""
        if self.json == STANDARD_OUTPUT:
            sys.stdout.write(to_json(results))
        elif self.json is not None:
            write_json(as_path(self.json), results)


def write_json(path: Path, results: dict[str, Any]) -> None:
    """Write a JSON file, completely or not at all."""
    with replaced(path) as file:
        file.write(to_json(results).encode())


def to_json(results: dict[str, Any]) -> str:
    """Standard JSON: NaN and infinities, which it does not have, become null."""
    return json.dumps(_finite(results), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def check_writable_file(path: Path) -> None:
    """InputError for a file that cannot be written."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file")
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}")
    check_writable_folder(path.parent)


def check_writable_folder(folder: Path) -> None:
    """InputError for a folder in which no file can be created."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"nothing can be written into {folder}: {error.strerror or error}") from error


def columns(rows: list[tuple[str, str]], indent: str = "") -> list[str]:
    """Lines of two aligned columns."""
    width = max((len(key) for key, _ in rows), default=0)
    return [f"{indent}{key:<{width}}  {value}".rstrip() for key, value in rows]


def percent(share: float) -> str:
    """A share in 0..1 as a percentage with two decimals."""
    return f"{100 * share:.2f} %"


def shortened(path: str | os.PathLike[str]) -> str:
    """A path with the home folder replaced by ~."""
    text, home = os.fspath(path), str(Path.home())
    return "~" + text[len(home) :] if text.startswith(home + os.sep) else text


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
