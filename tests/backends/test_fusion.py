"""Folding updates into products: the same weights, in fewer passes, and only where it is correct."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpcore import SGD, Adam, AdamW, Callback, Dense, Dropout, Layer, Momentum, Network
from bpcore.backends import cpu_tape, fusion, get_backend
from bpcore.backends.base import Backend
from bpcore.backends.fusion import Panels, fold_updates
from bpcore.backends.operations import Kernel, Operation, Product
from bpcore.training.optimizers import OPTIMIZERS, get_optimizer
from bpcore.training.run import Run


class Steps(Callback):
    """Captures the operations of one step of a run, as written and as rewritten."""

    def on_begin(self, run: Run) -> None:
        self.run = run
        self.written: list[Operation] = []
        run.begin_epoch(0)
        backend = run.backend
        backend.watcher = lambda operation: (self.written.append(operation), backend.execute(operation))[0]
        run.step(run.buffers.full)
        backend.watcher = None
        self.folded = fold_updates(backend, self.written)


def step_of(layers: list[Layer], features: int = 5, **options: Any) -> Steps:
    rng = np.random.default_rng(3)
    steps = Steps()
    network = Network(layers, backend="numpy", precision="float64", seed=2)
    x, y = rng.standard_normal((20, features)), rng.integers(0, 3, 20)
    network.fit(x, y, epochs=1, batch_size=10, callbacks=[steps], **options)
    return steps


def products(operations: Any) -> list[Product]:
    return [operation for operation in operations if isinstance(operation, Product)]


def updates(operations: Any) -> list[Kernel]:
    return [one for one in operations if isinstance(one, Kernel) and one.spec.template == "update"]


def run(backend: Backend, operations: Any) -> None:
    for operation in operations:
        backend.execute(operation)


def test_a_folded_step_gives_the_same_weights() -> None:
    steps = step_of([Dense(8, "tanh"), Dropout(0.4), Dense(6, "prelu"), Dense(3)], optimizer=SGD(l2=0.3))
    backend, parameters = steps.run.backend, steps.run.network.parameters
    assert all(np.shares_memory(product.out, parameters.params) for product in products(steps.folded)[-3:])
    assert len(products(steps.folded)) == len(products(steps.written)) == 3 + 3 + 2
    before = parameters.params.copy()
    results = []
    for operations in (steps.written, steps.folded):
        parameters.params[:] = before
        steps.run.begin_epoch(0)
        run(backend, operations)
        results.append(parameters.params.copy())
    assert not np.array_equal(results[0], before)
    np.testing.assert_allclose(results[1], results[0], rtol=1e-12)


def test_folded_weights_have_no_gradient_and_the_update_leaves_them_alone() -> None:
    steps = step_of([Dense(8, "relu"), Dense(3)], optimizer=SGD())
    parameters = steps.run.network.parameters
    for view in parameters.views.values():
        view.grad[:] = np.nan
    steps.run.begin_epoch(0)
    run(steps.run.backend, steps.folded)
    assert np.isfinite(parameters.params).all()
    for name, view in parameters.views.items():
        assert np.isnan(view.grad).all() == name.endswith("W"), name
    (update,) = updates(steps.folded)
    weights = [view for name, view in parameters.views.items() if name.endswith("W")]
    for first, stop, _ in update.arguments[3]:
        assert all(stop <= view.first or view.first + view.size <= first for view in weights)


def test_nothing_is_left_to_update_without_biases() -> None:
    steps = step_of([Dense(8, "relu", bias=False), Dense(3, bias=False)], optimizer=SGD())
    assert updates(steps.written)
    (update,) = updates(steps.folded)
    padding = sum(stop - first for first, stop, _ in update.arguments[3])
    assert padding < 2 * 32, "what lies between the arrays"


@pytest.mark.parametrize("optimizer", [SGD(max_norm=1.0), Momentum()])
def test_nothing_is_folded_where_it_would_be_wrong(optimizer: Any) -> None:
    steps = step_of([Dense(8, "relu"), Dense(3)], optimizer=optimizer)
    assert steps.folded is steps.written


@pytest.mark.parametrize(
    "optimizer",
    [Momentum(l2=0.3), AdamW(weight_decay=0.1), *(get_optimizer(name) for name in OPTIMIZERS if name != "sgd")],
)
@pytest.mark.parametrize("size", [1, 300, 10**6])
def test_a_step_in_panels_gives_the_same_weights(optimizer: Any, size: int) -> None:
    steps = step_of([Dense(13, "tanh"), Dropout(0.4), Dense(6, "prelu"), Dense(3)], optimizer=optimizer)
    backend, parameters, state = steps.run.backend, steps.run.network.parameters, steps.run.state
    in_panels = fold_updates(backend, steps.written, panels=Panels(smallest=8 * 20, size=size))
    rows = {1: 5 + 7, 300: 3 + 3, 10**6: 2}[size]  # of (5, 13) and (13, 6) float64; (6, 3) is too small
    assert len(updates(in_panels)) == rows + 1
    assert len(products(in_panels)) == len(products(steps.written)) - 2 + rows
    before = parameters.params.copy(), state.copy()
    results = []
    for operations in (steps.written, in_panels):
        parameters.params[:], state[:] = before
        parameters.grads[:] = np.nan
        steps.run.begin_epoch(0)
        run(backend, operations)
        results.append((parameters.params.copy(), state.copy()))
    assert not np.array_equal(results[0][0], before[0])
    for written, folded in zip(*results, strict=True):
        np.testing.assert_allclose(folded, written, rtol=1e-12, atol=1e-15)
    unused = [name for name, view in parameters.views.items() if np.isnan(view.grad).all()]
    assert unused == ["0.W", "2.W"]


def test_threads_make_panels_without_waiting() -> None:
    steps = step_of([Dense(64, "relu", bias=False), Dense(64, bias=False)], optimizer=Adam(), features=64)
    in_panels = fold_updates(steps.run.backend, steps.written, panels=Panels(smallest=0, size=8 * 64 * 32))
    first = in_panels.index(updates(in_panels)[0]) - 1
    panels = in_panels[first : first + 8]
    assert len(updates(panels)) == len(products(panels)) == 4
    cutter = cpu_tape.Cutter(2)
    assert not any(cpu_tape.waits([entry for one in panels for entry in cutter.entries(one)])[1:])


def test_a_gradient_is_kept_if_another_operation_needs_it_or_its_factors_change() -> None:
    steps = step_of([Dense(8, "relu"), Dense(3)], optimizer=SGD())
    backend, parameters = steps.run.backend, steps.run.network.parameters
    place = steps.written.index(updates(steps.written)[0])
    ones, (hidden, *_) = backend.full((3, 3), 1.0, np.float64), products(steps.written)
    grad = parameters.views["1.W"].grad

    def folded(*more: Product) -> int:
        operations = [*steps.written[:place], *more, *steps.written[place:]]
        found = products(fold_updates(backend, operations))
        return sum(np.shares_memory(one.out, parameters.params) for one in found)

    assert folded() == 2
    assert folded(Product(grad.T, grad, ones)) == 1, "the gradient is read"
    assert folded(Product(grad, ones, grad)) == 1, "the gradient is changed"
    assert folded(Product(grad, ones, hidden.out[:3].reshape(8, 3))) == 1, "the output that it is made of is gone"


def test_frozen_weights_are_not_touched() -> None:
    steps = step_of([Dense(8, "relu"), Dense(3)], optimizer=SGD())
    parameters = steps.run.network.parameters
    (update,) = updates(steps.written)
    first = parameters.views["1.W"].first
    frozen = np.array([[first, first + 32, 1]], np.int64)  # no segment has the first layer's weights
    arguments = [*update.arguments[:3], frozen, *update.arguments[4:]]
    operations = [Kernel(one.spec, arguments) if one is update else one for one in steps.written]
    before = parameters.views["0.W"].value.copy()
    run(steps.run.backend, fold_updates(steps.run.backend, operations))
    np.testing.assert_array_equal(parameters.views["0.W"].value, before)


def test_small_arrays_may_be_left_unfolded() -> None:
    steps = step_of([Dense(8, "relu"), Dense(3)], optimizer=SGD())
    assert fold_updates(steps.run.backend, steps.written, smallest=10**6) is steps.written


@given(
    segments=st.lists(st.integers(1, 50), min_size=1, max_size=4),
    taken=st.lists(st.tuples(st.integers(0, 199), st.integers(1, 20)), max_size=6),
)
def test_the_remaining_segments(segments: list[int], taken: list[tuple[int, int]]) -> None:
    rows, first = [], 0
    for length in segments:
        rows.append((first, first + length, 1))
        first += length + 3
    ranges: list[tuple[int, int]] = []
    for low, length in taken:  # disjoint ranges, each inside one segment
        high = low + length
        inside = any(a <= low and high <= b for a, b, _ in rows)
        if inside and all(high <= other[0] or other[1] <= low for other in ranges):
            ranges.append((low, high))
    left = fusion._segments_without(ranges, np.array(rows, np.int64))
    expected = {i for a, b, _ in rows for i in range(a, b)} - {i for a, b in ranges for i in range(a, b)}
    found = [i for a, b, _ in left.tolist() for i in range(a, b)]
    assert sorted(found) == sorted(expected)
    assert len(found) == len(set(found))


def test_gradients_are_kept_for_callbacks_that_read_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run folds unless a callback says that it reads gradients."""
    monkeypatch.setenv("BPCORE_NUM_THREADS", "1")

    class Watch(Callback):
        def on_epoch_end(self, run: Run) -> None:
            seen.append(float(np.abs(run.network.parameters.views["0.W"].grad).sum()))

    class Reader(Watch):
        reads_gradients = True

    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 5)), rng.integers(0, 3, 20)
    weights = []
    for callback in (Watch(), Reader()):
        seen: list[float] = []
        network = Network([Dense(8, "relu"), Dense(3)], backend=get_backend("numpy"), precision="float64")
        network.fit(x, y, epochs=2, batch_size=10, optimizer=SGD(), callbacks=[callback])
        assert (seen[-1] > 0) == callback.reads_gradients
        weights.append(network.parameters_by_name()["0.W"])
    np.testing.assert_allclose(weights[0], weights[1], rtol=1e-12)


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_run_in_panels_gives_the_same_weights(threads: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPCORE_NUM_THREADS", threads)
    monkeypatch.setattr(cpu_tape, "OPERATIONS_WORTH_A_THREAD", 1)  # two threads although the network is small
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((50, 70)), rng.integers(0, 3, 50)
    weights = []
    for smallest in (10**9, 0):
        monkeypatch.setattr(cpu_tape, "PANELS", Panels(smallest, size=8 * 33 * 40))
        network = Network([Dense(33, "relu"), Dense(3)], backend=get_backend("numpy"), precision="float64")
        network.fit(x, y, epochs=3, batch_size=16, optimizer=Adam(learning_rate=0.01, l2=0.1))
        weights.append(network.parameters_by_name())
    for name, array in weights[0].items():
        np.testing.assert_allclose(weights[1][name], array, rtol=1e-11, atol=1e-14)
