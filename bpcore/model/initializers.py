"""Weight initialisers: functions of (generator, inputs, outputs) that return a float64 matrix (inputs, outputs).

He: K. He et al., "Delving deep into rectifiers" (2015). Xavier: X. Glorot and Y. Bengio, "Understanding the
difficulty of training deep feedforward neural networks" (2010).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from bpcore.errors import InputError, InputTypeError, unknown_name
from bpcore.kernels.table import Table

Initializer = Callable[[np.random.Generator, int, int], np.ndarray]


def _normal(variance: Callable[[int, int], float]) -> Initializer:
    return lambda rng, inputs, outputs: rng.normal(0.0, math.sqrt(variance(inputs, outputs)), (inputs, outputs))


def _uniform(variance: Callable[[int, int], float]) -> Initializer:
    def draw(rng: np.random.Generator, inputs: int, outputs: int) -> np.ndarray:
        limit = math.sqrt(3.0 * variance(inputs, outputs))  # a uniform on +-limit has variance limit^2 / 3
        return rng.uniform(-limit, limit, (inputs, outputs))

    return draw


def _he(inputs: int, outputs: int) -> float:
    return 2.0 / inputs


def _xavier(inputs: int, outputs: int) -> float:
    return 2.0 / (inputs + outputs)


def _lecun(inputs: int, outputs: int) -> float:
    return 1.0 / inputs


def _identity(rng: np.random.Generator, inputs: int, outputs: int) -> np.ndarray:
    return np.eye(inputs, outputs)


def _zeros(rng: np.random.Generator, inputs: int, outputs: int) -> np.ndarray:
    return np.zeros((inputs, outputs))


INITIALIZERS: Table[Initializer] = Table(
    "initializer",
    {
        "he_normal": _normal(_he),
        "he_uniform": _uniform(_he),
        "xavier_normal": _normal(_xavier),
        "xavier_uniform": _uniform(_xavier),
        "lecun_normal": _normal(_lecun),
        "lecun_uniform": _uniform(_lecun),
        "standard_normal": _normal(lambda inputs, outputs: 1.0),
        "identity": _identity,
        "zeros": _zeros,
    },
)


def draw(initializer: str | Initializer, rng: np.random.Generator, inputs: int, outputs: int) -> np.ndarray:
    """Draw a weight matrix, float64 (inputs, outputs), with an initialiser given by name or as a function."""
    if isinstance(initializer, str):
        if initializer not in INITIALIZERS:
            raise unknown_name("initializer", initializer, INITIALIZERS)
        initializer = INITIALIZERS[initializer]
    elif not callable(initializer):
        raise InputTypeError(
            f"initializer {initializer!r} cannot be used; accepted: one of {', '.join(INITIALIZERS)}, or a "
            f"function of (generator, inputs, outputs)"
        )
    weights = np.asarray(initializer(rng, inputs, outputs), np.float64)
    if weights.shape != (inputs, outputs):
        raise InputError(f"the initializer gave shape {weights.shape}, but {(inputs, outputs)} is needed")
    return weights
