"""Describe an operation as data: a product or a kernel, its arguments, and which arrays it reads and writes.

Every method of a backend reduces to these two. A running step can therefore be collected as a list of operations,
analysed, rewritten (fusion.py) and replayed (recording.py), without the layers knowing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bpcore.backends.arrays import Array, is_array
from bpcore.kernels.signatures import SIGNATURES, Argument, Role, Signature
from bpcore.kernels.spec import Spec


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

    alpha and beta are numbers, or one-element arrays that are read when the product runs. A device receives products
    with an epilogue only if its recordings use fuse_epilogues.
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
    """A kernel with its arguments, in the order of bpcore.kernels.signatures; kernel["z"] is the argument z."""

    spec: Spec
    arguments: Sequence[Any]

    @classmethod
    def named(cls, spec: Spec, **arguments: Any) -> Kernel:
        """A kernel with its arguments given by name."""
        names = SIGNATURES[spec.template].arguments
        assert arguments.keys() == names.keys(), f"{spec.template} takes {', '.join(names)}"
        return cls(spec, tuple(arguments[name] for name in names))

    def with_arguments(self, **others: Any) -> Kernel:
        """The same kernel with other values for some arguments."""
        return Kernel.named(self.spec, **dict(zip(self.signature.arguments, self.arguments, strict=True), **others))

    def __getitem__(self, name: str) -> Any:
        return self.arguments[self.signature.places[name]]

    @property
    def signature(self) -> Signature:
        """Its entry in the table of signatures."""
        return SIGNATURES[self.spec.template]

    @property
    def declared(self) -> Iterator[tuple[Argument, Any]]:
        """The declaration of each argument in the table, with its value."""
        return zip(self.signature.arguments.values(), self.arguments, strict=True)

    @property
    def reads(self) -> list[Array]:
        """The arrays that it reads, and those that it overwrites."""
        return [value for argument, value in self.declared if argument.role is not Role.UNUSED and is_array(value)]

    @property
    def writes(self) -> list[Array]:
        """The arrays that it writes."""
        return [value for argument, value in self.declared if argument.written and is_array(value)]


Operation = Product | Kernel


def is_number(value: Any, number: float) -> bool:
    """Whether a factor is this number; False for a factor on the device, whose value is not read."""
    return isinstance(value, int | float) and value == number
