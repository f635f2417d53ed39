"""The dtypes, shapes, layouts and tolerances that the parts of the suite share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bpcore.backends.base import Backend
from bpcore.kernels.losses import LossRule

DTYPES = [np.float32, np.float64]
SHAPES = [(1, 1), (1, 7), (5, 3), (13, 40)]
Layout = Callable[[Backend, np.ndarray], Any]
"""Copies a matrix to a backend in some layout."""


class Suite:
    """The fixtures of each part of the suite."""

    @pytest.fixture
    def rng(self) -> np.random.Generator:
        """A generator of random numbers, with the same seed in each test."""
        return np.random.default_rng(20)


def contiguous(backend: Backend, host: np.ndarray) -> Any:
    """A matrix whose rows follow one another without gaps."""
    return backend.asarray(host.copy())


def leading_rows(backend: Backend, host: np.ndarray) -> Any:
    """The leading rows of a larger matrix, as a short last batch is in its buffer."""
    return backend.asarray(np.concatenate([host, np.full_like(host, np.nan)]))[: len(host)]


def leading_columns(backend: Backend, host: np.ndarray) -> Any:
    """The leading columns of a larger matrix: there is a gap after each row."""
    return backend.asarray(np.concatenate([host, np.full_like(host, np.nan)], axis=1))[:, : host.shape[1]]


def transposed(backend: Backend, host: np.ndarray) -> Any:
    """A matrix whose columns follow one another without gaps."""
    return backend.asarray(host.T.copy()).T


LAYOUTS: list[Layout] = [contiguous, leading_rows, leading_columns, transposed]


def tolerance(dtype: Any) -> dict[str, Any]:
    """The tolerance of elementwise results against the float64 reference."""
    return {"rtol": 2e-5, "atol": 2e-6} if dtype == np.float32 else {"rtol": 1e-11, "atol": 1e-12}


def settings_to_try(rule: LossRule) -> list[dict[str, float]]:
    """A loss's settings at their defaults and, if it has any, all of them at other values."""
    defaults = {setting.name: setting.default for setting in rule.settings}
    others = {name: 0.5 * default + 0.1 for name, default in defaults.items()}
    return [defaults, others] if others else [defaults]
