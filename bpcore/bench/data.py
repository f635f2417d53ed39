"""The samples that every contender trains on: uint8, as many as MNIST has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bpcore.bench.cells import SAMPLES, Cell
from bpcore.data import load_dataset
from bpcore.errors import InputError

KINDS = ("random", "mnist")

SHARE_OF_INK = 0.2
"""The share of pixels that are not zero, about that of MNIST."""

SHARE_OF_NOISE = 0.1
"""The share of random labels. Without them the loss would vanish and gradients would become subnormal numbers, which
are slow on a CPU."""


@dataclass(frozen=True)
class Data:
    """x uint8 (SAMPLES, inputs), y int64 labels (SAMPLES,). The network's input is x / 255."""

    x: np.ndarray
    y: np.ndarray


def make(kind: str, cell: Cell, data_dir: str | None = None) -> Data:
    """MNIST, or random pixels that reveal the label, with as many inputs and classes as the cell has."""
    inputs, outputs = cell.network[0], cell.network[-1]
    if kind == "random":
        return _random(inputs, outputs)
    check_mnist(cell.network)
    dataset = load_dataset(kind, data_dir=data_dir)
    if len(dataset.x_train) != SAMPLES:
        raise InputError(f"{dataset.source}: {len(dataset.x_train)} training images; MNIST has {SAMPLES}")
    return Data(np.ascontiguousarray(dataset.x_train.reshape(SAMPLES, -1)), dataset.y_train.astype(np.int64))


def check_mnist(network: tuple[int, ...]) -> None:
    """InputError for a network whose inputs or outputs do not match MNIST."""
    if (network[0], network[-1]) != (784, 10):
        raise InputError(
            f"MNIST has 784 inputs and 10 classes, which does not match {'-'.join(map(str, network))}; "
            f"use --data random"
        )


def _random(inputs: int, outputs: int) -> Data:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (SAMPLES, inputs), dtype=np.uint8)
    x[x >= 256 * SHARE_OF_INK] = 0
    x *= np.uint8(1 / SHARE_OF_INK)
    y = rng.integers(0, outputs, SAMPLES)
    labelled = rng.random(SAMPLES) >= SHARE_OF_NOISE
    x[labelled, y[labelled] % inputs] = 255
    return Data(x, y)
