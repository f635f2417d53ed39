"""The folder that a training run writes its model and results into."""

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
    """The folder that was named, else a new one: runs/NAME-1, runs/NAME-2, ...

    Made before the training, so that one that cannot be written is known then; taken away again if nothing came of it.
    InputError where it cannot be made or written; option: what names another.
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
            with suppress(OSError):  # it is not empty
                one.rmdir()


def _make_numbered(base: Path, made: list[Path], option: str) -> Path:
    """Make the first of NAME-1, NAME-2, ... that is not there."""
    number = 1
    while True:
        folder = base.with_name(f"{base.name}-{number}")
        if not folder.exists() and _make(folder, made, option):
            return folder
        number += 1


def _make(folder: Path, made: list[Path], option: str) -> bool:
    """Make a folder and those above it; note which were made. Whether it was not there before."""
    if folder.is_dir():
        return False
    try:
        _make(folder.parent, made, option)
        folder.mkdir()
    except FileExistsError as error:
        if folder.is_dir():  # another run made it a moment ago
            return False
        raise InputError(f"the folder {folder} cannot be made: a file has that name; {option} names another") from error
    except OSError as error:
        why = error.strerror or error
        raise InputError(f"the folder {folder} cannot be made: {why}; {option} names another") from error
    made.append(folder)
    return True
