"""bpcore.numpy on a device: scripts give the CPU's results, and all transfers are counted.

The device is the stand-in of stand_in_numpy.py. Tests marked `gpu` need a real GPU.
"""

from __future__ import annotations

import inspect
import pickle
import runpy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest

import bpcore.numpy as np
from bpcore.backends.base import Backend
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.errors import InputError
from support.stand_in import StandInArray
from support.stand_in_numpy import NumpyDevice


@pytest.fixture
def device() -> Iterator[NumpyDevice]:
    """Selects the stand-in device and forbids fallbacks to the host."""
    device = NumpyDevice()
    np.use(CupyBackend(device, device.launch), fallback="raise")
    yield device
    np.use("numpy")


def again(device: NumpyDevice, fallback: Any) -> None:
    np.use(CupyBackend(device, device.launch), fallback=fallback)


def on_host(value: Any) -> Any:
    """Replace device arrays by NumPy's, also in tuples and lists."""
    if isinstance(value, StandInArray):
        return np.to_numpy(value)
    if isinstance(value, tuple | list):
        return [on_host(one) for one in value]
    return value


def same(ours: Any, theirs: Any, rtol: float = 1e-12) -> None:
    if isinstance(theirs, tuple | list):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            same(one, other, rtol)
    elif isinstance(theirs, numpy.ndarray | numpy.generic):
        assert (numpy.shape(ours), numpy.asarray(ours).dtype) == (theirs.shape, theirs.dtype)
        numpy.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol)
    else:
        assert ours == theirs


def run(code: str, module: Any) -> Any:
    """Run a snippet with arrays x, y (3, 4), v (4,), i (3,) and m (3, 3); returns the value of its last line."""
    names: dict[str, Any] = {"np": module}
    exec(
        "x = np.arange(12.0).reshape(3, 4) * 0.7 - 2\n"
        "y = np.linspace(-1, 1, 12).reshape(3, 4)\n"
        "v = np.array([3.0, 1.0, 2.0, 1.0])\n"
        "i = np.array([2, 0, 2])\n"
        "m = np.array([[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]])\n",
        names,
    )
    *before, last = code.split("; ")
    exec("\n".join(before), names)
    return eval(last, names)


