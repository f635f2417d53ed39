"""What a table's target is, and how it becomes labels or standardised numbers.

task="auto" takes for classes: texts; whole numbers with at most 20 different values that come twice or more on average;
the labels of uint8 images, however many there are. All else is regression.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpcore.data.cells import Where, are_classes, are_numbers, check_numbers, number_name, to_numbers
from bpcore.data.codec import TableCodec, moments, standardised
from bpcore.errors import InputError, unknown_name

Labels = NDArray[np.int64]
Targets = NDArray[np.float64]

TASKS = ("auto", "classification", "regression")


def check_task(task: str) -> None:
    """Refuse a task that is not one of TASKS."""
    if task not in TASKS:
        raise unknown_name("task", task, TASKS)


def read_texts(cells: Sequence[str], task: str, where: Where) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    """Labels (n,) and the classes' names, or targets (n, 1) and None, of a column of texts."""
    values = to_numbers(cells)
    if task == "regression":
        check_numbers(cells, values, where)
    elif not are_numbers(cells, values, where):
        return to_labels(np.array(cells), where)
    return read_numbers(values, task, where)


def read_numbers(values: Targets, task: str, where: Where) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    """Labels (n,) and the classes' names, or targets (n, 1) and None, of finite numbers (n,)."""
    if task == "classification" or (task == "auto" and are_classes(values)):
        return to_labels(values, where)
    return values[:, None], None


def to_labels(values: NDArray[np.float64] | NDArray[np.str_], where: Where) -> tuple[Labels, tuple[str, ...]]:
    """The place of each number or text (n,) among the different ones in ascending order, and their names."""
    different, labels = np.unique(values, return_inverse=True)
    names = tuple(str(value) if values.dtype.kind == "U" else number_name(value) for value in different)
    if len(names) < 2:
        raise InputError(f"{where(0)} and all others: the only class is {names[0]!r}; at least two are needed")
    return labels.astype(np.int64), names


def standardise_targets(
    codec: TableCodec, y: Targets, train: NDArray[np.int64], where: Where
) -> tuple[TableCodec, NDArray[np.float32]]:
    """The codec with the moments of the targets (n, m) in the training rows, and the targets made standard by them."""
    mean, deviation = moments(y[train])
    codec = replace(codec, target_mean=tuple(mean.tolist()), target_deviation=tuple(deviation.tolist()))
    return codec, standardised(y, mean, deviation, lambda row, _: where(row))
