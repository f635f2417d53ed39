"""Float64 references, written from the formulas alone; nothing here is imported from bpcore."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import numpy as np

Reference = TypeVar("Reference")


class References(dict[str, Reference]):
    """References by the names of the table's entries; a missing one gives an error that says what to add."""

    def __missing__(self, name: object) -> Reference:
        have = ", ".join(self)
        raise AssertionError(f"bpcore/testing/references.py has no reference for {name!r}: write one; it has {have}")


# --- activations: f(z, p) and f'(z, p), exact over all of float32 ---------------------------------------------

erfc = np.vectorize(math.erfc, otypes=[float])
SELU_SCALE, SELU_ALPHA = 1.0507009873554805, 1.6732632423543772


def sigmoid(z: Any) -> Any:
    """1 / (1 + e^-z)."""
    e = np.exp(-abs(z))
    return np.where(z < 0, e, 1.0) / (1.0 + e)


def phi(z: Any) -> Any:
    """The density of the standard normal distribution."""
    return np.exp(-z * z / 2) / math.sqrt(2 * math.pi)


def cdf(z: Any) -> Any:
    """The standard normal distribution function."""
    return erfc(-z / math.sqrt(2)) / 2


def softplus(z: Any) -> Any:
    """log(1 + e^z)."""
    return np.logaddexp(0, z)


def exponential(z: Any, p: float) -> Any:
    """ELU."""
    return np.where(z < 0, p * np.expm1(np.minimum(z, 0)), z)


def exponential_derivative(z: Any, p: float) -> Any:
    """ELU's derivative."""
    return np.where(z > 0, 1, p * np.exp(np.minimum(z, 0)))


def mish_derivative(z: Any) -> Any:
    """t + z (1 - t^2) sigmoid(z) with t = tanh(softplus(z))."""
    t = np.tanh(softplus(z))
    return t + z * (1 - t) * (1 + t) * sigmoid(z)


Pair = tuple[Callable[..., Any], Callable[..., Any]]

# Without p, the table's own parameter is used.
ACTIVATIONS: References[Pair] = References(
    {
        "identity": (lambda z, p=0.0: z, lambda z, p=0.0: np.ones_like(z)),
        "sigmoid": (lambda z, p=0.0: sigmoid(z), lambda z, p=0.0: sigmoid(z) * sigmoid(-z)),
        "tanh": (lambda z, p=0.0: np.tanh(z), lambda z, p=0.0: 4 * sigmoid(2 * z) * sigmoid(-2 * z)),
        "relu": (lambda z, p=0.0: np.maximum(z, 0), lambda z, p=0.0: (z > 0) * 1.0),
        "leaky_relu": (lambda z, p=0.01: np.where(z < 0, p * z, z), lambda z, p=0.01: np.where(z > 0, 1, p)),
        "prelu": (lambda z, p=0.25: np.where(z < 0, p * z, z), lambda z, p=0.25: np.where(z > 0, 1, p)),
        "elu": (lambda z, p=1.0: exponential(z, p), lambda z, p=1.0: exponential_derivative(z, p)),
        "selu": (
            lambda z, p=0.0: SELU_SCALE * exponential(z, SELU_ALPHA),
            lambda z, p=0.0: SELU_SCALE * exponential_derivative(z, SELU_ALPHA),
        ),
        "softplus": (lambda z, p=0.0: softplus(z), lambda z, p=0.0: sigmoid(z)),
        "silu": (lambda z, p=0.0: z * sigmoid(z), lambda z, p=0.0: sigmoid(z) * (1 + z * sigmoid(-z))),
        "gelu": (lambda z, p=0.0: z * cdf(z), lambda z, p=0.0: cdf(z) + z * phi(z)),
        "mish": (lambda z, p=0.0: z * np.tanh(softplus(z)), lambda z, p=0.0: mish_derivative(z)),
    }
)

# --- outputs --------------------------------------------------------------------------------------------------


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
"""name -> reference of a kernel that takes matrices and writes one array, its last argument."""


def limited_columns(weights: np.ndarray, limit: float) -> np.ndarray:
    """Columns longer than the limit are scaled down to it: max-norm (Srivastava et al. 2014)."""
    norms = np.linalg.norm(weights.astype(float), axis=0)
    return weights * np.minimum(1.0, limit / np.where(norms > 0, norms, limit))


# --- losses: of each row, and the derivative by z, for a dense target matrix ----------------------------------

Rows = tuple[np.ndarray, np.ndarray]


def squared_error(z: np.ndarray, t: np.ndarray) -> Rows:
    """Half the sum of squares."""
    return ((z - t) ** 2).sum(axis=1) / 2, z - t


def huber(z: np.ndarray, t: np.ndarray, threshold: float = 1.0) -> Rows:
    """Half the square of a difference up to the threshold, and a straight line beyond (Huber 1964)."""
    size = abs(z - t)
    rows = np.where(size <= threshold, size**2 / 2, threshold * (size - threshold / 2)).sum(axis=1)
    return rows, np.clip(z - t, -threshold, threshold)


