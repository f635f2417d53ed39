"""Snippets that run with numpy and with bpcore.numpy, and the comparison of their results."""

from __future__ import annotations

from typing import Any

import numpy

import bpcore.numpy as np
from bpcore.backends.cupy_backend import CupyBackend
from support.stand_in import StandInArray
from support.stand_in_numpy import NumpyDevice


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
