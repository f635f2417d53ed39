"""Products by cuBLASLt on the stand-in device, and on a real GPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpcore import Dense, Network
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.errors import InputError
from bpcore.testing import BackendConformance
from support import stand_in_cublas
from support.stand_in import Device
from support.stand_in_cublas import backend_on

COMPUTE_32, COMPUTE_TF32, COMPUTE_64 = 68, 77, 70


class TestWithCublas(BackendConformance):
    """The conformance suite with cuBLASLt's products."""


@given(
    sizes=st.tuples(*[st.integers(1, 9)] * 3),
    transposed=st.tuples(st.booleans(), st.booleans()),
    more_rows=st.integers(0, 3),
    dtype=st.sampled_from([np.float32, np.float64]),
    factors=st.sampled_from([(1.0, 0.0), (2.0, 0.0), (1.0, 1.0), (-0.5, 2.0), "device"]),
)
def test_products_of_any_layout(
    sizes: tuple[int, int, int], transposed: tuple[bool, bool], more_rows: int, dtype: Any, factors: Any
) -> None:
    """Transposed views, one row, one column, leading rows of a larger buffer, factors on the device."""
    rng = np.random.default_rng(1)
    device = Device()
    backend = backend_on(device)
    m, k, n = sizes
    a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
    before = rng.standard_normal((m + more_rows, n)).astype(dtype)
    out = backend.asarray(before)
    alpha, beta = (0.25, -1.5) if factors == "device" else factors
    given_factors = [backend.full((1,), f, dtype) for f in (alpha, beta)] if factors == "device" else factors
    backend.matmul(
        backend.asarray(a.T if transposed[0] else a),
        backend.asarray(b.T if transposed[1] else b),
        out[:m],
        transpose_a=transposed[0],
        transpose_b=transposed[1],
        alpha=given_factors[0],
        beta=given_factors[1],
    )
    close = 1e-5 if dtype == np.float32 else 1e-12
    found = backend.to_numpy(out)
    np.testing.assert_allclose(found[:m], alpha * (a @ b) + beta * before[:m], rtol=close, atol=close)
    np.testing.assert_array_equal(found[m:], before[m:])


def test_precisions_choose_how_cublas_computes(device: Device, rng: np.random.Generator) -> None:
    x, y = rng.integers(0, 256, (20, 6), np.uint8), rng.integers(0, 3, 20)
    for precision, dtype, compute in (
        ("float32", np.float32, COMPUTE_32),
        ("tf32", np.float32, COMPUTE_TF32),
        ("float64", np.float64, COMPUTE_64),
    ):
        library = stand_in_cublas.Cublas(device)
        backend = CupyBackend(device, device.launch, library)
        network = Network([Dense(5, "relu"), Dense(3)], backend=backend, precision=precision)
        network.fit(x, y, epochs=1, batch_size=10)
        assert network.dtype == dtype
        assert library.computed_in == {compute}
        network.predict(x)
    for other in ("numpy", CupyBackend(device, device.launch)):
        with pytest.raises(InputError, match=r"^precision 'tf32' needs"):
            Network([Dense(3)], backend=other, precision="tf32")


def test_describe_names_cublas(backend: CupyBackend, device: Device) -> None:
    assert backend.describe()["cublasLt"] == "12.9.3"
    assert "none" in CupyBackend(device, device.launch).describe()["cublasLt"]


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (7, 5, 3), (128, 784, 30), (30, 128, 784), (2048, 30, 10), (513, 257, 129)]
)
def test_products_on_a_gpu(gpu: CupyBackend, dtype: Any, shape: tuple[int, int, int], rng: np.random.Generator) -> None:
    m, k, n = shape
    a, b, before = (rng.standard_normal(size).astype(dtype) for size in ((m, k), (k, n), (m, n)))
    expected = a.astype(np.float64) @ b
    close = 1e-5 * k**0.5 if dtype == np.float32 else 1e-12 * k**0.5
    for transpose_a in (False, True):
        for transpose_b in (False, True):
            left, right = gpu.asarray(a.T if transpose_a else a), gpu.asarray(b.T if transpose_b else b)
            flags = {"transpose_a": transpose_a, "transpose_b": transpose_b}
            found = gpu.to_numpy(gpu.matmul(left, right, **flags))
            np.testing.assert_allclose(found, expected, atol=close)
            alpha, beta = (gpu.full((1,), f, dtype) for f in (0.5, -1.5))
            out = gpu.asarray(before)
            gpu.matmul(left, right, out, alpha=alpha, beta=beta, **flags)
            np.testing.assert_allclose(gpu.to_numpy(out), 0.5 * expected - 1.5 * before, atol=2 * close)


@pytest.mark.gpu
def test_tf32_rounds_and_float32_does_not(gpu: CupyBackend, rng: np.random.Generator) -> None:
    a, b = (rng.standard_normal((512, 512)).astype(np.float32) for _ in range(2))
    expected = a.astype(np.float64) @ b
    errors = {}
    for precision in ("float32", "tf32"):
        backend, _ = gpu.at_precision(precision)
        found = backend.to_numpy(backend.matmul(backend.asarray(a), backend.asarray(b)))
        errors[precision] = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert errors["float32"] < 2e-6
    assert 1e-5 < errors["tf32"] < 2e-3
