"""What a command tells: lines for people, and a JSON file for programs."""

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
    """Where the words and the numbers of one command go.

    json    a file for the results, "-" for the standard output (the words then go to the standard error); None: none
    quiet   whether to leave out all words but the result

    A file that cannot be written is refused here, before any work is done.
    """

    def __init__(self, json: str | None = None, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self.json = json
        self.stream = sys.stderr if json == STANDARD_OUTPUT else sys.stdout
        if json not in (None, STANDARD_OUTPUT):
            check_writable_file(as_path(json))

    def say(self, *lines: str) -> None:
        """Words that --quiet leaves out."""
        if not self.quiet:
            self.result(*lines)

    def result(self, *lines: str) -> None:
        """What the command was called for."""
        for line in lines:
            print(line, file=self.stream, flush=True)

    def write(self, results: dict[str, Any]) -> None:
        """Write the results where --json says."""
        if self.json == STANDARD_OUTPUT:
            sys.stdout.write(to_json(results))
        elif self.json is not None:
            write_json(as_path(self.json), results)


def write_json(path: Path, results: dict[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    with replaced(path) as file:
        file.write(to_json(results).encode())


def to_json(results: dict[str, Any]) -> str:
    """JSON as its standard has it: what is not a finite number becomes null."""
    return json.dumps(_finite(results), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def check_writable_file(path: Path) -> None:
    """Refuse a file that could not be written later."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file")
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}")
    check_writable_folder(path.parent)


def check_writable_folder(folder: Path) -> None:
    """Refuse a folder in which no file can be made."""
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
    """A share of 0 to 1 in percent, two decimals."""
    return f"{100 * share:.2f} %"


def shortened(path: str | os.PathLike[str]) -> str:
    """A path with ~ for the home folder."""
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
