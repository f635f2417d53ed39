"""Load the user's own table from a CSV file; bpcore/data/arrays.py loads .npz files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bpcore.data.arrays import load_npz
from bpcore.data.codec import Feature, TableCodec, moments
from bpcore.data.csvfile import Columns, headless, read_csv
from bpcore.data.dataset import Dataset
from bpcore.data.files import as_path
from bpcore.data.split import split, split_source
from bpcore.data.table_cells import Where, are_numbers, to_numbers, unknown
from bpcore.data.targets import check_task, read_texts, standardise_targets
from bpcore.errors import InputError

CSV_SUFFIXES = (".csv", ".tsv", ".txt")
SUFFIXES = (*CSV_SUFFIXES, ".npz")


def load_table(
    path: str | Path,
    target: str | None = None,
    *,
    task: str = "auto",
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Load a .csv, .tsv or .txt file with a header, or an .npz file.

    target          the column to learn, required for a CSV file; in an .npz file it is y
    task            "classification", "regression", or "auto" to decide by the target (bpcore/data/targets.py: the rule)
    test_fraction   the share of the rows of every class to hold out; drawn with seed

    CSV: columns of numbers are standardised by the mean and deviation of the training part (a constant column is only
    centred). A column of texts becomes one input for each text in the training part; all are zero for a test row with
    another text.
    .npz: x (n, d) or (n, height, width) with y (n,) or (n, m), or both parts as x_train, y_train, x_test, y_test. uint8
    images keep their values, with scale 1/255; other numbers are standardised. A one-hot y is read as labels.
    Regression: y is float32 (n, m), standardised by mean and deviation of the training part; the codec converts outputs
    back.

    InputError, naming file, row and column, for missing cells and NaN, rows of another length, no rows, a single class,
    a class that occurs in the test part only, and an unknown target.
    """
    check_task(task)
    file = as_path(path)
    if file.suffix.lower() == ".npz":
        if target is not None:
            raise InputError(f"target={target!r}: in an .npz file the target is y (y_train, y_test)")
        return load_npz(file, task=task, test_fraction=test_fraction, seed=seed)
    if file.suffix.lower() not in CSV_SUFFIXES:
        raise InputError(f"{file} has an unknown type; accepted: {', '.join(SUFFIXES)}, or a folder of IDX files")
    return _load_csv(read_csv(file), target, task, test_fraction, seed)


def _load_csv(table: Columns, target: str | None, task: str, test_fraction: float, seed: int) -> Dataset:
    cells = dict(zip(table.header, table.cells, strict=True))
    target = _check_target(table, target)
    where = table.where(target)
    y, classes = read_texts(cells.pop(target), task, where)
    train, test = split(len(y), None if classes is None else y, test_fraction, seed)
    features = tuple(_fit(name, column, table.where(name), train) for name, column in cells.items())
    codec = TableCodec(features, target, classes)
    if classes is None:
        codec, y = standardise_targets(codec, y, train, where)
    x = codec.encode_columns(cells, table.where, zeros=True)
    source = f"{table.path}, {split_source(train, test, seed)}"
    return Dataset(table.path.stem, x[train], y[train], x[test], y[test], classes=classes, source=source, codec=codec)


def _check_target(table: Columns, target: str | None) -> str:
    if target in table.header and target is not None:
        if len(table.header) == 1:
            raise InputError(f"{table.path} has no column besides the target {target!r}")
        return target
    if headless(table.header):
        raise InputError(f"{table.path}, row 1: numbers, where a header with the column names is needed")
    if target is None:
        shown = ", ".join(table.header[:10]) + (", ..." if len(table.header) > 10 else "")
        raise InputError(f"{table.path}: name the column to learn as the target (--target); the columns are {shown}")
    raise InputError(f"{table.path}: {unknown('target column', target, table.header)}")


def _fit(name: str, cells: Sequence[str], where: Where, train: NDArray[np.int64]) -> Feature:
    """The feature that encodes a column, fitted on its training rows."""
    values = to_numbers(cells)
    if not are_numbers(cells, values, where):
        return Feature(name, levels=tuple(sorted({cells[row] for row in train})))
    mean, deviation = moments(values[train, None])
    return Feature(name, float(mean[0]), float(deviation[0]))
