"""cuBLASLt's C functions for the stand-in device: checks their rules and multiplies with NumPy.

Matrices are read at the given addresses in column-major order, with the rows, columns, leading dimensions and
transposes of the descriptors, so a wrong size or order of operands gives wrong numbers or is refused.
"""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np

from bpcore.backends.cupy_backend import CupyBackend
from bpcore.kernels import bfloat16
from bpcore.kernels.bfloat16 import BFLOAT16
from support.stand_in import Device

INVALID, NOT_SUPPORTED = 7, 15
ATTRIBUTE_BYTES = {2: 4, 3: 4, 4: 4, 7: 4, 8: 8, 11: 8, 12: 8}
RELU_BIAS, RELU_AUX_BIAS, DRELU_BGRAD = 6, 134, 152
EPILOGUES = {1, RELU_BIAS, RELU_AUX_BIAS, DRELU_BGRAD}
DTYPES = {0: np.dtype(np.float32), 1: np.dtype(np.float64), 14: BFLOAT16}
COMPUTE = {68: 0, 77: 0, 70: 1}  # the data type of alpha and beta that each way to compute goes with
# For each way to compute, the data types of A, B and of C, D.
COMBINATIONS = {68: {(0, 0, 0), (14, 14, 14), (14, 14, 0)}, 77: {(0, 0, 0)}, 70: {(1, 1, 1)}}
PREFERENCE_BYTES = {1: 8, 3: 4, 5: 4, 6: 4, 7: 4, 8: 4}
ADDED_UP_AS_COMPUTED = 2


