"""A CUDA GPU: CuPy's arrays, cuBLASLt's matrix products, numba-cuda's kernels for the rest.

All work goes to CuPy's current stream, in the order in which it was asked for, and nobody waits for it but
`to_numpy`, `asarray`, `write` and `synchronize`. What is copied between host and device passes through the first
three alone, and data that is streamed through streaming.py.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from bpcore.backends.base import Array, Backend, Control, DTypeLike, Samples
from bpcore.backends.cupy_module import first_line, load_cupy, missing
from bpcore.backends.feeding import Feed
from bpcore.backends.graphs import GraphMaker
from bpcore.backends.operations import Kernel, Operation, Product, Relu, ReluBackward, address, is_array, is_number
from bpcore.backends.recording import Recording
from bpcore.backends.streaming import Stream
from bpcore.errors import InputError, bytes_in_words
from bpcore.kernels import cublas
from bpcore.kernels.cublas import WORKSPACE_BYTES, Call, Precision, Products, layout
from bpcore.kernels.spec import Spec

Launcher = Callable[[Spec, Sequence[Any], int], None]
"""Starts a kernel with its arguments on the stream of that address."""


class CupyBackend(Backend):
    """The backend for CUDA GPUs; it uses CuPy's current device.

    xp          the array module, CuPy where not given
    launch      starts the kernels, bpcore.kernels.cuda.launch where not given
    library     cuBLASLt's functions, looked for where no module is given either; without them CuPy multiplies, and
                nothing is recorded
    epilogues   in a recording, let a product end with the ReLU that follows it. It saves launches; whether it is
                faster has not been measured yet (benchmarks/first_questions.py), so it is not the default

    Without them MissingExtraError says what is not installed, and InputError why there is no GPU to be used.
    """

    name = "cupy"
    dlpack_devices = (2, 13)  # a GPU's own memory, and what CUDA moves there by itself

    def __init__(
        self, xp: Any = None, launch: Launcher | None = None, library: Any = None, *, epilogues: bool = False
    ) -> None:
        self._xp = load_cupy() if xp is None else xp
        self._launch = _numba_launcher() if launch is None else launch
        self._epilogues = epilogues
        self._precision: Precision = "float32"
        self._products: Products | None = None
        self._library, self._no_library = library, "none was given"
        if xp is None and library is None:
            try:
                self._library = cublas.load()
            except OSError as error:
                self._no_library = str(error)

    @property
    def array_type(self) -> type:
        """cupy.ndarray."""
        kind: type = self._xp.ndarray
        return kind

    @property
    def array_module(self) -> Any:
        """CuPy, or the module that was given in its place."""
        return self._xp

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A new array of undefined content."""
        self.allocations += 1
        with self._memory_for(shape, dtype):
            return self._xp.empty(shape, dtype)

    def asarray(self, host: Any, dtype: DTypeLike = None) -> Array:
        """The array itself where it is here, has the dtype and is C-contiguous; else a copy that is all that."""
        if not self.owns(host):
            values = np.require(host, dtype, ["C"])
            self.allocations += 1
            with self._memory_for(values.shape, values.dtype):
                array = self._xp.empty(values.shape, values.dtype)
            array.set(values)  # CuPy's asarray would first copy it, whole, into pinned memory
            return array
        if host.flags.c_contiguous and (dtype is None or host.dtype == dtype):
            return host
        self.allocations += 1
        with self._memory_for(host.shape, host.dtype if dtype is None else dtype):
            return self._xp.ascontiguousarray(host, dtype)

    def to_numpy(self, array: Array) -> np.ndarray:
        """A copy on the host."""
        self.require(array)
        result: np.ndarray = array.get()
        return result

    def write(self, host: Any, out: Array) -> None:
        """Bring values over into a C-contiguous array that exists, broadcast and converted as NumPy does."""
        self.require(out)
        values = np.empty(out.shape, out.dtype)
        np.copyto(values, host)
        out.set(values)

    def copy(self, source: Array, out: Array) -> None:
        """out <- source, on the device."""
        self.require(source, out)
        self._xp.copyto(out, source)

    def from_dlpack(self, array: Any) -> Array:
        """As Backend.from_dlpack; CuPy lets its current stream wait for what the other library has begun."""
        return self._xp.from_dlpack(array)

    def synchronize(self) -> None:
        """Wait for CuPy's current stream."""
        self._xp.cuda.get_current_stream().synchronize()

    def free_bytes(self) -> int:
        """What the GPU has free and what CuPy's pool keeps for reuse, within the pool's limit where one is set."""
        free, _ = self._xp.cuda.runtime.memGetInfo()
        pool = self._xp.get_default_memory_pool()
        free += pool.free_bytes()
        if pool.get_limit():
            free = min(free, pool.get_limit() - pool.used_bytes())
        if self._library is not None and self._products is None:
            free -= WORKSPACE_BYTES  # the first product will take it
        return max(0, int(free))

    def stream(self, samples: Samples, dtype: np.dtype[Any], batch_size: int, chunk_batches: int) -> Feed:
        """As Backend.stream: pinned buffers, and a stream for the copies alone."""
        return Stream(self, self._xp, samples, dtype, batch_size, chunk_batches)

    @contextmanager
    def _memory_for(self, shape: tuple[int, ...], dtype: DTypeLike) -> Iterator[None]:
        """One line where there is not so much memory."""
        try:
            yield
        except self._xp.cuda.memory.OutOfMemoryError as error:
            wanted = math.prod(shape) * np.dtype(dtype).itemsize
            raise InputError(
                f"the GPU's memory is full: an array {shape} of {np.dtype(dtype)} takes {bytes_in_words(wanted)}, and "
                f"{bytes_in_words(self.free_bytes())} are free; a smaller batch_size or a smaller network takes less"
            ) from error

    def at_precision(self, name: str) -> tuple[Backend, np.dtype[Any]]:
        """As Backend.at_precision; "tf32" multiplies float32 numbers with 10 of their 23 bits, on the tensor cores."""
        if name != "tf32":
            return super().at_precision(name)
        if self._library is None:
            raise InputError(f"precision 'tf32' needs cuBLASLt, which cannot be loaded: {self._no_library}")
        backend = copy.copy(self)
        backend._precision = "tf32"
        return backend, np.dtype(np.float32)

    def execute(self, operation: Operation) -> None:
        """A product by cuBLAS, or the kernel, on CuPy's current stream."""
        if isinstance(operation, Kernel):
            self._launch(operation.spec, operation.arguments, self._stream())
        elif (products := self._cublas_for(operation)) is not None:
            alpha, beta = (address(f) if is_array(f) else float(f) for f in (operation.alpha, operation.beta))
            a, b, out = map(address, (operation.a, operation.b, operation.out))
            products.multiply(self._call(operation), a, b, out, alpha, beta, self._stream())
        else:
            self._multiply(operation)

    def can_multiply(self, product: Product) -> bool:
        """Whether cuBLASLt has an algorithm for this product."""
        products = self._cublas_for(product)
        return products is not None and products.plan(self._call(product)) is not None

    def record(
        self,
        step: Callable[[], None],
        *,
        control: Control | None = None,
        keeps_gradients: bool = False,
    ) -> Callable[[int], None]:
        """As Backend.record: CUDA graphs (graphs.py), where cuBLASLt is there."""
        if self._library is None:
            warnings.warn(
                f"cuBLASLt cannot be loaded, so nothing is captured and steps are launched one operation at a time: "
                f"{self._no_library}",
                stacklevel=2,
            )
            return super().record(step)
        maker = GraphMaker(self, self._xp, folds=not keeps_gradients, epilogues=self._epilogues)
        return Recording(self, step, maker, control)

    def _stream(self) -> int:
        return int(self._xp.cuda.get_current_stream().ptr)

    def _cublas_for(self, product: Product) -> Products | None:
        """cuBLASLt, which is started with the first product; None where it is not there, or not for this product."""
        if self._library is None or product.out.dtype.kind != "f" or 0 in (*product.a.shape, *product.out.shape):
            return None
        if is_array(product.alpha) != is_array(product.beta):
            return None
        if self._products is None:
            with self._memory_for((WORKSPACE_BYTES,), np.uint8):
                self._workspace = self._xp.empty((WORKSPACE_BYTES,), np.uint8)
            self._products = Products(self._library, address(self._workspace))
        return self._products

    def _call(self, product: Product) -> Call:
        a, b, out = product.a, product.b, product.out
        return Call(
            precision="float64" if out.dtype == np.float64 else self._precision,
            m=out.shape[0],
            n=out.shape[1],
            k=a.shape[1],
            a=layout(a),
            b=layout(b),
            out_leading=layout(out).leading,
            factors_on_device=is_array(product.alpha),
            ending=_ending(product.epilogue),
        )

    def _multiply(self, product: Product) -> None:
        """By CuPy, which tells cuBLAS of a transposed view and copies none."""
        a, b, out, alpha, beta = product.a, product.b, product.out, product.alpha, product.beta
        if is_number(beta, 0.0):
            self._xp.matmul(a, b, out=out)
            if not is_number(alpha, 1.0):
                out *= alpha
            return
        result = self._xp.matmul(a, b)
        self.allocations += 1
        if not is_number(alpha, 1.0):
            result *= alpha
        if not is_number(beta, 1.0):
            out *= beta
        out += result

    def describe(self) -> dict[str, str]:
        """The GPU, its driver, CUDA, CuPy and numba-cuda."""
        runtime = self._xp.cuda.runtime
        properties = runtime.getDeviceProperties(runtime.getDevice())
        name = properties["name"].decode()
        memory = properties["totalGlobalMem"] / 2**30
        capability = f"{properties['major']}.{properties['minor']}"
        units = properties["multiProcessorCount"]
        return {
            "device": f"GPU: {name}, {memory:.1f} GiB, {units} multiprocessors, compute capability {capability}",
            "driver": f"CUDA {_cuda_version(runtime.driverGetVersion())}",
            "cuda": _cuda_version(runtime.runtimeGetVersion()),
            "cupy": self._xp.__version__,
            "numba-cuda": _installed("numba-cuda"),
            "cublasLt": cublas.version(self._library) if self._library is not None else f"none ({self._no_library})",
        }


def _ending(epilogue: Relu | ReluBackward | None) -> cublas.Ending | None:
    """An epilogue with addresses in place of arrays; a mask's leading dimension counts bits."""
    if isinstance(epilogue, ReluBackward):
        return cublas.relu_backward(address(epilogue.bias_grad), address(epilogue.mask), 8 * epilogue.mask.shape[1])
    if epilogue is None:
        return None
    if epilogue.mask is None:
        return cublas.relu(address(epilogue.bias))
    return cublas.relu(address(epilogue.bias), address(epilogue.mask), 8 * epilogue.mask.shape[1])


def _cuda_version(number: int) -> str:
    """12090 is CUDA 12.9."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _numba_launcher() -> Launcher:
    """numba-cuda with NVIDIA's compiler."""
    try:
        from bpcore.kernels import cuda
    except ImportError as error:
        raise missing(f" ({first_line(error)})") from error
    problem = cuda.compiler_problem()
    if problem:
        raise missing(f" ({problem})")
    return cuda.launch