ON_THE_DEVICE = """
x[i]
x[i, [0, 1, 3]]
x[x > 0]
x[1:, ::-1].T
x[:, None, :].shape
x[0] = 5; x[i, 1] = 7; x[x < 0] = 0; x += y; x *= 2; x[1] -= v; x
np.where(x > 0, x, 0.0)
np.where(x > 0)
np.add(x, y, out=x); x
np.add(x, y, x); x
out = np.zeros((3, 4)); np.multiply(x, y, out=out, where=x > 0); out
np.sqrt(abs(x), out=x, where=[True, False, True, True]); x
np.exp(x, dtype=np.float32)
np.maximum(x, 0)
np.add(1, [1, 2])
np.add.reduce(x)
np.add.reduce(x, 1, keepdims=True)
np.multiply.accumulate(x, axis=1)
np.maximum.reduce(x, axis=1)
np.logical_and.reduce(x > -1)
np.subtract.outer(v, [1.0, 2.0])
np.add.at(v, [0, 0, 2], 1.0); v
np.add.at(x, (i, [0, 1, 1]), [1.0, 2.0, 3.0]); x
np.add.reduceat(v, [0, 2])
np.add.nin, np.add.nout, np.add.identity, np.exp.__name__
np.divmod(x, 2.0)
np.sum(x, 0), np.sum(x, axis=(0, 1)), np.sum(x, 1, np.float32, None, True)
np.mean(x, 0), np.var(x, 1), np.std(x, 0, ddof=1), np.std(x, 0, correction=1)
np.mean([1, 2, 3]), np.max([[1, 5], [2, 3]], axis=0), np.median(v)
np.argsort(v, kind="stable"), np.sort(x, 0, descending=True), np.sort(x)
np.argmax(x, axis=1, keepdims=True), np.argmin(v)
np.cumsum(x, 1), np.cumulative_sum(v, include_initial=True), np.cumulative_prod(v)
np.einsum("ij,kj->ik", x, y), np.einsum("ij->j", x)
np.dot(x, v), x @ v, x.T @ y, np.matmul(x, y.T), np.tensordot(x, y, axes=([0, 1], [0, 1])), np.vdot(v, v)
np.outer(v, [1, 2]), np.inner(v, v), np.kron(m, np.eye(2)), np.cross(m, m[::-1])
np.clip(x, 0, 1), np.clip(x, a_min=0, a_max=None), np.clip(x, max=1), np.clip(x, 0, max=[1.0, 2.0, 3.0, 4.0])
np.reshape(x, (4, 3)), np.reshape(x, shape=(2, 6)), np.reshape(x, -1, copy=True), np.ravel(x)
np.concatenate([x, y]), np.concatenate((x, [[1, 2, 3, 4]])), np.concat([v, v]), np.stack([v, v], axis=1)
np.vstack([v, v]), np.hstack([v, [1.0]]), np.column_stack((v, v)), np.append(v, 3), np.tile(v, 2), np.repeat(v, 3)
np.split(v, 2), np.array_split(v, 3), np.unstack(x), np.permute_dims(x, (1, 0)), np.swapaxes(x, 0, 1)
np.expand_dims(v, 0), np.squeeze(x[:1]), np.broadcast_to(v, (2, 4)), np.roll(x, 1, 0), np.flip(x), np.rot90(x)
np.unique([3, 1, 3]), np.unique(v, return_inverse=True), np.unique_counts(v), np.isin(i, [0, 1])
np.take(v, [1, 2]), np.take_along_axis(x, np.argsort(x), -1), np.nonzero(x > 0), np.searchsorted([1, 2, 3], 2.5)
np.bincount(i), np.histogram(v, bins=3), np.histogram(v, [0, 1, 4]), np.digitize(v, [1.0, 2.0]), np.count_nonzero(x > 0)
np.diff(x), np.gradient(v), np.trapezoid(v, dx=0.5), np.interp([1.5], [1.0, 2.0], [0.0, 1.0]), np.polyval([1, 2], v)
np.zeros(3), np.ones((2, 2), np.float32), np.full((2,), 7), np.full_like(v, 2, dtype=int), np.empty((2, 0)), np.eye(3)
np.arange(5), np.arange(1, 2, 0.25), np.linspace(0, 1, 5), np.logspace(0, 1, 3), np.identity(2), np.tri(3)
np.zeros_like(x), np.ones_like(x, shape=(2,)), np.empty_like(x).shape, np.diag(v), np.tril(m), np.triu(m, 1)
np.meshgrid(v, [1, 2]), np.indices((2, 2)), np.ix_([0, 1], [1, 2]), np.unravel_index([1, 5], (2, 3))
np.zeros(3, device=None), np.asarray(x, device=None, copy=None), np.full(2, 1.0, like=None)
np.array(x), np.array(x, dtype=np.float32), np.asarray(x) is x, np.copy(x), np.astype(x, np.int32)
np.array([x[0], x[1]]), np.asarray([[x[0]], [x[1]]], np.float32)
np.array(v, ndmin=2), np.ascontiguousarray(x.T), np.atleast_2d(v)
np.array([[1, 2], [3, 4]], order="F").flags.f_contiguous
np.allclose(x, x), np.array_equal(x, y), np.isclose(x, y), np.isnan(x), np.any(x > 0), np.all(x > 0, axis=0)
np.floor(i), np.ceil(x), np.trunc(i), np.sign(x), np.round(x, 1), np.abs(x), np.rint(x), np.fix(x), np.sinc(x)
np.copyto(x, 0.0, where=x > 0); x
np.putmask(x, x > 0, 1.0); np.fill_diagonal(m, 9.0); x, m
np.percentile(x, [25, 50], axis=0), np.quantile(v, 0.5), np.average(x, axis=0, weights=[1, 2, 3])
np.cov(m), np.corrcoef(m)
np.nansum(x), np.nanmean(x, 0), np.nanmax(x), np.nan_to_num(x), np.isfinite(x), np.ptp(x), np.convolve(v, [1, 2])
np.linalg.norm(x), np.linalg.norm([3.0, 4.0]), np.linalg.norm(x, axis=1), np.linalg.det(m), np.linalg.inv(m)
np.linalg.solve(m, i.astype(float)), np.linalg.cholesky(m), np.linalg.cholesky(m, upper=True), np.linalg.matrix_rank(m)
np.linalg.eigh(m).eigenvalues, np.linalg.svd(m).S, np.linalg.svd(m, compute_uv=False), np.linalg.slogdet(m).logabsdet
abs(np.linalg.qr(m).R), np.linalg.pinv(m), np.linalg.matrix_power(m, 3), np.linalg.lstsq(m, m, rcond=None)[0]
np.linalg.svdvals(m), np.linalg.vector_norm(v), np.linalg.matrix_norm(m), np.linalg.trace(m), np.linalg.diagonal(m)
np.linalg.outer(v, v), np.linalg.vecdot(v, v), np.sort(np.linalg.eigvals(m)), np.vecdot(x, y), np.matrix_transpose(x)
np.fft.fft(v), np.fft.rfft(v, n=3), np.fft.ifft(np.fft.fft(v)), np.fft.fft2(x), np.fft.fftshift(v)
np.fft.fftfreq(4, 0.5)
np.fft.rfftfreq(4, d=0.5, dtype=np.float32)
np.broadcast_shapes((2, 1), (1, 3)), np.result_type(np.float32, np.int64), np.can_cast("f4", "f8"), np.isscalar(3.0)
np.pi, np.newaxis, np.float32(3), np.dtype("f4").itemsize, np.finfo(x).eps, np.iinfo(i).max, np.shape(x), np.ndim(x)
np.pad(v, 1), np.pad(v, (1, 2), constant_values=7), np.select([x > 0], [x], 0.0)
[float(row.sum()) for row in x], len(x), f"{float(x[0, 0]):.2f}", bool(x[0, 0] < 0), int(i[0]), v.tolist()
x.max(axis=1), x.sum(), x.mean(0), x.T.reshape(-1), x.astype(int), x.copy(), x.argmax(), x.dot(v), x.ravel()
np.random.default_rng(3).normal(size=(2, 3)), np.random.default_rng(3).random()
""".strip().splitlines()


