"""Parameters and gradients: one flat buffer each, with named views for the layers.

Weights come first, then biases, then activation parameters, so that L2 applies to one range of the buffer. Each array
starts at a multiple of 256 bytes, with zeros in between, and the optimizer updates the whole buffer in one pass.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from bpcore.backends.arrays import Array
from bpcore.backends.base import Backend
from bpcore.errors import InputError, InputTypeError

ALIGNMENT = 256  # bytes: best for a GPU's vector loads and for cuBLAS

Kind = Literal["weight", "bias", "slope"]
_ORDER: tuple[Kind, ...] = ("weight", "bias", "slope")

FREEZABLE: dict[str, Kind] = {"weights": "weight", "bias": "bias", "slope": "slope"}
"""The kinds of parameters that can be frozen, by the names that users give."""

Freeze = bool | str
"""Which parameters of a layer keep their initial values: a name of FREEZABLE, True for all, False for none."""


def check_freeze(freeze: Freeze) -> None:
    """Raise InputError for anything that is not a Freeze."""
    if not isinstance(freeze, bool) and freeze not in FREEZABLE:
        raise InputError(f"freeze={freeze!r}; accepted: True, False, {', '.join(map(repr, FREEZABLE))}")


def checked_norm(limit: float | None) -> float | None:
    """Return the largest norm of a unit's incoming weights as a float; None means no bound."""
    if limit is None:
        return None
    accepted = "a positive number (the largest norm of each unit's incoming weights), or None for no bound"
    if isinstance(limit, bool) or not isinstance(limit, int | float | np.integer | np.floating):
        raise InputTypeError(f"max_weight_norm={limit!r}; accepted: {accepted}")
    if not 0.0 < limit < math.inf:
        raise InputError(f"max_weight_norm={limit!r}; accepted: {accepted}")
    return float(limit)


@dataclass(frozen=True)
class Declaration:
    """A parameter array that a layer asks for.

    name               the layer's number and the array's letter, as in "3.W"
    values             the initial values, on the host
    freeze             the layer's setting; the array is frozen if it is True or names the array's kind
    max_weight_norm    the largest norm that a unit's incoming weights, a column of a matrix, may have after an update
    """

    name: str
    values: np.ndarray
    kind: Kind
    freeze: Freeze = False
    max_weight_norm: float | None = None

    @property
    def trainable(self) -> bool:
        """Whether the optimizer initially updates the array; Network.freeze and unfreeze change that."""
        return not (self.freeze if isinstance(self.freeze, bool) else FREEZABLE[self.freeze] == self.kind)


@dataclass(frozen=True)
class ParameterView:
    """A parameter array in the flat buffers.

    first, size    its position there, and its number of elements
    value, grad    views of the array and its gradient
    operand        the array as matrix products read it: the value, or at precision "bfloat16" a weight's rounded copy
    """

    name: str
    kind: Kind
    first: int
    size: int
    trainable: bool
    value: Array
    grad: Array
    operand: Array
    max_weight_norm: float | None = None

    def within(self, params: Array) -> Array:
        """Return a view of this array in another buffer of the same layout, such as a copy of the parameters."""
        return params[self.first : self.first + self.size].reshape(self.value.shape)


class ParameterBuffer:
    """The flat buffers `params` and `grads` (P,), and a view for each declared array."""

    def __init__(self, backend: Backend, dtype: np.dtype[Any], declarations: Sequence[Declaration]) -> None:
        self.backend = backend
        self.dtype = dtype
        step = ALIGNMENT // dtype.itemsize
        ordered = sorted(declarations, key=lambda declared: _ORDER.index(declared.kind))
        firsts: list[int] = []
        total = 0
        for declared in ordered:
            firsts.append(total)
            total += math.ceil(declared.values.size / step) * step
        host = np.zeros(total, dtype)
        for declared, first in zip(ordered, firsts, strict=True):
            host[first : first + declared.values.size] = declared.values.ravel()
        self.params = backend.empty((total,), dtype)
        backend.write(host, self.params)
        self.grads = backend.full((total,), 0.0, dtype)
        self._rounded = self._room_for_rounded(ordered, firsts)
        self.views = {
            declared.name: ParameterView(
                declared.name,
                declared.kind,
                first,
                declared.values.size,
                declared.trainable,
                self.params[first : first + declared.values.size].reshape(declared.values.shape),
                self.grads[first : first + declared.values.size].reshape(declared.values.shape),
                self._operands(declared)[first : first + declared.values.size].reshape(declared.values.shape),
                declared.max_weight_norm,
            )
            for declared, first in zip(ordered, firsts, strict=True)
        }

    def _room_for_rounded(self, ordered: Sequence[Declaration], firsts: Sequence[int]) -> Array | None:
        """Make the array for rounded weights, filled with zeros; None if products read the weights themselves."""
        kind = self.backend.between_layers(self.dtype)
        if kind == self.dtype:
            return None
        others = (first for declared, first in zip(ordered, firsts, strict=True) if declared.kind != "weight")
        count = min(others, default=self.params.size)
        return self.backend.full((count,), 0.0, kind) if count else None

    def _operands(self, declared: Declaration) -> Array:
        return self._rounded if self._rounded is not None and declared.kind == "weight" else self.params

    def round_weights(self) -> None:
        """Update the rounded copy of the weights, if there is one.

        This is the first operation of every pass over the layers, so code that changes weights need not call it.
        """
        if self._rounded is not None:
            in_rows = (-1, ALIGNMENT // self.dtype.itemsize)
            self.backend.duplicate(self.weights.reshape(in_rows), self._rounded.reshape(in_rows))

    @property
    def count(self) -> int:
        """The number of parameters, without the padding."""
        return sum(view.size for view in self.views.values())

    @property
    def weights(self) -> Array:
        """The range of `params` that holds all weights, including the zeros in between."""
        firsts = (view.first for view in self.views.values() if view.kind != "weight")
        return self.params[: min(firsts, default=self.params.size)]

    def set_trainable(self, names: Iterable[str], trainable: bool) -> None:
        """Freeze these arrays or let them learn again. Segments that were returned earlier do not change."""
        for name in names:
            self.views[name] = replace(self.views[name], trainable=trainable)

    def segments(self) -> np.ndarray:
        """Return the ranges that an optimizer updates: rows (first, stop, decayed) int64, with neighbours joined.

        decayed is 1 for weights, to which L2 and weight decay apply. Frozen arrays are in no segment. The padding
        after an array has zero values and gradients, so it may be included.
        """
        rows: list[list[int]] = []
        step = ALIGNMENT // self.dtype.itemsize
        for view in self.views.values():
            if not view.trainable:
                continue
            decayed = int(view.kind == "weight")
            stop = view.first + math.ceil(view.size / step) * step
            if rows and rows[-1][1] == view.first and rows[-1][2] == decayed:
                rows[-1][1] = stop
            else:
                rows.append([view.first, stop, decayed])
        return np.array(rows, np.int64).reshape(-1, 3)
