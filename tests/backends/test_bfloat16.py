"""bfloat16 on the stand-in device: rounding, copies and products; tests for a real GPU are at the end.

A bfloat16 has 8 significant bits, so the relative rounding error is at most u = 2^-8 (UNIT_ROUNDOFF).
"""

from __future__ import annotations

import math
import types
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpcore import Dense, Network
from bpcore.backends.base import Backend
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.errors import InputError, InputTypeError
from bpcore.kernels.bfloat16 import BFLOAT16, UNIT_ROUNDOFF, rounded, widened
from support import stand_in_cublas
from support.bfloat16_runs import ROUNDED
from support.stand_in import Device
from support.stand_in_cublas import backend_on


@pytest.fixture
def at_bfloat16(device: Device) -> Backend:
    return backend_on(device).at_precision("bfloat16")[0]


# --- rounding ---------------------------------------------------------------------------------------------------


def nearest(number: float) -> float:
    """The nearest number with 8 significant bits, ties to even, by Python's exact arithmetic."""
    _, exponent = math.frexp(number)
    unit = math.ldexp(1.0, max(exponent, -125) - 8)
    steps = round(number / unit) * unit  # Python rounds ties to even, and both operations are exact here
    return steps if abs(steps) < 2.0**128 else math.copysign(math.inf, steps)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_rounding_is_to_the_nearest(number: float) -> None:
    bits = rounded(np.array(number, np.float32))
    assert widened(bits) == nearest(number)
    assert np.signbit(widened(bits)) == np.signbit(number)
    np.testing.assert_array_equal(rounded(widened(bits)), bits)


def test_every_bfloat16_survives_rounding() -> None:
    bits = np.arange(2**16, dtype=BFLOAT16)
    numbers = widened(bits)
    back = rounded(numbers)
    np.testing.assert_array_equal(back[~np.isnan(numbers)], bits[~np.isnan(numbers)])
    assert np.isnan(widened(back[np.isnan(numbers)])).all()
    assert widened(rounded(np.array([np.inf, -np.inf], np.float32))).tolist() == [math.inf, -math.inf]
    lowest_bits = np.array([0x7F800001, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF], np.uint32).view(np.float32)
    assert np.isnan(widened(rounded(lowest_bits))).all(), "a NaN whose mantissa is only in the dropped bits"


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="it is about compiled code")  # type: ignore[attr-defined]
def test_the_kernels_instructions_round_the_same() -> None:
    """What rounding.py gives CUDA's compiler, compiled for the CPU: every upper half, with lower halves around ties."""
    cuda = pytest.importorskip("bpcore.kernels.cuda", reason="numba-cuda is not installed")
    number, fitted = (
        numba.extending.intrinsic(types.FunctionType(one.__code__, one.__globals__, one.__name__))
        for one in (cuda.rounding._number, cuda.rounding._fitted)
    )

    @numba.njit
    def convert(source: np.ndarray, out: np.ndarray) -> None:
        for i in range(len(source)):
            out[i] = fitted(number(source[i]), out)

    upper = np.arange(2**16, dtype=np.uint32) << np.uint32(16)
    for lower in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF):
        numbers = (upper | np.uint32(lower)).view(np.float32)
        bits, same = np.empty(numbers.shape, BFLOAT16), np.empty_like(numbers)
        convert(numbers, bits)
        np.testing.assert_array_equal(bits, rounded(numbers))
        convert(bits, same)
        np.testing.assert_array_equal(same.view(np.uint32), widened(bits).view(np.uint32))
        convert(numbers, same)
        np.testing.assert_array_equal(same.view(np.uint32), numbers.view(np.uint32), err_msg="float32 is unchanged")


def test_copies_to_the_device_round_and_copies_back_widen(at_bfloat16: Backend, rng: np.random.Generator) -> None:
    host = rng.standard_normal((3, 5))
    array = at_bfloat16.asarray(host, BFLOAT16)
    assert (array.dtype, array.shape) == (BFLOAT16, (3, 5))
    expected = widened(rounded(host.astype(np.float32)))
    found = at_bfloat16.to_numpy(array)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    at_bfloat16.write(2 * host, array)
    np.testing.assert_array_equal(at_bfloat16.to_numpy(array), 2 * expected)
    np.testing.assert_array_equal(at_bfloat16.to_numpy(at_bfloat16.full((2,), 0.3, BFLOAT16)), widened(rounded(0.3)))
    wide = at_bfloat16.empty((3, 5), np.float32)
    at_bfloat16.duplicate(array, wide)
    np.testing.assert_array_equal(at_bfloat16.to_numpy(wide), 2 * expected)


def test_a_backend_serves_another_precision(at_bfloat16: Backend) -> None:
    """A backend taken from a bfloat16 network does not round in the next network."""
    for name in ("float32", "tf32", "float64"):
        backend, dtype = at_bfloat16.at_precision(name)
        assert backend.between_layers(dtype) == dtype
    assert at_bfloat16.at_precision("bfloat16") == (at_bfloat16, np.float32)


def test_integers_stay_integers_at_other_precisions(device: Device) -> None:
    backend = backend_on(device)
    array = backend.asarray(np.array([1, 65535], np.uint16))
    assert backend.to_numpy(array).tolist() == [1, 65535]
    backend.write(np.array([7, 8], np.uint16), array)
    assert backend.to_numpy(array).tolist() == [7, 8]
    assert backend.between_layers(np.dtype(np.float32)) == np.float32
    matrix = backend.empty((2, 3), np.uint16)
    with pytest.raises(InputTypeError, match=r"^add: a was given as uint16; it must be float32$"):
        backend.add(matrix, matrix, matrix)


