"""MNIST on a CUDA GPU: the same few lines, with the backend named.

    pip install "bpcore[cuda12]"      # or [cuda13]
    python examples/mnist_gpu.py

The images are copied to the GPU once, as bytes; every step runs there, from gathering a batch to the update. If no GPU
can be used, the example says why and ends; `bpcore.get_backend("auto")` would use the CPU instead.
"""

from __future__ import annotations

import bpcore
from bpcore import Adam, Dense, Dropout, Network, OneCycle
from bpcore.cli.program import run


def main(epochs: int = 12, data: str = "mnist", backend: str = "cupy") -> float:
    """Train on the GPU; print the device and a line for each epoch; return the test accuracy."""
    device = bpcore.get_backend(backend)
    print(f"on {device.describe()['device']}")
    images = bpcore.load_dataset(data)
    network = Network([Dense(512, "relu"), Dropout(0.2), Dense(10)], backend=device)
    history = network.fit(
        images.x_train,
        images.y_train,
        optimizer=Adam(learning_rate=0.003),
        schedule=OneCycle(),
        epochs=epochs,
        validation=(images.x_test, images.y_test),
    )
    for epoch, (loss, accuracy) in enumerate(zip(history["loss"], history["val_accuracy"], strict=True), 1):
        print(f"epoch {epoch:2}  loss {loss:.4f}  test accuracy {100 * accuracy:.2f} %")
    return history["val_accuracy"][-1]


if __name__ == "__main__":
    run(main)