class Cublas:
    """The functions that bpcore.kernels.cublas calls.

    refused         epilogues without an algorithm
    refused_types   data types of A and B without an algorithm
    """

    def __init__(
        self, device: Device, refused: frozenset[int] = frozenset(), refused_types: frozenset[int] = frozenset()
    ) -> None:
        self.device, self.refused, self.refused_types = device, refused, refused_types
        self.multiplied: set[tuple[int, ...]] = set()
        """The data types of A, B and the result of all requested products."""
        self.things: list[dict[Any, Any]] = []
        self.computed_in: set[int] = set()

    def _create(self, into: Any, **thing: Any) -> int:
        self.things.append(thing)
        into._obj.value = len(self.things)  # zero would be no handle
        return 0

    def _thing(self, handle: ctypes.c_void_p) -> dict[Any, Any]:
        assert handle.value
        return self.things[handle.value - 1]

    def cublasLtGetVersion(self) -> int:  # noqa: N802
        return 120903

    def cublasLtCreate(self, handle: Any) -> int:  # noqa: N802
        return self._create(handle, kind="handle")

    def cublasLtMatmulPreferenceCreate(self, preference: Any) -> int:  # noqa: N802
        return self._create(preference, kind="preference")

    def cublasLtMatmulPreferenceSetAttribute(self, of: Any, attribute: Any, value: Any, size: Any) -> int:  # noqa: N802
        self._thing(of)[attribute.value] = value._obj.value
        return 0 if size.value == PREFERENCE_BYTES[attribute.value] else INVALID

    def cublasLtMatmulDescCreate(self, description: Any, compute: Any, scale: Any) -> int:  # noqa: N802
        if COMPUTE.get(compute.value) != scale.value:
            return INVALID
        self.computed_in.add(compute.value)
        return self._create(description, kind="description", scale=scale.value, compute=compute.value)

    def cublasLtMatmulDescSetAttribute(self, of: Any, attribute: Any, value: Any, size: Any) -> int:  # noqa: N802
        if size.value != ATTRIBUTE_BYTES[attribute.value]:
            return INVALID
        self._thing(of)[attribute.value] = value._obj.value
        return 0

    def cublasLtMatrixLayoutCreate(  # noqa: N802
        self, layout: Any, kind: Any, rows: Any, columns: Any, leading: Any
    ) -> int:
        shape = (rows.value, columns.value)
        return self._create(layout, type=kind.value, shape=shape, leading=leading.value)

    def cublasLtMatmulAlgoGetHeuristic(  # noqa: N802
        self, handle: Any, of: Any, a: Any, b: Any, c: Any, d: Any, preference: Any, wanted: Any, found: Any, count: Any
    ) -> int:
        description = self._thing(of)
        assert wanted.value == 1
        epilogue = description.get(7, 1)
        if epilogue not in EPILOGUES - self.refused:
            return NOT_SUPPORTED
        layouts = [self._thing(one) for one in (a, b, c, d)]
        assert layouts[2] == layouts[3]
        assert all(one["leading"] >= one["shape"][0] > 0 for one in layouts)
        types = tuple(one["type"] for one in layouts[:3])
        self.multiplied.add(types)
        if types not in COMBINATIONS[description["compute"]] or types[0] in self.refused_types:
            return NOT_SUPPORTED
        preferred = self._thing(preference)
        if types[2] == 14:
            assert preferred[3] == ADDED_UP_AS_COMPUTED, "parts of a product may be rounded before they are added"
            assert epilogue == 1, "the bias of a product of bfloat16 is bfloat16 too"
        description["alignments"] = [preferred.get(attribute, 256) for attribute in (5, 6, 7, 8)]
        (m, k), (k_too, n) = (self._shape(description, place, one) for place, one in ((3, layouts[0]), (4, layouts[1])))
        assert k == k_too
        assert (m, n) == layouts[3]["shape"]
        if epilogue in (RELU_AUX_BIAS, DRELU_BGRAD):
            assert description[12] % 128 == 0
            assert description[12] >= m
            assert description[11] % 16 == 0
        found._obj.algorithm[0] = of.value
        count._obj.value = 1
        return 0

    def cublasLtMatmul(  # noqa: N802
        self, handle: Any, of: Any, alpha: Any, a: Any, a_layout: Any, b: Any, b_layout: Any, beta: Any,
        c: Any, c_layout: Any, d: Any, d_layout: Any, algorithm: Any, workspace: Any, size: Any, stream: Any,
    ) -> int:  # fmt: skip
        assert algorithm._obj.algorithm[0] == of.value, "an algorithm goes with the descriptor that it was found for"
        assert workspace.value
        assert c.value == d.value
        description = self._thing(of)
        for pointer, alignment in zip((a, b, c, d), description["alignments"], strict=True):
            assert pointer.value % alignment == 0, "the algorithm was found for memory that is aligned better"
        factors = [alpha.value, beta.value] if description.get(2) else [alpha._obj.value, beta._obj.value]
        operands = [
            (a.value, self._thing(a_layout)),
            (b.value, self._thing(b_layout)),
            (d.value, self._thing(d_layout)),
        ]
        self.device.enqueue(stream.value, lambda: self._run(description, operands, factors))
        return 0

    def _run(self, description: dict[Any, Any], operands: list[tuple[int, dict[Any, Any]]], factors: list[Any]) -> None:
        self.device.products += 1
        a, b, out = (
            _matrix(address, DTYPES[layout["type"]], layout["shape"], layout["leading"]) for address, layout in operands
        )
        a, b = (bfloat16.widened(one) if one.dtype == BFLOAT16 else one for one in (a, b))
        dtype = DTYPES[description["scale"]]
        if description.get(2):  # the factors lie on the device
            factors = [_vector(address, 1, dtype)[0] for address in factors]
        alpha, beta = map(dtype.type, factors)
        product = alpha * ((a.T if description.get(3) else a) @ (b.T if description.get(4) else b))
        before = bfloat16.widened(out) if out.dtype == BFLOAT16 else out
        result = product if beta == 0 else product + beta * before
        epilogue, bias = description.get(7, 1), description.get(8)
        if epilogue in (RELU_BIAS, RELU_AUX_BIAS):
            result = np.maximum(result + _vector(bias, len(result), dtype)[:, None], 0)
        if epilogue == RELU_AUX_BIAS:
            bits = _mask(description, out.shape)
            bits[:] = np.packbits((result > 0).T, axis=1, bitorder="little")
        if epilogue == DRELU_BGRAD:
            bits = _mask(description, out.shape)
            result = result * np.unpackbits(bits, axis=1, bitorder="little", count=len(result)).T
            _vector(bias, len(result), dtype)[:] = result.sum(axis=1)
        out[:] = bfloat16.rounded(result) if out.dtype == BFLOAT16 else result

    @staticmethod
    def _shape(description: dict[Any, Any], transposed: int, layout: dict[Any, Any]) -> tuple[int, int]:
        rows, columns = layout["shape"]
        return (columns, rows) if description.get(transposed) else (rows, columns)


def _vector(address: int, length: int, dtype: np.dtype[Any]) -> np.ndarray:
    bytes_there = (ctypes.c_uint8 * (length * dtype.itemsize)).from_address(address)
    return np.frombuffer(bytes_there, dtype)


def _matrix(address: int, dtype: np.dtype[Any], shape: tuple[int, int], leading: int) -> np.ndarray:
    """A column-major matrix as cuBLAS sees it; columns start `leading` elements apart."""
    rows, columns = shape
    memory = _vector(address, (columns - 1) * leading + rows, dtype)
    step = dtype.itemsize
    return np.lib.stride_tricks.as_strided(memory, shape, (step, leading * step))


def _mask(description: dict[Any, Any], shape: tuple[int, int]) -> np.ndarray:
    """The bytes of a matrix's bit mask, with one row for each column."""
    rows, columns = shape
    row_bytes = description[12] // 8
    memory = _vector(description[11], columns * row_bytes, np.dtype(np.uint8))
    return memory.reshape(columns, row_bytes)[:, : -(-rows // 8)]


def backend_on(device: Device, library: Cublas | None = None, **options: Any) -> CupyBackend:
    """A CuPy backend on the stand-in device, with this cuBLASLt or a new one."""
    return CupyBackend(device, device.launch, library or Cublas(device), **options)
