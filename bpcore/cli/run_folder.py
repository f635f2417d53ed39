"""The folder for a training run's model and results."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bpcore.cli.report import check_writable_folder
from bpcore.data.files import as_path
from bpcore.errors import InputError

PARENT = Path("runs")


@contextmanager
def run_folder(output: str | None, name: str = "", *, option: str = "--output") -> Iterator[Path]:
    """The folder `output` or, for None, a new one: runs/NAME-1, runs/NAME-2, ...

    It is created before the training, so that a folder that cannot be written is found at once, and removed again if
    it is still empty at the end. InputError, naming the option that chooses it, if it cannot be created or written.
    """
    made: list[Path] = []
    try:
        if output is None:
            folder = _make_numbered(PARENT / re.sub(r"[^\w.-]+", "_", name), made, option)
        else:
            folder = as_path(output)
            _make(folder, made, option)
        check_writable_folder(folder)
        yield folder
    finally:
        for one in reversed(made):
            with suppress(OSError):  # a folder with files in it stays
                one.rmdir()


def _make_numbered(base: Path, made: list[Path], option: str) -> Path:
    """Create the first of NAME-1, NAME-2, ... that does not exist."""
    number = 1
    while True:
        folder = base.with_name(f"{base.name}-{number}")
        if not folder.exists() and _make(folder, made, option):
            return folder
        number += 1


def _make(folder: Path, made: list[Path], option: str) -> bool:
    """Create a folder and its parents, and append the new ones to made; False if it already existed."""
    if folder.is_dir():
        return False
    try:
        _make(folder.parent, made, option)
        folder.mkdir()
    except FileExistsError as error:
        if folder.is_dir():  # another run created it a moment ago
            return False
        reason = "a file has that name"
        raise InputError(f"the folder {folder} cannot be created: {reason}; choose another with {option}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"the folder {folder} cannot be created: {reason}; choose another with {option}") from error
    made.append(folder)
    return True
