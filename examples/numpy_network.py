"""A network of two layers in plain NumPy, trained on three spirals; by its import alone, it uses a GPU if there is one.

    python examples/numpy_network.py
    BPCORE_BACKEND=numpy python examples/numpy_network.py

The second command runs on the CPU in any case.
"""

import bpcore.numpy as np
from bpcore.cli.program import run


def spirals(samples: int = 600) -> tuple[np.ndarray, np.ndarray]:
    """Three interleaved spirals in the plane: x (samples, 2), y (samples,)."""
    y = np.arange(samples) % 3
    r = np.linspace(0.1, 1.0, samples)
    angle = 4.0 * r + y * (2.0 * np.pi / 3.0) + 0.1 * np.random.default_rng(0).standard_normal(samples)
    return np.stack([r * np.sin(angle), r * np.cos(angle)], axis=1), y


def main(hidden: int = 64, steps: int = 200, learning_rate: float = 0.5, momentum: float = 0.9) -> float:
    """Train by gradient descent with momentum on all samples at once, and return the accuracy."""
    rng = np.random.default_rng(1)
    x, y = spirals()
    targets = np.eye(3)[y]
    parameters = [
        2.0 * rng.standard_normal((2, hidden)),
        rng.standard_normal(hidden),
        rng.standard_normal((hidden, 3)) / np.sqrt(hidden),
        np.zeros(3),
    ]
    velocity = [np.zeros_like(parameter) for parameter in parameters]
    for _ in range(steps):
        W1, b1, W2, b2 = parameters
        a = np.tanh(x @ W1 + b1)
        logits = a @ W2 + b2
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        delta2 = (p - targets) / len(x)  # BP1
        delta1 = (delta2 @ W2.T) * (1.0 - a * a)  # BP2
        gradients = [x.T @ delta1, delta1.sum(axis=0), a.T @ delta2, delta2.sum(axis=0)]  # BP3, BP4
        for parameter, v, gradient in zip(parameters, velocity, gradients, strict=True):
            v *= momentum
            v -= learning_rate * gradient
            parameter += v
    accuracy = float(np.mean(np.argmax(logits, axis=1) == y))
    print(f"accuracy on the spirals, on {np.backend_name()}: {100 * accuracy:.1f} %")
    for transfer in np.transfers():
        print(transfer)
    return accuracy


if __name__ == "__main__":
    run(main)
