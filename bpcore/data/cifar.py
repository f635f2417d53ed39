"""CIFAR-10 in its binary version: found on this machine, or downloaded.

A. Krizhevsky, "Learning multiple layers of features from tiny images" (2009). A record is a label and the 32 x 32
pixels of an image, plane after plane: red, green, blue.

Looked for in data_dir, in $BPCORE_DATA_DIR and in the user's cache: the archive as it is published, or the six files
that are in it. Local files are accepted by their structure, a download by its SHA-256.
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
from bpcore.data.places import DataUnavailable, cache_folder, given_folders
from bpcore.errors import InputError

NAME = "cifar10"
MIRRORS = ("https://www.cs.toronto.edu/~kriz/",)
ARCHIVE = "cifar-10-binary.tar.gz"
SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
FOLDER = "cifar-10-batches-bin"  # in the archive
FILES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin")
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

RECORDS = 10_000  # in each file
PIXELS = 3 * 32 * 32
_CHUNK = 1 << 20


class _File(NamedTuple):
    """One of FILES: what to call it, and what is in it."""

    said: str
    content: bytes


def load_cifar10(
    *,
    data_dir: str | Path | None = None,
    mirrors: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Load CIFAR-10: x (n, 3072) uint8, red, green and blue plane, labels (n,) int64, ten classes, scale 1/255.

    50,000 images for training, 10,000 for the test. data_dir, mirrors, progress and the errors as in load_mnist.
    """
    tried = []
    for base, said in given_folders(data_dir):
        tried.append(said if base.is_dir() else f"{said} (no such folder)")
        folder = find_folder(base)
        if folder:
            return _dataset(_read(folder), f"from {folder}")
    return _from_cache(MIRRORS if mirrors is None else mirrors, tried, progress)


def find_folder(base: Path) -> Path | None:
    """The folder that has the archive or the six files: base or one of those below it where they may be expected.

    InputError where a folder has some of the six files and not all.
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
    """What a folder has: the six files, or else the archive."""
    return _plain(folder) if all((folder / name).is_file() for name in FILES) else _packed(folder / ARCHIVE)


def _plain(folder: Path) -> dict[str, _File]:
    files = {}
    for name in FILES:
        with readable(folder / name):
            files[name] = _File(str(folder / name), (folder / name).read_bytes())
    return files


def _packed(archive: Path) -> dict[str, _File]:
    """The six files out of the archive, in one pass over it."""
    files = {}
    try:
        with gzip.open(archive) as unpacked, tarfile.open(fileobj=unpacked) as members:
            for member in members:
                name = member.name.rpartition("/")[2]
                stream = members.extractfile(member) if name in FILES else None
                if stream:
                    files[name] = _File(f"{archive}: {name}", stream.read(RECORDS * (1 + PIXELS) + 1))
            while unpacked.read(_CHUNK):
                pass  # to the end, where the checksum is: tarfile takes a damaged header for the end of the archive
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
        there = len(file.content)
        wrong = f"is truncated at {there:,} bytes" if there < RECORDS * (1 + PIXELS) else "has bytes too many"
        raise InputError(
            f"{file.said} {wrong}: {RECORDS:,} records of 1 label and {PIXELS} pixels are {RECORDS * (1 + PIXELS):,}"
        )
    rows = np.frombuffer(file.content, np.uint8).reshape(RECORDS, 1 + PIXELS)
    odd = np.flatnonzero(rows[:, 0] >= len(CLASSES))
    if len(odd):
        label, last = rows[odd[0], 0], len(CLASSES) - 1
        raise InputError(f"{file.said}: label {label} of record {odd[0]} is out of range; accepted: 0 to {last}")
    return rows[:, 0], rows[:, 1:]


def _from_cache(mirrors: Sequence[str], tried: list[str], progress: Progress | None) -> Dataset:
    """From the user's cache, downloading the archive where it is missing or turns out to be defective there."""
    folder = cache_folder() / NAME
    try:
        if find_folder(folder):
            return _dataset(_read(folder), f"from the cache, {folder}")
    except InputError:
        pass  # a cache is mended, not complained about
    failures = download(folder, {ARCHIVE: SHA256}, mirrors, progress)
    if failures:
        looked = ", ".join([*tried, str(folder)])
        raise DataUnavailable(
            f"{NAME} is neither on this machine nor downloadable: looked in {looked}; {'; '.join(failures)}. "
            f"Put {ARCHIVE}, or the six files that are in it, into a folder and name that with data_dir, "
            f"--data-dir or BPCORE_DATA_DIR"
        )
    return _dataset(_packed(folder / ARCHIVE), f"downloaded to {folder}")
