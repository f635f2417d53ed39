"""Parameters and gradients: one flat buffer each, with named views for the layers.

The order is weights, then biases, then activation parameters, so that L2 covers one stretch. Each array starts at
a multiple of 256 bytes, with zeros between, and the optimizer runs over the whole in one pass.
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

ALIGNMENT = 256  # bytes: what a GPU's vector loads and cuBLAS like best

Kind = Literal["weight", "bias", "slope"]
_ORDER: tuple[Kind, ...] = ("weight", "bias", "slope")

FREEZABLE: dict[str, Kind] = {"weights": "weight", "bias": "bias", "slope": "slope"}
"""What can be frozen by its kind, as users say it."""

Freeze = bool | str
"""What of a layer stays as it begins: one of FREEZABLE, True for all, False for nothing."""


def check_freeze(freeze: Freeze) -> None:
    """One clear line for anything else."""
    if not isinstance(freeze, bool) and freeze not in FREEZABLE:
        raise InputError(f"freeze={freeze!r}; accepted: True, False, {', '.join(map(repr, FREEZABLE))}")


def checked_norm(limit: float | None) -> float | None:
    """The largest norm of a unit's incoming weights, as a float, or None for any; one clear line for anything else."""
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
    """One parameter array that a layer asks for: its name, shape, kind and first values (on the host).

    freeze: the layer's own setting; the array is frozen where that is True or names its kind.
    max_weight_norm: the largest norm that an update may leave to a column of a matrix: to a unit's incoming weights.
    """

    name: str
    values: np.ndarray
    kind: Kind
    freeze: Freeze = False
    max_weight_norm: float | None = None

    @property
    def trainable(self) -> bool:
        """Whether the optimizer changes it, until somebody says otherwise."""
        return not (self.freeze if isinstance(self.freeze, bool) else FREEZABLE[self.freeze] == self.kind)


@dataclass(frozen=True)
class ParameterView:
    """Where a parameter array stands in the flat buffers, and the views into them.

    operand: the array as products read it. That is the value itself, but at precision "bfloat16" the rounded copy of a
    weight.
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
        """The array in another flat buffer that is laid out as `params`: a copy of the parameters, say."""
        return params[self.first : self.first + self.size].reshape(self.value.shape)


class ParameterBuffer:
    """The flat buffers `params` and `grads` (P,), and one view for each declared array."""

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
        """Where products read something else than float32, an array for the weights as that: zeros at first."""
        kind = self.backend.between_layers(self.dtype)
        if kind == self.dtype:
            return None
        others = (first for declared, first in zip(ordered, firsts, strict=True) if declared.kind != "weight")
        count = min(others, default=self.params.size)
        return self.backend.full((count,), 0.0, kind) if count else None

    def _operands(self, declared: Declaration) -> Array:
        return self._rounded if self._rounded is not None and declared.kind == "weight" else self.params

    def round_weights(self) -> None:
        """Let the rounded copy of the weights, where there is one, be that of the weights as they are now.

        This is the first operation of every pass over the layers, so that nobody who changes weights need think of it.
        """
        if self._rounded is not None:
            in_rows = (-1, ALIGNMENT // self.dtype.itemsize)
            self.backend.duplicate(self.weights.reshape(in_rows), self._rounded.reshape(in_rows))

    @property
    def count(self) -> int:
        """The number of parameters, padding apart."""
        return sum(view.size for view in self.views.values())

    @property
    def weights(self) -> Array:
        """The stretch of `params` that holds all weights, with the zeros between."""
        firsts = (view.first for view in self.views.values() if view.kind != "weight")
        return self.params[: min(firsts, default=self.params.size)]

    def set_trainable(self, names: Iterable[str], trainable: bool) -> None:
        """Freeze these arrays or let them learn again; who asked for `segments` before keeps what it was told."""
        for name in names:
            self.views[name] = replace(self.views[name], trainable=trainable)

    def segments(self) -> np.ndarray:
        """Rows (first, stop, decayed) int64: the stretches an optimizer updates, neighbours joined.

        decayed is 1 for weights, to which L2 and weight decay apply. Frozen arrays are in no segment. The
        padding behind an array is zero, has gradient zero and stays zero, so it may be inside.
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
