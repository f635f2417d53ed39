"""Load CIFAR-10 in its binary version, from local files or by download.

A. Krizhevsky, "Learning multiple layers of features from tiny images" (2009). A record is a label and the 32 x 32
pixels of an image in three planes: red, green, blue.

The published archive, or the six files in it, are searched for in data_dir, $BPCORE_DATA_DIR and the user's cache. The
structure of local files is checked, and the SHA-256 of a download.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bpcore.data.dataset import Dataset
from bpcore.data.download import Progress, download
from bpcore.data.files import readable
from bpcore.data.search_folders import DataUnavailable, cache_folder, given_folders
from bpcore.errors import InputError

NAME = "cifar10"
MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)
ARCHIVE = "cifar-10-binary.tar.gz"
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
FOLDER = "cifar-10-batches-bin"  # inside the archive
FILES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

RECORDS = 10_000  # in each file
PIXELS = 3 * 32 * 32
_CHUNK = 1 << 20


class _File(NamedTuple):
    """The content of one of FILES, and its name for messages."""

    label: str
    content: bytes


def load_cifar10(
    *,
    data_dir: str | Path | None = None,
    mirrors: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Load CIFAR-10: 50,000 training and 10,000 test images of ten classes.

    x is uint8 (n, 3072), the red, green and blue plane of each image, with scale 1/255; labels are int64 (n,).
    data_dir, mirrors, progress and the errors are as in load_mnist.
    """
    tried = []
    for base, label in given_folders(data_dir):
        tried.append(label if base.is_dir() else f"{label} (no such folder)")
        folder = find_folder(base)
        if folder:
            return _dataset(_read(folder), f"from {folder}")
    return _from_cache(MIRRORS if mirrors is None else mirrors, tried, progress)


def find_folder(base: Path) -> Path | None:
    """Find the folder with the archive or the six files: base, or one of the usual folders below it; None if absent.

    InputError for a folder with some of the six files but not all.
    """
    for folder in (base / NAME, base / NAME / FOLDER, base, base / FOLDER):
        present = [name for name in FILES if (folder / name).is_file()]
        if len(present) == len(FILES) or (folder / ARCHIVE).is_file():
            return folder
        if present:
            raise InputError(f"{folder} holds {present[0]} but lacks {min(set(FILES) - set(present))}")
    return None


def _dataset(files: Mapping[str, _File], source: str) -> Dataset:
    x = np.empty((len(FILES) * RECORDS, PIXELS), np.uint8)
    y = np.empty(len(x), np.int64)
    for number, name in enumerate(FILES):
        rows = slice(number * RECORDS, (number + 1) * RECORDS)
        y[rows], x[rows] = _records(files[name])
    train, test = slice(0, len(x) - RECORDS), slice(len(x) - RECORDS, len(x))
    return Dataset(NAME, x[train], y[train], x[test], y[test], classes=CLASSES, source=source, scale=1 / 255)


def _read(folder: Path) -> dict[str, _File]:
    """Read the six files of a folder or, if they are not all there, the archive."""
    return _plain(folder) if all((folder / name).is_file() for name in FILES) else _packed(folder / ARCHIVE)


def _plain(folder: Path) -> dict[str, _File]:
    files = {}
    for name in FILES:
        with readable(folder / name):
            files[name] = _File(str(folder / name), (folder / name).read_bytes())
    return files


def _packed(archive: Path) -> dict[str, _File]:
    """Read the six files from the archive in one pass."""
    files = {}
    try:
        with gzip.open(archive) as unpacked, tarfile.open(fileobj=unpacked) as members:
            for member in members:
                name = member.name.rpartition("/")[2]
                stream = members.extractfile(member) if name in FILES else None
                if stream:
                    files[name] = _File(f"{archive}: {name}", stream.read(RECORDS * (1 + PIXELS) + 1))
            while unpacked.read(_CHUNK):
                pass  # reach gzip's checksum at the end: tarfile takes a damaged header for the end of the archive
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{archive} is truncated or damaged: {error}") from error
    except OSError as error:
        raise InputError(f"{archive} cannot be read: {error.strerror or error}") from error
    lacking = [name for name in FILES if name not in files]
    if lacking:
        raise InputError(f"{archive} lacks {lacking[0]}: it is not the binary version of CIFAR-10, or not all of it")
    return files


def _records(file: _File) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Labels (n,) and images (n, 3072)."""
    if len(file.content) != RECORDS * (1 + PIXELS):
        size, needed = len(file.content), RECORDS * (1 + PIXELS)
        fault = f"is truncated at {size:,} bytes" if size < needed else "is too long"
        raise InputError(
            f"{file.label} {fault}: {RECORDS:,} records of 1 label and {PIXELS} pixels take {needed:,} bytes"
        )
    rows = np.frombuffer(file.content, np.uint8).reshape(RECORDS, 1 + PIXELS)
    odd = np.flatnonzero(rows[:, 0] >= len(CLASSES))
    if len(odd):
        label, last = rows[odd[0], 0], len(CLASSES) - 1
        raise InputError(f"{file.label}: label {label} of record {odd[0]} is out of range; accepted: 0 to {last}")
    return rows[:, 0], rows[:, 1:]


def _from_cache(mirrors: Sequence[str], tried: list[str], progress: Progress | None) -> Dataset:
    """Load from the user's cache; download the archive if it is missing or defective there."""
    folder = cache_folder() / NAME
    try:
        if find_folder(folder):
            return _dataset(_read(folder), f"from the cache, {folder}")
    except InputError:
        pass  # a defective cache is replaced, not reported
    failures = download(folder, {ARCHIVE: SHA256}, mirrors, progress)
    if failures:
        looked = ", ".join([*tried, str(folder)])
        raise DataUnavailable(
            f"{NAME} is neither on this machine nor downloadable: looked in {looked}; {'; '.join(failures)}. "
            f"Put {ARCHIVE}, or the six files in it, into a folder and name that folder with data_dir, "
            f"--data-dir or BPCORE_DATA_DIR"
        )
    return _dataset(_packed(folder / ARCHIVE), f"downloaded to {folder}")
