"""The CPU backend: NumPy arrays and Numba kernels; NumPy's matrix product, or bpcore's own in recorded steps."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from bpcore.backends.arrays import Array, DTypeLike
from bpcore.backends.base import Backend
from bpcore.backends.control import Control
from bpcore.backends.cpu_tape import TapeMaker
from bpcore.backends.cpu_threads import threads
from bpcore.backends.operations import Operation, Product, is_number
from bpcore.backends.recording import Recording
from bpcore.kernels import cpu, memory


class NumpyBackend(Backend):
    """The CPU backend; it is always available, and the reference for the others."""

    name = "numpy"
    array_type = np.ndarray
    dlpack_devices = (1,)
    array_module = np

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """Allocate an array, aligned to a cache line; its content is undefined."""
        self.allocations += 1
        return memory.aligned(shape, dtype)

    def full(self, shape: tuple[int, ...], value: float, dtype: DTypeLike) -> Array:
        """Allocate an array filled with one value."""
        array = self.empty(shape, dtype)
        array.fill(value)
        return array

    def asarray(self, host: Any, dtype: DTypeLike = None) -> Array:
        """The array itself if it has this dtype and is C-contiguous and aligned; otherwise such a copy."""
        array = np.require(host, dtype, ["C", "A"])
        if array is not host:
            self.allocations += 1
        return array

    def to_numpy(self, array: Array) -> np.ndarray:
        """The array itself: the host is the device."""
        self.require(array)
        result: np.ndarray = array
        return result

    def write(self, host: Any, out: Array) -> None:
        """Copy values into an existing array, broadcast and converted."""
        np.copyto(out, host)

    def copy(self, source: Array, out: Array) -> None:
        """out <- source."""
        np.copyto(out, source)

    def from_dlpack(self, array: Any) -> Array:
        """As Backend.from_dlpack."""
        return np.from_dlpack(array)

    def synchronize(self) -> None:
        """Do nothing: every operation is finished when its call returns."""

    def execute(self, operation: Operation) -> None:
        """Run NumPy's product, which passes transposed views to BLAS without a copy, or the compiled kernel."""
        if isinstance(operation, Product):
            _multiply(operation)
        else:
            cpu.compiled(operation.spec)(*operation.arguments)

    def record(
        self,
        step: Callable[[], None],
        *,
        control: Control | None = None,
        keeps_gradients: bool = False,
    ) -> Callable[[int], None]:
        """As Backend.record: the step becomes a tape of compiled calls on several threads (cpu_tape.py)."""
        if numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
            return super().record(step)
        return Recording(self, step, TapeMaker(self, folds=not keeps_gradients), control)

    def describe(self) -> dict[str, str]:
        """The processor, NumPy and its BLAS, Numba, and the number of threads."""
        library = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return {
            "device": f"CPU: {_processor()}, {os.cpu_count()} cores",
            "numpy": f"{np.__version__} with {library.get('name', '?')} {library.get('version', '?')}",
            "numba": numba.__version__,
            "threads": str(threads()),
        }


def _multiply(product: Product) -> None:
    a, b, out = product.a, product.b, product.out
    if not product.scaled:
        np.matmul(a, b, out=out)
        return
    result = np.matmul(a, b)
    result *= product.alpha
    if not is_number(product.beta, 0.0):  # with beta 0 even NaN in `out` is overwritten, as in BLAS
        result += product.beta * out
    np.copyto(out, result)


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
