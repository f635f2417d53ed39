"""Matrix products by cuBLASLt, called through its C functions.

Such a product can be captured in a CUDA graph, can add to its output, and can end with an operation that would
otherwise be a separate kernel (an epilogue). CuPy's products refuse to run while a stream is being captured; cuBLASLt
gets its stream and workspace with each call, so there is no state that a capture would miss.

cuBLAS is column-major. A row-major matrix read in column-major order is its own transpose, so instead of C = A @ B we
request C^T = B^T @ A^T, which is the same memory: the operands swap places, and so do rows and columns.

The constants are those of NVIDIA's header cublasLt.h, the same in CUDA 12 and CUDA 13.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import byref, c_double, c_float, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p, sizeof
from dataclasses import dataclass
from typing import Any, Literal

WORKSPACE_BYTES = 32 * 2**20
"""The size that NVIDIA recommends for Hopper."""

Precision = Literal["float32", "tf32", "float64", "bfloat16"]
"""The type of the factors and how they are multiplied; bfloat16 products are summed in float32."""

ALIGNMENT = 256
"""The largest alignment, in bytes, that makes a difference."""

# cudaDataType and cublasComputeType_t
REAL_32, REAL_64, BFLOAT_16 = 0, 1, 14
COMPUTE_32, COMPUTE_TF32, COMPUTE_64 = 68, 77, 70
COMPUTE = {"float32": COMPUTE_32, "tf32": COMPUTE_TF32, "float64": COMPUTE_64, "bfloat16": COMPUTE_32}
# cublasLtMatmulDescAttributes_t
POINTER_MODE, TRANSPOSE_A, TRANSPOSE_B, EPILOGUE, BIAS_POINTER, AUX_POINTER, AUX_LEADING = 2, 3, 4, 7, 8, 11, 12
POINTERS_ON_DEVICE = 1
# cublasLtEpilogue_t
RELU_BIAS, RELU_AUX_BIAS, DRELU_BGRAD = 6, 134, 152
# cublasLtMatmulPreferenceAttributes_t
MAX_WORKSPACE, REDUCTION_SCHEMES, ALIGNMENT_A, ALIGNMENT_B, ALIGNMENT_C, ALIGNMENT_D = 1, 3, 5, 6, 7, 8
# cublasLtReductionScheme_t: if a product is split along k, the types in which its parts may be added
ANY_REDUCTION, REDUCTION_IN_COMPUTE_TYPE = 7, 2


@dataclass(frozen=True)
class Layout:
    """How a matrix is stored: whether it is the transpose of a row-major matrix, and the length of a stored row."""

    transposed: bool
    leading: int


def layout(matrix: Any) -> Layout:
    """The layout of a view whose rows or columns are contiguous."""
    rows, columns = matrix.shape
    by_row, by_column = (stride // matrix.dtype.itemsize for stride in matrix.strides)
    if by_column == 1 or (columns == 1 and by_row != 1):
        return Layout(False, max(by_row, columns, 1))
    return Layout(True, max(by_column, rows, 1))


def alignment(address: int) -> int:
    """The largest power of two, up to ALIGNMENT, that divides an address."""
    return min(address & -address, ALIGNMENT) or ALIGNMENT


class CublasError(RuntimeError):
    """A cuBLASLt function failed; the message names the function and its status."""


class _Heuristic(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t: an algorithm and its requirements."""

    _fields_ = (
        ("algorithm", c_uint64 * 8),
        ("workspace", c_size_t),
        ("state", c_int),
        ("waves", c_float),
        ("reserved", c_int * 4),
    )


@dataclass(frozen=True)
class Ending:
    """The epilogue of a product: cuBLASLt's constant for it, and the addresses it uses; mask_leading is in bits."""

    epilogue: int
    bias: int
    mask: int = 0
    mask_leading: int = 0


