"""CIFAR-10 with one hidden layer, 3072-h-10, on flattened pixels.

    python examples/cifar10.py [--hidden 1024] [--data-dir FOLDER]

The binary version is downloaded (170 MB), or read from cifar-10-binary.tar.gz or its six files in FOLDER. A multilayer
perceptron does not know which pixels are neighbours and soon overfits the training images: hence dropout, also of the
input, and weight decay. The pixels are scaled to -1..1.

No accuracy is given: so far the example has only been run on small generated files in CIFAR-10's format.
"""

from __future__ import annotations

import numpy as np

import bpcore
from bpcore import AdamW, Dense, Dropout, Network, OneCycle
from bpcore.cli.program import Count, run


def main(hidden: int = 1024, seeds: Count = 3, epochs: int = 40, data_dir: str | None = None) -> float:
    """Train a network for each seed; print its test accuracy after the last epoch; return the mean."""
    images = bpcore.load_dataset("cifar10", data_dir=data_dir)
    accuracies = []
    for seed in range(seeds):
        network = Network([Dropout(0.1), Dense(hidden, "relu"), Dropout(0.5), Dense(10)], seed=seed)
        network.fit(
            images.x_train,
            images.y_train,
            optimizer=AdamW(learning_rate=0.001, weight_decay=0.05),
            schedule=OneCycle(),
            epochs=epochs,
            seed=seed,
            scale=2 / 255,
            shift=-1.0,
        )
        accuracies.append(network.evaluate(images.x_test, images.y_test).accuracy)
        print(f"seed {seed}  test accuracy {100 * accuracies[-1]:.2f} %")
    mean = float(np.mean(accuracies))
    print(f"mean of {seeds}  test accuracy {100 * mean:.2f} %")
    return mean


if __name__ == "__main__":
    run(main)
