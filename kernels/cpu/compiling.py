"""Compile kernels for the CPU."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from .. import build, elementary
from ..signatures import SIGNATURES, templates_in
from ..spec import Spec
from . import batch, layer, loss, predictions, update

Kernel = Callable[..., None]

TEMPLATES = templates_in(batch, layer, loss, update, predictions)


def alone(value: float, lane: int) -> float:
    """A sum or maximum over the workers that share a row; here one worker has the whole row."""
    return value


@functools.cache
def compiled(spec: Spec) -> Kernel:
    """The compiled kernel of a spec; Numba compiles it for the layouts of its first arguments."""
    dtype = spec.dtype
    fastmath = {"contract", "reassoc"} if SIGNATURES[spec.template].vector_sums else {"contract"}
    options: dict[str, Any] = {"fastmath": fastmath, "error_model": "numpy", "nogil": True}
    jit = numba.njit(forceinline=True, **options)
    holes = {"real": dtype.type, "LANES": 1, "all_sum": alone, "all_max": alone, **dict(spec.holes)}
    bound = build.bind(
        TEMPLATES[spec.template],
        dtype,
        holes,
        replace={**elementary.FLOAT32, **elementary.TABLES} if dtype == np.float32 else {},
        compile_callee=jit,
    )
    kernel, cacheable = build.cached(bound, ("cpu", sorted(fastmath)))
    result: Kernel = build.keep_apart(numba.njit(cache=cacheable, **options)(kernel))
    return result
