"""Arrays for tests of bpcore.ops, and their comparison."""

from __future__ import annotations

from typing import Any

import numpy as np

from bpcore.backends.base import Backend
from bpcore.testing.common import tolerance
from support.stand_in import Device

STAND_IN = Device()


def close(backend: Backend, found: Any, expected: Any, dtype: Any, **options: Any) -> None:
    assert backend.owns(found)
    assert found.dtype == dtype
    np.testing.assert_allclose(backend.to_numpy(found), expected, **{**tolerance(dtype), **options})


def numbers(rng: np.random.Generator, dtype: Any, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


class Subclass(np.ndarray):
    """A subclass of NumPy's array."""


class Foreign:
    """An array of another library that shares its memory only through DLPack."""

    def __init__(self, content: np.ndarray, device: int = 1, problem: Exception | None = None) -> None:
        self.content, self.device, self.problem = content, device, problem

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device, 0

    def __dlpack__(self, **options: Any) -> Any:
        if self.problem:
            raise self.problem
        return self.content.__dlpack__(**options)
