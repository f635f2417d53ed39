"""Load the data that a command names: a built-in data set, or the user's own file or folder."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from bpcore.cli.report import Report
from bpcore.data import load_dataset, load_default
from bpcore.data.codec import TableCodec
from bpcore.data.csvfile import read_csv
from bpcore.data.dataset import Dataset
from bpcore.data.files import check_file
from bpcore.data.table_cells import check_numbers, lacking, number_name, to_number, to_numbers
from bpcore.errors import InputError, unknown_name

SPLIT_SEED = 0
"""The seed of the held-out rows; it does not depend on --seed, so that runs can be compared."""


def load(name: str | None, report: Report, *, data_dir: str | None = None, **options: Any) -> Dataset:
    """Load a data set by name, file or folder; None loads the default, MNIST or a sample of it.

    options: target, task and test_fraction of bpcore.data.load_dataset; a download's progress goes to the report.
    """
    download = Download(report)
    if name is None:
        return load_default(
            data_dir=data_dir, notify=lambda line: report.say(f"note: {line}", ""), progress=download.show
        )
    return load_dataset(name, data_dir=data_dir, seed=SPLIT_SEED, progress=download.show, **options)


def all_rows(path: Path, codec: TableCodec) -> tuple[np.ndarray, np.ndarray]:
    """All rows of a table, encoded like the model's training data: x (n, inputs), and labels (n,) or targets (n, m)."""
    file = check_file(path)
    if file.suffix.lower() == ".npz":
        x, y = _test_arrays(file)
        values = [[str(value) for value in column] for column in np.atleast_2d(y.T)]
        return codec.encode_rows(x.reshape(len(x), -1)), _targets(values, codec, str(file))
    table = read_csv(file)
    if codec.target not in table.header:
        raise InputError(f"{file}: {lacking(codec.target, 'which the model predicts', table.header)}")
    cells = table.cells[table.header.index(codec.target)]
    return codec.encode_rows(file), _targets([list(cells)], codec, str(file))


def _targets(columns: list[list[str]], codec: TableCodec, source: str) -> np.ndarray:
    if codec.classes is None:
        values = [to_numbers(column) for column in columns]
        for column, numbers in zip(columns, values, strict=True):
            check_numbers(column, numbers, lambda row: f"{source}, target of row {row + 1}")
        if len(values) != len(codec.target_mean):
            raise InputError(f"{source} has {len(values)} targets, but the model has {len(codec.target_mean)}")
        mean, deviation = np.array(codec.target_mean), np.array(codec.target_deviation)
        return np.asarray((np.stack(values, axis=1) - mean) / deviation)
    label_of = {name: label for label, name in enumerate(codec.classes)}
    labels = np.empty(len(columns[0]), np.int64)
    for row, cell in enumerate(columns[0]):
        name = cell
        if cell not in label_of and not np.isnan(to_number(cell)):
            name = number_name(to_number(cell))
        if name not in label_of:
            raise InputError(f"{source}, row {row + 1}: {unknown_name('class', cell, codec.classes)}")
        labels[row] = label_of[name]
    return labels


def _test_arrays(file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read x_test and y_test of an .npz file or, without them, x and y."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            names = {name.lower(): name for name in archive.files}
            for pair in (("x_test", "y_test"), ("x", "y")):
                if all(name in names for name in pair):
                    x, y = (archive[names[name]] for name in pair)
                    if x.ndim < 2 or y.ndim not in (1, 2) or len(x) != len(y) or len(x) == 0:
                        raise InputError(f"{file}: x of shape {x.shape} and y of shape {y.shape} do not match")
                    return x, y
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file} is not a valid .npz file of numbers and texts") from error
    raise InputError(f"{file} holds neither x_test and y_test nor x and y")


class Download:
    """Shows the progress of a download: on a terminal as it grows, otherwise one line for each file."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._live = report.stream.isatty() and not report.quiet
        self._file = ""
        self._shown = 0.0

    def show(self, file: str, done: int, total: int) -> None:
        """Show the bytes done so far; load_dataset calls this for every chunk."""
        new, complete = file != self._file, 0 < total <= done
        self._file = file
        if not self._live:
            if new:
                self._report.say(f"downloading {file}")
            return
        now = time.perf_counter()
        if new or complete or now - self._shown > 0.1:
            self._shown = now
            amount = f"{100 * done // total} %" if total else f"{done / 1e6:.1f} MB"
            line = f"\rdownloading {file}  {amount:>7}"
            print(line, end="\n" if complete else "", file=self._report.stream, flush=True)
