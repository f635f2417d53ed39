"""The table of activation functions: each entry has two short scalar functions, the activation and its derivative.

An entry gives f(z, p) and its derivative as a function of what the forward pass saved: the output a = f(z)
if that suffices, else the input z. `p` is the activation's parameter (a slope or a scale), 0.0 if it has
none. The functions use only scalars and `math`; `build.py` compiles them for the CPU and for CUDA, in
float32 and in float64.

Write constants as floats (1.0, not 1): an integer would widen float32 arithmetic to float64.
Write comparisons so that NaN in gives NaN out: training must notice it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .table import Table

Scalar = Callable[[float, float], float]


@dataclass(frozen=True, eq=False)
class ActivationRule:
    """One activation: a = f(z, p), and da/dz as derivative(saved, p)."""

    name: str
    f: Scalar
    derivative: Scalar
    saves: Literal["output", "input"] = "output"
    parameter: float = 0.0
    parameter_derivative: Scalar | None = None
    """da/dp as a function of what was saved; if it is given, each unit learns its own p."""
    initializer: str = "he_normal"
    """The initialiser of the weights of a layer with this activation, unless the layer has its own."""

    @property
    def learned(self) -> bool:
        """Whether the parameter is trained with the weights."""
        return self.parameter_derivative is not None


def _identity(z: float, p: float) -> float:
    return z


def _one(a: float, p: float) -> float:
    return 1.0


def _sigmoid(z: float, p: float) -> float:
    e = math.exp(-abs(z))  # the exponent is never positive: no overflow, and small outputs keep their digits
    return (e if z < 0.0 else 1.0) / (1.0 + e)


def _sigmoid_derivative(a: float, p: float) -> float:
    return a * (1.0 - a)


def _tanh(z: float, p: float) -> float:
    return math.tanh(z)


def _tanh_derivative(a: float, p: float) -> float:
    return 1.0 - a * a


def _relu(z: float, p: float) -> float:
    return 0.0 if z < 0.0 else z


def _relu_derivative(a: float, p: float) -> float:
    return 1.0 if a > 0.0 else 0.0


def _leaky_relu(z: float, p: float) -> float:
    return p * z if z < 0.0 else z


def _leaky_relu_derivative(z: float, p: float) -> float:
    return 1.0 if z > 0.0 else p


def _prelu_parameter_derivative(z: float, p: float) -> float:
    return z if z < 0.0 else 0.0


def _elu(z: float, p: float) -> float:
    return p * math.expm1(z) if z < 0.0 else z


def _elu_derivative(a: float, p: float) -> float:
    return 1.0 if a > 0.0 else a + p


SELU_SCALE = 1.0507009873554805  # the fixed point of mean 0 and variance 1 (Klambauer et al. 2017)
SELU_ALPHA = 1.6732632423543772


def _selu(z: float, p: float) -> float:
    return SELU_SCALE * SELU_ALPHA * math.expm1(z) if z < 0.0 else SELU_SCALE * z


def _selu_derivative(a: float, p: float) -> float:
    return SELU_SCALE if a > 0.0 else a + SELU_SCALE * SELU_ALPHA


def _softplus(z: float, p: float) -> float:
    return (0.0 if z < 0.0 else z) + math.log1p(math.exp(-abs(z)))


def _softplus_derivative(a: float, p: float) -> float:
    return -math.expm1(-a)  # sigmoid(z), from a = log(1 + e^z)


E_TO_32 = 78962960182680.7  # e^32


def _silu(z: float, p: float) -> float:
    # z sigmoid(z). For very negative z, e^z is denormal and loses digits before z e^z does, so it is scaled by e^32.
    e = math.exp((32.0 if z < -64.0 else 0.0) - abs(z))
    return (z * e if z < 0.0 else z) / (E_TO_32 if z < -64.0 else 1.0 + e)


def _silu_derivative(z: float, p: float) -> float:
    e = math.exp(-abs(z))  # s + z s (1 - s) with s = sigmoid(z), over one denominator, so that nothing cancels
    return ((e if z < 0.0 else 1.0) * (1.0 + e) + z * e) / ((1.0 + e) * (1.0 + e))


def normal(z: float) -> tuple[float, float]:
    """The standard normal distribution function and its density; elementary.py gets both from one exp."""
    return 0.5 * math.erfc(z * -0.7071067811865476), 0.3989422804014327 * math.exp(-0.5 * z * z)


def _gelu(z: float, p: float) -> float:
    return z * (0.5 + 0.5 * math.erf(z * 0.7071067811865476))


def _gelu_derivative(z: float, p: float) -> float:
    cdf, density = normal(z)
    return cdf + z * density


def _mish(z: float, p: float) -> float:
    """z tanh(log(1 + e^z)) (Misra 2019)"""
    # = z n / (n + 2) with n = e^z (e^z + 2). a and b are e^z and 1, or 1 and e^-z, so that nothing overflows. For
    # very negative z, e^z is scaled by e^32, as in silu.
    e = math.exp((32.0 if z < -64.0 else 0.0) - abs(z))
    a = e if z < 0.0 else 1.0
    b = 1.0 if z < 0.0 else e
    n = a * a + 2.0 * e
    return z * n / (2.0 * E_TO_32 if z < -64.0 else n + 2.0 * b * b)


def _mish_derivative(z: float, p: float) -> float:
    """t + z (1 - t^2) / (1 + e^-z) with t = tanh(log(1 + e^z))"""
    # = (n (n + 2) + 4 z e^z (e^z + 1)) / (n + 2)^2, with the same n, a and b
    e = math.exp(-abs(z))
    a = e if z < 0.0 else 1.0
    b = 1.0 if z < 0.0 else e
    n = a * a + 2.0 * e
    below = n + 2.0 * b * b
    return (n * below + z * (4.0 * e * b * (a + b))) / (below * below)


ACTIVATIONS = Table.of(
    "activation",
    ActivationRule("identity", _identity, _one, initializer="xavier_uniform"),
    ActivationRule("sigmoid", _sigmoid, _sigmoid_derivative, initializer="xavier_uniform"),
    ActivationRule("tanh", _tanh, _tanh_derivative, initializer="xavier_uniform"),
    ActivationRule("relu", _relu, _relu_derivative),
    ActivationRule("leaky_relu", _leaky_relu, _leaky_relu_derivative, saves="input", parameter=0.01),
    ActivationRule(
        "prelu",
        _leaky_relu,
        _leaky_relu_derivative,
        saves="input",
        parameter=0.25,
        parameter_derivative=_prelu_parameter_derivative,
    ),
    ActivationRule("elu", _elu, _elu_derivative, parameter=1.0),
    ActivationRule("selu", _selu, _selu_derivative, initializer="lecun_normal"),
    ActivationRule("softplus", _softplus, _softplus_derivative),
    ActivationRule("silu", _silu, _silu_derivative, saves="input"),
    ActivationRule("gelu", _gelu, _gelu_derivative, saves="input"),
    ActivationRule("mish", _mish, _mish_derivative, saves="input"),
)
