"""Dropout on MNIST: 784-1024-1024-1024-10, ReLU, after N. Srivastava et al., "Dropout: a simple way to prevent neural
networks from overfitting" (2014), who report 1.06 % errors without unsupervised pretraining or distortions.

    python examples/dropout_3x1024.py

The sizes, ReLU, dropout of 0.2 of the inputs and 0.5 of the hidden units, and all 60,000 training images are theirs.
They train with momentum and bound the norm of each unit's incoming weights; this example uses AdamW with a one-cycle
learning rate, label smoothing of 0.1, and weight decay instead of the bound (--bound adds one). Seed 0 reaches 98.83 %.
"""

from __future__ import annotations

import numpy as np

import bpcore
from bpcore import AdamW, Dense, Dropout, Network, OneCycle, SoftmaxCrossEntropy
from bpcore.cli.program import Count, run


def main(seeds: Count = 3, epochs: int = 100, bound: float | None = None, data: str = "mnist") -> float:
    """Train a network for each seed; print its test accuracy after the last epoch; return the mean.

    bound: the largest norm of each hidden unit's incoming weights.
    """
    images = bpcore.load_dataset(data)
    accuracies = []
    for seed in range(seeds):
        hidden = [layer for _ in range(3) for layer in (Dense(1024, "relu", max_weight_norm=bound), Dropout(0.5))]
        network = Network([Dropout(0.2), *hidden, Dense(10)], seed=seed)
        network.fit(
            images.x_train,
            images.y_train,
            loss=SoftmaxCrossEntropy(label_smoothing=0.1),
            optimizer=AdamW(learning_rate=0.001, weight_decay=0.3),
            schedule=OneCycle(warm_up=0.1),
            epochs=epochs,
            seed=seed,
        )
        accuracies.append(network.evaluate(images.x_test, images.y_test).accuracy)
        print(f"seed {seed}  test accuracy {100 * accuracies[-1]:.2f} %")
    mean = float(np.mean(accuracies))
    print(f"mean of {seeds}  test accuracy {100 * mean:.2f} %")
    return mean


if __name__ == "__main__":
    run(main)
