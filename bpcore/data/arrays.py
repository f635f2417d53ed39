"""Load the user's own arrays from an .npz file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpcore.data.codec import Feature, TableCodec, moments, standardised
from bpcore.data.dataset import Dataset
from bpcore.data.files import check_file, readable
from bpcore.data.split import split, split_source
from bpcore.data.table_cells import Where, check_present, first_not_finite
from bpcore.data.targets import read_numbers, standardise_targets, to_labels
from bpcore.errors import InputError

_NAMES = ("x", "y", "x_train", "y_train", "x_test", "y_test")
_NEEDED = "needed: x and y, or x_train and y_train; x_test and y_test are optional"


def load_npz(path: Path, *, task: str, test_fraction: float, seed: int) -> Dataset:
    """Load an .npz file as described in bpcore.data.load_table."""
    file = check_file(path)
    arrays = _read(file)
    x_name, y_name = ("x_train", "y_train") if "x_train" in arrays else ("x", "y")
    x = _inputs(file, arrays, x_name)
    y = _outputs(file, arrays, y_name, x_name)
    samples = len(x)
    if "x_test" in arrays or "y_test" in arrays:
        x_test, y_test = _inputs(file, arrays, "x_test"), _outputs(file, arrays, "y_test", "x_test")
        _check_alike(file, (x_name, x, x_test), (y_name, y, y_test))
        x, y = np.concatenate([x, x_test]), np.concatenate([y, y_test])

    def where(row: int) -> str:
        return f"{file}: {y_name}[{row}]" if row < samples else f"{file}: y_test[{row - samples}]"

    images = x.dtype == np.uint8 and x.ndim == 3
    targets, classes = _read_targets(y, task, where, of_images=images)
    if len(x) > samples:
        train, test = np.arange(samples), np.arange(samples, len(x))
        _check_classes(targets, classes, samples, where)
        source = str(file)
    else:
        train, test = split(samples, None if classes is None else targets, test_fraction, seed)
        source = f"{file}, {split_source(train, test, seed)}"

    shape = (x.shape[1], x.shape[2]) if images else None
    x, features = _encode(file, x.reshape(len(x), -1), train, keep=images)
    codec = TableCodec(features, "y", classes)
    if classes is None:
        codec, targets = standardise_targets(codec, targets, train, where)
    return Dataset(
        file.stem,
        x[train],
        targets[train],
        x[test],
        targets[test],
        classes=classes,
        source=source,
        scale=1 / 255 if images else 1.0,
        image_shape=shape,
        codec=None if images and classes is not None else codec,
    )


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays whose lower-case names are in _NAMES, by those names."""
    with readable(path):
        try:
            archive = np.load(path, allow_pickle=False)
            if not isinstance(archive, np.ndarray):
                with archive:
                    return {name.lower(): archive[name] for name in archive.files if name.lower() in _NAMES}
        except OSError:
            raise
        except Exception as error:  # broken archives make zipfile, zlib and NumPy raise nearly anything
            raise InputError(f"{path} is not a valid .npz file of numbers and texts") from error
    raise InputError(f"{path} is a single array (.npy), not an .npz file; {_NEEDED}")


def _encode(
    path: Path, x: NDArray[Any], train: NDArray[np.int64], *, keep: bool
) -> tuple[NDArray[Any], tuple[Feature, ...]]:
    """Standardise the inputs (n, d) by the training rows, unless keep; return them with features that describe it."""
    if keep:
        return x, tuple(Feature(f"x{column}") for column in range(x.shape[1]))
    mean, deviation = moments(x[train])
    pairs = zip(mean.tolist(), deviation.tolist(), strict=True)
    features = tuple(Feature(f"x{column}", *pair) for column, pair in enumerate(pairs))
    return standardised(x, mean, deviation, lambda row, column: f"{path}: sample {row}, feature {column}"), features


