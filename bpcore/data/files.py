"""Read and write the user's files; an OSError becomes an InputError of one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bpcore.errors import InputError, InputTypeError


def as_path(path: object) -> Path:
    """The path as a Path with ~ expanded; InputTypeError if it is not a path."""
    if not isinstance(path, (str, os.PathLike)):
        raise InputTypeError(f"{path!r} is not a path")
    return Path(os.fspath(path)).expanduser()


def check_folder(path: object) -> Path:
    """The path of an existing folder; InputError otherwise."""
    folder = as_path(path)
    if not folder.is_dir():
        raise InputError(f"{folder} is a file, not a folder" if folder.exists() else f"no such folder: {folder}")
    return folder


def check_file(path: object) -> Path:
    """The path of an existing file; InputError otherwise."""
    file = as_path(path)
    if not file.is_file():
        raise InputError(f"{file} is a folder, not a file" if file.is_dir() else f"no such file: {file}")
    return file


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn an OSError while reading (permission, a failing disk) into an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


@contextmanager
def replaced(path: Path) -> Iterator[IO[Any]]:
    """Write a file completely or not at all: the bytes go to a temporary file, which is renamed at the end."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            yield stream
        part.replace(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        part.unlink(missing_ok=True)


def read_npy(path: Path) -> NDArray[Any]:
    """Read the array of a .npy file; InputError if it is broken or holds Python objects."""
    with readable(path):
        try:
            array = np.load(path, allow_pickle=False)
        except OSError:
            raise
        except Exception as error:  # a broken header makes NumPy raise nearly anything
            raise InputError(f"{path} is not a .npy file of numbers") from error
    if not isinstance(array, np.ndarray):
        array.close()
        raise InputError(f"{path} is an .npz archive; a .npy file of one array is needed")
    return array
