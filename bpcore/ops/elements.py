"""Elementwise functions: products, sums, dropout."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real

from bpcore.backends.arrays import Array
from bpcore.backends.base import Backend
from bpcore.errors import InputError
from bpcore.ops.arguments import Call, as_matrix, natural
from bpcore.ops.steps import control_of

LAYERS = 2**32 - 1
"""Layer numbers are below this; its own random words are used for the shuffle (bpcore.kernels.counter)."""


def hadamard(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """a * b, elementwise: both (B, M) or both (M,). `out` may be a or b."""
    return _of_two("hadamard", a, b, out, Backend.hadamard)


def add(a: Array, b: Array, *, out: Array | None = None) -> Array:
    """a + b, elementwise: both (B, M) or both (M,). `out` may be a or b."""
    return _of_two("add", a, b, out, Backend.add)


def dropout(x: Array, rate: float, *, seed: int, step: int = 0, layer: int = 0, out: Array | None = None) -> Array:
    """Set each element of x (B, M) to 0 with probability `rate`, and divide the others by 1 - rate; `out` may be x.

    The mask is a function of seed, step, layer and the element's place, the same on every device. The backward pass is
    therefore the same call on the delta, and no mask is stored. Give each step and each layer a different number, so
    that they have different masks. seed and step: from 0 to 2^63 - 1. N. Srivastava et al., "Dropout: a simple way to
    prevent neural networks from overfitting" (2014).
    """
    call = Call("dropout", x=x)
    if isinstance(rate, bool) or not isinstance(rate, Real) or not 0.0 <= rate < 1.0:
        raise InputError(f"dropout: rate={rate!r}; accepted: 0 <= rate < 1")
    seed, step = (natural("dropout", name, value, 2**63) for name, value in (("seed", seed), ("step", step)))
    layer = natural("dropout", "layer", layer, LAYERS)
    x = call.elements("x")
    out = call.out(out, x.shape, may_be=["x"])
    control, _, _ = control_of(call, seed=seed, step=step)
    call.backend.dropout(as_matrix(x), float(rate), layer, control, as_matrix(out))
    return out


def _of_two(
    name: str, a: Array, b: Array, out: Array | None, compute: Callable[[Backend, Array, Array, Array], Array]
) -> Array:
    call = Call(name, a=a, b=b)
    a, b = call.elements("a"), call["b"]
    call.expect("b", a.shape, "a")
    out = call.out(out, a.shape, may_be=["a", "b"])
    compute(call.backend, as_matrix(a), as_matrix(b), as_matrix(out))
    return out
