"""Load the user's own folder of IDX files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bpcore.data.dataset import Dataset
from bpcore.data.files import check_folder
from bpcore.data.idx import find_pair, read_pair
from bpcore.data.split import split, split_source
from bpcore.errors import InputError

_TESTS = ("t10k", "test")


def load_idx_folder(path: str | Path, *, test_fraction: float = 0.2, seed: int = 0) -> Dataset:
    """Load a folder of IDX files: images of any size, with a class for each label in the training part.

    The files are named like MNIST's: train-images-idx3-ubyte and train-labels-idx1-ubyte, and t10k-... or test-... for
    the test part. Without a test part, test_fraction of each class is held out, drawn with seed. x is uint8
    (n, height * width), with scale 1/255. InputError for missing or defective files, and for a label that occurs in the
    test part only.
    """
    folder = check_folder(path)
    files, test_files = find_pair(folder, "train"), find_pair(folder, *_TESTS)
    if files is None:
        raise InputError(
            f"{folder} holds no IDX data; needed: train-images-idx3-ubyte, train-labels-idx1-ubyte (plain or .gz)"
        )
    images, y = read_pair(*files)
    classes, labels = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise InputError(f"{files[1]}: all labels are {classes[0]}; at least two classes are needed")
    shape = (images.shape[1], images.shape[2])
    x = images.reshape(len(images), -1)
    if test_files:
        test_images, test_labels = read_pair(*test_files)
        if test_images.shape[1:] != shape:
            raise InputError(f"{test_files[0]} has images {test_images.shape[1:]}, but {files[0].name} has {shape}")
        unseen = np.flatnonzero(~np.isin(test_labels, classes))
        if len(unseen):
            label = f"label {test_labels[unseen[0]]} of sample {unseen[0]}"
            raise InputError(f"{test_files[1]}: {label} does not occur in {files[1].name}")
        parts = x, labels, test_images.reshape(len(test_images), -1), np.searchsorted(classes, test_labels)
        source = f"from {folder}"
    else:
        train, test = split(len(x), labels, test_fraction, seed)
        parts = x[train], labels[train], x[test], labels[test]
        source = f"from {folder}, {split_source(train, test, seed)}"
    return Dataset(
        folder.resolve().name,
        *parts,
        classes=tuple(str(label) for label in classes),
        source=source,
        scale=1 / 255,
        image_shape=shape,
    )
