"""One suite for every backend that is there, against float64 references."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import references

from bpcore.backends import available_backends, get_backend
from bpcore.backends.base import Backend, Batch, Samples
from bpcore.errors import InputError, InputTypeError
from bpcore.kernels import counter
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.kernels.losses import LOSSES
from bpcore.kernels.optimizers import UPDATE_RULES

DTYPES = [np.float32, np.float64]
SHAPES = [(1, 1), (1, 7), (5, 3), (13, 40)]
Maker = Callable[[Backend, np.ndarray], Any]


def contiguous(backend: Backend, host: np.ndarray) -> Any:
    return backend.asarray(host.copy())


def leading_rows(backend: Backend, host: np.ndarray) -> Any:
    """As a short last batch stands in its buffer."""
    return backend.asarray(np.concatenate([host, np.full_like(host, np.nan)]))[: len(host)]


def leading_columns(backend: Backend, host: np.ndarray) -> Any:
    return backend.asarray(np.concatenate([host, np.full_like(host, np.nan)], axis=1))[:, : host.shape[1]]


def transposed(backend: Backend, host: np.ndarray) -> Any:
    return backend.asarray(host.T.copy()).T


LAYOUTS: list[Maker] = [contiguous, leading_rows, leading_columns, transposed]


def backends() -> list[Any]:
    """All that are there; the GPU's is listed, and skipped where there is no GPU."""
    others = [name for name, state in available_backends().items() if state == "available" and name != "cupy"]
    return [*others, pytest.param("cupy", marks=pytest.mark.gpu)]


@pytest.fixture(params=backends())
def backend(request: pytest.FixtureRequest) -> Backend:
    return get_backend(request.param)


def tolerance(dtype: Any) -> dict[str, float]:
    return {"rtol": 2e-5, "atol": 2e-6} if dtype == np.float32 else {"rtol": 1e-11, "atol": 1e-12}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(backend: Backend, name: str, layout: Maker, dtype: Any, rng: np.random.Generator) -> None:
    """activate and delta: values, bias gradient, what is overwritten and what is not."""
    entry = ACTIVATIONS[name]
    f, derivative = references.ACTIVATIONS[name]
    for shape in SHAPES:
        z = (3 * rng.standard_normal(shape)).astype(dtype)
        bias, incoming = rng.standard_normal(shape[1]).astype(dtype), rng.standard_normal(shape).astype(dtype)
        total = z.astype(np.float64) + bias
        device_z, device_bias = layout(backend, z), backend.asarray(bias)
        out = layout(backend, np.zeros_like(z))
        returned = backend.activate(device_z, device_bias, entry, out)
        assert returned is out
        np.testing.assert_allclose(backend.to_numpy(out), f(total), **tolerance(dtype))
        kept = total if entry.saves == "input" else z
        np.testing.assert_allclose(backend.to_numpy(device_z), kept, **tolerance(dtype))

        delta = layout(backend, incoming)
        bias_grad, parameter_grad = backend.full(shape[1:], 9.0, dtype), backend.full(shape[1:], 9.0, dtype)
        saved = device_z if entry.saves == "input" else out
        backend.delta(delta, saved, entry, bias_grad, parameter_grad=parameter_grad if entry.learned else None)
        expected = incoming * derivative(total)
        np.testing.assert_allclose(backend.to_numpy(delta), expected, **tolerance(dtype))
        np.testing.assert_allclose(backend.to_numpy(bias_grad), expected.sum(axis=0), rtol=1e-4, atol=1e-5)
        if entry.learned:
            slope_grad = (incoming * np.where(total < 0, total, 0)).sum(axis=0)
            np.testing.assert_allclose(backend.to_numpy(parameter_grad), slope_grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [name for name, entry in ACTIVATIONS.items() if entry.saves == "output"])
