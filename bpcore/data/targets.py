"""Read a table's target as class labels or as standardised numbers.

task="auto" means classification for texts, for whole numbers with at most 20 different values that occur twice or more
on average, and for labels of uint8 images, however many there are. Anything else is regression.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpcore.data.codec import TableCodec, moments, standardised
from bpcore.data.table_cells import Where, are_classes, are_numbers, check_numbers, number_name, to_numbers
from bpcore.errors import InputError, unknown_name

Labels = NDArray[np.int64]
Targets = NDArray[np.float64]

TASKS = ("auto", "classification", "regression")


def check_task(task: str) -> None:
    """InputError for a task that is not in TASKS."""
    if task not in TASKS:
        raise unknown_name("task", task, TASKS)


def read_texts(cells: Sequence[str], task: str, where: Where) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    """Labels (n,) with the class names, or targets (n, 1) with None, from a column's cells."""
    values = to_numbers(cells)
    if task == "regression":
        check_numbers(cells, values, where)
    elif not are_numbers(cells, values, where):
        return to_labels(np.array(cells), where)
    return read_numbers(values, task, where)


def read_numbers(values: Targets, task: str, where: Where) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    """Labels (n,) with the class names, or targets (n, 1) with None, from finite numbers (n,)."""
    if task == "classification" or (task == "auto" and are_classes(values)):
        return to_labels(values, where)
    return values[:, None], None


def to_labels(values: NDArray[np.float64] | NDArray[np.str_], where: Where) -> tuple[Labels, tuple[str, ...]]:
    """Labels (n,) from numbers or texts (n,), counted from 0 in ascending order of the values, and the class names."""
    different, labels = np.unique(values, return_inverse=True)
    names = tuple(str(value) if values.dtype.kind == "U" else number_name(value) for value in different)
    if len(names) < 2:
        raise InputError(f"{where(0)} and all others: the only class is {names[0]!r}; at least two are needed")
    return labels.astype(np.int64), names


def standardise_targets(
    codec: TableCodec, y: Targets, train: NDArray[np.int64], where: Where
) -> tuple[TableCodec, NDArray[np.float32]]:
    """Standardise the targets (n, m) by the training rows; return the codec with their moments, and the targets."""
    mean, deviation = moments(y[train])
    codec = replace(codec, target_mean=tuple(mean.tolist()), target_deviation=tuple(deviation.tolist()))
    return codec, standardised(y, mean, deviation, lambda row, _: where(row))
