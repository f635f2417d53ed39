"""Exclusive or, which a single layer cannot learn, with two hidden units.

    python examples/xor.py

2-2-1 units, tanh and sigmoid, 1/2 squared error, 2,000 steps of gradient descent on all four samples at once. The mean
loss falls from 0.1200 to 0.000240, and the outputs are 0.0242, 0.9816, 0.9815 and 0.0256. With seed=1 two of them end
at 0.5, in a local minimum.
"""

import numpy as np

from bpcore import SGD, Dense, Network
from bpcore.cli.program import run

X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
Y = np.array([[0.0], [1.0], [1.0], [0.0]])


def main() -> np.ndarray:
    """Train, and return the four outputs."""
    network = Network([Dense(2, "tanh"), Dense(1, "sigmoid")], precision="float64", seed=2)
    history = network.fit(X, Y, loss="squared_error", optimizer=SGD(learning_rate=2.0), epochs=2000)
    outputs = network.predict(X)[:, 0]
    for (a, b), output in zip(X, outputs, strict=True):
        print(f"{a:.0f} xor {b:.0f} = {output:.4f}")
    print(f"loss {history['loss'][0]:.4f} in the first epoch, {history['loss'][-1]:.6f} in the last")
    return outputs


if __name__ == "__main__":
    run(main)