@pytest.mark.parametrize("code", ON_THE_DEVICE)
@pytest.mark.usefixtures("device")
def test_the_device_matches_the_cpu(code: str) -> None:
    np.use("numpy")
    expected = run(code, np)
    again(NumpyDevice(), "raise")
    found = run(code, np)
    assert {transfer.why for transfer in np.transfers()} <= {"argument", "creation", "random"}
    same(on_host(found), expected)


# --- what the device lacks ------------------------------------------------------------------------------------------

THROUGH_THE_HOST = """
np.block([[x, y]])
np.geomspace(1, 8, 4)
np.insert(v, 1, 5.0)
np.nanpercentile(x, 50, axis=0)
np.block([[x], [y]])
np.linalg.multi_dot([m, m, m])
np.sum(x, where=x > 0)
np.take(v, [0, 9], mode="clip")
np.lexsort([v, [1, 2, 3, 4]], axis=0)
np.add.reduce(x, where=x > 0, initial=1.0)
np.subtract.accumulate(v)
np.multiply.at(v, [0, 0], 3.0); v
np.add.at(i, [0, 0, 1], 1); i
np.add(x, y, order="F", signature="dd->d")
np.minimum.reduceat(v, [0, 2])
np.spacing(v)
np.polydiv(v, [1.0, 2.0])
np.polyint(v), np.polyder(v)
np.cross(m, [1, 2, 3], axisa=1) + np.block([m])
np.block([[1.0, 2.0]])
out = np.zeros(4); np.sum(x, 0, None, out, where=x > 0); out + np.insert(out, 0, 0.0)[1:]
out = np.zeros((3, 4)); np.add(x, y, out[:, ::-1], order="F"); out + np.block([out])
a, b = np.zeros((3, 4)), np.zeros((3, 4)); np.divmod(x, y, out=(a, b), where=x > 0); a - b
out = np.empty((3, 8)); np.block([x, y]).copy(); np.concatenate([x, y], axis=1, out=out); np.insert(out, 0, 1.0, axis=1)
a = x.T; np.put_along_axis(a, np.argmax(a, axis=0, keepdims=True), 99.0, axis=0); np.nanquantile(x, 0.5)
""".strip().splitlines()


