"""Compiling a kernel for the CPU."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from .. import build, elementary
from ..spec import Spec
from . import answers, batch, layer, loss, update

Kernel = Callable[..., None]

TEMPLATES: dict[str, Kernel] = {
    template.__name__: template
    for template in (
        layer.activate,
        layer.activate_keeping_input,
        layer.delta,
        layer.delta_learned,
        loss.loss_head,
        update.update,
        batch.gather,
        batch.gather_rows,
        layer.dropout,
        layer.hadamard,
        layer.add,
        answers.softmax,
        answers.log_softmax,
        answers.argmax,
        answers.above_zero,
        batch.one_hot,
        answers.confusion,
        batch.scatter,
        layer.duplicate,
        layer.max_pieces,
        layer.max_pieces_backward,
        update.global_norm,
        update.fold_factors,
        update.penalize,
        update.column_sums,
        update.limit_columns,
        update.add_slots,
        update.advance,
    )
}

# Sums may be reordered so that they vectorise; the same machine code always adds in the same order.
_REORDERED_SUMS = {"loss_head", "softmax", "log_softmax", "global_norm"}


def alone(value: float, lane: int) -> float:
    """What a group of one worker finds together: what the one found."""
    return value


@functools.cache
def compiled(spec: Spec) -> Kernel:
    """The compiled kernel of a spec; Numba compiles it for the layouts of its first arguments."""
    dtype = spec.dtype
    fastmath = {"contract", "reassoc"} if spec.template in _REORDERED_SUMS else {"contract"}
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
