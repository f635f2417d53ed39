"""bpcore.ops against float64 references: on NumPy's arrays, and on those of the stand-in device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bpcore
from bpcore import ops
from bpcore.backends import dispatch, get_backend
from bpcore.backends.base import Backend
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.errors import InputError, InputTypeError
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.kernels.losses import LOSSES
from bpcore.testing import references
from bpcore.testing.common import DTYPES, LAYOUTS, Layout, settings_to_try, tolerance
from bpcore.training.optimizers import OPTIMIZERS
from support.stand_in import Device, StandInArray

SHAPES = [(1, 1), (1, 6), (5, 3), (0, 4)]
STAND_IN = Device()


@pytest.fixture(params=["numpy", "cupy"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """NumPy's, and CuPy's over the stand-in device."""
    made = get_backend("numpy") if request.param == "numpy" else CupyBackend(STAND_IN, STAND_IN.launch)
    monkeypatch.setitem(dispatch.MADE, request.param, made)
    return made


def close(backend: Backend, found: Any, expected: Any, dtype: Any, **options: Any) -> None:
    assert backend.owns(found)
    assert found.dtype == dtype
    np.testing.assert_allclose(backend.to_numpy(found), expected, **{**tolerance(dtype), **options})


def numbers(rng: np.random.Generator, dtype: Any, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape).astype(dtype)


# --- what is computed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_products(backend: Backend, layout: Layout, dtype: Any, rng: np.random.Generator) -> None:
    for m, k, n in [(1, 1, 1), (4, 7, 3), (0, 3, 2), (3, 0, 2), (2, 3, 0)]:
        a, b = numbers(rng, dtype, m, k), numbers(rng, dtype, k, n)
        exact = a.astype(float) @ b.astype(float)
        x, y = layout(backend, a), layout(backend, b)
        near = {"rtol": 1e-4, "atol": 1e-5} if dtype == np.float32 else {}
        close(backend, ops.matmul(x, y), exact, dtype, **near)
        turned = ops.matmul(
            layout(backend, a.T.copy()), layout(backend, b.T.copy()), transpose_a=True, transpose_b=True
        )
        close(backend, turned, exact, dtype, **near)
        start = numbers(rng, dtype, m, n)
        out = backend.asarray(start.copy())
        assert ops.matmul(x, y, alpha=2, beta=-0.5, out=out) is out
        close(backend, out, 2 * exact - 0.5 * start, dtype, **near)


def test_a_product_of_every_second_row_and_column(backend: Backend, rng: np.random.Generator) -> None:
    """Of memory in which neither rows nor columns are contiguous; and of one row that stands for many."""
    host = numbers(rng, np.float64, 6, 8)
    view = backend.asarray(host)[::2, ::2]
    close(backend, ops.matmul(view, view, transpose_b=True), host[::2, ::2] @ host[::2, ::2].T, np.float64)
    if backend.name == "numpy":
        broadcast = np.broadcast_to(host[0], (5, 8))
        close(backend, ops.matmul(broadcast, host, transpose_b=True), broadcast @ host.T, np.float64)
        close(
            backend, ops.matmul(host[::-1], host[:, ::-1], transpose_b=True), host[::-1] @ host[:, ::-1].T, np.float64
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_elements_and_rows(backend: Backend, layout: Layout, dtype: Any, rng: np.random.Generator) -> None:
    for shape in SHAPES:
        a, b = numbers(rng, dtype, *shape), numbers(rng, dtype, *shape)
        x, y = layout(backend, a), layout(backend, b)
        cases: list[tuple[Callable[..., Any], Any]] = [
            (ops.hadamard, a * b),
            (ops.add, a + b),
            (lambda x, y, **o: ops.softmax(x, **o), references.softmax(a)),
            (lambda x, y, **o: ops.log_softmax(x, **o), references.log_softmax(a)),
        ]
        for op, expected in cases:
            close(backend, op(x, y), expected, dtype)
            out = layout(backend, np.zeros_like(a))
            assert op(x, y, out=out) is out
            close(backend, out, expected, dtype)
            in_place = layout(backend, a)
            assert op(in_place, y, out=in_place) is in_place
            close(backend, in_place, expected, dtype)
            np.testing.assert_array_equal(backend.to_numpy(x), a)
        close(backend, ops.column_sums(x), a.sum(axis=0), dtype, rtol=1e-4, atol=1e-5)
        close(backend, ops.argmax(x), a.argmax(axis=1), np.int64)


def test_vectors_are_one_row(backend: Backend, rng: np.random.Generator) -> None:
    host = numbers(rng, np.float64, 6)
    v = backend.asarray(host)[::2]
    for found, expected in [
        (ops.hadamard(v, v), host[::2] ** 2),
        (ops.add(v, v), 2 * host[::2]),
        (ops.softmax(v), references.softmax(host[None, ::2])[0]),
        (ops.log_softmax(v), references.log_softmax(host[None, ::2])[0]),
        (ops.activate(v, "tanh"), np.tanh(host[::2])),
        (ops.activate(v, "silu"), references.ACTIVATIONS["silu"][0](host[::2])),
        (ops.dropout(v, 0.0, seed=1), host[::2]),
    ]:
        assert found.shape == (3,)
        close(backend, found, expected, np.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_layer_and_its_way_back(backend: Backend, name: str, dtype: Any, rng: np.random.Generator) -> None:
    f, derivative = references.ACTIVATIONS[name]
    near = {"rtol": 1e-3, "atol": 1e-5} if dtype == np.float32 else {}
    for rows in (1, 5, 0):
        x, W, b = numbers(rng, dtype, rows, 4), numbers(rng, dtype, 4, 3), numbers(rng, dtype, 3)
        z = x.astype(float) @ W + b
        arrays = [backend.asarray(array.copy()) for array in (x, W, b)]
        out = backend.empty((rows, 3), dtype)
        a, saved = ops.linear_saving(*arrays, name, out=out)
        assert a is out
        assert (saved is a) == (ops.saves(name) == "output")
        close(backend, a, f(z), dtype, **near)
        close(backend, ops.linear(*arrays[:2], activation=name), f(z - b), dtype, **near)
        close(backend, ops.activate(ops.linear(*arrays[:2]), name, arrays[2]), f(z), dtype, **near)

        incoming = numbers(rng, dtype, rows, 3)
        given = backend.asarray(incoming.copy())
        expected = incoming * derivative(z)
        for options in ({}, {"out": given}):
            delta, bias_grad, parameter_grad = ops.delta(given, saved, name, **options)
            close(backend, delta, expected, dtype, **near)
            close(backend, bias_grad, expected.sum(axis=0), dtype, **near)
            if ACTIVATIONS[name].learned:
                slope = (incoming * np.where(z < 0, z, 0)).sum(axis=0)
                close(backend, parameter_grad, slope, dtype, **near)
            else:
                assert parameter_grad is None
        for array, host in zip(arrays, (x, W, b), strict=True):
            np.testing.assert_array_equal(backend.to_numpy(array), host)


def test_the_parameter_of_an_activation(backend: Backend, rng: np.random.Generator) -> None:
    z = numbers(rng, np.float64, 4, 3)
    slopes = np.array([0.1, 0.5, 2.0])
    here = backend.asarray(z.copy())
    for parameter, expected in [(0.3, 0.3), (np.float32(0.5), 0.5), (backend.asarray(slopes), slopes)]:
        a, saved = ops.activate_saving(here, "prelu", parameter=parameter)
        close(backend, a, np.where(z > 0, z, expected * z), np.float64)
        deltas = ops.delta(backend.full((4, 3), 1.0, np.float64), saved, "prelu", parameter=parameter)
        close(backend, deltas.delta, np.where(z > 0, 1.0, expected), np.float64)
        close(backend, deltas.parameter_grad, np.minimum(z, 0).sum(axis=0), np.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_losses(backend: Backend, name: str, labels: bool, dtype: Any, rng: np.random.Generator) -> None:
    near = {"rtol": 1e-4, "atol": 1e-6} if dtype == np.float32 else {}
    for rows in (1, 6):
        z, y = numbers(rng, dtype, rows, 5), rng.integers(0, 5, rows)
        targets, weights = np.eye(5, dtype=dtype)[y], rng.random(rows).astype(dtype) + 0.5
        for chosen in settings_to_try(LOSSES[name]):
            for share in (None, weights):
                expected, expected_delta = references.loss_and_delta(
                    name, z.astype(float), targets.astype(float), np.ones(rows) if share is None else share, **chosen
                )
                here = backend.asarray(z.copy())
                value, delta, bias_grad, correct = ops.loss(
                    here,
                    backend.asarray(y.astype(np.int32) if labels else targets),
                    bpcore.Loss(name, **chosen),
                    weights=None if share is None else backend.asarray(share),
                )
                assert value.shape == correct.shape == ()
                close(backend, value, expected, dtype, **near)
                close(backend, delta, expected_delta, dtype, **near)
                close(backend, bias_grad, expected_delta.sum(axis=0), dtype, **near)
                if LOSSES[name].predicts != "yes_or_no":
                    assert backend.to_numpy(correct) == (z.argmax(axis=1) == y).sum()
                np.testing.assert_array_equal(backend.to_numpy(here), z)
        assert ops.loss(here, backend.asarray(targets), name, out=here).delta is here


def test_labels(backend: Backend, rng: np.random.Generator) -> None:
    z, y = numbers(rng, np.float32, 8, 3), rng.integers(0, 3, 8)
    for kind in (np.int64, np.int32, np.uint8):
        labels = backend.asarray(y.astype(kind))
        assert ops.accuracy(backend.asarray(z), labels) == (z.argmax(axis=1) == y).mean()
        for dtype in DTYPES:
            close(backend, ops.one_hot(labels, 3, dtype=dtype), np.eye(3)[y], dtype)
    out = backend.empty((8,), np.int64)
    assert ops.argmax(backend.asarray(z), out=out) is out
    close(backend, ops.one_hot(backend.asarray(np.array([-1, 3, 1])), 3), [[0, 0, 0], [0, 0, 0], [0, 1, 0]], np.float32)
    close(backend, ops.one_hot(backend.asarray(np.zeros(0, np.int64)), 3), np.zeros((0, 3)), np.float32)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (0, 4), (4, 0)])
def test_dropout_is_the_reference(backend: Backend, dtype: Any, shape: tuple[int, int]) -> None:
    seed, step, layer = 2**40 + 5, 2**33 + 1, 4
    x = np.arange(1, shape[0] * shape[1] + 1, dtype=dtype).reshape(shape)
    here = backend.asarray(x.copy())
    out = ops.dropout(here, 0.4, seed=seed, step=step, layer=layer)
    mask = references.dropout_mask(*shape, 0.4, layer, step, seed)
    close(backend, out, np.where(mask, x / 0.6, 0), dtype)
    back = ops.dropout(here, 0.4, seed=seed, step=step, layer=layer, out=here)
    assert back is here
    close(backend, back, np.where(mask, x / 0.6, 0), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_are_those_of_a_run(backend: Backend, name: str, dtype: Any, rng: np.random.Generator) -> None:
    """Weights with decay and biases without, with clipping and a schedule: as the training loop has them."""
    settings = {"weight_decay": 0.1} if hasattr(OPTIMIZERS[name], "weight_decay") else {"l2": 0.2}
    optimizer = bpcore.training.optimizers.get_optimizer(name, max_norm=0.5, **settings)
    w, b = numbers(rng, dtype, 4, 3), numbers(rng, dtype, 3)
    factors = np.array([1.0, 0.5, 0.25])
    table = optimizer.table(factors)
    params, state = [], []
    for array in (w, b):
        params.append(backend.asarray(array.copy()))
        state.append(ops.optimizer_state(params[-1], optimizer))
    expected = [backend.asarray(array.ravel().copy()) for array in (w, b)]
    kept = [backend.full((optimizer.rule.states, array.size), 0.0, dtype) for array in (w, b)]
    for step, factor in enumerate(factors):
        for place, array in enumerate((w, b)):
            grad = numbers(rng, dtype, *array.shape)
            returned = ops.update(
                params[place], backend.asarray(grad.copy()), state[place], optimizer,
                step=step, decayed=place == 0, learning_rate_factor=factor,
            )  # fmt: skip
            assert returned is params[place]
            control = backend.control(1, dtype, table=table[step : step + 1])
            flat = backend.asarray(grad.ravel())
            segments = backend.asarray(np.array([[0, array.size, 1 - place]]))
            backend.global_norm(flat, segments, control)
            backend.update(
                optimizer.rule, expected[place], flat, kept[place], segments,
                backend.asarray(optimizer.settings(), dtype), control,
            )  # fmt: skip
    for found, wanted in zip((*params, *state), (*expected, *kept), strict=True):
        np.testing.assert_array_equal(backend.to_numpy(found).ravel(), backend.to_numpy(wanted).ravel())


def test_plain_gradient_descent(backend: Backend) -> None:
    w, g = np.array([[1.0, 2.0]]), np.array([[0.5, -1.0]])
    params = backend.asarray(w.copy())
    ops.update(params, backend.asarray(g), ops.optimizer_state(params, "sgd"), bpcore.SGD(learning_rate=0.1), step=0)
    close(backend, params, w - 0.1 * g, np.float64)
    empty = backend.empty((0, 2), np.float64)
    assert ops.update(empty, empty[:], ops.optimizer_state(empty, "adam"), "adam", step=7) is empty


# --- by chance ----------------------------------------------------------------------------------------------------


@st.composite
def views(draw: Any) -> tuple[np.ndarray, np.ndarray]:
    """A view of a buffer in any layout of one or more dimensions' steps, and the buffer that holds it."""
    rows, columns = draw(st.integers(0, 4)), draw(st.integers(1, 5))
    up, across = draw(st.sampled_from([1, 2, -1])), draw(st.sampled_from([1, 2, -1]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    buffer = rng.standard_normal((rows * abs(up) + 1, columns * abs(across) + 1))
    view = buffer[: rows * abs(up) : abs(up), : columns * abs(across) : abs(across)]
    view = view[:: -1 if up < 0 else 1, :: -1 if across < 0 else 1]
    return (view.T.copy().T if draw(st.booleans()) else view), buffer


@given(view=views(), name=st.sampled_from(["relu", "gelu"]), read_only=st.booleans())
@settings(max_examples=30)
def test_any_layout_goes_in_and_stays_as_it_was(
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
    """Wherever `out` lies in the argument's buffer: the right numbers stand there, or nothing has changed."""
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


# --- which arrays, and what comes of them -------------------------------------------------------------------------


class Subclass(np.ndarray):
    """Of NumPy's array."""


class Foreign:
    """An array of another library, which shares its memory by DLPack alone."""

    def __init__(self, content: np.ndarray, device: int = 1, problem: Exception | None = None) -> None:
        self.content, self.device, self.problem = content, device, problem

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.device, 0

    def __dlpack__(self, **options: Any) -> Any:
        if self.problem:
            raise self.problem
        return self.content.__dlpack__(**options)


def test_arrays_of_other_libraries_come_in_without_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_what_does_not_come_in() -> None:
    x = np.ones((2, 2))
    with pytest.raises(InputTypeError, match=r"add: b \(tests.Foreign\) is on a ROCm GPU"):
        ops.add(x, Foreign(x, device=10))
    with pytest.raises(InputTypeError, match=r"add: a \(tests.Foreign\) cannot be imported by DLPack: no grad"):
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


# --- what is refused ----------------------------------------------------------------------------------------------


def test_dtypes(backend: Backend) -> None:
    narrow, wide = backend.full((2, 2), 1.0, np.float32), backend.full((2, 2), 1.0, np.float64)
    whole = backend.asarray(np.ones((2, 2), np.int64))
    with pytest.raises(InputTypeError, match=r"add: a has dtype float32, but b has float64; all arrays"):
        ops.add(narrow, wide)
    with pytest.raises(InputTypeError, match="hadamard: a has dtype int64; accepted: float32, float64"):
        ops.hadamard(whole, whole)
    with pytest.raises(InputTypeError, match=r"loss: targets has shape .* accepted: integer labels"):
        ops.loss(narrow, narrow.reshape(-1)[:2], "squared_error")
    with pytest.raises(InputTypeError, match="loss: z has dtype float32, but weights has float64"):
        ops.loss(narrow, whole.reshape(-1)[:2], "squared_error", weights=wide.reshape(-1)[:2])
    with pytest.raises(InputTypeError, match=r"one_hot: dtype=.*float16"):
        ops.one_hot(whole.reshape(-1), 2, dtype=np.float16)


def test_shapes(backend: Backend) -> None:
    a, b = backend.full((2, 3), 1.0, np.float32), backend.full((3,), 1.0, np.float32)
    cube = a.reshape(1, 2, 3)
    labels = backend.asarray(np.zeros(2, np.int64))
    refused: list[tuple[str, Callable[[], Any]]] = [
        (r"add: b has shape \(3,\), but \(2, 3\) is needed beside a", lambda: ops.add(a, b)),
        (r"add: a has shape \(1, 2, 3\); accepted: a matrix", lambda: ops.add(cube, cube)),
        (r"matmul: \(2, 3\) @ \(2, 3\) do not fit", lambda: ops.matmul(a, a)),
        (r"matmul: a has shape \(3,\); accepted: a matrix", lambda: ops.matmul(b, a)),
        (r"matmul: beta=1.0 adds to what is in out", lambda: ops.matmul(a, a, transpose_b=True, beta=1)),
        (r"matmul: alpha=nan; accepted: a finite", lambda: ops.matmul(a, a, transpose_b=True, alpha=np.nan)),
        (r"linear: b has shape \(3,\), but \(2,\) is needed beside W", lambda: ops.linear(a, a.T, b)),
        (r"activate: bias has shape \(2,\)", lambda: ops.activate(a, "relu", b[:2])),
        (r"activate: parameter has shape \(2,\)", lambda: ops.activate(a, "prelu", parameter=b[:2])),
        (r"activate: parameter=inf", lambda: ops.activate(a, "prelu", parameter=np.inf)),
        (r"unknown activation 'rely' \(did you mean 'relu'", lambda: ops.activate(a, "rely")),
        (r"delta: saved has shape", lambda: ops.delta(a, a.T, "relu")),
        (r"delta: relu has no learned parameter", lambda: ops.delta(a, a, "relu", parameter_grad=b)),
        (r"softmax: z has shape \(2, 0\); a row without", lambda: ops.softmax(backend.empty((2, 0), np.float32))),
        (r"argmax: z has shape \(2, 0\)", lambda: ops.argmax(backend.empty((2, 0), np.float32))),
        (r"loss: z has shape \(0, 3\); a mean needs", lambda: ops.loss(a[:0], labels[:0], "hinge")),
        (r"loss: targets has shape \(1,\)", lambda: ops.loss(a, labels[:1], "hinge")),
        (r"loss: z has one column; give targets as a matrix", lambda: ops.loss(a[:, :1], labels, "squared_error")),
        (r"loss: weights has shape \(3,\)", lambda: ops.loss(a, labels, "hinge", weights=b)),
        (r"unknown loss", lambda: ops.loss(a, labels, "hing")),
        (r"accuracy: labels has shape \(1,\)", lambda: ops.accuracy(a, labels[:1])),
        (r"dropout: rate=1", lambda: ops.dropout(a, 1, seed=0)),
        (r"dropout: seed=-1; accepted: an integer from 0", lambda: ops.dropout(a, 0.5, seed=-1)),
        (r"dropout: layer=4294967295", lambda: ops.dropout(a, 0.5, seed=0, layer=2**32 - 1)),
        (r"one_hot: classes=-1", lambda: ops.one_hot(labels, -1)),
        (r"update: grads has shape \(3,\)", lambda: ops.update(a, b, a, "sgd", step=0)),
        (r"update: state has shape \(2, 3\), but \(2, 2, 3\)", lambda: ops.update(a, a, a, "adam", step=0)),
        (r"update: step=-1", lambda: ops.update(a, a, a, "adam", step=-1)),
        (r"unknown optimizer 'adem'", lambda: ops.optimizer_state(a, "adem")),
    ]
    for words, call in refused:
        with pytest.raises(InputError, match=words):
            call()


def test_labels_on_the_cpu_are_looked_at() -> None:
    with pytest.raises(InputError, match="targets holds the label 3; accepted: 0 to 2"):
        ops.loss(np.ones((2, 3)), np.array([0, 3]), "hinge")


def test_outs(backend: Backend) -> None:
    """What cannot be written to as it is, is refused before anything is written."""
    a, square = backend.full((3, 4), 1.0, np.float64), backend.full((4, 4), 2.0, np.float64)
    line, wide = backend.full((4,), 1.0, np.float64), backend.full((4, 4), 1.0, np.float64)
    out = backend.full((3, 4), 5.0, np.float64)
    refused: list[tuple[type[Exception], str, Callable[[], Any]]] = [
        (InputError, r"add: out has shape \(4, 4\), but the result has \(3, 4\)", lambda: ops.add(a, a, out=square)),
        (InputTypeError, "out has dtype float32", lambda: ops.add(a, a, out=backend.empty((3, 4), np.float32))),
        (InputTypeError, "out is of type builtins.list", lambda: ops.add(a, a, out=[])),
        (InputTypeError, "matmul: a is of type builtins.NoneType", lambda: ops.matmul(None, a)),
        (InputTypeError, "softmax: z is of type builtins.NoneType", lambda: ops.softmax(None)),
        (InputTypeError, "update: state is of type", lambda: ops.update(a, a, None, "sgd", step=0)),
        (InputTypeError, r"out is of type [\w.]+\.Foreign", lambda: ops.add(a, a, out=Foreign(np.ones((3, 4))))),
        (InputError, "add: out overlaps a in memory; it may be a itself",
         lambda: ops.add(square[1:], square[1:], out=square[:3])),
        (InputError, "matmul: out overlaps a in memory$", lambda: ops.matmul(a, square, out=a)),
        (InputError, "matmul: out has rows that are not contiguous",
         lambda: ops.matmul(a, square, out=backend.empty((4, 3), np.float64).T)),
        (InputError, "linear: out overlaps b", lambda: ops.linear(a[:1], wide, square.reshape(-1)[:4],
                                                                  out=square[:1])),
        (InputError, "delta: out overlaps saved", lambda: ops.delta(a, out, "relu", out=out)),
        (InputError, "delta: bias_grad overlaps out", lambda: ops.delta(a, a, "tanh", out=out,
                                                                        bias_grad=out.reshape(-1)[:4])),
        (InputError, "delta: parameter_grad overlaps bias_grad",
         lambda: ops.delta(a, a, "prelu", bias_grad=line, parameter_grad=line)),
        (InputTypeError, "argmax: out has dtype float64, but the result has int64",
         lambda: ops.argmax(a, out=line[:3])),
        (InputError, "update: params is changed in place and must be contiguous",
         lambda: ops.update(a[:, :2], a[:, 2:], backend.full((0, 3, 2), 0.0, np.float64), "sgd", step=0)),
        (InputError, "update: params overlaps grads",
         lambda: ops.update(a, a, backend.full((0, 3, 4), 0.0, np.float64), "sgd", step=0)),
    ]  # fmt: skip
    for kind, words, call in refused:
        with pytest.raises(kind, match=words):
            call()
    for array, value in ((a, 1), (square, 2), (line, 1), (out, 5)):
        assert (backend.to_numpy(array) == value).all()


def test_outs_of_numpy() -> None:
    x, fixed = np.ones((2, 3)), np.ones((2, 3))
    fixed.flags.writeable = False
    with pytest.raises(InputError, match="out is read-only"):
        ops.add(x, x, out=fixed)
    with pytest.raises(InputError, match="params is read-only"):
        ops.update(fixed, x, np.zeros((0, 2, 3)), "sgd", step=0)
    with pytest.raises(InputTypeError, match=r"params is of type tests\.ops\.test_ops\.Foreign"):
        ops.update(Foreign(fixed), x, np.zeros((0, 2, 3)), "sgd", step=0)
    shared = np.lib.stride_tricks.as_strided(np.ones(3), (2, 3), (0, 8))
    with pytest.raises(InputError, match="several elements of out share memory"):
        ops.add(x, x, out=shared)
    with pytest.raises(InputError, match="out is not aligned"):
        ops.add(x, x, out=np.frombuffer(bytearray(49), np.float64, offset=1).reshape(2, 3))
    with pytest.raises(InputTypeError, match=r"out is of type tests.ops.test_ops.Subclass"):
        ops.add(x, x, out=np.ones((2, 3)).view(Subclass))
    assert (fixed == 1).all()
    side_by_side = np.zeros((2, 6))
    side_by_side[:, :3] = x
    ops.add(side_by_side[:, :3], x, out=side_by_side[:, 3:])  # one memory, no element in common
    assert (side_by_side[:, 3:] == 2).all()


def test_a_registered_activation_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ACTIVATIONS, "thrice", ACTIVATIONS["relu"])
    bpcore.register_activation("thrice", lambda z, p: 3.0 * z, lambda z, p: 3.0)
    x = np.arange(6.0).reshape(2, 3)
    a, saved = ops.activate_saving(x, "thrice")
    np.testing.assert_array_equal(a, 3 * x)
    np.testing.assert_array_equal(ops.delta(np.ones_like(x), saved, "thrice").delta, np.full((2, 3), 3.0))
