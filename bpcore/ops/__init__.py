"""The functional face: each operation of a training step as one function of arrays.

    from bpcore import ops

    a = ops.linear(x, W, b, "relu")                       # one product, one fused pass
    loss = ops.loss(ops.linear(a, V, c), labels, "softmax_cross_entropy")
    dV, dc = ops.matmul(a, loss.delta, transpose_a=True), loss.bias_grad
    ops.update(V, dV, state, "adam", step=0)              # in place

What the arrays are decides where it runs: NumPy's on the CPU, CuPy's on the GPU, those of another package's backend
there. Arrays of other libraries (PyTorch, JAX, anything with DLPack) come in without a copy, and what goes out is a
numpy.ndarray or a cupy.ndarray. All arrays of one call are on one device and, labels apart, of one dtype, float32 or
float64: nothing is moved to another device, and no number rounded, behind the caller's back.

No argument is changed but `out` and what is said to be changed. `out` must have the shape and dtype of the result, be
one that may be written to, and share no element with another argument, unless its function says that it may be that
argument. Arguments may be views of any layout; where neither the rows nor the columns of a matrix are contiguous, a
product takes a copy. Arrays of no elements give results of none. Labels are integers of any size.

InputError for shapes, values and `out`; InputTypeError for types, dtypes and devices. Shapes: B batch, N inputs, M
outputs. Functions of single elements take vectors as well.
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
