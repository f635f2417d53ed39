"""Describe an operation as data: a product or a kernel, its arguments, and which arrays it reads and writes.

Every method of a backend reduces to these two. So a step can be collected as a list of operations while it runs,
analysed, rewritten (fusion.py) and replayed (recording.py), without the layers knowing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bpcore.backends.arrays import Array, is_array
from bpcore.kernels.spec import Spec

ROLES = {
    "activate": "rwwR",
    "activate_keeping_input": "RwwR",
    "delta": "RrwO-",
    "delta_learned": "RrwOO",
    "loss_head": "RwrrwROLWLw-",
    "gather": "www--RRRfw",
    "dropout": "rR---fw",
    "hadamard": "rrR",
    "add": "rrR",
    "softmax": "rR",
    "log_softmax": "rR",
    "argmax": "rR",
    "above_zero": "rR",
    "one_hot": "rR",
    "scatter": "rWfw",
    "duplicate": "rR",
    "max_pieces": "rwRR",
    "max_pieces_backward": "rrRO",
    "global_norm": "wwW",
    "update": "PpPswwwwwo",
    "fold_factors": "wwwwW",
    "penalize": "wwWWw",
    "limit_columns": "W-Cf",
}
"""What each argument of a kernel is: a letter for each, a capital where it is written.

r  rows: a matrix (or vector) with a row (or entry) for each sample, of which a part of the kernel needs its own alone
w  whole: every part sees all of it
C  columns: an entry for each column of a matrix, of which a part has its own; the matrix, of which a part changes these
   columns alone, is a W: for the waits that is all of it
O  own: sums over the samples; a part adds up its own, and the parts' are added up afterwards
L  likewise, and of the slots of a control block only that of the batch at hand
s  segments: the parameters that the optimizer changes (Backend.update)
P  an entry (or a column) for each parameter, of which a part changes those of its segments alone
p  likewise, and read; its first entry is that of the parameter whose number stands at o
o  that number
f  the number of the part's first row, or column
-  a scalar, or an array that is not looked at

Of a kernel that is not in the table every array counts as written.
"""


@dataclass(frozen=True, eq=False)
class Relu:
    """The end of a product: out <- relu(out + bias). A mask, if given, records which elements are above zero.

    bias (M,); mask uint8 (B, ...), in the device's own format
    """

    bias: Array
    mask: Array | None = None


@dataclass(frozen=True, eq=False)
class ReluBackward:
    """The end of a product: out <- out where the mask is set, else 0 (BP2); bias_grad (M,) <- column sums (BP4)."""

    bias_grad: Array
    mask: Array


@dataclass(frozen=True, eq=False)
class Product:
    """out <- alpha a @ b + beta out, for views whose rows or columns are contiguous.

    alpha and beta are numbers, or one-element arrays that are read when the product runs. A device receives a product
    with an epilogue only if it asked for those.
    """

    a: Array
    b: Array
    out: Array
    alpha: Any = 1.0
    beta: Any = 0.0
    epilogue: Relu | ReluBackward | None = None

    @property
    def reads(self) -> list[Array]:
        """The arrays that it reads."""
        more = [factor for factor in (self.alpha, self.beta) if is_array(factor)]
        if not is_number(self.beta, 0.0):
            more.append(self.out)
        if isinstance(self.epilogue, Relu):
            more.append(self.epilogue.bias)
        elif isinstance(self.epilogue, ReluBackward):
            more.append(self.epilogue.mask)
        return [self.a, self.b, *more]

    @property
    def writes(self) -> list[Array]:
        """The arrays that it writes."""
        if isinstance(self.epilogue, ReluBackward):
            return [self.out, self.epilogue.bias_grad]
        if isinstance(self.epilogue, Relu) and self.epilogue.mask is not None:
            return [self.out, self.epilogue.mask]
        return [self.out]

    @property
    def scaled(self) -> bool:
        """Whether it is anything but out <- a @ b."""
        return not (is_number(self.alpha, 1.0) and is_number(self.beta, 0.0))


@dataclass(frozen=True, eq=False)
class Kernel:
    """A kernel with its arguments, in the order of bpcore.kernels.spec."""

    spec: Spec
    arguments: Sequence[Any]

    @property
    def roles(self) -> str:
        """A letter for each argument, see ROLES."""
        return ROLES.get(self.spec.template) or "W" * len(self.arguments)

    @property
    def reads(self) -> list[Array]:
        """The arrays that it reads."""
        return [a for role, a in zip(self.roles, self.arguments, strict=True) if role not in "-fo" and is_array(a)]

    @property
    def writes(self) -> list[Array]:
        """The arrays that it writes."""
        return [a for role, a in zip(self.roles, self.arguments, strict=True) if role.isupper() and is_array(a)]


Operation = Product | Kernel


def is_number(value: Any, number: float) -> bool:
    """Whether a factor is this number; False for a factor on the device, whose value is not read."""
    return isinstance(value, int | float) and value == number
