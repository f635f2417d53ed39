"""Tests of a backend's arrays, its transfers to and from the host, its signatures and its errors."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import pytest

from bpcore.backends.arrays import overlap, same_place
from bpcore.backends.base import Backend
from bpcore.errors import InputError, InputTypeError
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.testing.common import DTYPES, Suite


class ArrayConformance(Suite):
    """Tests of arrays as layers use them, and of the contract's signatures and errors."""

    def test_signatures_and_defaults(self, backend: Backend) -> None:
        """A method that a backend overrides has the same parameters and defaults: layers and users rely on them."""
        for name, method in inspect.getmembers(Backend, inspect.isfunction):
            if not name.startswith("_"):
                expected, found = (
                    [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]
                    for function in (method, getattr(type(backend), name))
                )
                assert found == expected, name

    def test_what_it_says_of_itself(self, backend: Backend) -> None:
        """A backend has a name, a reason, a description of the device, and its free memory if that is measured."""
        assert isinstance(backend.name, str)
        assert backend.name
        assert isinstance(backend.reason, str)
        about = backend.describe()
        assert about["device"]
        assert all(isinstance(word, str) for item in about.items() for word in item)
        free = backend.free_bytes()
        assert free is None or free >= 0
        backend.synchronize()

    @pytest.mark.parametrize("dtype", [*DTYPES, np.int64, np.int32, np.uint8])
    def test_arrays(self, backend: Backend, dtype: Any) -> None:
        """Shape, dtype, size and strides; views by slices, transposition and reshape, all of the same memory."""
        host = np.arange(30).reshape(6, 5).astype(dtype)
        before = backend.allocations
        array = backend.empty((6, 5), dtype)
        assert backend.allocations == before + 1
        assert backend.owns(array)
        assert (array.shape, array.dtype, array.size) == ((6, 5), np.dtype(dtype), 30)
        assert array.strides == host.strides
        backend.write(host, array)
        views = {
            "rows": (array[2:5], host[2:5]),
            "corner": (array[:4, :3], host[:4, :3]),
            "transposed": (array.T, host.T),
            "flat": (array.reshape(-1), host.reshape(-1)),
            "as a tuple": (array.reshape((3, 10)), host.reshape(3, 10)),
            "row of a flat one": (array.reshape(-1)[4:9].reshape(1, 5), host.reshape(-1)[4:9].reshape(1, 5)),
            "scalar": (array.reshape(-1)[7:8].reshape(()), host.reshape(-1)[7:8].reshape(())),
        }
        for _ in range(2):
            for name, (view, expected) in views.items():
                assert (view.shape, view.strides) == (expected.shape, expected.strides), name
                np.testing.assert_array_equal(backend.to_numpy(view), expected, err_msg=name)
            host += 1  # a view made earlier shows the new values
            backend.write(host, array)
        assert backend.allocations == before + 1

    def test_where_arrays_lie(self, backend: Backend) -> None:
        """`data.ptr` or `ctypes.data` tells which arrays overlap; bpcore.ops relies on it."""
        array, other = (backend.empty((6, 5), np.float32) for _ in range(2))
        assert same_place(array, array[:, :])
        assert not same_place(array, array.T)
        assert overlap(array[:3], array[2:])
        assert not overlap(array[:3], array[3:])
        assert not overlap(array[:, :3], array[:, 3:])
        assert not overlap(array, other)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_asarray(self, backend: Backend, dtype: Any) -> None:
        """Arrays of the host in any layout are copied; those of the device only if the dtype or layout differs."""
        host = np.arange(12, dtype=np.int32).reshape(3, 4)
        for source in (host, host.T, host[::2, 1:], np.broadcast_to(host[0], (5, 4)), host[:0]):
            array = backend.asarray(source, dtype)
            assert array.dtype == dtype
            assert array.strides == np.empty(source.shape, dtype).strides
            np.testing.assert_array_equal(backend.to_numpy(array), source)
        here = backend.asarray(host.astype(dtype))
        assert backend.asarray(here, dtype) is here
        np.testing.assert_array_equal(backend.to_numpy(backend.asarray(here, np.int64)), host)
        turned = backend.asarray(here.T)
        assert turned.strides == np.empty((4, 3), dtype).strides
        np.testing.assert_array_equal(backend.to_numpy(turned), host.T)

    def test_full(self, backend: Backend) -> None:
        """Every element has the given value."""
        np.testing.assert_array_equal(backend.to_numpy(backend.full((2, 3), 0.5, np.float64)), np.full((2, 3), 0.5))
        assert backend.full((0,), 1.0, np.float32).shape == (0,)

    def test_precisions(self, backend: Backend) -> None:
        """float32 and float64 are supported, and an unknown precision is an error."""
        for name in ("float32", "float64"):
            at, dtype = backend.at_precision(name)
            assert isinstance(at, Backend)
            assert dtype == np.dtype(name)
        with pytest.raises(InputError, match="float12"):
            backend.at_precision("float12")

    def test_round_trip_and_write(self, backend: Backend, rng: np.random.Generator) -> None:
        """Transfers between host and device, and copies on the device."""
        host = rng.standard_normal((3, 4)).astype(np.float32)
        array = backend.asarray(host.copy())
        np.testing.assert_array_equal(backend.to_numpy(array), host)
        other = backend.empty((3, 4), np.float32)
        backend.copy(array, other)
        backend.write(host + 1, array)
        np.testing.assert_array_equal(backend.to_numpy(other), host)
        np.testing.assert_array_equal(backend.to_numpy(array), host + 1)
        assert backend.asarray(other) is other
        assert "device" in backend.describe()

    def test_arrays_of_another_backend_are_refused(self, backend: Backend) -> None:
        """The error names the backend, and is raised before any work."""

        class Stranger:
            shape, dtype = (2, 2), np.dtype(np.float32)

        mine = backend.full((2, 2), 1.0, np.float32)
        assert backend.owns(mine)
        assert not backend.owns(Stranger())
        with pytest.raises(InputTypeError, match=backend.name):
            backend.matmul(mine, Stranger())
        with pytest.raises(InputTypeError, match=backend.name):
            backend.hadamard(mine, Stranger(), mine)

    def test_shapes_that_do_not_fit_are_refused(self, backend: Backend) -> None:
        """Kernels do not check shapes, so the backend must."""
        a, b = backend.full((2, 3), 1.0, np.float32), backend.full((2, 4), 1.0, np.float32)
        with pytest.raises(InputError, match=r"\(2, 3\) @ \(2, 4\) do not fit"):
            backend.matmul(a, b)
        with pytest.raises(InputError, match="b has shape"):
            backend.hadamard(a, b)
        with pytest.raises(InputError, match="bias has shape"):
            backend.activate(a, backend.full((4,), 0.0, np.float32), ACTIVATIONS["relu"])
        with pytest.raises(InputError, match="out must not be z"):
            backend.activate(a, backend.full((3,), 0.0, np.float32), ACTIVATIONS["gelu"], a)
        with pytest.raises(InputError, match="dropout rate"):
            backend.dropout(a, 1.0, 0, backend.control(1, np.float32))
        labels, counts = backend.asarray(np.zeros(2, np.int64)), backend.asarray(np.zeros((3, 3), np.int64))
        with pytest.raises(InputError, match="argmax: out has shape"):
            backend.argmax(a, backend.empty((3,), np.int64))
        with pytest.raises(InputTypeError, match="argmax: out has dtype float32; int64 is needed"):
            backend.argmax(a, backend.empty((2,), np.float32))
        with pytest.raises(InputError, match="no largest"):
            backend.argmax(backend.empty((2, 0), np.float32))
        with pytest.raises(InputError, match="above_zero: out has shape"):
            backend.above_zero(a, backend.empty((2, 4), np.int64))
        with pytest.raises(InputError, match=r"targets has shape \(2,\), but \(3,\) is needed beside predicted"):
            backend.confusion(backend.asarray(np.zeros(3, np.int64)), labels, counts)
        with pytest.raises(InputError, match="counts has shape"):
            backend.confusion(labels, labels, counts[:2])
        with pytest.raises(InputTypeError, match="targets has dtype float32"):
            backend.confusion(labels, backend.full((2,), 0.0, np.float32), counts)
        with pytest.raises(InputError, match="scatter: out has shape"):
            backend.scatter(a, backend.control(1, np.float32), b)
        with pytest.raises(InputTypeError, match="scatter: out has dtype int64, but batch has float32"):
            backend.scatter(a, backend.control(1, np.float32), backend.empty((2, 3), np.int64))
        with pytest.raises(InputError, match="pieces"):
            backend.max_pieces(a, backend.full((3,), 0.0, np.float32), b, backend.empty((2, 4), np.int32))
        with pytest.raises(InputError, match="max_pieces: bias has shape"):
            backend.max_pieces(b, backend.full((3,), 0.0, np.float32), b[:, :2], backend.empty((2, 2), np.int32))
        with pytest.raises(InputError, match="limit_columns: factors has shape"):
            backend.limit_columns(a, 1.0, backend.empty((2,), np.float32))
        with pytest.raises(InputError, match="limit_columns: an array of shape"):
            backend.limit_columns(a.reshape(6), 1.0)
        for limit in (0.0, -1.0, float("nan"), float("inf"), 1e39):
            with pytest.raises(InputError, match=r"limit_columns: limit=.* a positive number that float32 can hold"):
                backend.limit_columns(a, limit)
        with pytest.raises(InputError, match="duplicate: out has shape"):
            backend.duplicate(a, b)
