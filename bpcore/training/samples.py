"""From a user's arrays to a data set on the device: every check on features, targets and weights stands here."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np

from bpcore.backends.base import Backend, Batch, Samples
from bpcore.errors import InputError, InputTypeError
from bpcore.model.losses import Loss

PIECE = 2**20
"""So many numbers are looked at in one go, so that a file is not read into memory as a whole."""


def check_features(x: Any, dtype: np.dtype[Any], *, inputs: int = 0, name: str = "x") -> np.ndarray:
    """Features as (samples, N): uint8 stays uint8, other numbers take the dtype; images are flattened.

    What lies in a memory-mapped file stays there as it is, and is converted when a batch is gathered.
    inputs: the number of features that is needed, 0 for any.
    """
    array = as_array(x, name)
    if array.dtype.kind not in "buif":
        raise InputTypeError(f"{name} has dtype {array.dtype}; accepted: uint8 or real numbers")
    if array.ndim < 2:
        raise InputError(f"{name} has shape {array.shape}; accepted: (samples, features) or (samples, height, width)")
    if 0 in array.shape:
        raise InputError(f"{name} is empty: its shape is {array.shape}")
    array = array.reshape(len(array), -1)
    if inputs and array.shape[1] != inputs:
        raise InputError(f"{name} has {array.shape[1]} features a sample, but the network takes {inputs}")
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if not _stays_in_its_file(array):
        array = np.require(array, dtype, ["C", "A"])
    found = _not_finite(array, dtype)
    if found is not None:
        row, column, value = found
        raise InputError(f"{name} holds {value} at row {row}, feature {column}; finite numbers are needed")
    return array


def check_targets(
    y: Any, loss: Loss, samples: int, outputs: int, dtype: np.dtype[Any], *, name: str = "y"
) -> np.ndarray:
    """Targets as int64 class labels (samples,) or as a matrix (samples, M) of the dtype."""
    array = as_array(y, name)
    if array.dtype.kind not in "buif":
        raise InputTypeError(f"{name} has dtype {array.dtype}; accepted: integer labels or real targets")
    if len(array) != samples if array.ndim else True:
        raise InputError(f"{name} has shape {array.shape}, but there are {samples} samples")
    if array.ndim == 1 and outputs > 1:
        return _check_labels(array, outputs, name)
    if array.ndim == 1:
        array = array[:, None]
    if array.shape != (samples, outputs):
        raise InputError(
            f"{name} has shape {array.shape}; accepted: labels ({samples},) or targets ({samples}, {outputs}): "
            f"the network has {outputs} outputs"
        )
    matrix = np.require(array, dtype, ["C", "A"])
    found = _not_finite(matrix, dtype)
    if found is not None:
        row, column, value = found
        raise InputError(f"{name} holds {value} at row {row}, column {column}")
    loss.check_targets(matrix, name)
    return matrix


def check_weights(weights: Any, samples: int, dtype: np.dtype[Any]) -> np.ndarray | None:
    """Sample weights (samples,), zero or more, not all zero; None stays None."""
    if weights is None:
        return None
    array = as_array(weights, "sample_weight")
    if array.dtype.kind not in "buif" or array.shape != (samples,):
        raise InputError(
            f"sample weights have shape {array.shape} and dtype {array.dtype}; needed: ({samples},) numbers"
        )
    array = np.require(array, dtype, ["C", "A"])
    if not np.isfinite(array).all() or (array < 0).any() or not array.any():
        raise InputError("sample weights must be finite, zero or more, and not all zero")
    return array


def to_device(
    backend: Backend,
    x: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray | None,
    scale: float,
    shift: float,
) -> Samples:
    """Bring a checked data set to the device, where it stays."""
    return Samples(
        backend.asarray(x),
        backend.asarray(targets),
        None if weights is None else backend.asarray(weights),
        scale,
        shift,
    )


def batch_for(backend: Backend, samples: Samples, size: int, dtype: np.dtype[Any]) -> Batch:
    """Buffers for mini-batches of up to `size` of these samples."""
    return Batch(
        backend.empty((size, samples.x.shape[1]), backend.between_layers(dtype)),
        backend.empty((size, *samples.targets.shape[1:]), samples.targets.dtype),
        backend.full((size,), 1.0, dtype),
        samples.weights is not None,
    )


def as_array(values: Any, name: str) -> np.ndarray:
    """Lists and the like as an array; InputError where they cannot be one."""
    try:
        return np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise InputError(f"{name} cannot be made an array: {error}") from error


def _stays_in_its_file(array: np.ndarray) -> bool:
    """Whether an array lies in a memory-mapped file, in a form that kernels can read."""
    kind = array.dtype
    readable = kind.isnative and kind.kind in "iuf" and kind.itemsize <= 8 and kind != np.float16
    if not (readable and array.flags.c_contiguous and array.flags.aligned):
        return False
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return isinstance(owner, mmap.mmap)


def _not_finite(matrix: np.ndarray, dtype: np.dtype[Any]) -> tuple[int, int, Any] | None:
    """Row, column and value of the first number that is not finite in this dtype; looked at piece by piece."""
    if matrix.dtype.kind != "f":
        return None
    rows = max(1, PIECE // matrix.shape[1])
    for first in range(0, len(matrix), rows):
        piece = matrix[first : first + rows].astype(dtype, copy=False)
        if not np.isfinite(piece).all():
            row, column = np.argwhere(~np.isfinite(piece))[0]
            return first + int(row), int(column), piece[row, column]
    return None


def _check_labels(array: np.ndarray, outputs: int, name: str) -> np.ndarray:
    if array.dtype.kind == "f" and not np.array_equal(array, np.round(array)):
        raise InputError(f"{name} holds {array.dtype} values; class labels must be integers 0 to {outputs - 1}")
    labels = array.astype(np.int64)
    wrong = (labels < 0) | (labels >= outputs)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"{name} holds label {array[row]} at row {row}; accepted: 0 to {outputs - 1}, since the network has "
            f"{outputs} outputs"
        )
    return np.ascontiguousarray(labels)
