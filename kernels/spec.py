"""Which kernel is meant: a template, a dtype, and what goes into the template's holes.

The CPU and the CUDA side build their kernels from the same specs, and a kernel takes the same arguments on
both, so that one can stand for the other. Every function here names one kernel and lists its arguments.

Shapes: B batch, N inputs, M outputs, P parameters. All arrays are of the kernel's dtype unless said.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .activations import ActivationRule
from .losses import LossRule, argmax_is_right, dense_target, label_target, threshold_is_right
from .optimizers import UpdateRule

DType = np.dtype[Any]

LANES: int  # a hole, filled when a kernel is built (see losses.py)


@dataclass(frozen=True, eq=False)
class Spec:
    """One kernel: the template's name, the dtype, and (name, function) for each hole.

    The functions below return the same object for the same arguments, so specs compare by identity.
    """

    template: str
    dtype: DType
    holes: tuple[tuple[str, Callable[..., object]], ...] = ()


@functools.cache
def activate(activation: ActivationRule, dtype: DType) -> Spec:
    """Arguments: z (B, M), bias (M,), parameter (M,), out (B, M). `out` may be z unless the input is saved."""
    template = "activate" if activation.saves == "output" else "activate_keeping_input"
    return Spec(template, dtype, (("f", activation.f),))


@functools.cache
def delta(activation: ActivationRule, dtype: DType) -> Spec:
    """Arguments: delta (B, M), saved (B, M), parameter (M,), bias_grad (M,), parameter_grad (M,)."""
    if activation.parameter_derivative is None:
        return Spec("delta", dtype, (("derivative", activation.derivative),))
    return Spec(
        "delta_learned",
        dtype,
        (("derivative", activation.derivative), ("parameter_derivative", activation.parameter_derivative)),
    )


@functools.cache
def loss_head(loss: LossRule, dtype: DType, *, labels: bool, weighted: bool) -> Spec:
    """Arguments: z (B, M), bias (M,), targets, weights (B,), all_weights, delta (B, M), bias_grad (M,), losses,
    totals, correct (one slot a batch each), counters, settings (a tuple of scalars). targets: int64 labels (B,) or a
    matrix (B, M). all_weights: weights itself, or those of the whole batch where z holds only some of its rows.
    """
    return Spec(
        "loss_head",
        dtype,
        (
            ("row", loss.row),
            ("named_settings", loss.named_settings),
            ("is_right", threshold_is_right if loss.predicts == "yes_or_no" else argmax_is_right),
            ("target_at", label_target if labels else dense_target),
            ("weight_at", given_weight if weighted else weight_of_one),
        ),
    )


@functools.cache
def update(rule: UpdateRule, dtype: DType) -> Spec:
    """Arguments: params (P,), grads (P,), state (rule.states, P), segments int64 (S, 3), settings (8,), table
    (steps, 3), scale (1,), norm (1,), counters, first. first: the number of the parameter that grads begins with, where
    it holds fewer.
    """
    state_rows = (no_rows, one_row, two_rows)[rule.states]
    names = (
        ("named_state", rule.named_state),
        ("named_step", rule.named_step),
        ("named_settings", rule.named_settings),
    )
    return Spec("update", dtype, (("element", rule.element), ("state_rows", state_rows), *names))


@functools.cache
def gather(dtype: DType, *, labels: bool, weighted: bool) -> Spec:
    """Arguments: x (samples, N) of any real dtype, targets, weights, scale, shift, out_x (B, N), out_targets,
    out_weights (B,), first_row, counters. first_row: the place of out's first row in the batch.
    """
    return Spec(
        "gather",
        dtype,
        (
            ("copy_target", copy_label if labels else copy_row),
            ("copy_weight", copy_label if weighted else copy_nothing),
        ),
    )


@functools.cache
def gather_rows(dtype: DType, *, labels: bool, weighted: bool) -> Spec:
    """Arguments: x (samples, N), targets, weights, out_x (B, N), out_targets, out_weights (B,), first_row, counters, as
    those of gather; the rows are left as they are, or converted where out_x is of another dtype (the CPU alone).
    """
    return Spec("gather_rows", dtype, gather(dtype, labels=labels, weighted=weighted).holes)


@functools.cache
def scatter(dtype: DType, *, labels: bool) -> Spec:
    """Arguments: batch, out, first_row, counters: batch (B, M) into out (samples, M), or int64 (B,) into (samples,).
    first_row: the place of batch's first row in the whole batch.
    """
    return Spec("scatter", dtype, (("copy_target", copy_label if labels else copy_row),))


@functools.cache
def plain(template: str, dtype: DType) -> Spec:
    """A kernel without holes:

    hadamard              a, b, out (B, M)
    add                   a, b, out (B, M)
    duplicate             x (B, M), out (B, M)
    softmax, log_softmax  z (B, M), out (B, M)
    argmax                z (B, M), out int64 (B,)
    above_zero            z (B, M), out int64 (B, M)
    one_hot               labels int64 (B,), out (B, M)
    confusion             predicted int64 (B,), targets int64 (B,), counts int64 (M, M)
    dropout               x (B, M), out (B, M), layer, threshold, scale, first_row, counters
    max_pieces            z (B, pieces * M), bias (pieces * M,), out (B, M), winner int32 (B, M)
    max_pieces_backward   delta (B, M), winner int32 (B, M), out (B, pieces * M), bias_grad (pieces * M,)
    global_norm           grads (P,), segments int64 (S, 3), norm (1,)
    fold_factors          table (steps, 3), scale (1,), settings (8,), counters, factors (3,)
    penalize              squares (k, k), totals, penalties (one slot a batch each), settings (8,), counters
    column_sums           x (B, M), out (M,)
    limit_columns         weights (N, M), limit, factors (M,), first: the place of the factors' first column in weights
    add_slots             parts (parts, slots), out (slots,), counters (the CPU alone)
    advance               counters
    """
    return Spec(template, dtype)


def no_rows(state, first, stop):  # type: ignore[no-untyped-def]
    """The state of an optimizer that keeps none."""
    return ()


def one_row(state, first, stop):  # type: ignore[no-untyped-def]
    """A stretch of one value for each parameter."""
    return (state[0, first:stop],)


def two_rows(state, first, stop):  # type: ignore[no-untyped-def]
    """A stretch of two values for each parameter."""
    return (state[0, first:stop], state[1, first:stop])


def given_weight(weights, i):  # type: ignore[no-untyped-def]
    """The weight of sample i."""
    return weights[i]


def weight_of_one(weights, i):  # type: ignore[no-untyped-def]
    """The weight of a sample where none were given."""
    return 1.0


def copy_label(source, index, out, i, lane):  # type: ignore[no-untyped-def]
    """One scalar of a batch."""
    if lane == 0:
        out[i] = source[index]


def copy_row(source, index, out, i, lane):  # type: ignore[no-untyped-def]
    """One row of a batch, shared by LANES workers as the rows of losses.py are."""
    for j in range(lane, out.shape[1], LANES):
        out[i, j] = source[index, j]


def copy_nothing(source, index, out, i, lane):  # type: ignore[no-untyped-def]
    """What is not there is not copied."""