@pytest.mark.parametrize("code", THROUGH_THE_HOST)
def test_functions_the_device_lacks_run_on_the_host(code: str, device: NumpyDevice) -> None:
    np.use("numpy")
    expected = run(code, np)
    again(device, "warn")
    with pytest.warns(np.FallbackWarning, match=r"^bpcore\.numpy\.[a-z_.]+ is computed on the host, and its arrays"):
        found = run(code, np)
    assert any(transfer.why == "fallback" for transfer in np.transfers())
    arrays = found if isinstance(found, tuple) else [found]
    assert all(isinstance(array, StandInArray | numpy.generic) for array in arrays)  # single numbers are NumPy's
    same(on_host(found), expected)
    again(device, "raise")
    with pytest.raises(InputError, match=r"on the host.*; fallback='raise' forbids it$"):
        run(code, np)
    again(device, "ignore")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(on_host(run(code, np)), expected)


def test_each_name_warns_once_and_where_it_was_called(device: NumpyDevice) -> None:
    again(device, "warn")
    x = np.ones((2, 2))

    def twice_each() -> None:
        for _ in range(2):
            np.block([x, x])
            np.insert(x, 0, 1.0)

    with pytest.warns(np.FallbackWarning) as caught:
        twice_each()
    assert [str(warning.message).split()[0] for warning in caught] == ["bpcore.numpy.block", "bpcore.numpy.insert"]
    assert {warning.filename for warning in caught} == {__file__}
    assert caught[1].lineno == caught[0].lineno + 1
    assert "the cupy backend has no such function" in str(caught[0].message)
    again(device, "warn")
    with pytest.warns(np.FallbackWarning):
        np.block([x, x])


def test_transfers_list_function_line_and_bytes(device: NumpyDevice) -> None:
    x = np.asarray(numpy.ones((10, 10), numpy.float32))
    again(device, "ignore")
    for _ in range(2):
        np.block([x, x])
    line = inspect.currentframe().f_lineno - 1  # type: ignore[union-attr]
    place = f"{__file__}:{line}"
    assert np.transfers() == [
        np.Transfer(place, "block", "to device", "fallback", 2, 1600),
        np.Transfer(place, "block", "to host", "fallback", 2, 800),
    ]
    assert str(np.transfers()[0]) == f"{place}: block: 2 arrays, 1.6 KiB to device (fallback)"
    assert (device.to_host, device.to_device) == (2, 3)
    again(device, "ignore")
    assert np.transfers() == []
    assert np.to_numpy(x).sum() == 100
    assert type(np.to_numpy([1, 2])) is numpy.ndarray
    assert [transfer.why for transfer in np.transfers()] == ["asked for"]


def test_all_transfers_are_counted(device: NumpyDevice) -> None:
    """bpcore.numpy counts every transfer that the device counts."""
    for code in [*ON_THE_DEVICE[:60], *THROUGH_THE_HOST]:
        if any(road in code for road in ("float(", "np.allclose")):
            continue
        again(device, "ignore")
        before = device.to_host, device.to_device
        run(code, np)
        counted = {"to host": 0, "to device": 0}
        for transfer in np.transfers():
            counted[transfer.direction] += transfer.arrays
        assert (device.to_host - before[0], device.to_device - before[1]) == tuple(counted.values()), code


