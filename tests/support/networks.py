"""A float64 network and small data for tests of layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from bpcore import Layer, Network


def network(*layers: Layer, **options: Any) -> Network:
    return Network(list(layers), backend="numpy", **{"precision": "float64"} | options)


def data(rng: np.random.Generator, samples: int = 20) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((samples, 5)), rng.integers(0, 3, samples)
