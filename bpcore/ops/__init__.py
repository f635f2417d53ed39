"""The operations of a training step as functions of arrays.

    from bpcore import ops

    a = ops.linear(x, W, b, "relu")                       # one product, one fused pass
    loss = ops.loss(ops.linear(a, V, c), labels, "softmax_cross_entropy")
    dV, dc = ops.matmul(a, loss.delta, transpose_a=True), loss.bias_grad
    ops.update(V, dV, state, "adam", step=0)              # in place

The arrays decide where a function runs: on the CPU for NumPy arrays, on the GPU for CuPy arrays, and on its own device
for the arrays of another package's backend. Arrays of other libraries (PyTorch, JAX, anything with DLPack) are taken
without a copy; results are numpy.ndarray or cupy.ndarray. All arrays of one call must be on one device and, except for
labels, have one dtype, float32 or float64. No function moves arrays to another device or rounds them on its own.

Functions write only to `out`, and to arguments that they are documented to change. `out` must be writable, have the
shape and dtype of the result, and share no element with another argument, unless the function says that it may be that
argument. Arguments may be views of any layout; a product copies a matrix if neither its rows nor its columns are
contiguous. Empty arrays give empty results. Labels are integers of any size.

InputError for shapes, values and `out`; InputTypeError for types, dtypes and devices. Shapes: B batch, N inputs, M
outputs. Elementwise functions take vectors as well.
"""

from __future__ import annotations

from bpcore.ops.elements import add, dropout, hadamard
from bpcore.ops.layers import (
    Deltas,
    Saved,
    activate,
    activate_saving,
    column_sums,
    delta,
    linear,
    linear_saving,
    matmul,
    saves,
)
from bpcore.ops.outputs import LossAndDelta, accuracy, argmax, log_softmax, loss, one_hot, softmax
from bpcore.ops.updates import optimizer_state, update

__all__ = [
    "Deltas",
    "LossAndDelta",
    "Saved",
    "accuracy",
    "activate",
    "activate_saving",
    "add",
    "argmax",
    "column_sums",
    "delta",
    "dropout",
    "hadamard",
    "linear",
    "linear_saving",
    "log_softmax",
    "loss",
    "matmul",
    "one_hot",
    "optimizer_state",
    "saves",
    "softmax",
    "update",
]
