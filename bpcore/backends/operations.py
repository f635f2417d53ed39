"""A training step as a list of operations: products and kernels, and what each of them reads and writes.

Every method of a backend comes down to these two. A step can therefore be written down while it runs, looked at,
rewritten (fusion.py) and replayed (recording.py), and the layers know nothing of it.
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
    """How a product may end: out <- relu(out + bias); the mask, where it is wanted, keeps which of it are above zero.

    bias (M,); mask uint8 (B, ...), as the device has it
    """

    bias: Array
    mask: Array | None = None


@dataclass(frozen=True, eq=False)
class ReluBackward:
    """How a product may end: out <- out where the mask is set, else 0 (BP2); bias_grad (M,) <- column sums (BP4)."""

    bias_grad: Array
    mask: Array


@dataclass(frozen=True, eq=False)
class Product:
    """out <- alpha a @ b + beta out, for views whose rows or columns are contiguous.

    alpha and beta are numbers, or one-element arrays that are read when the product runs. Only a device that can do it
    is given a product with an epilogue.
    """

    a: Array
    b: Array
    out: Array
    alpha: Any = 1.0
    beta: Any = 0.0
    epilogue: Relu | ReluBackward | None = None

    @property
    def reads(self) -> list[Array]:
        """The arrays it depends on."""
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
        """The arrays it changes."""
        if isinstance(self.epilogue, ReluBackward):
            return [self.out, self.epilogue.bias_grad]
        if isinstance(self.epilogue, Relu) and self.epilogue.mask is not None:
            return [self.out, self.epilogue.mask]
        return [self.out]

    @property
    def scaled(self) -> bool:
        """Whether it is more than out <- a @ b."""
        return not (is_number(self.alpha, 1.0) and is_number(self.beta, 0.0))


@dataclass(frozen=True, eq=False)
class Kernel:
    """One kernel and its arguments, in the order of bpcore.kernels.signatures; kernel["z"] is the argument z."""

    spec: Spec
    arguments: Sequence[Any]

    @classmethod
    def named(cls, spec: Spec, **arguments: Any) -> Kernel:
        """A kernel of arguments that are given by name."""
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
        """What the table says about its arguments."""
        return SIGNATURES[self.spec.template]

    @property
    def declared(self) -> Iterator[tuple[Argument, Any]]:
        """Each argument as the table has it, with its value."""
        return zip(self.signature.arguments.values(), self.arguments, strict=True)

    @property
    def reads(self) -> list[Array]:
        """The arrays it depends on; an array that it overwrites is among them."""
        return [value for argument, value in self.declared if argument.role is not Role.UNUSED and is_array(value)]

    @property
    def writes(self) -> list[Array]:
        """The arrays it changes."""
        return [value for argument, value in self.declared if argument.written and is_array(value)]


Operation = Product | Kernel


def is_number(value: Any, number: float) -> bool:
    """Whether a factor is that number; one that lies on the device is not looked at."""
    return isinstance(value, int | float) and value == number
