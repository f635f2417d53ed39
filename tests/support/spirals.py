"""A small data set and network for tests of training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

import bpcore
from bpcore import Dense, Network


def spirals(rng: np.random.Generator, samples: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Three interleaved spirals in the plane."""
    y = np.arange(samples) % 3
    r = np.linspace(0.1, 1, samples)
    angle = 4 * r + y * 2 * math.pi / 3 + 0.1 * rng.standard_normal(samples)
    return np.stack([r * np.sin(angle), r * np.cos(angle)], axis=1), y


def network(*layers: bpcore.Layer, **options: Any) -> Network:
    return Network(list(layers) or [Dense(32, "tanh"), Dense(3)], backend="numpy", **options)


def weights_of(net: Network) -> dict[str, np.ndarray]:
    return net.parameters_by_name()
