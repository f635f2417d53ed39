"""A layer forward and backward: products, activations, delta (BP2) and the bias gradient (BP4)."""

from __future__ import annotations

from numbers import Real
from typing import NamedTuple

from bpcore.backends.arrays import Array
from bpcore.backends.contract.checks import check_product
from bpcore.errors import InputError
from bpcore.kernels.activations import ActivationRule
from bpcore.model.activations import get_activation
from bpcore.ops.arguments import Call, as_matrix, for_product, number


class Saved(NamedTuple):
    """A layer's output, and the array that `delta` needs: the output itself, or the activation's input z."""

    a: Array
    saved: Array


class Deltas(NamedTuple):
    """dL/dz (B, M), its column sums, and the gradient of the activation's parameter if that is learned."""

    delta: Array
    bias_grad: Array
    parameter_grad: Array | None


def matmul(
    a: Array,
    b: Array,
    *,
    transpose_a: bool = False,
    transpose_b: bool = False,
    alpha: float = 1.0,
    beta: float = 0.0,
    out: Array | None = None,
) -> Array:
    """alpha op(a) @ op(b) + beta out, where op transposes if requested; a transposed matrix is not copied.

    `out` must overlap neither a nor b, and have contiguous rows. A beta other than 0 needs an `out`.
    """
    call = Call("matmul", a=a, b=b)
    alpha, beta = number("matmul", "alpha", alpha), number("matmul", "beta", beta)
    if beta != 0.0 and out is None:
        raise InputError(f"matmul: beta={beta} adds to what is in out, but no out was given")
    shape = check_product(call.matrix("a"), call.matrix("b"), None, transpose_a, transpose_b)
    out = call.out(out, shape, in_rows=True)
    return call.backend.matmul(
        for_product(call, "a"),
        for_product(call, "b"),
        out,
        transpose_a=transpose_a,
        transpose_b=transpose_b,
        alpha=alpha,
        beta=beta,
    )


def linear(
    x: Array,
    W: Array,
    b: Array | None = None,
    activation: str = "identity",
    *,
    parameter: Array | float | None = None,
    out: Array | None = None,
) -> Array:
    """f(x @ W + b) for x (B, N), W (N, M), b (M,): a product, and one pass for bias and activation.

    activation      the name of an activation, built in or registered (bpcore.register_activation)
    parameter       the activation's slope or scale, (M,) or a number; by default the activation's own

    `out` must have contiguous rows. For training use `linear_saving`.
    """
    return linear_saving(x, W, b, activation, parameter=parameter, out=out).a


def linear_saving(
    x: Array,
    W: Array,
    b: Array | None = None,
    activation: str = "identity",
    *,
    parameter: Array | float | None = None,
    out: Array | None = None,
) -> Saved:
    """As `linear`, with the array that `delta` needs: the output itself, or z = x @ W + b in a separate array."""
    call, entry = _with_activation("linear", activation, parameter, x=x, W=W, b=b)
    shape = check_product(call.matrix("x"), call.matrix("W"), None, False, False)
    _check_columns(call, shape[1], "W")
    out = call.out(out, shape, in_rows=True)
    z = call.backend.empty(shape, call.dtype) if entry.saves == "input" else out
    call.backend.matmul(for_product(call, "x"), for_product(call, "W"), z)
    if activation != "identity" or b is not None:
        call.backend.activate(z, _bias(call, shape[1]), entry, out, parameter=_parameter(call, shape[1], parameter))
    return Saved(out, z)


def activate(
    z: Array,
    activation: str,
    bias: Array | None = None,
    *,
    parameter: Array | float | None = None,
    out: Array | None = None,
) -> Array:
    """f(z + bias) for z (B, M) or (M,), bias (M,). `out` may be z. activation and parameter as in `linear`."""
    return activate_saving(z, activation, bias, parameter=parameter, out=out).a


