"""The errors that a user can cause, and helpers for their messages.

Each message is one line that says what was given, what is accepted and, if it helps, how to fix it. Errors are raised
before any work is done. The command line prints only the message and exits with code 2.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable
from numbers import Integral, Real


class BpcoreError(Exception):
    """Base class of errors caused by the user's input, not by a defect in bpcore."""


class InputError(BpcoreError, ValueError):
    """A value, shape, label, file or option cannot be used."""


class InputTypeError(BpcoreError, TypeError):
    """An argument has a type that cannot be used."""


class MissingExtraError(BpcoreError, ImportError):
    """An optional dependency is not installed; the message names the extra, or the extras to choose from."""

    def __init__(self, feature: str, *extras: str) -> None:
        packages = " or ".join(f'"bpcore[{extra}]"' for extra in extras)
        super().__init__(f"{feature} needs an optional package: pip install {packages}")


def bytes_in_words(count: int) -> str:
    """A size with its unit: 512 bytes, 1.5 MiB, 80.0 GiB."""
    for power, unit in ((40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")):
        if count >= 2**power:
            return f"{count / 2**power:,.1f} {unit}"
    return f"{count} bytes"


CALLED = {
    "squared_error": "mse mean_squared_error",
    "softmax_cross_entropy": "softmax cross_entropy nll log_loss categorical_crossentropy "
    "sparse_categorical_crossentropy",
    "binary_cross_entropy": "bce bce_with_logits binary_crossentropy logistic log_loss",
    "hinge": "multi_margin categorical_hinge",
    "poisson": "poisson_nll",
    "sigmoid": "logistic",
    "identity": "linear none",
    "leaky_relu": "leaky",
    "silu": "swish",
    "sgd": "gradient_descent gd",
    "momentum": "sgd_momentum heavy_ball",
    "nesterov": "nag",
    "step": "step_lr",
    "cosine": "cosine_annealing cosine_annealing_lr cosine_decay",
    "one_cycle": "one_cycle_lr",
    "he_normal": "he kaiming kaiming_normal",
    "he_uniform": "kaiming_uniform",
    "xavier_normal": "glorot_normal",
    "xavier_uniform": "glorot xavier glorot_uniform",
    "learning_rate": "lr eta",
    "epsilon": "eps",
    "decay": "rho alpha",
    "max_norm": "clip_norm global_clipnorm max_grad_norm",
    "float32": "float single fp32",
    "float64": "double fp64",
    "bfloat16": "bf16",
    "gpu": "cuda cuda:0",
}
"""bpcore's name -> names of the same thing in Keras, PyTorch, scikit-learn and papers."""


def unknown_name(kind: str, name: object, accepted: Iterable[str]) -> InputError:
    """The error for an unknown name, which suggests bpcore's name for the same thing or else the nearest one."""
    names = sorted(accepted)
    called = [repr(one) for one in names if _plain(str(name)) in map(_plain, CALLED.get(one, "").split())]
    near = difflib.get_close_matches(str(name), names, n=1) or difflib.get_close_matches(str(name).lower(), names, n=1)
    hint = f" (here: {' or '.join(called)})" if called else f" (did you mean {near[0]!r}?)" if near else ""
    return InputError(f"unknown {kind} {name!r}{hint}; accepted: {', '.join(names)}")


def _plain(name: str) -> str:
    """A name reduced to what its spellings share: MSELoss and mse_loss become mse."""
    return "".join(letter for letter in name.lower() if letter.isalnum()).removesuffix("loss")


def check_new_name(kind: str, name: object, taken: Collection[str]) -> None:
    """InputError for a name that cannot be registered: it is not an identifier, or it is built in."""
    if not isinstance(name, str) or not name.isidentifier():
        raise InputError(f"{kind} name {name!r} cannot be used; accepted: letters, digits and underscores")
    if name in taken:
        raise InputError(f"{kind} {name!r} is built in; choose another name")


def counted(name: str, value: object) -> int:
    """Check a setting that must be an integer of 1 or more (NumPy's integers included), and return it as an int."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise InputError(f"{name}={value!r}; accepted: an integer of 1 or more")
    return int(value)


def finite(name: str, value: object, accepted: str = "a finite number") -> float:
    """Check a setting that must be a finite number (NumPy's numbers included), and return it as a float."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputTypeError(f"{name}={value!r}; accepted: {accepted}")
    if not math.isfinite(value):
        raise InputError(f"{name}={value!r}; accepted: {accepted}")
    return float(value)