def test_host_arrays_as_arguments_warn(device: NumpyDevice) -> None:
    host, x = numpy.ones((2, 2)), np.ones((2, 2))
    with pytest.raises(InputError, match=r"^bpcore.numpy.dot was given an array on the host, and copies it to"):
        np.dot(host, x)
    again(device, "warn")
    with pytest.warns(np.FallbackWarning, match="was given an array on the host"):
        assert np.to_numpy(np.dot(host, x)).tolist() == [[2, 2], [2, 2]]
    with pytest.raises(TypeError):
        host @ x  # operators are CuPy's own


def test_host_arrays_can_be_written_to(device: NumpyDevice) -> None:
    again(device, "ignore")
    x = np.ones(3)
    for write in (
        lambda out: np.add(x, x, out=out),
        lambda out: np.add(x, x, out),
        lambda out: np.sum([x, x], axis=0, out=out),
        lambda out: np.copyto(out, 2 * x),
        lambda out: np.put(out, [0, 1, 2], 2 * x),
        lambda out: np.add.at(out, slice(None), 2 * x),
    ):
        out = numpy.zeros(3)
        result = write(out)
        assert result is None or result is out
        assert out.tolist() == [2.0, 2.0, 2.0]


def test_arrays_a_device_cannot_hold_stay_on_the_host(device: NumpyDevice) -> None:
    again(device, "ignore")
    words = np.array(["b", "a", "b"])
    assert type(words) is numpy.ndarray
    values, inverse = np.unique(words, return_inverse=True)
    assert values.tolist() == ["a", "b"]
    assert isinstance(inverse, StandInArray)
    assert np.array([1, None], dtype=object).dtype == object
    assert type(np.array([1.5], np.longdouble)) is numpy.ndarray
    assert np.isscalar(3.0)
    assert np.min_scalar_type(10) == np.uint8


def test_user_functions_get_numpy_on_the_host(device: NumpyDevice) -> None:
    again(device, "ignore")

    def f(x: Any) -> Any:
        return np.sqrt(x) + np.sum(np.ones(2)) + np.add.reduce([1.0])

    x = np.array([1.0, 4.0])
    found = np.vectorize(f)(x)
    assert isinstance(found, StandInArray)
    assert np.to_numpy(found).tolist() == [4.0, 5.0]
    assert np.to_numpy(np.fromfunction(np.sqrt, (2,))).tolist() == [0.0, 1.0]
    doubled = np.frompyfunc(lambda one: 2 * one, 1, 1)
    assert isinstance(doubled, np.ufunc)
    assert doubled(x).tolist() == [2.0, 8.0]  # objects: on the host
    assert [index for index, _ in np.ndenumerate(x)] == [(0,), (1,)]


def test_exceptions_match_numpy(device: NumpyDevice) -> None:
    x = np.ones((2, 3))
    with pytest.raises(ValueError, match="cannot reshape"):
        np.reshape(x, (4, 4))
    with pytest.raises(np.exceptions.AxisError):
        np.sum(x, axis=5)
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.inv(x)
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        np.linalg.inv(np.zeros((2, 2)))
    with pytest.raises(TypeError, match="argument"):
        np.sum()
    with pytest.raises(TypeError, match="argument"):
        np.sum(x, no_such=1)
    again(device, "ignore")
    with pytest.raises(ValueError, match="must match exactly"):
        np.block([[x], [np.ones((2, 2))]])


# --- files, text, comparisons ---------------------------------------------------------------------------------------