def poisson(z: np.ndarray, t: np.ndarray) -> Rows:
    """Half the Poisson deviance of the mean e^z."""
    a = np.exp(z)
    return (t * (np.log(np.where(t > 0, t, 1)) - z) - t + a).sum(axis=1), a - t


def softmax_cross_entropy(z: np.ndarray, t: np.ndarray, label_smoothing: float = 0.0) -> Rows:
    """The cross-entropy of softmax(z), with the labels smoothed over the outputs."""
    t = t * (1 - label_smoothing) + label_smoothing / z.shape[1]
    return -(t * np.log(softmax(z))).sum(axis=1), softmax(z) - t


def binary_cross_entropy(z: np.ndarray, t: np.ndarray, label_smoothing: float = 0.0) -> Rows:
    """The cross-entropy of each sigmoid(z), with the answers smoothed between yes and no."""
    t = t * (1 - label_smoothing) + label_smoothing / 2
    s = sigmoid(z)
    return -(t * np.log(s) + (1 - t) * np.log(1 - s)).sum(axis=1), s - t


def hinge(z: np.ndarray, t: np.ndarray) -> Rows:
    """The multi-class margin."""
    y, index = t.argmax(axis=1), np.arange(len(z))
    margins = np.maximum(0, z - z[index, y][:, None] + 1)
    margins[index, y] = 0
    delta = (margins > 0) * 1.0
    delta[index, y] = -delta.sum(axis=1)
    return margins.sum(axis=1), delta


LOSSES: References[Callable[..., Rows]] = References(
    {
        loss.__name__: loss
        for loss in (squared_error, huber, poisson, softmax_cross_entropy, binary_cross_entropy, hinge)
    }
)


def loss_and_delta(
    name: str, z: np.ndarray, t: np.ndarray, weights: np.ndarray, **settings: float
) -> tuple[float, np.ndarray]:
    """The weighted mean loss and its derivative by z, for a dense target matrix."""
    rows, delta = LOSSES[name](z, t, **settings)
    share = weights / weights.sum()
    return float((rows * share).sum()), delta * share[:, None]


# --- optimizers: the weights after a sequence of gradients, as the papers have it; o: the settings -------------

Gradients = Iterable[np.ndarray]


def sgd(o: Any, w: np.ndarray, gradients: Gradients) -> np.ndarray:
    """Gradient descent."""
    for g in gradients:
        w = w - o.learning_rate * g
    return w


def momentum(o: Any, w: np.ndarray, gradients: Gradients) -> np.ndarray:
    """Polyak 1964."""
    v = np.zeros_like(w)
    for g in gradients:
        v = o.momentum * v - o.learning_rate * g
        w = w + v
    return w


def nesterov(o: Any, w: np.ndarray, gradients: Gradients) -> np.ndarray:
    """The form of Sutskever et al. 2013, in terms of the look-ahead point."""
    v = np.zeros_like(w)
    for g in gradients:
        before, v = v, o.momentum * v - o.learning_rate * g
        w = w - o.momentum * before + (1 + o.momentum) * v
    return w


def rmsprop(o: Any, w: np.ndarray, gradients: Gradients) -> np.ndarray:
    """Hinton 2012."""
    s = np.zeros_like(w)
    for g in gradients:
        s = o.decay * s + (1 - o.decay) * g**2
        w = w - o.learning_rate * g / (np.sqrt(s) + o.epsilon)
    return w


def adam(o: Any, w: np.ndarray, gradients: Gradients, weight_decay: float = 0.0) -> np.ndarray:
    """Kingma and Ba 2015, algorithm 1."""
    m, v = np.zeros_like(w), np.zeros_like(w)
    for t, g in enumerate(gradients, 1):
        m = o.beta1 * m + (1 - o.beta1) * g
        v = o.beta2 * v + (1 - o.beta2) * g**2
        mean, square = m / (1 - o.beta1**t), v / (1 - o.beta2**t)
        w = w - o.learning_rate * (mean / (np.sqrt(square) + o.epsilon) + weight_decay * w)
    return w


def adamw(o: Any, w: np.ndarray, gradients: Gradients) -> np.ndarray:
    """Loshchilov and Hutter 2019, algorithm 2."""
    return adam(o, w, gradients, o.weight_decay)


def lion(o: Any, w: np.ndarray, gradients: Gradients) -> np.ndarray:
    """Chen et al. 2023, algorithm 2."""
    m = np.zeros_like(w)
    for g in gradients:
        direction = np.sign(o.beta1 * m + (1 - o.beta1) * g)
        w = w - o.learning_rate * (direction + o.weight_decay * w)
        m = o.beta2 * m + (1 - o.beta2) * g
    return w


OPTIMIZERS: References[Callable[..., np.ndarray]] = References(
    {rule.__name__: rule for rule in (sgd, momentum, nesterov, rmsprop, adam, adamw, lion)}
)

# --- random numbers and orders --------------------------------------------------------------------------------


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
