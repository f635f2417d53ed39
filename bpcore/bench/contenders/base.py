"""What every contender is: a way to train the network of a cell, made anew for each cell, in a process of its own.

All do the same arithmetic: a batch gathered from resident data in a fresh random order each epoch, scaled to 0 to 1,
forward, softmax cross-entropy (the loss is computed), backward, update. It is float32's, unless a contender that has
another precision is asked for that. The weights begin alike.
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
"""Small, so that no loss runs away in thousands of steps."""

LEARNING_RATE = 0.01
MOMENTUM = 0.9


class Contender(ABC):
    """The network of one cell, its data on the device, and a way to run steps."""

    activations: ClassVar[tuple[str, ...]] = tuple(ACTIVATIONS)
    optimizers: ClassVar[tuple[str, ...]] = ("sgd", "momentum", "adam")
    precisions: ClassVar[tuple[str, ...]] = ("float32",)

    chunk = 1
    """How many steps one call takes at least."""

    @abstractmethod
    def __init__(self, cell: Cell, data: Data) -> None: ...

    @abstractmethod
    def run(self, steps: int) -> None:
        """Run so many steps, a multiple of `chunk`, until the device has finished them."""

    def loss(self) -> float | None:
        """The mean loss of the latest steps, as many as the contender looks at; None where it trains nothing."""
        return None

    def notes(self) -> dict[str, Any]:
        """What is worth knowing of how the cell was run, as JSON values."""
        return {}

    @classmethod
    def about(cls, device: str) -> dict[str, str]:
        """Versions and threads. InputError in one line where the contender cannot run on this device."""
        return {}


def check(contender: type[Contender], activation: str, optimizer: str, precision: str = "float32") -> None:
    """Refuse what a contender has not."""
    for kind, wanted, known in (
        ("activation", activation, contender.activations),
        ("optimizer", optimizer, contender.optimizers),
        ("precision", precision, contender.precisions),
    ):
        if wanted not in known:
            raise InputError(f"no {kind} {wanted!r}; it has {', '.join(known)}")


def learning_rate(optimizer: str) -> float:
    """The same for every contender."""
    return LEARNING_RATES.get(optimizer, LEARNING_RATE)


def first_weights(cell: Cell) -> list[np.ndarray]:
    """The weights (inputs, outputs) of each layer, float32; biases begin at zero."""
    rng = np.random.default_rng(1)
    initializer = ACTIVATIONS[cell.activation].initializer
    return [draw(initializer, rng, *layer).astype(np.float32) for layer in cell.layers]