def test_text_and_files_use_the_host_without_a_warning(device: NumpyDevice, tmp_path: Path) -> None:
    x = np.linspace(0, 1, 4)
    np.save(tmp_path / "x.npy", x)
    loaded = np.load(tmp_path / "x.npy")
    assert isinstance(loaded, StandInArray)
    np.savetxt(tmp_path / "x.txt", x)
    np.testing.assert_allclose(np.loadtxt(tmp_path / "x.txt"), x)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        np.testing.assert_allclose(x, 2 * x)
    np.testing.assert_array_equal(x, loaded)
    before = np.get_printoptions()
    try:
        np.set_printoptions(precision=2)
        assert np.array2string(x) == str(x) == "[0.   0.33 0.67 1.  ]"
        with np.printoptions(precision=1):
            assert np.array_repr(x) == repr(np.to_numpy(x))
    finally:
        np.set_printoptions(**{key: value for key, value in before.items() if key != "override_repr"})
    assert {transfer.why for transfer in np.transfers()} == {"by nature", "asked for"}


# --- random numbers -------------------------------------------------------------------------------------------------

DRAWS = """
normal(1.0, 2.0, (2, 3))
standard_normal(5)
uniform(-1, 1, 4)
choice(5, 3, replace=False)
permutation(6)
poisson(3.0, 4)
exponential(size=3)
multivariate_normal([0.0, 1.0], [[1.0, 0.0], [0.0, 1.0]], 2)
""".strip().splitlines()


@pytest.mark.parametrize("draw", DRAWS)
def test_a_seed_gives_the_same_numbers_on_every_device(draw: str, device: NumpyDevice) -> None:
    for make in ("random.default_rng(7)", "random.RandomState(7)", "random.Generator(np.random.PCG64(7))"):
        code = f"rng = np.{make}; [rng.{draw}, rng.{draw}]"
        found = run(code, np)
        assert all(isinstance(array, StandInArray) for array in found)
        same(on_host(found), run(code, numpy))
    legacy = f"np.random.seed(7); [np.random.{draw}, np.random.{draw}]"
    same(on_host(run(legacy, np)), run(legacy, numpy))
    assert {transfer.why for transfer in np.transfers()} <= {"random", "asked for", "creation"}


def test_generators_on_a_device(device: NumpyDevice) -> None:
    rng, theirs = np.random.default_rng(5), numpy.random.default_rng(5)
    assert isinstance(rng, np.random.Generator)
    assert isinstance(rng, numpy.random.Generator)
    assert np.random.default_rng(rng) is rng
    x, y = np.arange(6), numpy.arange(6)
    rng.shuffle(x)
    theirs.shuffle(y)
    same(on_host(x), y)
    same(on_host(rng.permutation(x)), theirs.permutation(y))
    same(on_host(rng.normal(x)), theirs.normal(y))
    out, expected = np.zeros(4), numpy.zeros(4)
    assert rng.random(out=out) is out
    same(on_host(out), theirs.random(out=expected))
    assert rng.random() == theirs.random()
    assert rng.bytes(4) == theirs.bytes(4)
    same([on_host(child.normal(size=2)) for child in rng.spawn(2)], [child.normal(size=2) for child in theirs.spawn(2)])
    copied = pickle.loads(pickle.dumps(rng))
    assert isinstance(copied, np.random.Generator)
    same(on_host(copied.normal(size=3)), theirs.normal(size=3))
    rows = [np.ones(1), np.zeros(1), np.ones(1)]
    np.random.default_rng(0).shuffle(rows)
    assert all(isinstance(row, StandInArray) for row in rows)


def test_legacy_generators_keep_their_state(device: NumpyDevice) -> None:
    ours, theirs = np.random.RandomState(3), numpy.random.RandomState(3)
    same(on_host(ours.normal(size=3)), theirs.normal(size=3))
    copied = pickle.loads(pickle.dumps(ours))  # with the second of a pair of normal numbers, which is kept
    same(on_host(copied.normal(size=3)), theirs.normal(size=3))
    state = ours.get_state()
    assert type(state[1]) is numpy.ndarray
    first = on_host(ours.normal(size=3))
    ours.set_state(state)
    same(on_host(ours.normal(size=3)), first)
    ours.seed(4)
    same(on_host(ours.rand(2)), numpy.random.RandomState(4).rand(2))
    kept = np.random.get_state()
    np.random.seed(1)
    same(on_host(np.random.rand(2)), numpy.random.RandomState(1).rand(2))
    np.random.set_state(kept)


