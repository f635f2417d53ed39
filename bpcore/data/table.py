"""The user's own table: a CSV file with a header, or arrays in an .npz file.

What the target is (task="auto"): classes where it is of texts, or of whole numbers with at most 20 different values that
come twice or more on average; labels of uint8 images are classes however many there are; all else is regression.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpcore.data.cells import (
    Where,
    are_classes,
    are_numbers,
    check_numbers,
    check_present,
    number_name,
    to_numbers,
    unknown,
)
from bpcore.data.codec import Feature, TableCodec, moments, standardised
from bpcore.data.csvfile import Columns, headless, read_csv
from bpcore.data.dataset import Dataset
from bpcore.data.files import as_path, check_file, one_line, readable
from bpcore.data.split import split
from bpcore.errors import InputError, unknown_name

TASKS = ("auto", "classification", "regression")
SUFFIXES = (".csv", ".tsv", ".txt", ".npz")

_WAYS = "accepted: x and y, or x_train, y_train, x_test and y_test"


def load_table(
    path: str | Path,
    target: str | None = None,
    *,
    task: str = "auto",
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Load a .csv, .tsv or .txt file with a header, or an .npz file.

    target          the column to learn; a CSV file needs it, in an .npz file it is y
    task            "classification" or "regression"; "auto" looks at the target (see above)
    test_fraction   this share of the rows is held out, of every class alike; drawn with seed

    CSV: columns of numbers are standardised by the mean and deviation of the training part (a constant column is only
    centred), columns of texts become one input for every text that the training part holds (a test row with another
    one has zeros there).
    .npz: x (n, d) or (n, height, width) with y (n,) or (n, m), or both parts as x_train, y_train, x_test, y_test. uint8
    images stay as they are, with scale 1/255; other numbers are standardised. A one-hot y is read as labels.
    Regression: y float32 (n, m), standardised by its mean and deviation in the training part; the codec turns outputs
    back.

    InputError, naming file, row and column, for whatever cannot be used: missing cells and NaN, rows of another length,
    no rows, a single class, a class that only the test part has, an unknown target.
    """
    if task not in TASKS:
        raise unknown_name("task", task, TASKS)
    file = as_path(path)
    if file.suffix.lower() not in SUFFIXES:
        raise InputError(f"{file} is of an unknown kind; accepted: {', '.join(SUFFIXES)}")
    file = check_file(file)
    if file.suffix.lower() == ".npz":
        if target is not None:
            raise InputError(f"target={target!r}: in an .npz file the target is y (y_train, y_test)")
        return _load_npz(file, task, test_fraction, seed)
    return _load_csv(read_csv(file), target, task, test_fraction, seed)


def _load_csv(table: Columns, target: str | None, task: str, test_fraction: float, seed: int) -> Dataset:
    _check_target(table, target)
    assert target is not None
    cells = dict(zip(table.header, table.cells, strict=True))
    y, classes = _read_target(cells.pop(target), task, table.where(target))
    if not cells:
        raise InputError(f"{table.path} has no column beside the target {target!r}")
    train, test = split(len(y), None if classes is None else y, test_fraction, seed)
    features = tuple(_fit_feature(name, column, table.where(name), train) for name, column in cells.items())
    codec, y = _with_target(TableCodec(features, target, classes), y, train)
    x = codec.encode_columns(cells, table.where, zeros=True)
    return Dataset(
        table.path.stem,
        x[train],
        y[train],
        x[test],
        y[test],
        classes,
        _split_source(table.path, train, test, seed),
        codec=codec,
    )


def _check_target(table: Columns, target: str | None) -> None:
    if target in table.header:
        return
    if headless(table.header):
        raise InputError(f"{table.path}, row 1: numbers where a header with the columns' names is needed")
    if target is None:
        shown = ", ".join(table.header[:10]) + (", ..." if len(table.header) > 10 else "")
        raise InputError(f"{table.path}: name the target column (--target); there are {shown}")
    raise InputError(f"{table.path}: {unknown('target column', target, table.header)}")


def _read_target(cells: Sequence[str], task: str, where: Where) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    """Labels (n,) with the classes' names, or targets (n, 1) and None, of a column of texts."""
    values = to_numbers(cells)
    if task == "regression":
        check_numbers(cells, values, where)
        return values[:, None], None
    if are_numbers(cells, values, where):
        return _read_values(values, task, where)
    return _to_labels(np.array(cells), where)


