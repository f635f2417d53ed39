"""Interpret the cells of a table's column as numbers or texts; raise errors for cells that cannot be used."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpcore.errors import InputError, unknown_name

Where = Callable[[int], str]
"""Maps a cell's index to its location for messages: "FILE, row 7, column 'age'"."""

FEW = 20
"""A column with up to this many different whole numbers may hold classes; this many texts are always accepted as
levels, however few the rows."""

_MOST_LEVELS = 1000
_MISSING = {"", "nan"}
_MISSING_AMONG_NUMBERS = {"na", "n/a", "null", "none", "?", "-", "."}


def to_number(cell: str) -> float:
    """The number in a cell; NaN for any other text. Underscores, which Python's float accepts, are not accepted."""
    try:
        return float("nan") if "_" in cell else float(cell)
    except ValueError:
        return float("nan")


def to_numbers(cells: Sequence[str]) -> NDArray[np.float64]:
    """The numbers of a column, NaN for a cell that is not a number; each distinct text is parsed once."""
    known = {cell: to_number(cell) for cell in set(cells)}
    return np.fromiter((known[cell] for cell in cells), np.float64, len(cells))


def check_present(cell: str, where: str) -> None:
    """InputError for a missing value: an empty cell or NaN."""
    if cell.lower() in _MISSING:
        found = f"holds {cell!r}" if cell else "is empty"
        raise InputError(f"{where}: the cell {found}; fill in missing values, or remove such rows")


def first_not_finite(values: NDArray[Any]) -> int:
    """The index of the first NaN or infinity, or -1."""
    odd = np.flatnonzero(~np.isfinite(values))
    return int(odd[0]) if len(odd) else -1


def check_numbers(cells: Sequence[str], values: NDArray[np.float64], where: Where) -> None:
    """InputError for the first cell of a column that is not a finite number."""
    odd = first_not_finite(values)
    if odd >= 0:
        check_present(cells[odd], where(odd))
        raise InputError(f"{where(odd)}: {cells[odd]!r} is not a finite number")


def are_numbers(cells: Sequence[str], values: NDArray[np.float64], where: Where) -> bool:
    """Whether a column holds numbers (True) or texts (False).

    InputError for a column with missing cells, one of numbers with a few texts that look like mistakes, and one in
    which most texts differ (nothing can be learned from an identifier).
    """
    odd = np.flatnonzero(~np.isfinite(values)).tolist()
    if not odd:
        return True
    for index in odd:
        check_present(cells[index], where(index))
    numbers = len(cells) - len(odd)
    levels = len(set(cells))
    slips = all(np.isinf(values[i]) or cells[i].lower() in _MISSING_AMONG_NUMBERS for i in odd)
    if numbers and (slips or (levels > FEW and 2 * numbers > len(cells))):
        check_numbers(cells, values, where)
    _check_commas(cells, odd[0], where)
    if levels > FEW and (2 * levels > len(cells) or levels > _MOST_LEVELS):
        raise InputError(
            f"{where(odd[0])}: the column holds {levels} different texts in {len(cells)} rows, too many to "
            "learn from; remove the column from the file, or make it a number"
        )
    return False


def are_classes(values: NDArray[np.float64]) -> bool:
    """Whether numbers look like class labels: whole, at most 20 different values, each twice or more on average."""
    different = np.unique(values)
    return bool(len(different) <= min(FEW, len(values) // 2) and (different == np.floor(different)).all())


def unknown(kind: str, name: str, accepted: Iterable[object]) -> InputError:
    """The error for an unknown column or level; it lists the accepted ones, or examples if there are many."""
    names = [str(one) for one in accepted]
    if len(names) <= FEW:
        return unknown_name(kind, name, names)
    near = difflib.get_close_matches(name, names, n=3) or [*names[:3], "..."]
    return InputError(f"unknown {kind} {name!r}; there are {len(names)}, among them {', '.join(near)}")


def lacking(column: str, role: str, present: Iterable[object]) -> InputError:
    """The error for a column that a model needs and new rows lack; role: a clause that says what the column is for."""
    names = [str(one) for one in present]
    near = difflib.get_close_matches(column, names, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    shown = names if len(names) <= FEW else [*names[:3], "..."]
    return InputError(f"there is no column {column!r}, {role}{hint}; the columns are {', '.join(shown)}")


def number_name(value: float) -> str:
    """A number as a class name: 3 rather than 3.0."""
    value = float(value)
    return str(int(value)) if value == int(value) else repr(value)


def _check_commas(cells: Sequence[str], odd: int, where: Where) -> None:
    if all(np.isfinite(to_number(cell.replace(",", ""))) for cell in set(cells)):
        raise InputError(f"{where(odd)}: {cells[odd]!r} is a number with a comma in it; write numbers like 1234.5")
