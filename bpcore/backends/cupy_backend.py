"""The backend for CUDA GPUs: CuPy's arrays, cuBLASLt's matrix products, and numba-cuda kernels for all else.

All work goes to CuPy's current stream, in order. Only `to_numpy`, `asarray`, `write` and `synchronize` wait for it. The
first three are also the only transfers between host and device, except for streamed data (streaming.py).
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Self

import numpy as np

from bpcore.backends.arrays import Array, DTypeLike, address, is_array
from bpcore.backends.base import Backend
from bpcore.backends.control import Control
from bpcore.backends.cuda_graphs import GraphMaker
from bpcore.backends.cupy_module import first_line, load_cupy, missing
from bpcore.backends.feeding import Feed
from bpcore.backends.operations import Kernel, Operation, Product, Relu, ReluBackward, is_number
from bpcore.backends.recording import Recording
from bpcore.backends.samples import Samples
from bpcore.backends.streaming import Stream
from bpcore.errors import InputError, InputTypeError, bytes_in_words
from bpcore.kernels import bfloat16, cublas
from bpcore.kernels.bfloat16 import BFLOAT16
from bpcore.kernels.cublas import WORKSPACE_BYTES, Call, Precision, Products, alignment, layout
from bpcore.kernels.signatures import Elements
from bpcore.kernels.spec import Spec

Launcher = Callable[[Spec, Sequence[Any], int], None]
"""Launches a kernel with its arguments on the stream with that address."""


class CupyBackend(Backend):
    """The backend for CUDA GPUs; it uses CuPy's current device.

    xp          the array module; CuPy by default
    launch      launches the kernels; bpcore.kernels.cuda.launch by default
    library     cuBLASLt's functions; by default they are loaded, unless xp is given. Without them CuPy computes the
                products, and steps are not recorded
    epilogues   whether a recording may fuse a ReLU into the product before it. That saves launches; whether it is
                faster has not been measured yet (benchmarks/first_questions.py), so it is off by default

    MissingExtraError says what is not installed, InputError why no GPU can be used.
    """

    name = "cupy"
    dlpack_devices = (2, 13)  # a GPU's own memory, and CUDA's managed memory

    def __init__(
        self, xp: Any = None, launch: Launcher | None = None, library: Any = None, *, epilogues: bool = False
    ) -> None:
        self._xp = load_cupy() if xp is None else xp
        self._launch = _numba_launcher() if launch is None else launch
        self._epilogues = epilogues
        self._precision: Precision = "float32"
        self._rounds = False
        """Whether the precision is "bfloat16", at which arrays of uint16 hold bfloat16 numbers."""
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
        """CuPy, or the module given in its place."""
        return self._xp

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """Allocate an array; its content is undefined."""
        self.allocations += 1
        with self._memory_for(shape, dtype):
            return self._xp.empty(shape, dtype)

    def asarray(self, host: Any, dtype: DTypeLike = None) -> Array:
        """The array itself if it is on the device, C-contiguous and of this dtype; otherwise such a copy."""
        if not self.owns(host):
            values = self._as_stored(host, dtype) if self._is_bfloat16(dtype) else np.require(host, dtype, ["C"])
            self.allocations += 1
            with self._memory_for(values.shape, values.dtype):
                array = self._xp.empty(values.shape, values.dtype)
            array.set(values)  # CuPy's asarray would first copy all of it into pinned memory
            return array
        if host.flags.c_contiguous and (dtype is None or host.dtype == dtype):
            return host
        self.allocations += 1
        with self._memory_for(host.shape, host.dtype if dtype is None else dtype):
            return self._xp.ascontiguousarray(host, dtype)

    def to_numpy(self, array: Array) -> np.ndarray:
        """A copy on the host; bfloat16 becomes float32."""
        self.require(array)
        result: np.ndarray = array.get()
        return bfloat16.widened(result) if self._is_bfloat16(array.dtype) else result

    def write(self, host: Any, out: Array) -> None:
        """Copy values from the host into an existing C-contiguous array, broadcast and converted as NumPy does."""
        self.require(out)
        values = np.empty(out.shape, bfloat16.number_dtype(out.dtype) if self._rounds else out.dtype)
        np.copyto(values, host)
        out.set(self._as_stored(values, out.dtype) if self._is_bfloat16(out.dtype) else values)

    def copy(self, source: Array, out: Array) -> None:
        """out <- source, on the device."""
        self.require(source, out)
        self._xp.copyto(out, source)

    def from_dlpack(self, array: Any) -> Array:
        """As Backend.from_dlpack; CuPy's current stream then waits for the other library's pending work."""
        return self._xp.from_dlpack(array)

    def full(self, shape: tuple[int, ...], value: float, dtype: DTypeLike) -> Array:
        """As Backend.full."""
        if self._is_bfloat16(dtype):
            return self.asarray(np.full(shape, value, np.float32), BFLOAT16)
        return super().full(shape, value, dtype)

    def between_layers(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """As Backend.between_layers: bfloat16 at precision "bfloat16"."""
        return BFLOAT16 if self._rounds else dtype

    def _is_bfloat16(self, dtype: DTypeLike) -> bool:
        return self._rounds and dtype is not None and np.dtype(dtype) == BFLOAT16

    @staticmethod
    def _as_stored(host: Any, dtype: DTypeLike) -> np.ndarray:
        """Round numbers on the host to bfloat16; integers of its dtype, uint16, are taken as numbers too."""
        return np.require(bfloat16.rounded(np.asarray(host, np.float32)), dtype, ["C"])

    def synchronize(self) -> None:
        """Wait for CuPy's current stream."""
        self._xp.cuda.get_current_stream().synchronize()

    def free_bytes(self) -> int:
        """The GPU's free memory and what CuPy's pool keeps for reuse, within the pool's limit if one is set."""
        free, _ = self._xp.cuda.runtime.memGetInfo()
        pool = self._xp.get_default_memory_pool()
        free += pool.free_bytes()
        if pool.get_limit():
            free = min(free, pool.get_limit() - pool.used_bytes())
        if self._library is not None and self._products is None:
            free -= WORKSPACE_BYTES  # the first product will allocate it
        return max(0, int(free))

    def stream(self, samples: Samples, dtype: np.dtype[Any], batch_size: int, chunk_batches: int) -> Feed:
        """As Backend.stream: through pinned buffers, with a separate CUDA stream for the copies."""
        return Stream(self, self._xp, samples, dtype, batch_size, chunk_batches)

    @contextmanager
    def _memory_for(self, shape: tuple[int, ...], dtype: DTypeLike) -> Iterator[None]:
        """Turn CuPy's error into one line if there is not enough memory for an array."""
        try:
            yield
        except self._xp.cuda.memory.OutOfMemoryError as error:
            wanted = math.prod(shape) * np.dtype(dtype).itemsize
            raise InputError(
                f"the GPU's memory is full: an array {shape} of {np.dtype(dtype)} takes {bytes_in_words(wanted)}, and "
                f"{bytes_in_words(self.free_bytes())} are free; a smaller batch_size or a smaller network takes less"
            ) from error

    def at_precision(self, name: str) -> tuple[Self, np.dtype[Any]]:
        """As Backend.at_precision; "tf32" and "bfloat16" use the tensor cores, through cuBLASLt.

        "tf32" multiplies float32 numbers with 10 of their 23 fraction bits. At "bfloat16" arrays between layers are
        bfloat16 (bpcore.kernels.bfloat16); products of float32 factors stay float32.
        """
        if name in ("tf32", "bfloat16") and self._library is None:
            raise InputError(f"precision {name!r} needs cuBLASLt, which cannot be loaded: {self._no_library}")
        if name == "bfloat16":
            self._require_bfloat16()
        dtype = np.dtype(np.float32) if name in ("tf32", "bfloat16") else super().at_precision(name)[1]
        precision: Precision = "tf32" if name == "tf32" else "float32"
        if (self._precision, self._rounds) == (precision, name == "bfloat16"):
            return self, dtype
        backend = copy.copy(self)
        backend._precision, backend._rounds = precision, name == "bfloat16"
        return backend, dtype

    def _require_bfloat16(self) -> None:
        """Raise InputError on a GPU that is too old for products of bfloat16."""
        runtime = self._xp.cuda.runtime
        properties = runtime.getDeviceProperties(runtime.getDevice())
        if properties["major"] < 8:
            raise InputError(
                f"precision 'bfloat16' needs a GPU of compute capability 8.0 or more, and this one has "
                f"{properties['major']}.{properties['minor']}; it has precision 'float32'"
            )

    def execute(self, operation: Operation) -> None:
        """Run a product by cuBLASLt, or a kernel, on CuPy's current stream."""
        _check_bfloat16(operation, accepted=self._rounds)
        if isinstance(operation, Kernel):
            self._launch(operation.spec, operation.arguments, self._stream())
        elif (products := self._cublas_for(operation)) is None:
            self._multiply(operation)
        elif products.plan(call := self._call(operation)) is not None:
            alpha, beta = (address(f) if is_array(f) else float(f) for f in (operation.alpha, operation.beta))
            a, b, out = map(address, (operation.a, operation.b, operation.out))
            products.multiply(call, a, b, out, alpha, beta, self._stream())
        elif call.precision == "bfloat16":
            raise InputError(
                f"cuBLASLt has no product of bfloat16 for {operation.a.shape} @ {operation.b.shape} on this GPU; "
                f"precision 'tf32' or 'float32' has"
            )
        else:
            self._multiply(operation)

    def can_multiply(self, product: Product) -> bool:
        """Whether cuBLASLt has an algorithm for this product.

        With a bfloat16 result cuBLASLt needs the bias and its gradient in bfloat16 too, but here they are float32.
        """
        if product.epilogue is not None and self._is_bfloat16(product.out.dtype):
            return False
        products = self._cublas_for(product)
        return products is not None and products.plan(self._call(product)) is not None

    def record(
        self,
        step: Callable[[], None],
        *,
        control: Control | None = None,
        keeps_gradients: bool = False,
    ) -> Callable[[int], None]:
        """As Backend.record: the step becomes CUDA graphs (cuda_graphs.py), if cuBLASLt is available."""
        if self._library is None:
            warnings.warn(
                f"cuBLASLt cannot be loaded, so nothing is captured and steps are launched one operation at a time: "
                f"{self._no_library}",
                stacklevel=2,
            )
            return super().record(step)
        epilogues = self.can_multiply if self._epilogues else None
        maker = GraphMaker(self, self._xp, folds=not keeps_gradients, epilogues=epilogues)
        return Recording(self, step, maker, control)

    def _stream(self) -> int:
        return int(self._xp.cuda.get_current_stream().ptr)

    def _cublas_for(self, product: Product) -> Products | None:
        """cuBLASLt, initialised at the first product; None if it is missing or does not support this product."""
        computes = product.out.dtype.kind == "f" or self._is_bfloat16(product.out.dtype)
        if self._library is None or not computes or 0 in (*product.a.shape, *product.out.shape):
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
        precision: Precision = "float64" if out.dtype == np.float64 else self._precision
        return Call(
            precision="bfloat16" if self._is_bfloat16(a.dtype) else precision,
            m=out.shape[0],
            n=out.shape[1],
            k=a.shape[1],
            a=layout(a),
            b=layout(b),
            out_leading=layout(out).leading,
            rounded=self._is_bfloat16(out.dtype),
            alignments=(alignment(address(a)), alignment(address(b)), alignment(address(out))),
            factors_on_device=is_array(product.alpha),
            ending=_ending(product.epilogue),
        )

    def _multiply(self, product: Product) -> None:
        """Multiply by CuPy, which passes transposed views to cuBLAS without a copy."""
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
        """The GPU, its driver, CUDA, CuPy, numba-cuda and cuBLASLt."""
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


