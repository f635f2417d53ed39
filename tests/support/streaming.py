"""Data and runs for tests of streaming."""

from __future__ import annotations

from typing import Any

import numpy as np

from bpcore import Callback, Dense, Dropout, Network
from bpcore.training.run import Run

BATCH = 16


def data(rng: np.random.Generator, rows: int = 70) -> tuple[np.ndarray, np.ndarray]:
    return rng.integers(0, 256, (rows, 12), np.uint8), rng.integers(0, 3, rows)


class Slots(Callback):
    """The loss of every batch, and how the data was fed."""

    def __init__(self) -> None:
        self.losses: list[np.ndarray] = []

    def on_begin(self, run: Run) -> None:
        self.streamed = run.feed.streamed
        self.chunk = run.feed.samples.x.shape[0]

    def on_epoch_end(self, run: Run) -> None:
        self.losses.append(run.backend.to_numpy(run.control.losses))


def trained(backend: Any, x: Any, y: Any, resident: bool | None, **options: Any) -> tuple[Slots, Network, Any]:
    slots = Slots()
    loss = "softmax_cross_entropy" if np.ndim(y) == 1 else "squared_error"
    network = Network([Dense(9, "relu"), Dropout(0.3), Dense(3)], backend=backend, seed=4)
    callbacks = [slots, *options.pop("callbacks", [])]
    options = {"epochs": 3, "batch_size": BATCH, "seed": 8, "loss": loss, "callbacks": callbacks, **options}
    history = network.fit(x, y, resident=resident, **options)
    return slots, network, history
