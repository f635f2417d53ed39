"""The CPU: NumPy arrays, NumPy's BLAS for products, Numba kernels for the rest."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from bpcore.backends.base import Array, Backend, DTypeLike, check_product
from bpcore.backends.recording import Recorder, Recording, threads
from bpcore.kernels import blas, cpu
from bpcore.kernels.spec import Spec


class NumpyBackend(Backend):
    """The backend that is always there, and the reference for the others."""

    name = "numpy"
    array_type = np.ndarray
    recorder: Recorder | None = None
    """While a step is recorded, all operations go there."""

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A new array of undefined content."""
        self.allocations += 1
        return np.empty(shape, dtype)

    def asarray(self, host: Any, dtype: DTypeLike = None) -> Array:
        """The array itself where it has the dtype and is C-contiguous and aligned, else a copy that is."""
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
        """Copy values into an array."""
        np.copyto(out, host)

    def copy(self, source: Array, out: Array) -> None:
        """out <- source."""
        np.copyto(out, source)

    def synchronize(self) -> None:
        """Nothing to wait for: NumPy returns when it is done."""

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
        """As Backend.matmul. BLAS is told of a transpose, it does not copy."""
        self.require(a, b)
        shape = check_product(a, b, out, transpose_a, transpose_b)
        if out is None:
            out = self.empty(shape, a.dtype)
        self.require(out)
        left = a.T if transpose_a else a
        right = b.T if transpose_b else b
        if self.recorder is not None:
            self.recorder.product(left, right, out, alpha, beta)
            return out
        scaled = not (isinstance(alpha, float) and alpha == 1.0)
        added = not (isinstance(beta, float) and beta == 0.0)
        if not scaled and not added:
            return np.matmul(left, right, out=out)
        product = np.matmul(left, right)
        product *= alpha
        if added:
            product += beta * out
        np.copyto(out, product)
        return out

    def run(self, kernel: Spec, *arguments: Any) -> None:
        """Call the compiled loop."""
        if self.recorder is not None:
            self.recorder.kernel(kernel, arguments)
        else:
            cpu.compiled(kernel)(*arguments)

    def record(self, step: Callable[[], None]) -> Callable[[int], None]:
        """As Backend.record: a tape of compiled calls on all cores (recording.py), where NumPy has an OpenBLAS."""
        library = blas.find()
        if library is None or numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
            return super().record(step)
        return Recording(self, step, library)

    def describe(self) -> dict[str, str]:
        """The processor, NumPy and its BLAS, Numba, threads."""
        library = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
        return {
            "device": f"CPU: {_processor()}, {os.cpu_count()} cores",
            "numpy": f"{np.__version__} with {library.get('name', '?')} {library.get('version', '?')}",
            "numba": numba.__version__,
            "threads": str(threads()),
        }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
