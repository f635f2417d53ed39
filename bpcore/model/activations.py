"""Look up activations by name, and register your own.

    import math, bpcore

    def swish(z, p):
        return z / (1.0 + math.exp(-z))

    def swish_derivative(z, p):
        s = 1.0 / (1.0 + math.exp(-z))
        return s * (1.0 + z * (1.0 - s))

    bpcore.register_activation("swish", swish, swish_derivative, saves="input")

After that, Dense(100, "swish") runs fused on both devices.
"""

from __future__ import annotations

import math
from typing import Literal

from bpcore.errors import InputError, InputTypeError, check_new_name, unknown_name
from bpcore.kernels.activations import ACTIVATIONS, ActivationRule, Scalar
from bpcore.model.initializers import INITIALIZERS

_BUILT_IN = frozenset(ACTIVATIONS)


def get_activation(name: str) -> ActivationRule:
    """Return the table's entry for a name; raise InputError with the nearest name if there is none."""
    if not isinstance(name, str):
        raise InputTypeError(
            f"activation {name!r} is not a name; accepted: {', '.join(ACTIVATIONS)} (identity is none), or one of your "
            f"own by its name, after bpcore.register_activation"
        )
    if name in ("softmax", "log_softmax"):
        raise InputError(
            f"{name} is no activation here: it is part of the loss softmax_cross_entropy, which takes a last layer "
            f"without one; accepted: {', '.join(ACTIVATIONS)}"
        )
    if name not in ACTIVATIONS:
        raise unknown_name("activation", name, ACTIVATIONS)
    return ACTIVATIONS[name]


def register_activation(
    name: str,
    f: Scalar,
    derivative: Scalar,
    *,
    saves: Literal["output", "input"] = "input",
    parameter: float = 0.0,
    parameter_derivative: Scalar | None = None,
    initializer: str = "he_normal",
) -> ActivationRule:
    """Add an activation that runs fused on both devices, or replace one that was added.

    f(z, p)                 the activation: a scalar function in Python and `math`
    derivative(saved, p)    da/dz as a function of the saved value: z, or a if saves="output"
    parameter               p; 0.0 if the activation has none
    parameter_derivative    da/dp as a function of the saved value; if it is given, each unit learns its own p
    initializer             the name of the initialiser for the weights of a layer with this activation

    The functions are compiled in float32 at once. Raises InputError if that is impossible (they use NumPy's functions,
    exceptions or arrays, which no GPU kernel can use), if a value would widen to float64 (the message names it), or if
    the name is one of bpcore's own.
    """
    from bpcore.kernels import check

    check_new_name("activation", name, _BUILT_IN)
    if saves not in ("output", "input"):
        raise InputError(f"saves={saves!r}; accepted: 'output' (derivative of a) or 'input' (derivative of z)")
    if initializer not in INITIALIZERS:
        raise unknown_name("initializer", initializer, INITIALIZERS)
    if not math.isfinite(parameter):
        raise InputError(f"parameter={parameter!r}; accepted: a finite number")
    functions = {"f": f, "derivative": derivative}
    if parameter_derivative is not None:
        functions["parameter_derivative"] = parameter_derivative
    for role, function in functions.items():
        problem = check.scalar_problem(function)
        if problem:
            raise InputError(f"activation {name!r}: {role} {problem}")
    entry = ActivationRule(name, f, derivative, saves, float(parameter), parameter_derivative, initializer)
    ACTIVATIONS[name] = entry
    return entry