def _get(path: Path, arrays: dict[str, NDArray[Any]], name: str) -> NDArray[Any]:
    if name not in arrays:
        held = f"{', '.join(sorted(arrays))}, but no {name}" if arrays else "no arrays of these names"
        raise InputError(f"{path} holds {held}; {_NEEDED}")
    return arrays[name]


def _inputs(path: Path, arrays: dict[str, NDArray[Any]], name: str) -> NDArray[Any]:
    x = _get(path, arrays, name)
    if x.ndim < 2 or 0 in x.shape or x.dtype.kind not in "buif":
        raise InputError(
            f"{path}: {name} has shape {x.shape} and dtype {x.dtype}; needed: numbers (n, d) or (n, height, width)"
        )
    _check_finite(path, name, x)
    return x


def _outputs(path: Path, arrays: dict[str, NDArray[Any]], name: str, x_name: str) -> NDArray[Any]:
    y = _get(path, arrays, name)
    if y.ndim not in (1, 2) or 0 in y.shape or y.dtype.kind not in "buifUS" or (y.ndim == 2 and y.dtype.kind in "US"):
        raise InputError(
            f"{path}: {name} has shape {y.shape} and dtype {y.dtype}; needed: labels (n,) or targets (n,) or (n, m)"
        )
    if len(y) != len(arrays[x_name]):
        raise InputError(f"{path}: {x_name} has {len(arrays[x_name])} samples, but {name} has {len(y)}")
    if y.dtype.kind in "US":
        y = np.char.strip(y.astype(np.str_))
        for row, text in enumerate(y.tolist()):
            check_present(text, f"{path}: {name}[{row}]")
        return y
    _check_finite(path, name, y)
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def _check_finite(path: Path, name: str, array: NDArray[Any]) -> None:
    odd = first_not_finite(array.ravel()) if array.dtype.kind == "f" else -1
    if odd >= 0:
        index = ", ".join(str(position) for position in np.unravel_index(odd, array.shape))
        raise InputError(f"{path}: {name}[{index}] is {array.ravel()[odd]}; finite numbers are needed")


def _check_alike(path: Path, *pairs: tuple[str, NDArray[Any], NDArray[Any]]) -> None:
    for name, train, test in pairs:
        texts = {array.dtype.kind == "U" for array in (train, test)}
        bytes_ = {array.dtype == np.uint8 and array.ndim == 3 for array in (train, test)}
        if train.shape[1:] != test.shape[1:] or len(texts) > 1 or len(bytes_) > 1:
            raise InputError(
                f"{path}: {name} has shape {train.shape} and dtype {train.dtype}, but {name[0]}_test {test.shape} and "
                f"{test.dtype}; samples of the two parts must have the same shape and kind"
            )


def _read_targets(
    y: NDArray[Any], task: str, where: Where, *, of_images: bool
) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    """Labels (n,) with the class names, or targets (n, m) with None."""
    if y.dtype.kind == "U":
        if task == "regression":
            raise InputError(f"{where(0)} is {str(y[0])!r}; regression needs numbers")
        return to_labels(y, where)
    if y.ndim == 1:
        labels = of_images and y.dtype.kind in "bui" and task == "auto"
        return read_numbers(y.astype(np.float64), "classification" if labels else task, where)
    one_hot = np.isin(y, (0, 1)).all(axis=1) & (y.sum(axis=1) == 1)
    if one_hot.all() and task != "regression":
        return y.argmax(axis=1).astype(np.int64), tuple(str(label) for label in range(y.shape[1]))
    if task == "classification":
        row = int(np.argmin(one_hot))
        raise InputError(f"{where(row)} is {y[row].tolist()}; classification needs labels (n,) or one-hot rows")
    return y.astype(np.float64), None


def _check_classes(targets: NDArray[Any], classes: tuple[str, ...] | None, samples: int, where: Where) -> None:
    """InputError for a class that occurs in the test part only."""
    if classes is None:
        return
    for row in np.flatnonzero(~np.isin(targets, targets[:samples]))[:1]:
        raise InputError(f"{where(int(row))}: the class {classes[int(targets[row])]!r} is in the test part only")
