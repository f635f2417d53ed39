"""Turns a user's arrays into samples for a network, with every check of features, targets and weights."""

from __future__ import annotations

import mmap
from dataclasses import replace
from typing import Any

import numpy as np

from bpcore.backends.base import Backend
from bpcore.backends.samples import Samples
from bpcore.errors import InputError, InputTypeError, finite
from bpcore.model.layer_stack import LayerStack
from bpcore.model.losses import Loss

PIECE = 2**20
"""How many numbers are checked at a time, so that a file is never read into memory as a whole."""


def prepare(
    network: LayerStack,
    x: Any,
    y: Any = None,
    loss: Loss | None = None,
    sample_weight: Any = None,
    *,
    scale: float | None = None,
    shift: float = 0.0,
    which: str = "",
    features_checked: bool = False,
) -> Samples:
    """Check data for a network and return it as Samples on the host; a network without weights is built for it.

    x, y, sample_weight    as in Network.fit; without y and loss the targets are zeros
    loss                   the loss for these targets, which limits their range
    scale, shift           the network sees x * scale + shift; scale None means 1/255 for uint8, else 1
    which                  a prefix for the names of x and y in messages, such as "validation "
    features_checked       x has been checked, and may be on the device or have its own feed (Samples.x)

    Raises InputError or InputTypeError for unusable input.
    """
    if not features_checked:
        x = check_features(x, network.dtype, inputs=network.inputs, name=f"{which}x")
    count, inputs = x.shape
    network.build(inputs)
    if y is None and loss is None:
        targets = np.zeros(count, np.int64)
    else:
        targets = check_targets(y, loss, count, network.outputs, network.dtype, name=f"{which}y")
    weights = check_weights(sample_weight, count, network.dtype)
    if scale is None:
        scale = 1 / 255 if x.dtype == np.uint8 else 1.0
    return Samples(x, targets, weights, finite("scale", scale), finite("shift", shift))


def check_features(x: Any, dtype: np.dtype[Any], *, inputs: int = 0, name: str = "x") -> np.ndarray:
    """Return features as (samples, N): uint8 stays uint8, other numbers get the dtype; images are flattened.

    An array in a memory-mapped file stays there unchanged; batches are converted when they are gathered.
    inputs: the required number of features, 0 for any.
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
    y: Any, loss: Loss | None, samples: int, outputs: int, dtype: np.dtype[Any], *, name: str = "y"
) -> np.ndarray:
    """Return targets as int64 class labels (samples,) or as a matrix (samples, M) of the dtype."""
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
    if loss is not None:
        loss.check_targets(matrix, name)
    return matrix


def check_weights(weights: Any, samples: int, dtype: np.dtype[Any]) -> np.ndarray | None:
    """Return sample weights (samples,) of the dtype: zero or more, not all zero. None stays None."""
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


def to_device(backend: Backend, samples: Samples) -> Samples:
    """Copy a checked data set to the device, where it stays."""
    return replace(
        samples,
        x=backend.asarray(samples.x),
        targets=backend.asarray(samples.targets),
        weights=None if samples.weights is None else backend.asarray(samples.weights),
    )


def as_array(values: Any, name: str) -> np.ndarray:
    """Return array-like values as an array; raise InputError if that is impossible."""
    try:
        return np.asarray(values)
    except ValueError as error:  # rows of different lengths
        raise InputError(f"{name} cannot be made an array: {error}") from error


def _stays_in_its_file(array: np.ndarray) -> bool:
    """Whether an array is in a memory-mapped file, in a form that kernels can read."""
    kind = array.dtype
    readable = kind.isnative and kind.kind in "iuf" and kind.itemsize <= 8 and kind != np.float16
    if not (readable and array.flags.c_contiguous and array.flags.aligned):
        return False
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    return isinstance(owner, mmap.mmap)


def _not_finite(matrix: np.ndarray, dtype: np.dtype[Any]) -> tuple[int, int, Any] | None:
    """Find the first number that is not finite in this dtype, piece by piece; returns its row, column and value."""
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
