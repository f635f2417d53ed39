"""Data, a backend and a diagnosed training for tests of Diagnostics."""

from __future__ import annotations

from typing import Any

import numpy as np

from bpcore import SGD, Diagnostics, Layer, Network
from bpcore.backends import get_backend
from bpcore.backends.base import Backend


def data(rng: np.random.Generator, rows: int = 40, inputs: int = 5) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((rows, inputs)), rng.integers(0, 3, rows)


def plain() -> Backend:
    """A CPU backend that runs each step in Python; these tests need no compiled products."""
    backend = get_backend("numpy")
    backend.record = super(type(backend), backend).record  # type: ignore[method-assign]
    return backend


def look(
    layers: list[Layer], x: Any, y: Any, *, precision: str = "float64", **options: Any
) -> tuple[Network, Diagnostics]:
    """Train two epochs in batches of 8, and sample all rows before the first step and after each epoch."""
    found = Diagnostics(notify=lambda line: None)
    net = Network(layers, backend=plain(), precision=precision, seed=3)
    net.build(np.shape(x)[1])
    options = {"optimizer": SGD(learning_rate=0.2), "epochs": 2, "batch_size": 8, **options}
    net.fit(x, y, callbacks=[found, *options.pop("callbacks", ())], **options)
    return net, found
