"""Float64 references, written from the formulas alone; nothing here is imported from bpcore."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

erf = np.vectorize(math.erf, otypes=[float])
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def sigmoid(z: Any) -> Any:
    """1 / (1 + e^-z)."""
    return 1.0 / (1.0 + np.exp(-z))


def phi(z: Any) -> Any:
    """The density of the standard normal distribution."""
    return np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def cdf(z: Any) -> Any:
    """The standard normal distribution function."""
    return (1 + erf(z / math.sqrt(2))) / 2


def selu_derivative(z: np.ndarray) -> np.ndarray:
    """SELU's derivative (Klambauer et al. 2017)."""
    return np.where(z > 0, SELU_SCALE, SELU_SCALE * SELU_ALPHA * np.exp(np.minimum(z, 0)))


Pair = tuple[Callable[[Any], Any], Callable[[Any], Any]]

# name -> (f(z), f'(z)), with the table's own parameters
ACTIVATIONS: dict[str, Pair] = {
    "identity": (lambda z: z, np.ones_like),
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z))),
    "tanh": (np.tanh, lambda z: 1 / np.cosh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0) * 1.0),
    "leaky_relu": (lambda z: np.where(z > 0, z, 0.01 * z), lambda z: np.where(z > 0, 1, 0.01)),
    "prelu": (lambda z: np.where(z > 0, z, 0.25 * z), lambda z: np.where(z > 0, 1, 0.25)),
    "elu": (lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))), lambda z: np.exp(np.minimum(z, 0))),
    "selu": (
        lambda z: SELU_SCALE * np.where(z > 0, z, SELU_ALPHA * np.expm1(np.minimum(z, 0))),
        selu_derivative,
    ),
    "softplus": (lambda z: np.logaddexp(0, z), sigmoid),
    "silu": (lambda z: z * sigmoid(z), lambda z: sigmoid(z) * (1 + z * (1 - sigmoid(z)))),
    "gelu": (lambda z: z * cdf(z), lambda z: cdf(z) + z * phi(z)),
}


def softmax(z: Any) -> Any:
    """e^z / sum e^z, row by row."""
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def log_softmax(z: Any) -> Any:
    """z - log sum e^z, row by row, in float64."""
    shifted = z.astype(float) - z.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


KERNELS: dict[str, Callable[..., np.ndarray]] = {
    "add": lambda a, b: a + b,
    "hadamard": lambda a, b: a * b,
    "duplicate": lambda x: x,
    "softmax": softmax,
    "log_softmax": log_softmax,
    "argmax": lambda z: z.argmax(axis=1),
    "above_zero": lambda z: z > 0,
    "column_sums": lambda x: x.sum(axis=0),
}
"""name -> what a kernel computes that takes matrices and writes one array, its last argument."""


def limited_columns(weights: np.ndarray, limit: float) -> np.ndarray:
    """Columns longer than the limit are scaled down to it: max-norm (Srivastava et al. 2014)."""
    norms = np.linalg.norm(weights.astype(float), axis=0)
    return weights * np.minimum(1.0, limit / np.where(norms > 0, norms, limit))


def loss_and_delta(
    name: str, z: np.ndarray, t: np.ndarray, weights: np.ndarray, smoothing: float = 0.0
) -> tuple[float, np.ndarray]:
    """The weighted mean loss and its derivative by z, for a dense target matrix."""
    outputs = z.shape[1]
    if name == "squared_error":
        rows, delta = ((z - t) ** 2).sum(axis=1) / 2, z - t
    elif name == "poisson":
        a = np.exp(z)
        rows, delta = (t * (np.log(np.where(t > 0, t, 1)) - z) - t + a).sum(axis=1), a - t
    elif name == "softmax_cross_entropy":
        t = t * (1 - smoothing) + smoothing / outputs
        rows, delta = -(t * np.log(softmax(z))).sum(axis=1), softmax(z) - t
    elif name == "binary_cross_entropy":
        t = t * (1 - smoothing) + smoothing / 2
        s = sigmoid(z)
        rows, delta = -(t * np.log(s) + (1 - t) * np.log(1 - s)).sum(axis=1), s - t
    elif name == "hinge":
        y = t.argmax(axis=1)
        index = np.arange(len(z))
        margins = np.maximum(0, z - z[index, y][:, None] + 1)
        margins[index, y] = 0
        delta = (margins > 0) * 1.0
        delta[index, y] = -delta.sum(axis=1)
        rows = margins.sum(axis=1)
    else:
        raise AssertionError(f"write a reference for {name}")
    share = weights / weights.sum()
    return float((rows * share).sum()), delta * share[:, None]


def philox4x32(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 in Python's integers (Salmon et al. 2011)."""
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(b >> 32) ^ c[1] ^ k[0], b % 2**32, (a >> 32) ^ c[3] ^ k[1], a % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def dropout_mask(rows: int, columns: int, rate: float, layer: int, step: int, seed: int) -> np.ndarray:
    """True where an element is kept."""
    quarter = -(-columns // 4)
    mask = np.zeros((rows, columns), bool)
    for i in range(rows):
        for j in range(columns):
            counter = [i * quarter + j % quarter, layer, step % 2**32, step >> 32]
            words = philox4x32(counter, [seed % 2**32, seed >> 32])
            mask[i, j] = words[j // quarter] >= round(rate * 2**32)
    return mask


def epoch_order(samples: int, epoch: int, seed: int) -> list[int]:
    """The order of an epoch: a Feistel network of eight rounds keyed by Philox, repeated until in range."""
    bits = max(samples - 1, 0).bit_length()
    key = [seed % 2**32, seed >> 32]
    keys = [word for i in range(2) for word in philox4x32([i, 0xFFFFFFFF, epoch % 2**32, epoch >> 32], key)]
    low_size, high_size = 1 << (bits // 2), 1 << (bits - bits // 2)

    def mix(word: int) -> int:
        word = word * 0x9E3779B1 % 2**32
        word ^= word >> 15
        word = word * 0x85EBCA77 % 2**32
        word ^= word >> 13
        word = word * 0xC2B2AE3D % 2**32
        return word ^ (word >> 16)

    def permuted(index: int) -> int:
        high, low = divmod(index, low_size)
        for number, k in enumerate(keys):
            if number % 2 == 0:
                high ^= mix(low ^ k) % high_size
            else:
                low ^= mix(high ^ k) % low_size
        return high * low_size + low

    order = []
    for position in range(samples):
        index = permuted(position)
        while index >= samples:
            index = permuted(index)
        order.append(index)
    return order