def _check_bfloat16(operation: Operation, *, accepted: bool) -> None:
    """Raise InputTypeError for an operation that mixes bfloat16 with float32, as a layer unaware of it would.

    accepted: whether the precision is "bfloat16"; at others a kernel would take 16-bit integers for bfloat16 numbers.
    """
    if isinstance(operation, Product):
        kinds = [array.dtype for array in (operation.a, operation.b, operation.out)]
        if accepted and BFLOAT16 in kinds and kinds not in ([BFLOAT16] * 3, [BFLOAT16, BFLOAT16, np.dtype(np.float32)]):
            words = ["bfloat16" if kind == BFLOAT16 else str(kind) for kind in kinds]
            raise InputTypeError(
                f"matmul: {words[0]} @ {words[1]} -> {words[2]} was asked for at precision 'bfloat16'; accepted: two "
                f"factors of bfloat16 (weights: view.operand, deltas: self.input_dtype), and either for the product"
            )
        return
    for name, (argument, value) in zip(operation.signature.arguments, operation.declared, strict=True):
        if not is_array(value) or value.dtype != BFLOAT16 or argument.elements is Elements.ANY:
            continue  # ANY: a gather reads numbers of any type
        if (argument.elements is Elements.FLOW) != accepted:
            given = "bfloat16" if accepted else "uint16"
            raise InputTypeError(f"{operation.spec.template}: {name} was given as {given}; it must be float32")


def _ending(epilogue: Relu | ReluBackward | None) -> cublas.Ending | None:
    """An epilogue with addresses in place of arrays; the leading dimension of a mask is in bits."""
    if isinstance(epilogue, ReluBackward):
        return cublas.relu_backward(address(epilogue.bias_grad), address(epilogue.mask), 8 * epilogue.mask.shape[1])
    if epilogue is None:
        return None
    if epilogue.mask is None:
        return cublas.relu(address(epilogue.bias))
    return cublas.relu(address(epilogue.bias), address(epilogue.mask), 8 * epilogue.mask.shape[1])


def _cuda_version(number: int) -> str:
    """CUDA's version number as text: 12090 is 12.9."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _numba_launcher() -> Launcher:
    """The launcher of numba-cuda; MissingExtraError if it or NVIDIA's compiler is missing."""
    try:
        from bpcore.kernels import cuda
    except ImportError as error:
        raise missing(f" ({first_line(error)})") from error
    problem = cuda.compiler_problem()
    if problem:
        raise missing(f" ({problem})")
    return cuda.launch
