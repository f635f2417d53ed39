"""The tape's matrix product against NumPy's, for every layout, size and way to compute it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpcore.backends.cpu_tape import Cutter
from bpcore.backends.operations import Product
from bpcore.backends.recording import NotRecordableError
from bpcore.kernels import build, memory, product, tape, tiles, zeros

SIZES = [1, 2, 3, 5, 7, 10, 15, 16, 17, 30, 33, 48, 64, 65, 100]


def multiply(a: Any, b: Any, out: Any, alpha: Any = 1.0, beta: Any = 0.0, parts: int = 1) -> list[product.Plan]:
    """Compute the product part by part, as the tape does; returns its plan."""
    factors = isinstance(alpha, np.ndarray)
    for part, *others in Cutter(parts).entries(Product(a, b, out, alpha, beta)):
        for one in (part, *others):
            if one is not None:
                tape.run_once(one.address, one.words)
    return [product.plan(a, b, out, factors_in_memory=factors)]


def matrices(m: int, n: int, k: int, dtype: Any, transposed: tuple[bool, bool], room: int = 0) -> Any:
    """a, b and out as views of transposed and of wider matrices."""
    rng = np.random.default_rng(m + 100 * n + 10_000 * k)

    def matrix(rows: int, columns: int, transposed: bool) -> np.ndarray:
        shape = (columns, rows + room) if transposed else (rows, columns + room)
        whole = rng.standard_normal(shape).astype(dtype)
        return whole[:, :rows].T if transposed else whole[:, :columns]

    return (
        matrix(m, k, transposed[0]),
        matrix(k, n, transposed[1]),
        rng.standard_normal((m + 2, n + room)).astype(dtype),
    )


def assert_right(a: Any, b: Any, whole: Any, alpha: Any, beta: Any, parts: int) -> None:
    m, n = a.shape[0], b.shape[1]
    before = whole.copy()
    if np.all(beta == 0):
        whole[:m, :n] = np.nan  # what is not looked at may be anything
    multiply(a, b, whole[:m, :n], alpha, beta, parts)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    expected = alpha * exact + beta * before[:m, :n]
    close = (1e-5 if whole.dtype == np.float32 else 1e-13) * (a.shape[1] ** 0.5 + 1) * 4
    np.testing.assert_allclose(whole[:m, :n], expected, rtol=close, atol=close)
    np.testing.assert_array_equal(whole[m:], before[m:], err_msg="rows past the last")
    np.testing.assert_array_equal(whole[:, n:], before[:, n:], err_msg="columns past the last")


@given(
    sizes=st.tuples(*[st.sampled_from(SIZES)] * 3),
    transposed=st.tuples(st.booleans(), st.booleans()),
    factors=st.sampled_from([(1.0, 0.0), (2.0, 0.0), (-0.5, 1.0), (0.25, -1.5)]),
    dtype=st.sampled_from([np.float32, np.float64]),
    room=st.sampled_from([0, 3]),
    parts=st.sampled_from([1, 2, 3]),
)
@settings(max_examples=25)
def test_products_of_any_size_and_layout(
    sizes: Any, transposed: Any, factors: Any, dtype: Any, room: int, parts: int
) -> None:
    assert_right(*matrices(*sizes, dtype, transposed, room), *factors, parts)


@pytest.mark.parametrize(
    ("sizes", "transposed", "how"),
    [
        ((10, 300, 700), (False, False), "few rows, k in parts"),
        ((50, 200, 700), (False, False), "b as it is, k in parts"),
        ((100, 200, 700), (False, False), "b copied, k in parts"),
        ((90, 40, 30), (True, False), "b copied whole, row by row"),
        ((300, 70, 160), (False, True), "dots, in blocks of rows"),
        ((1100, 70, 600), (False, True), "b turned round, k in parts"),
        ((40, 50, 9), (False, True), "b turned round"),
    ],
)
def test_every_way_to_compute_a_product(sizes: Any, transposed: Any, how: str) -> None:
    a, b, whole = matrices(*sizes, np.float32, transposed)
    m, n = a.shape[0], b.shape[1]
    plan = product.plan(a, b, whole[:m, :n], factors_in_memory=False)
    shape = plan.shape
    assert shape.dots == how.startswith("dots")
    assert shape.copied == ("copied" in how or "turned" in how)
    assert shape.kept == ("whole" in how)
    assert (plan.depth < a.shape[1]) == ("k in parts" in how)
    for parts, (alpha, beta) in itertools.product((1, 2), ((1.0, 0.0), (-0.5, 2.0))):
        assert_right(a, b, whole.copy(), alpha, beta, parts)


def test_factors_may_be_in_memory() -> None:
    a, b, whole = matrices(20, 30, 10, np.float32, (True, False))
    alpha, beta = np.array([0.5], np.float32), np.array([-2.0], np.float32)
    before = whole.copy()
    entries = list(Cutter(2).entries(Product(a, b, whole[:20], alpha, beta)))
    for factor, other in ((0.5, -2.0), (3.0, 1.0)):
        alpha[0], beta[0] = factor, other
        whole[:] = before
        for part in entries[0]:
            assert part is not None
            tape.run_once(part.address, part.words)
        np.testing.assert_allclose(whole[:20], factor * (a @ b) + other * before[:20], rtol=1e-4, atol=1e-4)


def test_an_empty_inner_dimension_gives_zeros() -> None:
    whole = np.full((5, 7), 3.0)
    multiply(np.empty((5, 0)), np.empty((0, 7)), whole)
    np.testing.assert_array_equal(whole, 0.0)


@pytest.mark.parametrize("dtype", [np.float32, np.int64])
def test_products_the_tape_cannot_compute_are_refused(dtype: Any) -> None:
    square, numbers = np.ones((3, 3), dtype), np.ones((3, 3))
    for a, b, out in ((square, square, numbers), (numbers, numbers, np.ones((3, 6))[:, ::2])):
        with pytest.raises(NotRecordableError, match="not row-major, or its operands"):
            multiply(a, b, out)
    with pytest.raises(NotRecordableError, match="one is a number and the other an array"):
        multiply(numbers, numbers, numbers.copy(), alpha=np.ones(1), beta=1.0)


def with_zeros(m: int, k: int, rows: int, dtype: Any, share: float) -> np.ndarray:
    """A matrix in which each tile of rows is all zeros for a `share` of the k; some zeros are negative."""
    rng = np.random.default_rng(m + k)
    a = rng.standard_normal((m, k)).astype(dtype)
    for top in range(0, m, rows):
        a[top : top + rows, rng.random(k) < share] = 0.0
    a[rng.random((m, k)) < 0.3] *= 0.0
    return a


@given(
    sizes=st.sampled_from([(98, 100, 200), (100, 100, 784), (64, 128, 130)]),
    transposed=st.tuples(st.booleans(), st.booleans()),
    share=st.sampled_from([0.0, 0.3, 0.6, 0.95, 1.0]),
    dtype=st.sampled_from([np.float32, np.float64]),
    beta=st.sampled_from([0.0, 1.5]),
)
@settings(max_examples=12)
def test_skipping_zeros_changes_no_bit(sizes: Any, transposed: Any, share: float, dtype: Any, beta: float) -> None:
    m, n, k = sizes
    _, b, whole = matrices(m, n, k, dtype, (False, transposed[1]))
    out = whole[:m, :n]
    plan = product.plan(np.empty((m, k), dtype), b, out, factors_in_memory=False)
    a = with_zeros(m, k, plan.shape.rows, dtype, share)
    a = a.T.copy().T if transposed[0] else a
    plan = product.plan(a, b, out, factors_in_memory=False)
    assert plan.shape.listed == (not plan.shape.dots)
    assert plan.shape.down == (plan.shape.listed and transposed[0])
    results = []
    for listed in (True, False):
        one = replace(plan, shape=replace(plan.shape, listed=listed and plan.shape.listed))
        result = out.copy()
        words, scratch = product.words(one, a, b, result, 1.0, beta)
        tape.run_once(product.compiled(one.shape).address, np.array(words, np.int64))
        assert scratch is not None  # alive until here
        results.append(result)
    np.testing.assert_array_equal(*results)
    close = (1e-5 if dtype == np.float32 else 1e-13) * 4 * (k**0.5 + 1)
    np.testing.assert_allclose(results[0], a.astype(np.float64) @ b + beta * out, rtol=close, atol=close)


@pytest.mark.parametrize("down", [False, True])
def test_the_k_listed_for_a_tile(down: bool) -> None:
    """Zeros of either sign are skipped; lists are made if a quarter of the places is zero."""
    rows, dtype = 3, np.dtype(np.float32)
    lanes = tiles.lanes(dtype)
    holes = {
        "read": memory.reader(dtype),
        "write": memory.write,
        "in_column": zeros.not_zero(dtype, 1, rows),
        "in_rows": zeros.not_zero(dtype, rows, lanes),
        "DOWN": down,
        "ROWS": rows,
        "LANES": lanes,
        "ITEM": dtype.itemsize,
    }
    list_busy, few_are_busy = (
        numba.njit(build.bind(function, dtype, holes, compile_callee=numba.njit))
        for function in (zeros.list_busy, zeros.few_are_busy)
    )
    k = 2 * lanes + 1
    a = np.ones((8, k), np.float32)
    a[:3, 1:4], a[3:6, lanes : 2 * lanes], a[3, lanes + 1], a[5, lanes + 2] = 0.0, -0.0, 1e-45, np.nan
    a[:6, -1] = a[6:, 1] = 0.0
    a = a.T.copy().T if down else a
    lists = np.full((3, k + 1), -1, np.int32)
    list_busy(a.ctypes.data, *a.strides, *a.shape, lists.ctypes.data, lists.strides[0])
    taken = [row[1 : 1 + row[0]].tolist() for row in lists]
    last = [] if down else [k - 1]  # it fills no vector
    assert taken[0] == [n for n in range(k - 1) if not 1 <= n < 4] + last
    assert taken[1] == [n for n in range(k - 1) if n < lanes or n in (lanes + 1, lanes + 2)] + last
    assert taken[2] == list(range(k))  # the last tile has fewer rows
    assert not few_are_busy(a.ctypes.data, *a.strides, *a[:3].shape)
    a[:6, ::2] = 0.0
    assert few_are_busy(a.ctypes.data, *a.strides, *a.shape)
    a[:6] = np.nan
    assert not few_are_busy(a.ctypes.data, *a.strides, *a.shape)


def test_nan_reaches_the_result() -> None:
    a, b, whole = matrices(20, 30, 10, np.float32, (False, False))
    a[3, 4] = np.nan
    multiply(a, b, whole[:20, :30])
    assert np.isnan(whole[3, :30]).all()
    assert np.isfinite(np.delete(whole[:20, :30], 3, axis=0)).all()


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([(16, 24), (8, 12), (4, 24), (2, 12)]))
def test_a_tile_fits_the_registers_and_the_result(m: int, n: int, processor: tuple[int, int]) -> None:
    lanes, held = processor
    rows, vectors = product.best_tile(m, n, lanes, held)
    assert 1 <= rows * vectors <= held
    assert rows <= max(m, 1)
    assert (vectors - 1) * lanes < n


@pytest.mark.parametrize("size", [16, 32])
def test_shorter_vectors(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor without longer vectors."""
    for cached in (tiles.strip, tiles.copy_rows, product.compiled):
        cached.cache_clear()
    monkeypatch.setattr(tiles, "registers", lambda: tiles.Registers(size, 12))
    try:
        for sizes, transposed in (
            ((10, 30, 40), (False, False)),
            ((40, 30, 64), (False, True)),
            ((9, 7, 5), (True, False)),
        ):
            assert_right(*matrices(*sizes, np.float32, transposed), 1.0, 0.0, 1)
    finally:
        for cached in (tiles.strip, tiles.copy_rows, product.compiled):
            cached.cache_clear()


def test_tiles_are_held_in_registers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop along k has only multiplications, loads of operands, and the count; no store."""
    a, b, whole = matrices(64, 128, 96, np.float32, (False, False))
    shape = product.plan(a, b, whole[:64], factors_in_memory=False).shape
    monkeypatch.setattr(build, "cached", lambda function, flags, content: (function, False))  # from disk: no assembly
    assembly = product.compiled.__wrapped__(shape)._library.get_asm_str()
    assert assembly.count("vfmadd") + assembly.count("fmla") >= shape.rows * shape.columns
    loops = [block for block in assembly.split(".LBB") if block.count("vfmadd") >= shape.rows * shape.columns]
    assert loops or "fmla" in assembly
    for loop in loops:
        body = loop[: loop.index("\tj")] if "\tj" in loop else loop
        assert "(%rsp)" not in "".join(line for line in body.splitlines() if "vfmadd" in line or "vmovups" in line)
