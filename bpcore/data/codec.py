"""Encode a table's rows as a network's inputs, and decode its outputs as values of the table's target.

A codec is fitted on the training part only and saved with the model, so that new rows are encoded in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bpcore.data.csvfile import read_csv
from bpcore.data.files import as_path, check_file, read_npy
from bpcore.data.table_cells import Where, check_numbers, check_present, first_not_finite, lacking, to_numbers, unknown
from bpcore.errors import InputError, InputTypeError

_BLOCK = 64  # columns converted to float64 at a time, to bound the memory


@dataclass(frozen=True)
class Feature:
    """A column: numbers are encoded as (x - mean) / deviation, texts one-hot over their levels."""

    name: str
    mean: float = 0.0
    deviation: float = 1.0
    levels: tuple[str, ...] | None = None

    @property
    def width(self) -> int:
        """The number of inputs that the column becomes."""
        return 1 if self.levels is None else len(self.levels)

    def encode(self, cells: Sequence[str], where: Where, *, zeros: bool = False) -> NDArray[np.float32]:
        """Encode cells (n,) as (n, width). An unknown level is an InputError, or all zeros if zeros is True."""
        if self.levels is None:
            values = to_numbers(cells)
            check_numbers(cells, values, where)
            return standardised(
                values[:, None], np.array([self.mean]), np.array([self.deviation]), lambda i, _: where(i)
            )
        column = {level: index for index, level in enumerate(self.levels)}
        encoded = np.zeros((len(cells), len(column)), np.float32)
        for row, cell in enumerate(cells):
            if cell in column:
                encoded[row, column[cell]] = 1.0
            elif not zeros:
                check_present(cell, where(row))
                raise InputError(f"{where(row)}: {unknown('level', cell, self.levels)}")
        return encoded


@dataclass(frozen=True)
class TableCodec:
    """Encodes new rows of a table and decodes a network's outputs.

    features           the columns in the order of the network's inputs
    target             the name of the target column
    classes            the class names; None for regression
    target_mean, target_deviation    of each target (m,); a regression network predicts (y - mean) / deviation
    """

    features: tuple[Feature, ...]
    target: str
    classes: tuple[str, ...] | None
    target_mean: tuple[float, ...] = ()
    target_deviation: tuple[float, ...] = ()

    @property
    def inputs(self) -> int:
        """The number of values in an encoded row."""
        return sum(feature.width for feature in self.features)

    def encode_rows(self, rows: Sequence[Mapping[str, Any]] | NDArray[Any] | str | Path) -> NDArray[np.float32]:
        """Encode new rows as (n, inputs).

        rows: dictionaries from column name to value; an array (n, features), or (features,) for one row, of numbers in
        the order of the features; or the path of a .csv or .npy file. Columns that are not features are ignored.

        InputError for a missing column or value, a value that is not a number, and a level that does not occur in the
        training part. It names the column and the row (from 1; in a file, the line).
        """
        if isinstance(rows, np.ndarray):
            return self._encode_array(rows, "the array")
        if not isinstance(rows, (str, Path)):
            return self._encode_dictionaries(list(rows))
        path = check_file(as_path(rows))
        if path.suffix.lower() == ".npy":
            return self._encode_array(read_npy(path), str(path))
        table = read_csv(path)
        cells = dict(zip(table.header, table.cells, strict=True))
        for feature in self.features:
            if feature.name not in cells:
                raise InputError(f"{path}: {lacking(feature.name, 'which the model needs', table.header)}")
        return self.encode_columns(cells, table.where)

    def encode_columns(
        self, cells: Mapping[str, Sequence[str]], where: Callable[[str], Where], *, zeros: bool = False
    ) -> NDArray[np.float32]:
        """Encode columns, name -> cells (n,), as (n, inputs); zeros as in Feature.encode."""
        samples = len(cells[self.features[0].name])
        encoded = np.empty((samples, self.inputs), np.float32)
        start = 0
        for feature in self.features:
            block = feature.encode(cells[feature.name], where(feature.name), zeros=zeros)
            encoded[:, start : start + feature.width] = block
            start += feature.width
        return encoded

    def decode_targets(self, outputs: Any) -> NDArray[Any]:
        """Decode a network's outputs as class names or as targets in their own units.

        Classification: class names (n,) from outputs (n, classes), by the largest, or from class labels (n,).
        Regression: targets (n, m) in float64 from outputs (n, m), or (n,) for one target.
        """
        array = np.asarray(outputs)
        if self.classes is None:
            mean, deviation = np.array(self.target_mean), np.array(self.target_deviation)
            if array.ndim == 1 and len(mean) == 1:
                array = array[:, None]
            if array.ndim != 2 or array.shape[1] != len(mean):
                raise InputError(f"outputs of shape {array.shape} cannot be decoded; accepted: (n, {len(mean)})")
            targets: NDArray[np.float64] = array.astype(np.float64) * deviation + mean
            return targets
        if array.ndim == 2 and array.shape[1] == len(self.classes):
            array = array.argmax(axis=1)
        if array.ndim != 1 or array.dtype.kind not in "ui":
            raise InputError(
                f"outputs of shape {array.shape} and dtype {array.dtype} cannot be decoded; accepted: "
                f"(n, {len(self.classes)}), or class labels (n,)"
            )
        if len(array) and not 0 <= array.min() <= array.max() < len(self.classes):
            raise InputError(f"labels from {array.min()} to {array.max()}; accepted: 0 to {len(self.classes) - 1}")
        names: NDArray[np.str_] = np.array(self.classes)[array]
        return names

    def to_json(self) -> dict[str, Any]:
        """The codec as a dictionary for json.dumps; from_json is the inverse."""
        return {
            "features": [
                {"name": feature.name, "mean": feature.mean, "deviation": feature.deviation}
                if feature.levels is None
                else {"name": feature.name, "levels": list(feature.levels)}
                for feature in self.features
            ],
            "target": self.target,
            "classes": None if self.classes is None else list(self.classes),
            "target_mean": list(self.target_mean),
            "target_deviation": list(self.target_deviation),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TableCodec:
        """The codec from a dictionary of to_json; InputError if it is damaged."""
        try:
            features = tuple(
                Feature(str(entry["name"]), levels=tuple(map(str, entry["levels"])))
                if "levels" in entry
                else Feature(str(entry["name"]), float(entry["mean"]), float(entry["deviation"]))
                for entry in data["features"]
            )
            classes = None if data["classes"] is None else tuple(map(str, data["classes"]))
            mean, deviation = (tuple(map(float, data[key])) for key in ("target_mean", "target_deviation"))
            return cls(features, str(data["target"]), classes, mean, deviation)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"the table's codec is damaged: {type(error).__name__} {error}") from error

    def _encode_dictionaries(self, rows: Sequence[Mapping[str, Any]]) -> NDArray[np.float32]:
        if not rows:
            raise InputError("no rows to encode")
        for number, row in enumerate(rows, 1):
            if not isinstance(row, Mapping):
                raise InputTypeError(f"row {number} is {row!r}; accepted: a dictionary from column name to value")
            for feature in self.features:
                if feature.name not in row:
                    raise InputError(f"row {number}: {lacking(feature.name, 'which the model needs', row)}")
        cells = {feature.name: [_text(row[feature.name]) for row in rows] for feature in self.features}
        return self.encode_columns(cells, lambda column: lambda index: f"row {index + 1}, column {column!r}")

    def _encode_array(self, array: NDArray[Any], source: str) -> NDArray[np.float32]:
        array = array[None] if array.ndim == 1 else array
        texts = [feature.name for feature in self.features if feature.levels is not None]
        if texts:
            raise InputError(
                f"{source} cannot be used: column {texts[0]!r} holds texts; use a CSV file or dictionaries"
            )
        if array.ndim != 2 or array.shape[1] != len(self.features) or array.dtype.kind not in "buif":
            raise InputError(
                f"{source} has shape {array.shape} and dtype {array.dtype}; needed: numbers (n, {len(self.features)})"
            )
        mean = np.array([feature.mean for feature in self.features])
        deviation = np.array([feature.deviation for feature in self.features])
        return standardised(
            array, mean, deviation, lambda i, j: f"{source}, row {i + 1}, column {self.features[j].name!r}"
        )


def standardised(
    x: NDArray[Any], mean: NDArray[np.float64], deviation: NDArray[np.float64], where: Callable[[int, int], str]
) -> NDArray[np.float32]:
    """(x - mean) / deviation of x (n, d), computed in float64; InputError for a result that is not finite.

    where: maps (row, column) to the location of the number for the message
    """
    result = np.empty(x.shape, np.float32)
    for start in range(0, x.shape[1], _BLOCK):
        block = slice(start, start + _BLOCK)
        with np.errstate(over="ignore", invalid="ignore"):
            result[:, block] = (x[:, block].astype(np.float64) - mean[block]) / deviation[block]
    odd = first_not_finite(result.ravel())
    if odd >= 0:
        row, column = divmod(odd, x.shape[1])
        value = x[row, column]
        fault = "is too far from the values of the training part" if np.isfinite(value) else "is not a finite number"
        raise InputError(f"{where(row, column)}: {value} {fault}")
    return result


def moments(x: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each column of x (n, d), in float64; the deviation of a constant column is 1."""
    mean, deviation = np.empty(x.shape[1]), np.empty(x.shape[1])
    for start in range(0, x.shape[1], _BLOCK):
        block = slice(start, start + _BLOCK)
        values = x[:, block].astype(np.float64)
        largest = np.abs(values).max(axis=0)
        largest[largest == 0] = 1.0
        values /= largest  # squares and sums of large numbers would overflow
        mean[block] = values.mean(axis=0) * largest
        deviation[block] = values.std(axis=0) * largest
        constant = (values == values[:1]).all(axis=0) | (deviation[block] == 0)
        mean[block][constant] = x[0, block][constant]
        deviation[block][constant] = 1.0
    return mean, deviation


def _text(value: object) -> str:
    """A value as the text of a CSV cell."""
    return "" if value is None else str(value).strip()
