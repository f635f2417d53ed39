"""Read a CSV file as columns of text cells."""

from __future__ import annotations

import csv
import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bpcore.data.files import check_file, readable
from bpcore.data.table_cells import Where, to_number
from bpcore.errors import InputError

_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Columns:
    """A table: cells[j][i] is the cell in column header[j] and data row i, which begins on line lines[i]."""

    path: Path
    header: tuple[str, ...]
    cells: tuple[Sequence[str], ...]
    lines: tuple[int, ...]

    def where(self, column: str) -> Where:
        """The location of each cell of a column, for messages."""
        return lambda index: f"{self.path}, row {self.lines[index]}, column {column!r}"


def read_csv(path: str | Path) -> Columns:
    """Read a CSV file in UTF-8, with or without a byte order mark, whose first line is a header.

    The delimiter is comma, semicolon or tab: the one that gives the first rows the same number of columns, and the most
    of them. Space around cells and empty lines are ignored. InputError, with the line, for a file that is missing or
    not text, rows that are longer or shorter than the header, and unnamed or repeated columns.
    """
    file = check_file(path)
    with readable(file):
        raw = file.read_bytes()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(f"{file}, row {line}: not UTF-8 text; save the file as CSV in UTF-8") from error
    delimiter = _delimiter(text)
    rows: list[list[str]] = []
    lines: list[int] = []
    shared: dict[str, str] = {}  # equal cells share one object, or a table of grey values would not fit into memory
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    line = 1
    try:
        for row in reader:
            cells = [cell.strip() for cell in row]
            if cells not in ([], [""]):
                rows.append([shared.setdefault(cell, cell) for cell in cells])
                lines.append(line)
            line = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{file}, row {line}: broken CSV: {error}") from error
    if not rows:
        raise InputError(f"{file} is empty; needed: a header with the column names, and rows below it")
    header = rows[0]
    _check_header(file, header)
    for row, at in zip(rows, lines, strict=True):
        if len(row) != len(header):
            raise InputError(f"{file}, row {at}: {len(row)} cells, but the header names {len(header)} columns")
    if len(rows) == 1:
        raise InputError(f"{file} has a header but no rows below it")
    return Columns(file, tuple(header), tuple(zip(*rows[1:], strict=True)), tuple(lines[1:]))


def headless(header: Sequence[str]) -> bool:
    """Whether a first line holds only numbers, so that it is a row and not a header."""
    return all(to_number(cell) == to_number(cell) for cell in header)  # NaN, not a number, differs from itself


def _check_header(file: Path, header: Sequence[str]) -> None:
    for number, name in enumerate(header, 1):
        if not name:
            raise InputError(f"{file}, row 1: column {number} has no name (a saved row index? remove it)")
        if header.index(name) != number - 1:
            raise InputError(f"{file}, row 1: columns {header.index(name) + 1} and {number} are both named {name!r}")


def _delimiter(text: str) -> str:
    """The delimiter that gives the first rows the same number of cells, and the most of them."""
    first = list(itertools.islice(io.StringIO(text, newline=""), 20))

    def columns(delimiter: str) -> tuple[bool, int]:
        try:
            reader = csv.reader(first, delimiter=delimiter, skipinitialspace=True)
            counts = [len(row) for row in reader if row]
        except csv.Error:
            return False, 0
        return len(set(counts)) == 1 and counts[0] > 1, max(counts, default=0)

    return max(_DELIMITERS, key=columns)