def test_activation_in_place(backend: Backend, name: str, rng: np.random.Generator) -> None:
    z = rng.standard_normal((4, 6)).astype(np.float32)
    device_z = backend.asarray(z.copy())
    backend.activate(device_z, backend.full((6,), 0.0, np.float32), ACTIVATIONS[name], device_z)
    expected = references.ACTIVATIONS[name][0](z.astype(np.float64))
    np.testing.assert_allclose(backend.to_numpy(device_z), expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_let_nan_through(backend: Backend, name: str) -> None:
    """A network that goes wrong must be noticed."""
    z = backend.full((1, 1), np.nan, np.float32)
    out = backend.activate(z, backend.full((1,), 0.0, np.float32), ACTIVATIONS[name])
    assert np.isnan(backend.to_numpy(out)).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_loss_head(
    backend: Backend, name: str, labels: bool, weighted: bool, dtype: Any, rng: np.random.Generator
) -> None:
    for rows, outputs in [(1, 2), (6, 10), (9, 37)]:
        for smoothing in (0.0, 0.1) if name.endswith("cross_entropy") else (0.0,):
            z = (2 * rng.standard_normal((rows, outputs))).astype(dtype)
            bias = rng.standard_normal(outputs).astype(dtype)
            y = rng.integers(0, outputs, rows)
            dense = np.eye(outputs)[y]
            weights = rng.random(rows).astype(dtype) + 0.5
            loss, delta = references.loss_and_delta(
                name, z.astype(float) + bias, dense, weights if weighted else np.ones(rows), smoothing
            )
            control = backend.control(3, dtype)
            counters = backend.to_numpy(control.counters).copy()
            counters[counter.BATCH] = 1
            backend.write(counters, control.counters)
            device_z = backend.asarray(z.copy())
            device_delta, bias_grad = backend.empty(z.shape, dtype), backend.empty((outputs,), dtype)
            batch = Batch(
                backend.empty((rows, 1), dtype),
                backend.asarray(y if labels else dense.astype(dtype)),
                backend.asarray(weights),
                weighted,
            )
            backend.loss_head(
                LOSSES[name], device_z, backend.asarray(bias), batch, device_delta, bias_grad, control,
                smoothing=smoothing,
            )  # fmt: skip
            close = {"rtol": 1e-4, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-10, "atol": 1e-12}
            total = z + bias
            np.testing.assert_allclose(backend.to_numpy(device_z), total, rtol=1e-6)
            np.testing.assert_allclose(backend.to_numpy(control.losses), [0, loss, 0], **close)
            np.testing.assert_allclose(backend.to_numpy(device_delta), delta, **close)
            np.testing.assert_allclose(backend.to_numpy(bias_grad), delta.sum(axis=0), **close)
            total_weight = weights.sum() if weighted else rows
            np.testing.assert_allclose(backend.to_numpy(control.totals), [0, total_weight, 0], rtol=1e-6)
            if LOSSES[name].decision == "argmax":
                right = (total.argmax(axis=1) == y).sum()
            else:
                right = ((total > 0) == (dense > 0.5)).all(axis=1).sum()
            assert backend.to_numpy(control.correct).tolist() == [0, right, 0]
            assert backend.to_numpy(control.counters)[counter.FIRST_BAD] == -1


def test_loss_head_of_soft_targets(backend: Backend, rng: np.random.Generator) -> None:
    z, targets = rng.standard_normal((4, 5)), references.softmax(rng.standard_normal((4, 5)))
    loss, delta = references.loss_and_delta("softmax_cross_entropy", z, targets, np.ones(4))
    control = backend.control(1, np.float64)
    out, bias_grad = backend.empty((4, 5), np.float64), backend.empty((5,), np.float64)
    batch = Batch(
        backend.empty((4, 1), np.float64),
        backend.asarray(targets),
        backend.full((4,), 1.0, np.float64),
        False,
    )
    backend.loss_head(
        LOSSES["softmax_cross_entropy"], backend.asarray(z.copy()), backend.full((5,), 0.0, np.float64), batch,
        out, bias_grad, control,
    )  # fmt: skip
    np.testing.assert_allclose(backend.to_numpy(control.losses)[0], loss, rtol=1e-12)
    np.testing.assert_allclose(backend.to_numpy(out), delta, rtol=1e-10, atol=1e-14)


def test_loss_head_latches_the_first_bad_step(backend: Backend) -> None:
    control = backend.control(4, np.float32)
    batch = Batch(
        backend.empty((2, 1), np.float32),
        backend.asarray(np.array([0, 1])),
        backend.full((2,), 1.0, np.float32),
        False,
    )
    for value in (1.0, np.nan, 1.0, np.inf):
        backend.loss_head(
            LOSSES["softmax_cross_entropy"], backend.full((2, 3), value, np.float32),
            backend.full((3,), 0.0, np.float32), batch, backend.empty((2, 3), np.float32),
            backend.empty((3,), np.float32), control,
        )  # fmt: skip
        backend.advance(control)
    counters = backend.to_numpy(control.counters)
    assert counters[counter.FIRST_BAD] == 1
    assert counters[counter.STEP] == counters[counter.BATCH] == 4


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_matmul(backend: Backend, transpose_a: bool, transpose_b: bool, dtype: Any, rng: np.random.Generator) -> None:
    for m, k, n in [(1, 1, 1), (4, 7, 3), (10, 1, 6), (33, 20, 10)]:
        a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
        start = rng.standard_normal((m, n)).astype(dtype)
        device_a = backend.asarray(np.ascontiguousarray(a.T)) if transpose_a else backend.asarray(a)
        device_b = backend.asarray(np.ascontiguousarray(b.T)) if transpose_b else backend.asarray(b)
        flags = {"transpose_a": transpose_a, "transpose_b": transpose_b}
        exact = a.astype(float) @ b.astype(float)
        close = {"rtol": 1e-4, "atol": 1e-4} if dtype == np.float32 else {"rtol": 1e-10, "atol": 1e-12}
        np.testing.assert_allclose(backend.to_numpy(backend.matmul(device_a, device_b, **flags)), exact, **close)
        out = backend.asarray(start.copy())
        assert backend.matmul(device_a, device_b, out, **flags) is out
        np.testing.assert_allclose(backend.to_numpy(out), exact, **close)
        out = backend.asarray(start.copy())
        backend.matmul(device_a, device_b, out, alpha=-0.5, beta=2.0, **flags)
        np.testing.assert_allclose(backend.to_numpy(out), 2.0 * start - 0.5 * exact, **close)
        out = backend.asarray(start.copy())
        alpha, beta = backend.full((1,), -0.5, dtype), backend.full((1,), 1.0, dtype)
        backend.matmul(device_a, device_b, out, alpha=alpha, beta=beta, **flags)
        np.testing.assert_allclose(backend.to_numpy(out), start - 0.5 * exact, **close)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_elementwise_and_sums(backend: Backend, layout: Maker, dtype: Any, rng: np.random.Generator) -> None:
    for shape in SHAPES:
        a, b = rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape).astype(dtype)
        x, y = layout(backend, a), layout(backend, b)
        np.testing.assert_array_equal(backend.to_numpy(backend.hadamard(x, y)), a * b)
        np.testing.assert_array_equal(backend.to_numpy(backend.add(x, y)), a + b)
        np.testing.assert_allclose(backend.to_numpy(backend.softmax(x)), references.softmax(a), rtol=1e-5)
        sums = backend.empty(shape[1:], dtype)
        backend.column_sums(x, sums)
        np.testing.assert_allclose(backend.to_numpy(sums), a.sum(axis=0), rtol=1e-4, atol=1e-5)
        assert backend.add(x, y, x) is x
        np.testing.assert_array_equal(backend.to_numpy(x), a + b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_labels_from_outputs(backend: Backend, layout: Maker, dtype: Any, rng: np.random.Generator) -> None:
    """As numpy.argmax: the first of equals, and the first NaN before any number."""
    for shape in SHAPES:
        z = np.round(rng.standard_normal(shape)).astype(dtype)
        for value in (np.nan, np.inf, -np.inf):
            z[rng.random(shape) < 0.1] = value
        z[-1] = -np.inf
        np.testing.assert_array_equal(backend.to_numpy(backend.argmax(layout(backend, z))), z.argmax(axis=1))
        np.testing.assert_array_equal(backend.to_numpy(backend.above_zero(layout(backend, z))), z > 0)
        out = backend.empty(shape[:1], np.int64)
        assert backend.argmax(layout(backend, z), out) is out


def test_confusion_counts_on(backend: Backend, rng: np.random.Generator) -> None:
    predicted, targets = rng.integers(-2, 6, (2, 500))
    counts = backend.asarray(np.full((4, 4), 3))
    backend.confusion(backend.asarray(predicted), backend.asarray(targets), counts)
    expected = np.full((4, 4), 3)
    inside = (predicted >= 0) & (predicted < 4) & (targets >= 0) & (targets < 4)
    np.add.at(expected, (targets[inside], predicted[inside]), 1)
    np.testing.assert_array_equal(backend.to_numpy(counts), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("labels", [False, True])
def test_scatter_is_the_reverse_of_gather(backend: Backend, labels: bool, dtype: Any, rng: np.random.Generator) -> None:
    samples, batch_size = 11, 4
    whole = rng.integers(0, 9, samples) if labels else rng.standard_normal((samples, 3)).astype(dtype)
    control = backend.control(3, dtype)
    counters = backend.to_numpy(control.counters).copy()
    counters[counter.BATCH_SIZE] = batch_size
    backend.write(counters, control.counters)
    out = backend.asarray(np.zeros_like(whole))
    for first in range(0, samples, batch_size):
        backend.scatter(backend.asarray(whole[first : first + batch_size].copy()), control, out)
        backend.advance(control)
    np.testing.assert_array_equal(backend.to_numpy(out), whole)
    # What reaches past the end is left out.
    counters[counter.BATCH] = 2
    backend.write(counters, control.counters)
    backend.scatter(backend.asarray(whole[:4].copy()), control, out)
    np.testing.assert_array_equal(backend.to_numpy(out), np.concatenate([whole[:8], whole[:3]]))


@pytest.mark.parametrize("dtype", DTYPES)
def test_maxout(backend: Backend, dtype: Any, rng: np.random.Generator) -> None:
    """Bias and maximum in one pass, the first of equals wins, NaN wins; the way back and the bias gradient in one."""
    z, delta = np.round(rng.standard_normal((5, 12)), 1).astype(dtype), rng.standard_normal((5, 4)).astype(dtype)
    z[0, 5], z[1, 0:3] = np.nan, np.nan
    bias = np.round(rng.standard_normal(12)).astype(dtype)
    z[2], bias[8:] = 0.0, bias[4:8]  # the second and the third piece are equal here
    out, winner = backend.empty((5, 4), dtype), backend.empty((5, 4), np.int32)
    device_z = backend.asarray(z.copy())
    assert backend.max_pieces(device_z, backend.asarray(bias), out, winner) is out
    pieces = (z + bias).reshape(5, 3, 4)
    np.testing.assert_array_equal(backend.to_numpy(device_z), z)
    np.testing.assert_array_equal(backend.to_numpy(out), pieces.max(axis=1))
    np.testing.assert_array_equal(backend.to_numpy(winner), pieces.argmax(axis=1))
    back, bias_grad = backend.empty((5, 12), dtype), backend.full((12,), 9.0, dtype)
    backend.max_pieces_backward(backend.asarray(delta), winner, back, bias_grad)
    expected = np.where(np.arange(3)[None, :, None] == pieces.argmax(axis=1)[:, None], delta[:, None], 0)
    expected = expected.reshape(5, 12)
    np.testing.assert_array_equal(backend.to_numpy(back), expected)
    np.testing.assert_allclose(backend.to_numpy(bias_grad), expected.sum(axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_duplicate(backend: Backend, layout: Maker, rng: np.random.Generator) -> None:
    for shape in SHAPES:
        host = rng.standard_normal(shape).astype(np.float32)
        x, out = layout(backend, host), backend.full(shape, 9.0, np.float32)
        assert backend.duplicate(x, out) is out
        np.testing.assert_array_equal(backend.to_numpy(out), host)


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("columns", [1, 3, 4, 5, 6, 8, 37])
def test_dropout_mask_is_the_reference(backend: Backend, columns: int, rate: float) -> None:
    """Bit for bit, with a seed and a step of more than 32 bits."""
    seed, step, layer = 2**40 + 12345, 2**33 + 7, 3
    control = backend.control(1, np.float32, seed=seed)
    counters = backend.to_numpy(control.counters).copy()
    counters[counter.STEP] = step
    backend.write(counters, control.counters)
    x = np.arange(1, 3 * columns + 1, dtype=np.float32).reshape(3, columns)
    out = backend.dropout(backend.asarray(x), rate, layer, control)
    mask = references.dropout_mask(3, columns, rate, layer, step, seed)
    np.testing.assert_array_equal(backend.to_numpy(out), np.where(mask, x * np.float32(1 / (1 - rate)), 0))


@pytest.mark.parametrize("samples", [1, 2, 3, 5, 16, 17, 100])
@pytest.mark.parametrize("shuffle", [False, True])
def test_gather(backend: Backend, samples: int, shuffle: bool, rng: np.random.Generator) -> None:
    """Every row once an epoch, in the reference's order, scaled, with its target and weight."""
    batch_size, epoch, seed = min(4, samples), 2**35 + 3, 2**50 + 9
    x = rng.integers(0, 256, (samples, 5), dtype=np.uint8)
    labels, weights = rng.integers(0, 3, samples), rng.random(samples).astype(np.float32)
    data = Samples(backend.asarray(x), backend.asarray(labels), backend.asarray(weights), 1 / 255, -0.5)
    control = backend.control(1, np.float32, seed=seed, shuffle=shuffle)
    counters = backend.to_numpy(control.counters).copy()
    counters[counter.EPOCH], counters[counter.BATCH_SIZE] = epoch, batch_size
    backend.write(counters, control.counters)
    order = references.epoch_order(samples, epoch, seed) if shuffle else list(range(samples))
    assert sorted(order) == list(range(samples))
    for first in range(0, samples, batch_size):
        rows = order[first : first + batch_size]
        batch = Batch(
            backend.empty((len(rows), 5), np.float32), backend.empty((len(rows),), np.int64),
            backend.empty((len(rows),), np.float32), True,
        )  # fmt: skip
        backend.gather(data, control, batch)
        backend.advance(control)
        np.testing.assert_allclose(backend.to_numpy(batch.x), x[rows] / 255 - 0.5, rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(backend.to_numpy(batch.targets), labels[rows])
        np.testing.assert_array_equal(backend.to_numpy(batch.weights), weights[rows])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UPDATE_RULES)
def test_update_touches_its_segments_alone(backend: Backend, name: str, dtype: Any, rng: np.random.Generator) -> None:
    """test_optimizers.py checks the formulas; here: segments, L2, clipping and the learning-rate scale."""
    rule = UPDATE_RULES[name]
    w, g = rng.standard_normal(20).astype(dtype), rng.standard_normal(20).astype(dtype)
    settings = np.array([0, 0, 0, 0, 0.9, 0.99, 1e-8, 0])
    control = backend.control(1, dtype, table=np.array([[0.1, 2.0, 3.0]]))

    def updated(segments: list[list[int]], settings: np.ndarray, grads: np.ndarray) -> np.ndarray:
        params = backend.asarray(w.copy())
        backend.update(
            rule, params, backend.asarray(grads), backend.full((rule.states, 20), 0.0, dtype),
            backend.asarray(np.array(segments, np.int64)), backend.asarray(settings, dtype), control,
        )  # fmt: skip
        return np.array(backend.to_numpy(params))

    whole = updated([[0, 20, 0]], settings, g)
    parts = updated([[0, 8, 0], [12, 20, 0]], settings, g)
    np.testing.assert_array_equal(parts[8:12], w[8:12])
    np.testing.assert_array_equal(parts[:8], whole[:8])
    assert (whole != w).all()

    close = {"rtol": 1e-5, "atol": 1e-6}
    l2 = np.array([0.3, 0, 0, 0, 0.9, 0.99, 1e-8, 0])
    decayed = updated([[0, 10, 1], [10, 20, 0]], l2, g)
    np.testing.assert_allclose(
        decayed,
        np.concatenate([updated([[0, 20, 0]], settings, g + dtype(0.3) * w)[:10], whole[10:]]),
        **close,
    )
    decay = np.array([0, 0.5, 0, 0, 0.9, 0.99, 1e-8, 0])
    np.testing.assert_allclose(updated([[0, 20, 1]], decay, g), whole - 0.1 * 0.5 * w, rtol=1e-4, atol=1e-5)

    backend.global_norm(backend.asarray(g), backend.asarray(np.array([[0, 8, 1], [12, 20, 0]], np.int64)), control)
    trained = np.concatenate([g[:8], g[12:]]).astype(float)
    assert float(backend.to_numpy(control.norm)[0]) == pytest.approx(np.linalg.norm(trained), rel=1e-5)
    backend.global_norm(backend.asarray(g), backend.asarray(np.array([[0, 20, 0]], np.int64)), control)
    norm = float(backend.to_numpy(control.norm)[0])
    assert norm == pytest.approx(np.linalg.norm(g.astype(float)), rel=1e-5)
    clip = np.array([0, 0, norm / 4, 0, 0.9, 0.99, 1e-8, 0])
    np.testing.assert_allclose(updated([[0, 20, 0]], clip, g), updated([[0, 20, 0]], settings, g / dtype(4)), **close)

    backend.write(np.array([0.5]), control.scale)
    np.testing.assert_allclose(updated([[0, 20, 0]], settings, g) - w, (whole - w) / 2, rtol=1e-3, atol=1e-6)


def test_arrays_of_another_backend_are_refused(backend: Backend) -> None:
    class Stranger:
        shape, dtype = (2, 2), np.dtype(np.float32)

    mine = backend.full((2, 2), 1.0, np.float32)
    assert backend.owns(mine)
    assert not backend.owns(Stranger())
    with pytest.raises(InputTypeError, match=backend.name):
        backend.matmul(mine, Stranger())
    with pytest.raises(InputTypeError, match=backend.name):
        backend.hadamard(mine, Stranger(), mine)


def test_shapes_that_do_not_fit_are_refused(backend: Backend) -> None:
    """A kernel does not look at shapes, so the backend must."""
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
    with pytest.raises(InputError, match="predicted has shape"):
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
    with pytest.raises(InputError, match="bias or its gradient has shape"):
        backend.max_pieces(b, backend.full((3,), 0.0, np.float32), b[:, :2], backend.empty((2, 2), np.int32))
    with pytest.raises(InputError, match="duplicate: out has shape"):
        backend.duplicate(a, b)


def test_round_trip_and_write(backend: Backend, rng: np.random.Generator) -> None:
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


@pytest.mark.parametrize("dtype", DTYPES)
def test_penalize(backend: Backend, dtype: Any, rng: np.random.Generator) -> None:
    """The batch's l2 and what it adds to the loss; a batch of no weight has none."""
    weights = rng.standard_normal(64).astype(dtype)
    control = backend.control(3, dtype)
    settings = backend.asarray(np.array([9, 0, 0, 0.5, 0, 0, 0, 0], dtype))
    squares = backend.empty((8, 8), dtype)
    for batch, total in enumerate((4.0, 2.5, 0.0)):
        backend.write(np.full(3, total, dtype), control.totals)
        backend.penalize(backend.asarray(weights), settings, control, squares)
        l2 = 0.5 / total if total else 0.0
        assert backend.to_numpy(settings)[0] == pytest.approx(l2)
        expected = l2 / 2 * (weights.astype(float) ** 2).sum()
        assert backend.to_numpy(control.penalties)[batch] == pytest.approx(expected, rel=1e-5)
        backend.advance(control)
