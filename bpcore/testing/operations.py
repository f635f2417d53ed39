"""Tests of operations on arrays, against float64 references."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bpcore.backends.base import Backend
from bpcore.backends.samples import Batch
from bpcore.kernels import counter
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.kernels.losses import LOSSES
from bpcore.kernels.signatures import SIGNATURES, Elements
from bpcore.testing import references
from bpcore.testing.common import DTYPES, LAYOUTS, SHAPES, Layout, Suite, settings_to_try, tolerance


class OperationConformance(Suite):
    """Tests of products, activations, losses, and the operations on outputs."""

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("transpose_a", [False, True])
    @pytest.mark.parametrize("transpose_b", [False, True])
    def test_matmul(
        self, backend: Backend, transpose_a: bool, transpose_b: bool, dtype: Any, rng: np.random.Generator
    ) -> None:
        """Plain and transposed products, factors as numbers and as device arrays, into new arrays and into `out`."""
        for m, k, n in [(1, 1, 1), (4, 7, 3), (10, 1, 6), (33, 20, 10)]:
            a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
            start = rng.standard_normal((m, n)).astype(dtype)
            device_a = backend.asarray(np.ascontiguousarray(a.T)) if transpose_a else backend.asarray(a)
            device_b = backend.asarray(np.ascontiguousarray(b.T)) if transpose_b else backend.asarray(b)
            flags = {"transpose_a": transpose_a, "transpose_b": transpose_b}
            exact = a.astype(float) @ b.astype(float)
            close: dict[str, Any] = (
                {"rtol": 1e-4, "atol": 1e-4} if dtype == np.float32 else {"rtol": 1e-10, "atol": 1e-12}
            )
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
    def test_elementwise_and_sums(self, backend: Backend, layout: Layout, dtype: Any, rng: np.random.Generator) -> None:
        """Elementwise products, sums, and every kernel of matrices that has a reference, in every layout."""
        for shape in SHAPES:
            a, b = rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape).astype(dtype)
            x, y = layout(backend, a), layout(backend, b)
            np.testing.assert_array_equal(backend.to_numpy(backend.hadamard(x, y)), a * b)
            np.testing.assert_array_equal(backend.to_numpy(backend.add(x, y)), a + b)
            np.testing.assert_allclose(backend.to_numpy(backend.softmax(x)), references.softmax(a), rtol=1e-5)
            np.testing.assert_allclose(
                backend.to_numpy(backend.log_softmax(x)), references.log_softmax(a), **tolerance(dtype)
            )
            for name, reference in references.KERNELS.items():
                *inputs, result = SIGNATURES[name].arguments.values()
                sizes = dict(zip("BM", shape, strict=True))
                integers = result.elements is Elements.INT64
                out = backend.empty(tuple(sizes[size] for size in result.shapes[0]), np.int64 if integers else dtype)
                getattr(backend, name)(*(x, y)[: len(inputs)], out)
                expected = reference(*(a.astype(float), b.astype(float))[: len(inputs)])
                np.testing.assert_allclose(backend.to_numpy(out), expected, rtol=1e-4, atol=1e-5, err_msg=name)
            assert backend.add(x, y, x) is x
            np.testing.assert_array_equal(backend.to_numpy(x), a + b)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("layout", LAYOUTS)
    @pytest.mark.parametrize("name", ACTIVATIONS)
    def test_activation(
        self, backend: Backend, name: str, layout: Layout, dtype: Any, rng: np.random.Generator
    ) -> None:
        """activate and delta: values, bias gradient, and which arrays are overwritten."""
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
                p, step = entry.parameter, 1e-6
                slope = (f(total, p + step) - f(total, p - step)) / (2 * step)
                slope_grad = (incoming * slope).sum(axis=0)
                np.testing.assert_allclose(backend.to_numpy(parameter_grad), slope_grad, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("name", [name for name, entry in ACTIVATIONS.items() if entry.saves == "output"])
    def test_activation_in_place(self, backend: Backend, name: str, rng: np.random.Generator) -> None:
        """`out` may be z if the activation saves its output."""
        z = rng.standard_normal((4, 6)).astype(np.float32)
        device_z = backend.asarray(z.copy())
        backend.activate(device_z, backend.full((6,), 0.0, np.float32), ACTIVATIONS[name], device_z)
        expected = references.ACTIVATIONS[name][0](z.astype(np.float64))
        np.testing.assert_allclose(backend.to_numpy(device_z), expected, rtol=2e-5, atol=2e-6)

    @pytest.mark.parametrize("name", ACTIVATIONS)
    def test_activations_let_nan_through(self, backend: Backend, name: str) -> None:
        """NaN is passed on, so that a network that diverges is noticed."""
        z = backend.full((1, 1), np.nan, np.float32)
        out = backend.activate(z, backend.full((1,), 0.0, np.float32), ACTIVATIONS[name])
        assert np.isnan(backend.to_numpy(out)).all()

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("labels", [False, True])
    @pytest.mark.parametrize("name", LOSSES)
    def test_loss_head(
        self, backend: Backend, name: str, labels: bool, weighted: bool, dtype: Any, rng: np.random.Generator
    ) -> None:
        """Loss, delta, bias gradient, correct predictions and weights, each in its place; labels and dense targets."""
        for rows, outputs in [(1, 2), (6, 10), (9, 37)]:
            for settings in settings_to_try(LOSSES[name]):
                z = (2 * rng.standard_normal((rows, outputs))).astype(dtype)
                bias = rng.standard_normal(outputs).astype(dtype)
                y = rng.integers(0, outputs, rows)
                dense = np.eye(outputs)[y]
                weights = rng.random(rows).astype(dtype) + 0.5
                loss, delta = references.loss_and_delta(
                    name, z.astype(float) + bias, dense, weights if weighted else np.ones(rows), **settings
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
                    settings=tuple(settings.values()),
                )  # fmt: skip
                close: dict[str, Any] = (
                    {"rtol": 1e-4, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-10, "atol": 1e-12}
                )
                total = z + bias
                np.testing.assert_allclose(backend.to_numpy(device_z), total, rtol=1e-6)
                np.testing.assert_allclose(backend.to_numpy(control.losses), [0, loss, 0], **close)
                np.testing.assert_allclose(backend.to_numpy(device_delta), delta, **close)
                np.testing.assert_allclose(backend.to_numpy(bias_grad), delta.sum(axis=0), **close)
                total_weight = weights.sum() if weighted else rows
                np.testing.assert_allclose(backend.to_numpy(control.totals), [0, total_weight, 0], rtol=1e-6)
                if LOSSES[name].predicts != "yes_or_no":
                    right = (total.argmax(axis=1) == y).sum()
                else:
                    right = ((total > 0) == (dense > 0.5)).all(axis=1).sum()
                assert backend.to_numpy(control.correct).tolist() == [0, right, 0]
                assert backend.to_numpy(control.counters)[counter.FIRST_BAD] == -1

    def test_loss_head_of_soft_targets(self, backend: Backend, rng: np.random.Generator) -> None:
        """The loss and its delta for targets that are probabilities."""
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

    def test_loss_head_latches_the_first_bad_step(self, backend: Backend) -> None:
        """The counter holds the first step with a loss that is not finite, not a later one."""
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
    def test_log_softmax_of_large_outputs(self, backend: Backend, dtype: Any) -> None:
        """The result is finite where e^z would be infinite, and exact relative to its size; in place as well."""
        z = np.array([[1e4, 1e4 + 1, 1e4 + 3], [-3e4, -3e4, 0]], dtype)
        array = backend.asarray(z.copy())
        assert backend.log_softmax(array, array) is array
        np.testing.assert_allclose(backend.to_numpy(array), references.log_softmax(z.astype(float)), rtol=1e-6)

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_labels_from_outputs(self, backend: Backend, layout: Layout, dtype: Any, rng: np.random.Generator) -> None:
        """As numpy.argmax: the first of equal maxima, and the first NaN rather than any number."""
        for shape in SHAPES:
            z = np.round(rng.standard_normal(shape)).astype(dtype)
            for value in (np.nan, np.inf, -np.inf):
                z[rng.random(shape) < 0.1] = value
            z[-1] = -np.inf
            np.testing.assert_array_equal(backend.to_numpy(backend.argmax(layout(backend, z))), z.argmax(axis=1))
            np.testing.assert_array_equal(backend.to_numpy(backend.above_zero(layout(backend, z))), z > 0)
            out = backend.empty(shape[:1], np.int64)
            assert backend.argmax(layout(backend, z), out) is out

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_one_hot(self, backend: Backend, layout: Layout, dtype: Any, rng: np.random.Generator) -> None:
        """A label outside the columns gives a row of zeros."""
        for rows, columns in SHAPES:
            labels = rng.integers(-1, columns + 1, rows)
            out = layout(backend, np.full((rows, columns), 7, dtype))
            assert backend.one_hot(backend.asarray(labels), out) is out
            np.testing.assert_array_equal(backend.to_numpy(out), labels[:, None] == np.arange(columns))

    def test_confusion_counts_on(self, backend: Backend, rng: np.random.Generator) -> None:
        """Pairs are added to the counts, and labels outside are not counted."""
        predicted, targets = rng.integers(-2, 6, (2, 500))
        counts = backend.asarray(np.full((4, 4), 3))
        backend.confusion(backend.asarray(predicted), backend.asarray(targets), counts)
        expected = np.full((4, 4), 3)
        inside = (predicted >= 0) & (predicted < 4) & (targets >= 0) & (targets < 4)
        np.add.at(expected, (targets[inside], predicted[inside]), 1)
        np.testing.assert_array_equal(backend.to_numpy(counts), expected)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_maxout(self, backend: Backend, dtype: Any, rng: np.random.Generator) -> None:
        """Bias and maximum in one pass; the first of equal pieces wins, or NaN; the backward pass accordingly."""
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

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_limit_columns(self, backend: Backend, layout: Layout, dtype: Any, rng: np.random.Generator) -> None:
        """Columns longer than the limit are scaled to it; others, and those without a finite norm, keep their bits."""
        for shape in SHAPES:
            host = rng.standard_normal(shape).astype(dtype)
            norms = np.linalg.norm(host.astype(float), axis=0)
            limit = 2.0 * float(norms.max()) if shape[1] == 1 else float(np.median(norms)) * 1.0001
            weights, factors = layout(backend, host), backend.full(shape[1:], 9.0, dtype)
            assert backend.limit_columns(weights, limit, factors) is factors
            limited, long = backend.to_numpy(weights), norms > limit
            assert long.any() == (shape[1] > 1)
            np.testing.assert_allclose(limited, references.limited_columns(host, limit), **tolerance(dtype))
            np.testing.assert_array_equal(limited[:, ~long], host[:, ~long])
            np.testing.assert_array_equal(backend.to_numpy(factors)[~long], 1.0)
            np.testing.assert_allclose(backend.to_numpy(factors), np.minimum(1.0, limit / norms), rtol=1e-5)
        host = np.array([[3.0, 0.0, np.nan, np.inf], [4.0, 0.0, 1.0, 1.0]], dtype)
        weights = layout(backend, host)
        np.testing.assert_array_equal(backend.to_numpy(backend.limit_columns(weights, 10.0)), 1.0)
        np.testing.assert_array_equal(backend.to_numpy(weights), host)
        np.testing.assert_allclose(backend.to_numpy(backend.limit_columns(weights, 1.0)), [0.2, 1, 1, 1], rtol=1e-6)
        np.testing.assert_allclose(backend.to_numpy(weights)[:, 0], [0.6, 0.8], rtol=1e-6)
        np.testing.assert_array_equal(backend.to_numpy(weights)[:, 1:], host[:, 1:])

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_duplicate(self, backend: Backend, layout: Layout, rng: np.random.Generator) -> None:
        """A copy as an operation of a step."""
        for shape in SHAPES:
            host = rng.standard_normal(shape).astype(np.float32)
            x, out = layout(backend, host), backend.full(shape, 9.0, np.float32)
            assert backend.duplicate(x, out) is out
            np.testing.assert_array_equal(backend.to_numpy(out), host)
