"""The outputs of a network: probabilities, labels, and losses with their delta (BP1)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bpcore.backends.arrays import Array
from bpcore.backends.base import Backend
from bpcore.backends.samples import Batch
from bpcore.errors import InputError, InputTypeError
from bpcore.model.losses import Loss, get_loss
from bpcore.ops.arguments import DTYPES, Call, as_matrix, natural
from bpcore.ops.steps import control_of


class LossAndDelta(NamedTuple):
    """The results of `loss`, all on the device.

    value       (), the mean loss of the batch; float(value) waits for the device
    delta       (B, M), d value / dz
    bias_grad   (M,), the column sums of delta
    correct     () int64, how many samples were classified correctly
    """

    value: Array
    delta: Array
    bias_grad: Array
    correct: Array


def softmax(z: Array, *, out: Array | None = None) -> Array:
    """e^z / sum e^z for each row of z (B, M), or for z (M,). `out` may be z."""
    return _over_rows("softmax", z, out, Backend.softmax)


def log_softmax(z: Array, *, out: Array | None = None) -> Array:
    """z - log sum e^z for each row of z (B, M), or for z (M,). `out` may be z."""
    return _over_rows("log_softmax", z, out, Backend.log_softmax)


def loss(
    z: Array, targets: Array, loss: str | Loss, *, weights: Array | None = None, out: Array | None = None
) -> LossAndDelta:
    """The mean loss of outputs z (B, M), without softmax or sigmoid, and the last layer's delta (BP1), in one pass.

    targets     labels, integers (B,), or a matrix (B, M) that the loss accepts: shares that sum to one, numbers from 0
                to 1, one-hot rows, ... Labels on the CPU are checked; on a GPU a check would wait for the device, and a
                label outside 0 to M - 1 counts as a target of zeros. The numbers of a matrix are not checked
    loss        the name of a loss (bpcore.model.losses.LOSSES), or a loss with its settings, such as
                bpcore.SoftmaxCrossEntropy(label_smoothing=0.1)
    weights     (B,), the weights of the samples in the mean: zero or more, and not all zero
    out         for the delta; it may be z

    bpcore.kernels.losses has the formulas.
    """
    chosen = get_loss(loss)
    call = Call("loss", ["targets"], z=z, targets=targets, weights=weights)
    z = call.matrix("z")
    if 0 in z.shape:
        raise InputError(f"loss: z has shape {z.shape}; a mean needs at least one sample and one output")
    call.expect("weights", z.shape[:1], "z")
    labels = len(call["targets"].shape) == 1
    call.expect("targets", z.shape[:1] if labels else z.shape, "z")
    if not labels:
        call.numbers(["z", "targets"])
    chosen_targets = _labels(call, "targets", z.shape[1]) if labels else call["targets"]
    out = call.out(out, z.shape, may_be=["z"])
    backend, dtype = call.backend, call.dtype
    kept = backend.empty(z.shape, dtype)  # the loss head adds a bias to its z
    backend.copy(z, kept)
    no_bias, bias_grad = backend.full(z.shape[1:], 0.0, dtype), backend.empty(z.shape[1:], dtype)
    given = call.get("weights")
    batch = Batch(z, chosen_targets, backend.empty(z.shape[:1], dtype) if given is None else given, given is not None)
    control, _, _ = control_of(call)
    backend.loss_head(chosen.rule, kept, no_bias, batch, out, bias_grad, control, settings=chosen.settings)
    return LossAndDelta(control.losses.reshape(()), out, bias_grad, control.correct.reshape(()))


def one_hot(labels: Array, classes: int, *, dtype: Any = np.float32, out: Array | None = None) -> Array:
    """A matrix (B, classes), 1 in the column of each label, integers (B,), else 0; all 0 for a label outside."""
    call = Call("one_hot", ["labels"], labels=labels)
    classes = natural("one_hot", "classes", classes, 2**31)
    if dtype not in DTYPES:
        raise InputTypeError(f"one_hot: dtype={dtype!r}; accepted: float32, float64")
    whole = _integers(call, "labels")
    out = call.out(out, (whole.shape[0], classes), dtype)
    return call.backend.one_hot(whole, out)


def argmax(z: Array, *, out: Array | None = None) -> Array:
    """The column of each row's maximum in z (B, M), int64 (B,): the first of equal maxima, or the first NaN."""
    call = Call("argmax", z=z)
    z = call.matrix("z")
    if z.shape[1] == 0:
        raise InputError(f"argmax: z has shape {z.shape}; rows without outputs have no largest one")
    out = call.out(out, z.shape[:1], np.int64)
    return call.backend.argmax(z, out)


def accuracy(z: Array, labels: Array) -> float:
    """The share of rows of z (B, M) with their maximum at their label, integers (B,). It waits for the device."""
    call = Call("accuracy", ["labels"], z=z, labels=labels)
    z = call.matrix("z")
    if 0 in z.shape:
        raise InputError(f"accuracy: z has shape {z.shape}; it needs at least one sample and one output")
    call.expect("labels", z.shape[:1], "z")
    backend = call.backend
    right = backend.to_numpy(backend.argmax(z)) == backend.to_numpy(_integers(call, "labels"))
    return float(right.mean())


def _over_rows(name: str, z: Array, out: Array | None, compute: Callable[[Backend, Array, Array], Array]) -> Array:
    call = Call(name, z=z)
    z = call.elements("z")
    if z.shape[-1] == 0:
        raise InputError(f"{name}: z has shape {z.shape}; a row without outputs has no {name}")
    out = call.out(out, z.shape, may_be=["z"])
    compute(call.backend, as_matrix(z), as_matrix(out))
    return out


def _integers(call: Call, name: str) -> Array:
    """An argument of integer labels as the kernels read it: int64 (B,)."""
    array = call[name]
    if len(array.shape) != 1 or array.dtype.kind not in "iu":
        raise InputTypeError(
            f"{call.name}: {name} has shape {array.shape} and dtype {array.dtype}; accepted: integer labels (rows,)"
        )
    return array if array.dtype == np.int64 else call.backend.asarray(array, np.int64)


def _labels(call: Call, name: str, columns: int) -> Array:
    """An argument of labels; they are checked where that does not wait for a device."""
    if columns == 1:
        raise InputError(f"{call.name}: z has one column; give {name} as a matrix (rows, 1), not as labels")
    labels = _integers(call, name)
    if isinstance(labels, np.ndarray) and labels.size and not 0 <= labels.min() <= labels.max() < columns:
        wrong = labels[(labels < 0) | (labels >= columns)][0]
        raise InputError(f"{call.name}: {name} holds the label {wrong}; accepted: 0 to {columns - 1}")
    return labels