def _read_values(
    values: NDArray[Any], task: str, where: Where, *, of_images: bool = False
) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    """Labels (n,) with the classes' names, or targets (n, 1) and None, of finite numbers."""
    if task == "classification" or (task == "auto" and (of_images or are_classes(values))):
        return _to_labels(values, where)
    return values[:, None], None


def _to_labels(values: NDArray[Any], where: Where) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Each value's place among the different ones in ascending order, and the names of those."""
    different, labels = np.unique(values, return_inverse=True)
    names = tuple(str(value) if values.dtype.kind == "U" else number_name(value) for value in different)
    if len(names) < 2:
        raise InputError(f"{where(0)} and all the others: the target has one class only, {names[0]!r}; two are needed")
    return labels.astype(np.int64), names


def _fit_feature(name: str, cells: Sequence[str], where: Where, train: NDArray[np.int64]) -> Feature:
    values = to_numbers(cells)
    if not are_numbers(cells, values, where):
        return Feature(name, levels=tuple(sorted({cells[row] for row in train})))
    mean, deviation = moments(values[train, None])
    return Feature(name, float(mean[0]), float(deviation[0]))


def _with_target(
    codec: TableCodec, y: NDArray[Any], train: NDArray[np.int64]
) -> tuple[TableCodec, NDArray[Any]]:
    """The codec with the target's moments, and the targets standardised by them; classes stay as they are."""
    if codec.classes is not None:
        return codec, y
    mean, deviation = moments(y[train])
    codec = TableCodec(codec.features, codec.target, None, tuple(mean.tolist()), tuple(deviation.tolist()))
    return codec, standardised(y, mean, deviation, lambda row, _: f"target {codec.target!r} of sample {row}")


def _split_source(path: Path, train: NDArray[np.int64], test: NDArray[np.int64], seed: int) -> str:
    return f"{path}, {len(train)} rows to train and {len(test)} held out with seed {seed}"


def _load_npz(path: Path, task: str, test_fraction: float, seed: int) -> Dataset:
    arrays = _read_npz(path)
    given = "x_train" in arrays
    names = [("x_train", "y_train"), ("x_test", "y_test")] if given else [("x", "y")]
    if "x_test" not in arrays and "y_test" not in arrays:
        names = names[:1]
    for name in [name for pair in names for name in pair if name not in arrays]:
        raise InputError(f"{path} has no array {name}, only {', '.join(sorted(arrays)) or 'none'}; {_WAYS}")
    x_parts = [_check_inputs(path, x, arrays[x], arrays[y], y) for x, y in names]
    if x_parts[0].shape[1:] != x_parts[-1].shape[1:] or x_parts[0].dtype != x_parts[-1].dtype:
        said = " and ".join(f"{x} has shape {arrays[x].shape} and dtype {arrays[x].dtype}" for x, _ in names)
        raise InputError(f"{path}: {said}; they must agree")
    starts = np.cumsum([0, *map(len, x_parts)])

    def where(row: int) -> str:
        part = int(np.searchsorted(starts, row, side="right")) - 1
        return f"{path}: {names[part][1]}[{row - starts[part]}]"

    images = x_parts[0].dtype == np.uint8 and x_parts[0].ndim == 3
    y, classes = _read_array_target(path, [arrays[y] for _, y in names], task, where, of_images=images)
    if len(names) == 2:
        train, test = np.arange(starts[1]), np.arange(starts[1], starts[2])
        if classes is not None:
            for row in test[~np.isin(y[test], y[train])][:1]:
                raise InputError(f"{where(row)}: the class {classes[y[row]]!r} is in the test part only")
        source = str(path)
    else:
        train, test = split(len(y), None if classes is None else y, test_fraction, seed)
        source = _split_source(path, train, test, seed)
    shape = (x_parts[0].shape[1], x_parts[0].shape[2]) if images else None
    flat = [part.reshape(len(part), -1) for part in x_parts]
    inputs = flat if len(names) == 2 else [flat[0][train], flat[0][test]]
    ...


def _read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays by their names in lower case."""
    with readable(path):
        try:
            archive = np.load(path, allow_pickle=False)
            if isinstance(archive, np.ndarray):
                raise InputError(f"{path} is one array (.npy), not an .npz file; {_WAYS}")
            with archive:
                wanted = [name for name in archive.files if name.lower() in _WAYS_NAMES]
                return {name.lower(): archive[name] for name in wanted}
        except InputError:
            raise
        except (ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
            raise InputError(f"{path} is not a sound .npz file of numbers: {one_line(error)}") from error
