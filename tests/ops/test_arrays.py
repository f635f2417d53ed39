"""Arrays that bpcore.ops accepts: any layout, `out`, other libraries, two devices, subclasses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpcore import ops
from bpcore.backends import dispatch
from bpcore.backends.base import Backend
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.errors import InputError, InputTypeError
from bpcore.testing import references
from support.ops_arrays import STAND_IN, Foreign, Subclass
from support.stand_in import Device, StandInArray

# --- random layouts -----------------------------------------------------------------------------------------------


@st.composite
def views(draw: Any) -> tuple[np.ndarray, np.ndarray]:
    """A view of a buffer with any steps and order of axes, and the buffer."""
    rows, columns = draw(st.integers(0, 4)), draw(st.integers(1, 5))
    up, across = draw(st.sampled_from([1, 2, -1])), draw(st.sampled_from([1, 2, -1]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    buffer = rng.standard_normal((rows * abs(up) + 1, columns * abs(across) + 1))
    view = buffer[: rows * abs(up) : abs(up), : columns * abs(across) : abs(across)]
    view = view[:: -1 if up < 0 else 1, :: -1 if across < 0 else 1]
    return (view.T.copy().T if draw(st.booleans()) else view), buffer


@given(view=views(), name=st.sampled_from(["relu", "gelu"]), read_only=st.booleans())
@settings(max_examples=30)
def test_any_layout_is_accepted_and_left_unchanged(
    view: tuple[np.ndarray, np.ndarray], name: str, read_only: bool
) -> None:
    x, buffer = view
    x.flags.writeable = not read_only
    before, whole = x.copy(), buffer.copy()
    np.testing.assert_allclose(ops.activate(x, name), references.ACTIVATIONS[name][0](before), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(ops.matmul(x, x, transpose_b=True), before @ before.T, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(ops.add(x, x), 2 * before)
    np.testing.assert_array_equal(buffer, whole)
    np.testing.assert_array_equal(x, before)


@given(first=st.integers(0, 6), rows=st.integers(1, 3), columns=st.integers(1, 3), step=st.sampled_from([1, 2]))
@settings(max_examples=40)
def test_out_is_written_or_refused(first: int, rows: int, columns: int, step: int) -> None:
    """Wherever `out` is in the argument's buffer, it holds the right numbers, or nothing has changed."""
    buffer = np.arange(40.0).reshape(8, 5)
    x = buffer[:rows, :columns]
    out = buffer.reshape(-1)[first : first + rows * 5].reshape(rows, 5)[:, : columns * step : step]
    if out.shape != x.shape:
        return
    before, expected = buffer.copy(), np.exp(references.log_softmax(x))
    itself = first == 0 and (step == 1 or columns == 1)
    if np.shares_memory(x, out) and not itself:
        with pytest.raises(InputError, match="out overlaps z in memory; it may be z itself"):
            ops.softmax(x, out=out)
        np.testing.assert_array_equal(buffer, before)
    else:
        assert ops.softmax(x, out=out) is out
        np.testing.assert_allclose(out, expected)


def test_arrays_of_other_libraries_are_used_without_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    host = np.arange(6.0).reshape(2, 3)
    foreign = Foreign(host)
    taken = dispatch.taken("x", dispatch.home("x", foreign), foreign)
    assert type(taken) is np.ndarray
    assert np.shares_memory(taken, host)
    result = ops.add(foreign, host)
    assert type(result) is np.ndarray
    np.testing.assert_array_equal(result, 2 * host)
    host.flags.writeable = False  # as JAX's arrays are
    np.testing.assert_array_equal(ops.hadamard(Foreign(host), Foreign(host)), host * host)


def test_dlpack_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device()
    backend = CupyBackend(device, device.launch)
    monkeypatch.setitem(dispatch.MADE, "cupy", backend)
    inside = backend.asarray(np.ones((2, 2)))
    monkeypatch.setattr(device, "from_dlpack", lambda array: inside, raising=False)
    result = ops.add(Foreign(np.zeros(1), device=2), inside)
    assert isinstance(result, StandInArray)
    np.testing.assert_array_equal(backend.to_numpy(result), np.full((2, 2), 2.0))


def test_unsupported_arguments() -> None:
    x = np.ones((2, 2))
    with pytest.raises(InputTypeError, match=r"add: b \(support.Foreign\) is on a ROCm GPU"):
        ops.add(x, Foreign(x, device=10))
    with pytest.raises(InputTypeError, match=r"add: a \(support.Foreign\) cannot be imported by DLPack: no grad"):
        ops.add(Foreign(x, problem=BufferError("no grad")), x)
    for thing in ([[1.0]], 3.0, np.float64(1), "x"):
        with pytest.raises(InputTypeError, match=r"add: b is of type \w+.\w+; accepted: NumPy or CuPy arrays"):
            ops.add(x, thing)
    with pytest.raises(InputTypeError, match="masked array"):
        ops.add(x, np.ma.masked_array(x, x > 0))


def test_two_devices_in_one_call(backend: Backend) -> None:
    mine, stranger = backend.full((2, 2), 1.0, np.float64), CupyBackend(Device(), STAND_IN.launch)
    if backend.name == "cupy":
        other: Any = np.ones((2, 2))
    else:
        other = stranger.full((2, 2), 1.0, np.float64)
        dispatch.MADE["cupy"] = stranger
    try:
        with pytest.raises(
            InputTypeError, match=r"W one of the (cupy|numpy) backend .*must be on one device"
        ) as caught:
            ops.linear(mine, other)
    finally:
        if backend.name != "cupy":
            del dispatch.MADE["cupy"]
    assert "the numpy backend (numpy.ndarray)" in str(caught.value)
    assert "the cupy backend (support.StandInArray)" in str(caught.value)


def test_subclasses_and_foreign_byte_orders() -> None:
    x = np.arange(6.0).reshape(2, 3)
    for array in (
        x.view(Subclass),
        x.astype(">f8"),
        np.frombuffer(b"?" + x.tobytes(), np.float64, offset=1).reshape(2, 3),
    ):
        result = ops.add(array, x)
        assert type(result) is np.ndarray
        np.testing.assert_array_equal(result, 2 * x)
