"""A spec identifies a kernel: by its template, its dtype, and the functions that fill the template's holes.

Both devices build their kernels from the same specs. A kernel takes the same arguments on both, so either can replace
the other; signatures.py lists the arguments.
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

    The functions below return the same object for the same arguments, so specs are compared by identity.
    """

    template: str
    dtype: DType
    holes: tuple[tuple[str, Callable[..., object]], ...] = ()


@functools.cache
def activate(activation: ActivationRule, dtype: DType) -> Spec:
    """The kernel that applies an activation; it keeps the input in z if the derivative needs it."""
    template = "activate" if activation.saves == "output" else "activate_keeping_input"
    return Spec(template, dtype, (("f", activation.f),))


@functools.cache
def delta(activation: ActivationRule, dtype: DType) -> Spec:
    """The kernel that multiplies by an activation's derivative, and computes a learned parameter's gradient."""
    if activation.parameter_derivative is None:
        return Spec("delta", dtype, (("derivative", activation.derivative),))
    return Spec(
        "delta_learned",
        dtype,
        (("derivative", activation.derivative), ("parameter_derivative", activation.parameter_derivative)),
    )


@functools.cache
def loss_head(loss: LossRule, dtype: DType, *, labels: bool, weighted: bool) -> Spec:
    """The kernel of a loss. labels: whether the targets are class labels; weighted: whether samples have weights."""
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
    """The kernel that applies an optimizer's update rule."""
    state_rows = (no_rows, one_row, two_rows)[rule.states]
    names = (
        ("named_state", rule.named_state),
        ("named_step", rule.named_step),
        ("named_settings", rule.named_settings),
    )
    return Spec("update", dtype, (("element", rule.element), ("state_rows", state_rows), *names))


@functools.cache
def gather(dtype: DType, *, labels: bool, weighted: bool) -> Spec:
    """The kernel that fills a batch; labels and weighted as in `loss_head`."""
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
    """As `gather`, for rows that go to another device: unchanged, or converted to the dtype of out_x."""
    return Spec("gather_rows", dtype, gather(dtype, labels=labels, weighted=weighted).holes)


@functools.cache
def scatter(dtype: DType, *, labels: bool) -> Spec:
    """The kernel that copies a batch's rows, or its labels, back to their places among the samples."""
    return Spec("scatter", dtype, (("copy_target", copy_label if labels else copy_row),))


@functools.cache
def plain(template: str, dtype: DType) -> Spec:
    """A kernel without holes."""
    return Spec(template, dtype)


def no_rows(state, first, stop):  # type: ignore[no-untyped-def]
    """Return the state of an optimizer that keeps none: an empty tuple."""
    return ()


def one_row(state, first, stop):  # type: ignore[no-untyped-def]
    """Return a range of the state of an optimizer that keeps one value for each parameter."""
    return (state[0, first:stop],)


def two_rows(state, first, stop):  # type: ignore[no-untyped-def]
    """Return a range of the state of an optimizer that keeps two values for each parameter."""
    return (state[0, first:stop], state[1, first:stop])


def given_weight(weights, i):  # type: ignore[no-untyped-def]
    """The weight of sample i."""
    return weights[i]


def weight_of_one(weights, i):  # type: ignore[no-untyped-def]
    """The weight of every sample if no weights were given."""
    return 1.0


def copy_label(source, index, out, i, lane):  # type: ignore[no-untyped-def]
    """Copy one scalar of a batch, such as a label."""
    if lane == 0:
        out[i] = source[index]


def copy_row(source, index, out, i, lane):  # type: ignore[no-untyped-def]
    """Copy one row of a batch, which LANES workers share as in losses.py."""
    for j in range(lane, out.shape[1], LANES):
        out[i, j] = source[index, j]


def copy_nothing(source, index, out, i, lane):  # type: ignore[no-untyped-def]
    """Copy nothing, because no weights were given."""
