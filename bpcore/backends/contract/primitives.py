"""The two primitives that all operations reduce to: a matrix product, and a kernel."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Any

from bpcore.backends.arrays import Array
from bpcore.backends.contract.checks import check_arguments, check_product
from bpcore.backends.contract.device import Device
from bpcore.backends.operations import Kernel, Operation, Product
from bpcore.kernels.spec import Spec

Watcher = Callable[[Operation], None]


class Primitives(Device):
    """Passes products and kernels to the device or, while a step is recorded, to the recorder."""

    _watchers: dict[int, Watcher] | None = None

    def matmul(
        self,
        a: Array,
        b: Array,
        out: Array | None = None,
        *,
        transpose_a: bool = False,
        transpose_b: bool = False,
        alpha: Any = 1.0,
        beta: Any = 0.0,
    ) -> Array:
        """out <- alpha * op(a) @ op(b) + beta * out, where op transposes the factor if requested; no factor is copied.

        alpha and beta are numbers or one-element device arrays. Without `out` the result is a new array.
        """
        self.require(a, b)
        shape = check_product(a, b, out, transpose_a, transpose_b)
        if out is None:
            out = self.empty(shape, a.dtype)
        self.require(out)
        self._perform(Product(a.T if transpose_a else a, b.T if transpose_b else b, out, alpha, beta))
        return out

    def run(self, kernel: Spec, *arguments: Any) -> None:
        """Run one kernel. bpcore.kernels.signatures lists the arguments of each; their shapes are checked."""
        check_arguments(kernel.template, arguments)
        self._perform(Kernel(kernel, arguments))

    def _perform(self, operation: Operation) -> None:
        watcher = self.watcher
        if watcher is None:
            self.execute(operation)
        else:
            watcher(operation)

    @property
    def watcher(self) -> Watcher | None:
        """The function that receives each operation of this thread in place of the device, while a step is recorded.

        Each thread has its own: the operations of another thread on the same backend do not belong to the step.
        """
        return None if self._watchers is None else self._watchers.get(get_ident())

    @watcher.setter
    def watcher(self, watcher: Watcher | None) -> None:
        watchers = vars(self).setdefault("_watchers", {})
        if watcher is None:
            watchers.pop(get_ident(), None)
        else:
            watchers[get_ident()] = watcher
