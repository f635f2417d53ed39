"""Tests of operations that read the control block: batches, dropout masks, updates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bpcore.backends.base import Backend
from bpcore.backends.samples import Batch, Samples
from bpcore.kernels import counter
from bpcore.kernels.optimizers import UPDATE_RULES
from bpcore.testing import references
from bpcore.testing.common import DTYPES, Suite


class StepConformance(Suite):
    """Tests of the order of rows, of masks bit for bit, and of updates."""

    @pytest.mark.parametrize("samples", [1, 2, 3, 5, 16, 17, 100])
    @pytest.mark.parametrize("shuffle", [False, True])
    def test_gather(self, backend: Backend, samples: int, shuffle: bool, rng: np.random.Generator) -> None:
        """An epoch has each row once, in the reference's order, scaled, with its target and weight."""
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
    @pytest.mark.parametrize("labels", [False, True])
    def test_scatter_is_the_reverse_of_gather(
        self, backend: Backend, labels: bool, dtype: Any, rng: np.random.Generator
    ) -> None:
        """Batches go to their places; rows past the end are dropped."""
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
        # Rows past the end are dropped.
        counters[counter.BATCH] = 2
        backend.write(counters, control.counters)
        backend.scatter(backend.asarray(whole[:4].copy()), control, out)
        np.testing.assert_array_equal(backend.to_numpy(out), np.concatenate([whole[:8], whole[:3]]))

    def test_samples_may_begin_with_a_later_batch(self, backend: Backend, rng: np.random.Generator) -> None:
        """In a chunk of streamed data the rows are counted from the batch in the counter FIRST_BATCH."""
        host = rng.standard_normal((6, 3)).astype(np.float32)
        control = backend.control(1, np.float32)
        counters = backend.to_numpy(control.counters).copy()
        counters[counter.BATCH], counters[counter.FIRST_BATCH], counters[counter.BATCH_SIZE] = 5, 4, 2
        backend.write(counters, control.counters)
        data = Samples(backend.asarray(host), backend.asarray(np.arange(6)))
        batch = Batch(
            backend.empty((2, 3), np.float32),
            backend.empty((2,), np.int64),
            backend.full((2,), 1.0, np.float32),
            False,
        )
        backend.gather(data, control, batch)
        np.testing.assert_array_equal(backend.to_numpy(batch.x), host[2:4])
        np.testing.assert_array_equal(backend.to_numpy(batch.targets), [2, 3])
        out = backend.full((6, 3), 0.0, np.float32)
        backend.scatter(batch.x, control, out)
        np.testing.assert_array_equal(backend.to_numpy(out)[2:4], host[2:4])

    @pytest.mark.parametrize("rate", [0.0, 0.2, 0.5, 0.9])
    @pytest.mark.parametrize("columns", [1, 3, 4, 5, 6, 8, 37])
    def test_dropout_mask_is_the_reference(self, backend: Backend, columns: int, rate: float) -> None:
        """The mask is the reference's bit for bit, with a seed and a step of more than 32 bits."""
        seed, step, layer = 2**40 + 12345, 2**33 + 7, 3
        control = backend.control(1, np.float32, seed=seed)
        counters = backend.to_numpy(control.counters).copy()
        counters[counter.STEP] = step
        backend.write(counters, control.counters)
        x = np.arange(1, 3 * columns + 1, dtype=np.float32).reshape(3, columns)
        out = backend.dropout(backend.asarray(x), rate, layer, control)
        mask = references.dropout_mask(3, columns, rate, layer, step, seed)
        np.testing.assert_array_equal(backend.to_numpy(out), np.where(mask, x * np.float32(1 / (1 - rate)), 0))

    @pytest.mark.parametrize("dtype", DTYPES)
    @pytest.mark.parametrize("name", UPDATE_RULES)
    def test_update_touches_its_segments_alone(
        self, backend: Backend, name: str, dtype: Any, rng: np.random.Generator
    ) -> None:
        """Segments, L2, decay, clipping and the learning rate's scale; whole runs test the formulas."""
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

        close: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6}
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
        np.testing.assert_allclose(
            updated([[0, 20, 0]], clip, g), updated([[0, 20, 0]], settings, g / dtype(4)), **close
        )

        backend.write(np.array([0.5]), control.scale)
        np.testing.assert_allclose(updated([[0, 20, 0]], settings, g) - w, (whole - w) / 2, rtol=1e-3, atol=1e-6)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_penalize(self, backend: Backend, dtype: Any, rng: np.random.Generator) -> None:
        """The batch's l2 and its contribution to the loss are right, and both zero for a batch without weight."""
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
