"""A training loop written with the functions of bpcore.ops: 64-48-10 on scikit-learn's digits.

    pip install "bpcore[sklearn]"
    python examples/training_loop_on_ops.py

After 30 epochs it prints: test accuracy 98.61 %, loss 0.0550. With CuPy arrays the same lines run on a GPU.
"""

from __future__ import annotations

import numpy as np

import bpcore
from bpcore import ops
from bpcore.cli.program import run

HIDDEN, BATCH, SEED = 48, 64, 1


def parameters(*shapes: tuple[int, ...]) -> tuple[np.ndarray, list[np.ndarray]]:
    """One flat array, which the optimizer updates in one pass, and a view of it for each parameter."""
    sizes = [int(np.prod(shape)) for shape in shapes]
    flat = np.zeros(sum(sizes), np.float32)
    stops = np.cumsum(sizes)
    return flat, [flat[stop - n : stop].reshape(shape) for n, stop, shape in zip(sizes, stops, shapes, strict=True)]


def main(epochs: int = 30) -> float:
    """Train, print the result, and return the accuracy on the test samples."""
    data = bpcore.load_dataset("digits")
    x, x_test = (samples.astype(np.float32) * np.float32(data.scale) for samples in (data.x_train, data.x_test))
    shapes = [(x.shape[1], HIDDEN), (HIDDEN,), (HIDDEN, 10), (10,)]
    params, (W1, b1, W2, b2) = parameters(*shapes)
    grads, (dW1, db1, dW2, db2) = parameters(*shapes)
    rng = np.random.default_rng(SEED)
    for W in (W1, W2):
        W[...] = rng.standard_normal(W.shape) * (2 / len(W)) ** 0.5

    optimizer = bpcore.Adam(learning_rate=0.005)
    state = ops.optimizer_state(params, optimizer)
    step = 0
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for first in range(0, len(x), BATCH):
            rows = order[first : first + BATCH]
            batch, labels = x[rows], data.y_train[rows]

            a1, saved = ops.linear_saving(batch, W1, b1, "gelu")
            dropped = ops.dropout(a1, 0.2, seed=SEED, step=step)
            loss = ops.loss(ops.linear(dropped, W2, b2), labels, "softmax_cross_entropy")  # with delta: BP1

            ops.matmul(dropped, loss.delta, transpose_a=True, out=dW2)  # BP3
            db2[...] = loss.bias_grad  # BP4
            delta = ops.matmul(loss.delta, W2, transpose_b=True)  # BP2: through the weights,
            ops.dropout(delta, 0.2, seed=SEED, step=step, out=delta)  # the same dropout mask,
            ops.delta(delta, saved, "gelu", out=delta, bias_grad=db1)  # and the activation
            ops.matmul(batch, delta, transpose_a=True, out=dW1)

            ops.update(params, grads, state, optimizer, step=step)
            step += 1

    z = ops.linear(ops.linear(x_test, W1, b1, "gelu"), W2, b2)
    accuracy = ops.accuracy(z, data.y_test)
    value = float(ops.loss(z, data.y_test, "softmax_cross_entropy").value)
    print(f"test accuracy {100 * accuracy:.2f} %, loss {value:.4f}")
    return accuracy


if __name__ == "__main__":
    run(main)
