"""The samples that all contenders learn from: the same for all, uint8, as many as MNIST has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bpcore.bench.cells import SAMPLES, Cell
from bpcore.data import load_dataset
from bpcore.errors import InputError

KINDS = ("random", "mnist")

SHARE_OF_INK = 0.2
"""How many pixels of MNIST are not zero, about."""

SHARE_OF_NOISE = 0.1
"""How many labels say nothing, so that the loss does not vanish: its gradient would fill up with subnormal numbers,
which are slow on a CPU."""


@dataclass(frozen=True)
class Data:
    """x uint8 (SAMPLES, inputs), y int64 labels (SAMPLES,). The network sees x / 255."""

    x: np.ndarray
    y: np.ndarray


def make(kind: str, cell: Cell, data_dir: str | None = None) -> Data:
    """Real MNIST, or random pixels of its shape that give the label away, for the cell's inputs and outputs."""
    inputs, outputs = cell.network[0], cell.network[-1]
    if kind == "random":
        return _random(inputs, outputs)
    check_mnist(cell.network)
    dataset = load_dataset(kind, data_dir=data_dir)
    if len(dataset.x_train) != SAMPLES:
        raise InputError(f"{dataset.source}: {len(dataset.x_train)} training images; MNIST has {SAMPLES}")
    return Data(np.ascontiguousarray(dataset.x_train.reshape(SAMPLES, -1)), dataset.y_train.astype(np.int64))


def check_mnist(network: tuple[int, ...]) -> None:
    """Refuse a network that MNIST does not fit."""
    if (network[0], network[-1]) != (784, 10):
        raise InputError(
            f"MNIST has 784 inputs and 10 classes, which does not fit {'-'.join(map(str, network))}; --data random does"
        )


def _random(inputs: int, outputs: int) -> Data:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (SAMPLES, inputs), dtype=np.uint8)
    x[x >= 256 * SHARE_OF_INK] = 0
    x *= np.uint8(1 / SHARE_OF_INK)
    y = rng.integers(0, outputs, SAMPLES)
    told = rng.random(SAMPLES) >= SHARE_OF_NOISE
    x[told, y[told] % inputs] = 255
    return Data(x, y)
