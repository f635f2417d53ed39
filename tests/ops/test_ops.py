"""bpcore.ops against float64 references, on NumPy arrays and on arrays of the stand-in device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import bpcore
from bpcore import ops
from bpcore.backends.base import Backend
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.kernels.losses import LOSSES
from bpcore.testing import references
from bpcore.testing.common import DTYPES, LAYOUTS, Layout, settings_to_try
from bpcore.training.optimizers import OPTIMIZERS
from support.ops_arrays import close, numbers

SHAPES = [(1, 1), (1, 6), (5, 3), (0, 4)]


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
    """With neither rows nor columns contiguous in memory, and with one row broadcast to many."""
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
def test_a_layer_forward_and_backward(backend: Backend, name: str, dtype: Any, rng: np.random.Generator) -> None:
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
        for settings in settings_to_try(LOSSES[name]):
            for share in (None, weights):
                expected, expected_delta = references.loss_and_delta(
                    name, z.astype(float), targets.astype(float), np.ones(rows) if share is None else share, **settings
                )
                here = backend.asarray(z.copy())
                value, delta, bias_grad, correct = ops.loss(
                    here,
                    backend.asarray(y.astype(np.int32) if labels else targets),
                    bpcore.Loss(name, **settings),
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
def test_dropout_matches_the_reference(backend: Backend, dtype: Any, shape: tuple[int, int]) -> None:
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
def test_updates_match_a_training_run(backend: Backend, name: str, dtype: Any, rng: np.random.Generator) -> None:
    """Weights with decay and biases without, clipping, and a schedule, as in the training loop."""
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


def test_a_registered_activation_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ACTIVATIONS, "thrice", ACTIVATIONS["relu"])
    bpcore.register_activation("thrice", lambda z, p: 3.0 * z, lambda z, p: 3.0)
    x = np.arange(6.0).reshape(2, 3)
    a, saved = ops.activate_saving(x, "thrice")
    np.testing.assert_array_equal(a, 3 * x)
    np.testing.assert_array_equal(ops.delta(np.ones_like(x), saved, "thrice").delta, np.full((2, 3), 3.0))
