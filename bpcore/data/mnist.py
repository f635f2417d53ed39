"""Load MNIST and data sets in the same format, from local files or by download.

data_dir, $BPCORE_DATA_DIR and the user's cache are searched: in each, the folder NAME and then the folder itself. The
structure of local files is checked, and the SHA-256 of downloaded ones (bpcore/data/download.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bpcore.data.dataset import Dataset
from bpcore.data.download import Progress, download
from bpcore.data.files import readable
from bpcore.data.idx import find_pair, read_pair
from bpcore.data.search_folders import DataUnavailable, cache_folder, given_folders
from bpcore.errors import InputError, unknown_name

FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
_SHAPE = (28, 28)


@dataclass(frozen=True)
class Source:
    """A data set's source: the mirrors' base URLs, the SHA-256 of the four FILES, and the class names."""

    mirrors: tuple[str, ...]
    sha256: tuple[str, str, str, str]
    classes: tuple[str, ...]


SOURCES = {
    "mnist": Source(
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        (
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
        tuple("0123456789"),
    ),
    "fashion_mnist": Source(
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        (
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
        (
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
    ),
    "kmnist": Source(
        ("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
        (
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
    ),
}


def load_mnist(
    name: str = "mnist",
    *,
    data_dir: str | Path | None = None,
    mirrors: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Dataset:
    """Load mnist, fashion_mnist or kmnist: x uint8 (n, 784) with scale 1/255, labels int64 (n,) of ten classes.

    data_dir    a folder to look in first
    mirrors     base URLs to download from instead of the data set's own
    progress    called as progress(file name, bytes done, total bytes) while downloading; the total is 0 if unknown

    DataUnavailable if the data set is neither found nor downloadable; InputError for a data_dir that does not exist and
    for defective files.
    """
    if name not in SOURCES:
        raise unknown_name("data set", name, SOURCES)
    source = SOURCES[name] if mirrors is None else replace(SOURCES[name], mirrors=tuple(mirrors))
    tried = []
    for base, label in given_folders(data_dir):
        if not base.is_dir():
            tried.append(f"{label} (no such folder)")
            continue
        for folder in (base / name, base):
            files = find_files(folder)
            if not files:
                continue
            owner = _owner(files[3])
            if owner in (None, name):
                return read_files(name, files, source.classes, f"from {folder}")
            label = f"{label} (holds {owner})"
        tried.append(label)
    return _from_cache(name, source, tried, progress)


def find_folder(name: str, base: Path) -> Path | None:
    """Find the folder with the four files of a data set: base/NAME or base; None if neither has them.

    Files that are known to belong to another data set, which has the same file names, are skipped. InputError for a
    folder with some of the four files but not all.
    """
    for folder in (base / name, base):
        files = find_files(folder)
        if files and _owner(files[3]) in (None, name):
            return folder
    return None


def find_files(folder: Path) -> list[Path] | None:
    """Find the four files, in the order of FILES, by the names that find_pair accepts; None if there are none.

    InputError for a folder with some of the four files but not all.
    """
    train, test = find_pair(folder, "train"), find_pair(folder, "t10k")
    if train and test:
        return [*train, *test]
    if train or test:
        raise InputError(f"{folder} holds {'train' if train else 't10k'}-images but lacks {FILES[2 if train else 0]}")
    return None


def read_files(name: str, files: Sequence[Path], classes: tuple[str, ...], source: str) -> Dataset:
    """Read a data set from four files in the order of FILES; InputError for sizes other than 28 x 28, wrong labels."""
    pairs = [read_pair(files[part], files[part + 1], len(classes)) for part in (0, 2)]
    for file, (images, _) in zip(files[::2], pairs, strict=True):
        if images.shape[1:] != _SHAPE:
            height, width = images.shape[1:]
            raise InputError(f"{file} holds images of {height} x {width}; {name} has 28 x 28")
    (x_train, y_train), (x_test, y_test) = pairs
    return Dataset(
        name,
        x_train.reshape(len(x_train), -1),
        y_train,
        x_test.reshape(len(x_test), -1),
        y_test,
        classes=classes,
        source=source,
        scale=1 / 255,
        image_shape=_SHAPE,
    )


def _from_cache(name: str, source: Source, tried: list[str], progress: Progress | None) -> Dataset:
    """Load from the user's cache; download files that are missing or defective there."""
    folder = cache_folder() / name
    try:
        files = find_files(folder)
        if files:
            return read_files(name, files, source.classes, f"from the cache, {folder}")
    except InputError:
        pass  # a defective cache is replaced, not reported
    checksums = dict(zip(FILES, source.sha256, strict=True))
    failures = download(folder, checksums, source.mirrors, progress)
    if failures:
        looked = ", ".join([*tried, str(folder)])
        raise DataUnavailable(
            f"{name} is neither on this machine nor downloadable: looked in {looked}; {'; '.join(failures)}. "
            f"Put its four files ({FILES[0]}, ...) into a folder and name that folder with data_dir, --data-dir or "
            f"BPCORE_DATA_DIR"
        )
    return read_files(name, [folder / file for file in FILES], source.classes, f"downloaded to {folder}")


# SHA-256 of each data set's compressed test labels, and of MNIST's uncompressed: they identify files of equal names.
_TEST_LABELS = {source.sha256[3]: name for name, source in SOURCES.items()} | {
    "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2": "mnist"
}


def _owner(test_labels: Path) -> str | None:
    """The name of the data set that a file of test labels belongs to, or None if unknown."""
    with readable(test_labels):
        return _TEST_LABELS.get(hashlib.sha256(test_labels.read_bytes()).hexdigest())
