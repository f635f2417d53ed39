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
    created: list[Path] = []
    try:
        if output is None:
            folder = _create_numbered(PARENT / re.sub(r"[^\w.-]+", "_", name), created, option)
        else:
            folder = as_path(output)
            _create(folder, created, option)
        check_writable_folder(folder)
        yield folder
    finally:
        for one in reversed(created):
            with suppress(OSError):  # a folder with files in it stays
                one.rmdir()


def _create_numbered(base: Path, created: list[Path], option: str) -> Path:
    """Create the first of NAME-1, NAME-2, ... that does not exist."""
    number = 1
    while True:
        folder = base.with_name(f"{base.name}-{number}")
        if not folder.exists() and _create(folder, created, option):
            return folder
        number += 1


def _create(folder: Path, created: list[Path], option: str) -> bool:
    """Create a folder and its parents, and append the new ones to created; False if it already existed."""
    if folder.is_dir():
        return False
    try:
        _create(folder.parent, created, option)
        folder.mkdir()
    except FileExistsError as error:
        if folder.is_dir():  # another run created it a moment ago
            return False
        reason = "a file has that name"
        raise InputError(f"the folder {folder} cannot be created: {reason}; choose another with {option}") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"the folder {folder} cannot be created: {reason}; choose another with {option}") from error
    created.append(folder)
    return True
