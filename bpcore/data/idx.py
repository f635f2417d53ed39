"""Read and write IDX, the file format of MNIST.

A file has two zero bytes, a type code, the number of dimensions, their sizes and the data. All numbers are big-endian.
A file may be plain or gzip; the first bytes decide, not the name.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bpcore.data.files import as_path, check_file, readable, replaced
from bpcore.errors import InputError, InputTypeError

TYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
CODES = {kind.newbyteorder("="): code for code, kind in TYPES.items()}

_DIMENSIONS = 32  # the most that every version of NumPy supports
_CHUNK = 1 << 20


def read_idx(path: str | Path) -> NDArray[Any]:
    """Read the array of an IDX file, in the machine's byte order, C-contiguous.

    InputError for a file that is missing, not IDX, truncated, longer than its header says, or broken gzip.
    """
    file = check_file(path)
    with readable(file), file.open("rb") as raw:
        if raw.read(2) != b"\x1f\x8b":
            raw.seek(0)
            return _read(file, raw)
        raw.seek(0)
        try:
            with gzip.open(raw) as unpacked:
                return _read(file, unpacked)
        except EOFError as error:
            raise InputError(f"{file} is truncated: its gzip data ends early") from error
        except (gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{file} is broken gzip data: {error}") from error


def write_idx(path: str | Path, array: NDArray[Any]) -> None:
    """Write an array of uint8, int8, int16, int32, float32 or float64; as gzip if the name ends in .gz.

    The file is written completely or not at all. InputTypeError for another dtype.
    """
    file = as_path(path)
    array = np.asarray(array)
    code = CODES.get(array.dtype.newbyteorder("="))
    if code is None:
        names = ", ".join(str(kind) for kind in CODES)
        raise InputTypeError(f"IDX has no type for {array.dtype}; accepted: {names}")
    if array.ndim > _DIMENSIONS or any(size >= 1 << 32 for size in array.shape):
        raise InputError(f"IDX cannot hold the shape {array.shape}")
    header = bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    content = array.astype(TYPES[code]).tobytes()
    with replaced(file) as stream:
        if file.suffix == ".gz":
            with gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as packed:
                packed.write(header + content)
        else:
            stream.write(header + content)


def read_images(path: str | Path) -> NDArray[np.uint8]:
    """Read the images (n, height, width) of an IDX file."""
    array = read_idx(path)
    if array.ndim == 1:
        raise InputError(f"{path} holds {len(array)} labels where images are expected: were two files swapped?")
    if array.ndim != 3 or array.dtype != np.uint8:
        raise InputError(
            f"{path} holds {array.dtype} of shape {array.shape}; expected: uint8 images (n, height, width)"
        )
    if array.size == 0:
        raise InputError(f"{path} holds no images: its shape is {array.shape}")
    return array


def read_labels(path: str | Path, classes: int = 0) -> NDArray[np.int64]:
    """Read the labels (n,) of an IDX file; InputError if one is outside 0 .. classes - 1 (classes=0: any label)."""
    array = read_idx(path)
    if array.ndim == 3:
        raise InputError(f"{path} holds {len(array)} images where labels are expected: were two files swapped?")
    if array.ndim != 1 or array.dtype.kind not in "ui":
        raise InputError(f"{path} holds {array.dtype} of shape {array.shape}; expected: integer labels (n,)")
    if classes:
        wrong = np.flatnonzero((array < 0) | (array >= classes))
        if len(wrong):
            raise InputError(
                f"{path}: label {array[wrong[0]]} of sample {wrong[0]} is out of range; accepted: 0 to {classes - 1}"
            )
    return array.astype(np.int64)


def read_pair(images: str | Path, labels: str | Path, classes: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read images (n, height, width) and their labels (n,); InputError if their numbers differ."""
    x, y = read_images(images), read_labels(labels, classes)
    if len(x) != len(y):
        raise InputError(f"{images} holds {len(x)} images, but {labels} holds {len(y)} labels")
    return x, y


def find_pair(folder: Path, *parts: str) -> tuple[Path, Path] | None:
    """Find the images file and the labels file of the first of these parts ("train", "t10k") in a folder, or None.

    They are named PART-images-idx3-ubyte or PART-images.idx3-ubyte, plain or with .gz; labels likewise. InputError for
    one without the other.
    """
    for part in parts:
        images, labels = (_find(folder, f"{part}-{kind}") for kind in ("images{}idx3-ubyte", "labels{}idx1-ubyte"))
        if images and labels:
            return images, labels
        if images or labels:
            lacking = f"{part}-images-idx3-ubyte" if labels else f"{part}-labels-idx1-ubyte"
            raise InputError(f"{folder} lacks {lacking} (plain or .gz), but has {(images or labels or folder).name}")
    return None


def _find(folder: Path, pattern: str) -> Path | None:
    names = (pattern.format(sign) + suffix for suffix in ("", ".gz") for sign in ("-", "."))
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _read(file: Path, stream: IO[bytes] | gzip.GzipFile) -> NDArray[Any]:
    head = stream.read(4)
    if len(head) < 4:
        raise InputError(f"{file} is truncated: {len(head)} bytes, where an IDX file has at least 4")
    code, dimensions = head[2], head[3]
    if head[:2] != b"\0\0" or code not in TYPES or dimensions > _DIMENSIONS:
        raise InputError(
            f"{file} is not an IDX file: it begins with {head.hex(' ')}, where images have 00 00 08 03 and labels "
            "00 00 08 01"
        )
    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise InputError(
            f"{file} is truncated: its header needs {4 + 4 * dimensions} bytes, but it has {4 + len(sizes)}"
        )
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    expected = math.prod(shape) * TYPES[code].itemsize
    content, extra = bytearray(), 0
    # In chunks, so that the size in a broken header is not allocated before the bytes have been read.
    while chunk := stream.read(_CHUNK):
        wanted = expected - len(content)
        content += chunk[:wanted]
        extra += max(0, len(chunk) - wanted)
    if len(content) < expected:
        raise InputError(
            f"{file} is truncated: shape {shape} needs {expected} bytes after the header, but there are {len(content)}"
        )
    if extra:
        raise InputError(f"{file} has {extra} extra bytes: shape {shape} needs {expected} after the header")
    return np.frombuffer(content, TYPES[code]).reshape(shape).astype(TYPES[code].newbyteorder("="), copy=False)