# --- a whole script -------------------------------------------------------------------------------------------------

SCRIPT = """\
import numpy as np

rng = np.random.default_rng(0)
x = rng.normal(size=(60, 5))
w = np.array([1.0, -2.0, 0.5, 0.0, 3.0])
y = x @ w + 0.01 * rng.standard_normal(60)

order = np.argsort(y)[::-1]
x, y = x[order], y[order]                       # fancy indexing
x[:, 3] *= 0.5                                  # in place
x[y < np.median(y), 4] += 1.0
np.add.at(y, [0, 0, 1], 0.25)

gram = np.einsum("ni,nj->ij", x, x)
solution = np.linalg.solve(gram + 1e-3 * np.eye(5), x.T @ y)
values, vectors = np.linalg.eigh(gram)
spread = np.block([[np.sort(values)], [np.cumsum(values)]])
residual = np.linalg.norm(x @ solution - y)
np.random.seed(4)
noise = np.random.rand(3)
picked = y[rng.permutation(60)[:4]]
"""


def test_a_script_changes_only_its_import(device: NumpyDevice, tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(SCRIPT)
    (tmp_path / "ours.py").write_text(SCRIPT.replace("import numpy as np", "import bpcore.numpy as np"))
    again(device, "warn")
    with pytest.warns(np.FallbackWarning, match=r"^bpcore\.numpy\.block is") as caught:
        ours = runpy.run_path(str(tmp_path / "ours.py"))
    transfers = np.transfers()
    theirs = runpy.run_path(str(tmp_path / "theirs.py"))
    for name in ("x", "y", "gram", "solution", "values", "spread", "residual", "noise", "picked"):
        assert isinstance(ours[name], StandInArray)
        numpy.testing.assert_allclose(np.to_numpy(ours[name]), theirs[name], rtol=1e-9)
    assert [(warning.filename, warning.lineno) for warning in caught] == [(str(tmp_path / "ours.py"), 17)]
    crossed = {(int(t.place.rpartition(":")[2]), t.name, t.direction, t.why): (t.arrays, t.bytes) for t in transfers}
    assert crossed == {
        (4, "random.normal", "to device", "random"): (1, 60 * 5 * 8),
        (5, "array", "to device", "creation"): (1, 5 * 8),
        (6, "random.standard_normal", "to device", "random"): (1, 60 * 8),
        (12, "add", "to device", "argument"): (1, 3 * 8),
        (17, "block", "to host", "fallback"): (2, 2 * 5 * 8),
        (17, "block", "to device", "fallback"): (1, 2 * 5 * 8),
        (20, "random.rand", "to device", "random"): (1, 3 * 8),
        (21, "random.permutation", "to device", "random"): (1, 60 * 8),
    }
    assert all(transfer.place.startswith(str(tmp_path / "ours.py")) for transfer in transfers)


@pytest.mark.gpu
@pytest.mark.parametrize("code", ON_THE_DEVICE)
def test_a_gpu_matches_the_cpu(code: str, gpu: Backend) -> None:
    np.use("numpy")
    expected = run(code, np)
    np.use(gpu, fallback="ignore")
    try:
        found = run(code, np)
        same(_from(gpu, found), expected, rtol=1e-6)
    finally:
        np.use("numpy")


def _from(backend: Backend, value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_from(backend, one) for one in value]
    return backend.to_numpy(value) if backend.owns(value) else value


@pytest.mark.gpu
def test_a_singular_matrix_raises_on_a_gpu(gpu: Backend) -> None:
    np.use(gpu)
    try:
        with pytest.raises(np.linalg.LinAlgError):
            np.linalg.inv(np.zeros((2, 2)))
    finally:
        np.use("numpy")