@dataclass(frozen=True)
class Call:
    """A product without its addresses: out (m, n) <- alpha a (m, k) @ b (k, n) + beta out.

    rounded       whether out is bfloat16; with bfloat16 factors it may also be float32
    alignments    powers of two that divide the addresses of a, b and out, at most ALIGNMENT bytes
    """

    precision: Precision
    m: int
    n: int
    k: int
    a: Layout
    b: Layout
    out_leading: int
    rounded: bool = False
    alignments: tuple[int, int, int] = (ALIGNMENT,) * 3
    factors_on_device: bool = False
    ending: Ending | None = None

    @property
    def scale_type(self) -> int:
        """The type of alpha and beta and of the sums."""
        return REAL_64 if self.precision == "float64" else REAL_32

    @property
    def operand_type(self) -> int:
        """The type of a and b."""
        return BFLOAT_16 if self.precision == "bfloat16" else self.scale_type

    @property
    def out_type(self) -> int:
        """The type of out."""
        return BFLOAT_16 if self.rounded else self.scale_type


@dataclass(frozen=True)
class Plan:
    """The descriptors of a call and the algorithm that cuBLASLt chose for it."""

    description: c_void_p
    a: c_void_p
    b: c_void_p
    out: c_void_p
    algorithm: Any


class Products:
    """cuBLASLt on the current device.

    library      the C functions (ctypes.CDLL, or a stand-in in tests)
    workspace    the address of WORKSPACE_BYTES of device memory
    """

    def __init__(self, library: Any, workspace: int) -> None:
        self._library = library
        self._workspace = workspace
        self._handle = c_void_p()
        self._plans: dict[Call, Plan | None] = {}
        self._check("cublasLtCreate", byref(self._handle))
        self._preference = c_void_p()
        self._check("cublasLtMatmulPreferenceCreate", byref(self._preference))
        self._set("cublasLtMatmulPreferenceSetAttribute", self._preference, MAX_WORKSPACE, c_uint64(WORKSPACE_BYTES))

    def plan(self, call: Call) -> Plan | None:
        """The plan of a call, made once; None if cuBLASLt has no algorithm. Must not be made during a capture."""
        if call not in self._plans:
            self._plans[call] = self._planned(call)
        return self._plans[call]

    def multiply(self, call: Call, a: int, b: int, out: int, alpha: Any, beta: Any, stream: int) -> None:
        """Launch the product. a, b, out: addresses; alpha, beta: numbers, or addresses with factors_on_device."""
        plan = self.plan(call)
        if plan is None:
            raise CublasError(f"cuBLASLt has no algorithm for {call}")
        if not call.factors_on_device:
            number = c_double if call.precision == "float64" else c_float
            alpha, beta = byref(number(alpha)), byref(number(beta))
        else:
            alpha, beta = c_void_p(alpha), c_void_p(beta)
        self._check(
            "cublasLtMatmul", self._handle, plan.description, alpha, c_void_p(b), plan.b, c_void_p(a), plan.a, beta,
            c_void_p(out), plan.out, c_void_p(out), plan.out, byref(plan.algorithm),
            c_void_p(self._workspace), c_size_t(WORKSPACE_BYTES), c_void_p(stream),
        )  # fmt: skip

    def _planned(self, call: Call) -> Plan | None:
        description = c_void_p()
        types = c_int(COMPUTE[call.precision]), c_int(call.scale_type)
        self._check("cublasLtMatmulDescCreate", byref(description), *types)

        def describe(attribute: int, value: Any) -> None:
            self._set("cublasLtMatmulDescSetAttribute", description, attribute, value)

        describe(TRANSPOSE_A, c_int32(call.b.transposed))  # the operands swap places
        describe(TRANSPOSE_B, c_int32(call.a.transposed))
        if call.factors_on_device:
            describe(POINTER_MODE, c_int32(POINTERS_ON_DEVICE))
        if call.ending is not None:
            describe(EPILOGUE, c_int32(call.ending.epilogue))
            describe(BIAS_POINTER, c_void_p(call.ending.bias))
            if call.ending.mask:
                describe(AUX_POINTER, c_void_p(call.ending.mask))
                describe(AUX_LEADING, c_int64(call.ending.mask_leading))
        layouts = [
            self._layout(call.operand_type, call.n, call.k, call.b),
            self._layout(call.operand_type, call.k, call.m, call.a),
            self._layout(call.out_type, call.n, call.m, Layout(False, call.out_leading)),
        ]
        self._prefer(call)
        found, count = _Heuristic(), c_int(0)
        status = self._library.cublasLtMatmulAlgoGetHeuristic(
            self._handle, description, *layouts, layouts[2], self._preference, c_int(1), byref(found), byref(count)
        )
        if status != 0 or count.value == 0 or found.state != 0:
            return None
        return Plan(description, layouts[1], layouts[0], layouts[2], found)

    def _prefer(self, call: Call) -> None:
        """Set the alignments an algorithm may rely on, and forbid it to round partial sums before adding them."""
        a, b, out = call.alignments
        reductions = REDUCTION_IN_COMPUTE_TYPE if call.rounded else ANY_REDUCTION
        for attribute, value in (
            (REDUCTION_SCHEMES, reductions),
            (ALIGNMENT_A, b),  # the operands swap places
            (ALIGNMENT_B, a),
            (ALIGNMENT_C, out),
            (ALIGNMENT_D, out),
        ):
            self._set("cublasLtMatmulPreferenceSetAttribute", self._preference, attribute, c_uint32(value))

    def _layout(self, real: int, rows: int, columns: int, operand: Layout) -> c_void_p:
        """Make a descriptor. rows, columns: as the product sees them; the descriptor has them as stored, by columns."""
        stored = (columns, rows) if operand.transposed else (rows, columns)
        layout = c_void_p()
        self._check(
            "cublasLtMatrixLayoutCreate",
            byref(layout),
            c_int(real),
            *map(c_uint64, stored),
            c_int64(operand.leading),
        )
        return layout

    def _set(self, function: str, of: c_void_p, attribute: int, value: Any) -> None:
        self._check(function, of, c_int(attribute), byref(value), c_size_t(sizeof(value)))

    def _check(self, function: str, *arguments: Any) -> None:
        status = getattr(self._library, function)(*arguments)
        if status != 0:
            raise CublasError(f"{function} failed with status {status}")


