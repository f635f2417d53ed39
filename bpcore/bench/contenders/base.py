"""The base class of contenders: a way to train the network of a cell, created anew for each cell.

All do the same arithmetic: gather a batch from resident data in a new random order each epoch, scale it to 0..1,
forward, softmax cross-entropy (the loss is computed), backward, update. All use float32, unless another precision is
asked for and supported. All start with the same weights.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from bpcore.bench.cells import Cell
from bpcore.bench.data import Data
from bpcore.errors import InputError
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.model.initializers import draw

LEARNING_RATES = {"adam": 0.001}
"""Small, so that no loss diverges in thousands of steps."""

LEARNING_RATE = 0.01
MOMENTUM = 0.9


class Contender(ABC):
    """The network of one cell, its data on the device, and a way to run steps."""

    activations: ClassVar[tuple[str, ...]] = tuple(ACTIVATIONS)
    optimizers: ClassVar[tuple[str, ...]] = ("sgd", "momentum", "adam")
    precisions: ClassVar[tuple[str, ...]] = ("float32",)

    chunk = 1
    """The least number of steps in one call."""

    @abstractmethod
    def __init__(self, cell: Cell, data: Data) -> None: ...

    @abstractmethod
    def run(self, steps: int) -> None:
        """Run a number of steps, a multiple of `chunk`, and wait until the device has finished them."""

    def loss(self) -> float | None:
        """The mean loss of the latest steps (how many depends on the contender); None if it trains nothing."""
        return None

    def notes(self) -> dict[str, Any]:
        """Remarks on how the cell was run, as JSON values."""
        return {}

    @classmethod
    def about(cls, device: str) -> dict[str, str]:
        """Versions and threads. InputError if the contender cannot run on this device."""
        return {}


def check(contender: type[Contender], activation: str, optimizer: str, precision: str = "float32") -> None:
    """InputError for an activation, optimizer or precision that a contender does not support."""
    for kind, wanted, known in (
        ("activation", activation, contender.activations),
        ("optimizer", optimizer, contender.optimizers),
        ("precision", precision, contender.precisions),
    ):
        if wanted not in known:
            raise InputError(f"no {kind} {wanted!r}; it has {', '.join(known)}")


def learning_rate(optimizer: str) -> float:
    """The learning rate, the same for every contender."""
    return LEARNING_RATES.get(optimizer, LEARNING_RATE)


def first_weights(cell: Cell) -> list[np.ndarray]:
    """The initial weights (inputs, outputs) of each layer, float32; biases start at zero."""
    rng = np.random.default_rng(1)
    initializer = ACTIVATIONS[cell.activation].initializer
    return [draw(initializer, rng, *layer).astype(np.float32) for layer in cell.layers]
