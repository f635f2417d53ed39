"""Small files with the structure of CIFAR-10's."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np

from bpcore.data.cifar import ARCHIVE, FILES, FOLDER

RECORDS = 20  # of 10,000 in each file


def write_cifar(
    folder: Path, *, packed: bool = False, records: int = RECORDS, told_apart: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Write small files with the structure of CIFAR-10's; returns all labels and images.

    told_apart: make images separable, each lighter in the tenth of its pixels that its label selects.
    """
    rng = np.random.default_rng(10)
    labels = rng.integers(0, 10, (len(FILES) * records, 1), dtype=np.uint8)
    images = rng.integers(0, 256, (len(labels), 3072), dtype=np.uint8)
    if told_apart:
        images //= 4
        images[np.arange(3072) // 308 == labels] += 150
    inner = folder / FOLDER if packed else folder
    inner.mkdir(parents=True, exist_ok=True)
    records = np.concatenate([labels, images], axis=1).reshape(len(FILES), records, 3073)
    for name, content in zip(FILES, records, strict=True):
        (inner / name).write_bytes(content.tobytes())
    if packed:
        (inner / "readme.html").write_text("<html></html>")
        with tarfile.open(folder / ARCHIVE, "w:gz", compresslevel=1) as archive:
            archive.add(inner, FOLDER)
        for path in inner.iterdir():
            path.unlink()
        inner.rmdir()
    return labels[:, 0], images
