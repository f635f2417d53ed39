"""The two operations that all others are made of, a product and a kernel, and who performs them."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Any

from bpcore.backends.arrays import Array
from bpcore.backends.contract.checks import check_product
from bpcore.backends.contract.device import Device
from bpcore.backends.operations import Kernel, Operation, Product
from bpcore.kernels.spec import Spec

Watcher = Callable[[Operation], None]


class Primitives(Device):
    """A product and a kernel, performed by the device or given to whoever records the step."""

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
        """out <- alpha * op(a) @ op(b) + beta * out, where op transposes if told to, without a copy.

        alpha and beta are numbers or one-element device arrays. A new array where `out` is not given.
        """
        self.require(a, b)
        shape = check_product(a, b, out, transpose_a, transpose_b)
        if out is None:
            out = self.empty(shape, a.dtype)
        self.require(out)
        self._perform(Product(a.T if transpose_a else a, b.T if transpose_b else b, out, alpha, beta))
        return out

    def run(self, kernel: Spec, *arguments: Any) -> None:
        """Run one kernel; its arguments are listed in bpcore.kernels.signatures."""
        self._perform(Kernel(kernel, arguments))

    def _perform(self, operation: Operation) -> None:
        watcher = self.watcher
        if watcher is None:
            self.execute(operation)
        else:
            watcher(operation)

    @property
    def watcher(self) -> Watcher | None:
        """While this thread records a step: who is given each operation, and performs it.

        Each thread has its own: what another one computes meanwhile, with the same backend, is no part of that step.
        """
        return None if self._watchers is None else self._watchers.get(get_ident())

    @watcher.setter
    def watcher(self, watcher: Watcher | None) -> None:
        watchers = vars(self).setdefault("_watchers", {})
        if watcher is None:
            watchers.pop(get_ident(), None)
        else:
            watchers[get_ident()] = watcher