def activate_saving(
    z: Array,
    activation: str,
    bias: Array | None = None,
    *,
    parameter: Array | float | None = None,
    out: Array | None = None,
) -> Saved:
    """As `activate`, with the array that `delta` needs: the output itself, or z + bias in a separate array."""
    call, entry = _with_activation("activate", activation, parameter, z=z, bias=bias)
    z = call.elements("z")
    _check_columns(call, z.shape[-1], "z")
    out = call.out(out, z.shape, may_be=["z"])
    kept = z
    if entry.saves == "input":  # the backend adds the bias to z in place
        kept = call.backend.empty(z.shape, call.dtype)
        call.backend.copy(z, kept)
    columns = z.shape[-1]
    call.backend.activate(
        as_matrix(kept),
        _bias(call, columns),
        entry,
        as_matrix(out),
        parameter=_parameter(call, columns, parameter),
    )
    return Saved(out, kept if entry.saves == "input" else out)


def saves(activation: str) -> str:
    """Which array `delta` needs for this activation: its "output" a or its "input" z."""
    return get_activation(activation).saves


def delta(
    delta: Array,
    saved: Array,
    activation: str,
    *,
    parameter: Array | float | None = None,
    out: Array | None = None,
    bias_grad: Array | None = None,
    parameter_grad: Array | None = None,
) -> Deltas:
    """dL/dz = delta * f'(saved), for delta = dL/da (B, M) (BP2), and its column sums (BP4), in one pass.

    saved           (B, M), as the `_saving` functions returned it: a or z, see `saves`
    parameter       as in the forward pass
    out             for the result; it may be delta
    bias_grad       (M,), for the column sums
    parameter_grad  (M,), for the gradient of a learned parameter
    """
    call, entry = _with_activation("delta", activation, parameter, delta=delta, saved=saved)
    if parameter_grad is not None and not entry.learned:
        raise InputError(f"delta: {activation} has no learned parameter, so there is no parameter_grad")
    delta, saved = call.matrix("delta"), call["saved"]
    columns = delta.shape[1]
    call.expect("saved", delta.shape, "delta")
    _check_columns(call, columns, "delta")
    out = call.out(out, delta.shape, may_be=["delta"])
    bias_grad = call.out(bias_grad, (columns,), name="bias_grad")
    if entry.learned:
        parameter_grad = call.out(parameter_grad, (columns,), name="parameter_grad")
    if out is not delta:
        call.backend.copy(delta, out)
    call.backend.delta(
        out,
        saved,
        entry,
        bias_grad,
        parameter=_parameter(call, columns, parameter),
        parameter_grad=parameter_grad,
    )
    return Deltas(out, bias_grad, parameter_grad)


def column_sums(x: Array, *, out: Array | None = None) -> Array:
    """The sum of each column of x (B, M), always added up in the same order; of dL/dz, that is the bias gradient."""
    call = Call("column_sums", x=x)
    x = call.matrix("x")
    out = call.out(out, x.shape[1:])
    call.backend.column_sums(x, out)
    return out


def _with_activation(
    name: str, activation: str, parameter: Array | float | None, **arrays: Array | None
) -> tuple[Call, ActivationRule]:
    entry = get_activation(activation)
    given = None if parameter is None or isinstance(parameter, Real) else parameter
    return Call(name, (), **arrays, parameter=given), entry


def _check_columns(call: Call, columns: int, beside: str) -> None:
    """Check that bias and parameter, if given, have one number for each column."""
    for name in ("b", "bias", "parameter"):
        call.expect(name, (columns,), beside)


def _bias(call: Call, columns: int) -> Array:
    """The bias, or zeros if none was given."""
    for name in ("b", "bias"):
        bias = call.get(name)
        if bias is not None:
            return bias
    return call.backend.full((columns,), 0.0, call.dtype)


def _parameter(call: Call, columns: int, parameter: Array | float | None) -> Array | None:
    """The activation's parameter as one number for each column; None for its default."""
    if isinstance(parameter, Real):
        return call.backend.full((columns,), number(call.name, "parameter", parameter), call.dtype)
    return call.get("parameter")