# --- products ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("out_dtype", [BFLOAT16, np.dtype(np.float32)])
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (7, 5, 3), (16, 9, 10), (5, 1, 8)])
def test_products_of_any_layout(
    sizes: tuple[int, int, int],
    transposed: tuple[bool, bool],
    out_dtype: Any,
    at_bfloat16: Backend,
    rng: np.random.Generator,
) -> None:
    """Odd widths, leading rows, an operand aligned to only two bytes, and beta."""
    m, k, n = sizes
    a, b, before = (widened(rounded(rng.standard_normal(size))) for size in ((m, k), (k, n), (m, n)))
    memory = at_bfloat16.empty((m * k + 1,), BFLOAT16)
    left = memory[1:].reshape((k, m) if transposed[0] else (m, k))
    right = at_bfloat16.asarray(b.T if transposed[1] else b, BFLOAT16)
    whole = at_bfloat16.asarray(np.vstack([before, before]), out_dtype)
    at_bfloat16.copy(at_bfloat16.asarray(a.T if transposed[0] else a, BFLOAT16), left)
    flags = {"transpose_a": transposed[0], "transpose_b": transposed[1]}
    at_bfloat16.matmul(left, right, whole[:m], alpha=0.5, beta=2.0, **flags)
    found = at_bfloat16.to_numpy(whole)
    expected = 0.5 * (a.astype(np.float64) @ b) + 2.0 * before
    close = 4e-6 if out_dtype == np.float32 else UNIT_ROUNDOFF
    np.testing.assert_allclose(found[:m], expected, rtol=close, atol=4e-6)
    np.testing.assert_array_equal(found[m:], before)


def test_mixed_products_and_rounded_logits_are_refused(at_bfloat16: Backend) -> None:
    narrow, wide = (at_bfloat16.full((4, 4), 1.0, kind) for kind in (BFLOAT16, np.float32))
    for a, b, out in ((narrow, wide, narrow), (wide, narrow, wide), (wide, wide, narrow)):
        with pytest.raises(
            InputTypeError, match=r"^matmul: .* accepted: two factors of bfloat16 \(weights: view\.operand"
        ):
            at_bfloat16.matmul(a, b, out)
    at_bfloat16.matmul(wide, wide, wide)  # float32 products work as ever
    with pytest.raises(InputTypeError, match=r"^softmax: z was given as bfloat16; it must be float32"):
        at_bfloat16.softmax(narrow, wide)


def test_devices_without_bfloat16_are_refused(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^precision 'bfloat16' needs a GPU; the numpy backend accepts float32 and"):
        Network([Dense(3)], backend="numpy", precision="bfloat16")
    with pytest.raises(InputError, match=r"^precision 'bfloat16' needs cuBLASLt, which cannot be loaded"):
        Network([Dense(3)], backend=CupyBackend(device, device.launch), precision="bfloat16")
    older = Device._properties(0) | {"major": 7, "minor": 5}
    with monkeypatch.context() as patch:
        patch.setattr(device.cuda.runtime, "getDeviceProperties", lambda number: older)
        with pytest.raises(InputError, match=r"needs a GPU of compute capability 8\.0 or more, and this one has 7\.5"):
            Network([Dense(3)], backend=backend_on(device), precision="bfloat16")
    library = stand_in_cublas.Cublas(device, refused_types=frozenset({ROUNDED}))
    network = Network([Dense(3)], backend=backend_on(device, library), precision="bfloat16", inputs=12)
    with pytest.raises(InputError, match=r"^cuBLASLt has no product of bfloat16 for \(1, 12\) @ \(12, 3\) on this GPU"):
        network.output(np.zeros((1, 12)))


# --- on a real GPU ----------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("out_dtype", [BFLOAT16, np.dtype(np.float32)])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (7, 5, 3), (128, 784, 30), (30, 128, 784), (2048, 30, 10), (513, 257, 129), (64, 8192, 10)]
)
def test_products_on_a_gpu(
    shape: tuple[int, int, int], out_dtype: Any, gpu: CupyBackend, rng: np.random.Generator
) -> None:
    """Also odd widths; even long sums are made in float32, and the result is rounded once."""
    m, k, n = shape
    backend, _ = gpu.at_precision("bfloat16")
    a, b = (widened(rounded(rng.standard_normal(size))) for size in ((m, k), (k, n)))
    expected = a.astype(np.float64) @ b
    for transpose_a in (False, True):
        for transpose_b in (False, True):
            left, right = (
                backend.asarray(one.T if turned else one, BFLOAT16)
                for one, turned in ((a, transpose_a), (b, transpose_b))
            )
            out = backend.empty((m, n), out_dtype)
            backend.matmul(left, right, out, transpose_a=transpose_a, transpose_b=transpose_b)
            relative = 1e-6 if out_dtype == np.float32 else UNIT_ROUNDOFF
            np.testing.assert_allclose(backend.to_numpy(out), expected, rtol=relative, atol=1e-5 * k**0.5)


@pytest.mark.gpu
def test_rounding_on_a_gpu(gpu: CupyBackend) -> None:
    backend, _ = gpu.at_precision("bfloat16")
    upper = np.arange(2**16, dtype=np.uint32) << np.uint32(16)
    for lower in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF):
        numbers = (upper | np.uint32(lower)).view(np.float32).reshape(256, 256)
        bits = backend.empty((256, 256), BFLOAT16)
        backend.duplicate(backend.asarray(numbers), bits)
        np.testing.assert_array_equal(backend.to_numpy(bits).view(np.uint32), widened(rounded(numbers)).view(np.uint32))
