"""Data and layers for tests of bfloat16."""

from __future__ import annotations

import numpy as np

from bpcore import Activation, Dense, Dropout, Layer, Maxout, Residual

FLOAT, ROUNDED = 0, 14  # cudaDataType


def data(rng: np.random.Generator, rows: int = 70) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, learnable labels and sample weights."""
    x = rng.integers(0, 256, (rows, 12), np.uint8)
    return x, (x @ rng.standard_normal((12, 3))).argmax(axis=1), rng.random(rows) + 0.5


def every_layer() -> list[Layer]:
    return [
        Dense(16, "relu"),
        Residual([Dense(9, "prelu", freeze="bias"), Dropout(0.2), Dense(16, "gelu")]),
        Residual([Activation("silu"), Maxout(7, 3)], projection=True),
        Dropout(0.1),
        Dense(3),
    ]