def relu(bias: int, mask: int = 0, mask_leading: int = 0) -> Ending:
    """The epilogue out <- relu(out + bias); the mask, if given, records which elements are positive."""
    return Ending(RELU_AUX_BIAS if mask else RELU_BIAS, bias, mask, mask_leading)


def relu_backward(bias_grad: int, mask: int, mask_leading: int) -> Ending:
    """The epilogue out <- out where the mask is set, else 0; bias_grad <- column sums of the new out."""
    return Ending(DRELU_BGRAD, bias_grad, mask, mask_leading)


def load(find: Callable[[str], Any] | None = None) -> ctypes.CDLL:
    """Load NVIDIA's library from the CUDA packages or the toolkit. OSError if it is not found."""
    try:
        path = (find or _pathfinder())("cublasLt").abs_path
    except RuntimeError as error:  # DynamicLibNotFoundError and related errors
        raise OSError(str(error).strip().partition("\n")[0]) from error
    library = ctypes.CDLL(path)
    library.cublasLtGetVersion.restype = c_size_t
    return library


def _pathfinder() -> Callable[[str], Any]:
    try:
        from cuda.pathfinder import load_nvidia_dynamic_lib
    except ImportError as error:
        raise OSError("cuda-pathfinder, which locates NVIDIA's libraries, is not installed") from error
    found: Callable[[str], Any] = load_nvidia_dynamic_lib
    return found


def version(library: Any) -> str:
    """The library's version as text: 120903 becomes 12.9.3."""
    number = int(library.cublasLtGetVersion())
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"


def mask_bytes(columns: int) -> int:
    """Bytes per row of a bit mask, whose leading dimension in bits must be a multiple of 128."""
    return -(-columns // 128) * 16
