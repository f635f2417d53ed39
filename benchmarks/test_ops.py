"""Benchmarks of every backend operation on every available device: `make bench` (pytest-benchmark)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bpcore import SGD, Adam, Dense, Momentum, Network, SoftmaxCrossEntropy
from bpcore.backends import available_backends, get_backend
from bpcore.backends.base import Backend, Batch, Samples
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.kernels.losses import LOSSES
from bpcore.kernels.optimizers import UPDATE_RULES
from bpcore.training.run import Run
from bpcore.training.schedules import Constant
from bpcore.training.settings import Settings

B, M = 512, 512


@pytest.fixture(params=[name for name, state in available_backends().items() if state == "available"])
def backend(request: pytest.FixtureRequest) -> Backend:
    return get_backend(request.param)


@pytest.fixture
def timed(benchmark: Any, backend: Backend) -> Callable[[Callable[[], object]], None]:
    """Time a call until the device has finished, without compilation."""

    def run(call: Callable[[], object]) -> None:
        def finished() -> None:
            call()
            backend.synchronize()

        finished()
        benchmark(finished)

    return run


def numbers(backend: Backend, *shape: int) -> Any:
    return backend.asarray(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize("transposed", ["", "a", "b"])
@pytest.mark.parametrize("shape", [(10, 784, 30), (128, 784, 128), (512, 512, 512)], ids=str)
def test_matmul(backend: Backend, timed: Any, shape: tuple[int, int, int], transposed: str) -> None:
    """The products of the forward pass (a b), the weights' gradient (a^T b) and the input's delta (a b^T)."""
    m, k, n = shape
    a = numbers(backend, *((k, m) if transposed == "a" else (m, k)))
    b = numbers(backend, *((n, k) if transposed == "b" else (k, n)))
    out = numbers(backend, m, n)
    timed(lambda: backend.matmul(a, b, out, transpose_a=transposed == "a", transpose_b=transposed == "b"))


def test_matmul_that_adds(backend: Backend, timed: Any) -> None:
    a, b, out = numbers(backend, B, M), numbers(backend, B, M), numbers(backend, M, M)
    timed(lambda: backend.matmul(a, b, out, transpose_a=True, alpha=-1e-6, beta=1.0))


@pytest.mark.parametrize("name", ["hadamard", "add"])
def test_elementwise(backend: Backend, timed: Any, name: str) -> None:
    a, b, out = (numbers(backend, B, M) for _ in range(3))
    operation = getattr(backend, name)
    timed(lambda: operation(a, b, out))


def test_softmax(backend: Backend, timed: Any) -> None:
    z, out = numbers(backend, B, M), numbers(backend, B, M)
    timed(lambda: backend.softmax(z, out))


def test_column_sums(backend: Backend, timed: Any) -> None:
    x, out = numbers(backend, B, M), numbers(backend, M)
    timed(lambda: backend.column_sums(x, out))


@pytest.mark.parametrize("limit", [100.0, 1.0], ids=["none too long", "all too long"])
def test_limit_columns(backend: Backend, benchmark: Any, limit: float) -> None:
    """Each call gets fresh weights, since limited ones no longer exceed the limit."""
    weights, fresh, factors = numbers(backend, 2 * M, 2 * M), numbers(backend, 2 * M, 2 * M), numbers(backend, 2 * M)

    def refresh() -> None:
        backend.copy(fresh, weights)
        backend.synchronize()

    def call() -> None:
        backend.limit_columns(weights, limit, factors)
        backend.synchronize()

    call()
    benchmark.pedantic(call, setup=refresh, rounds=500)


def test_max_pieces(backend: Backend, timed: Any) -> None:
    z, out, winner = numbers(backend, B, 2 * M), numbers(backend, B, M), backend.asarray(np.zeros((B, M), np.int32))
    bias = numbers(backend, 2 * M)
    timed(lambda: backend.max_pieces(z, bias, out, winner))


def test_max_pieces_backward(backend: Backend, timed: Any) -> None:
    delta, out = numbers(backend, B, M), numbers(backend, B, 2 * M)
    winner = backend.asarray(np.random.default_rng(0).integers(0, 2, (B, M), np.int32))
    grad = numbers(backend, 2 * M)
    timed(lambda: backend.max_pieces_backward(delta, winner, out, grad))


def test_duplicate(backend: Backend, timed: Any) -> None:
    x, out = numbers(backend, B, M), numbers(backend, B, M)
    timed(lambda: backend.duplicate(x, out))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_forward(backend: Backend, timed: Any, name: str) -> None:
    z, out, bias = numbers(backend, B, M), numbers(backend, B, M), backend.full((M,), 0.0, np.float32)
    parameter = backend.full((M,), ACTIVATIONS[name].parameter, np.float32)
    timed(lambda: backend.activate(z, bias, ACTIVATIONS[name], out, parameter=parameter))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_delta(backend: Backend, benchmark: Any, name: str) -> None:
    """Each call gets a fresh delta: overwritten repeatedly, it would fade into subnormal numbers, which are slow."""
    delta, fresh, saved, grad = (
        numbers(backend, B, M),
        numbers(backend, B, M),
        numbers(backend, B, M),
        numbers(backend, M),
    )
    parameter = backend.full((M,), ACTIVATIONS[name].parameter, np.float32)
    by_parameter = numbers(backend, M)

    def refresh() -> None:
        backend.copy(fresh, delta)
        backend.synchronize()

    def call() -> None:
        backend.delta(delta, saved, ACTIVATIONS[name], grad, parameter=parameter, parameter_grad=by_parameter)
        backend.synchronize()

    call()
    benchmark.pedantic(call, setup=refresh, rounds=500)


@pytest.mark.parametrize("name", LOSSES)
def test_loss_head(backend: Backend, timed: Any, name: str) -> None:
    z, delta, grad = numbers(backend, B, 10), numbers(backend, B, 10), numbers(backend, 10)
    labels = backend.asarray(np.random.default_rng(0).integers(0, 10, B))
    batch = Batch(numbers(backend, B, 1), labels, backend.full((B,), 1.0, np.float32), False)
    control = backend.control(1, np.float32)
    bias = backend.full((10,), 0.0, np.float32)
    timed(lambda: backend.loss_head(LOSSES[name], z, bias, batch, delta, grad, control))


@pytest.mark.parametrize("name", UPDATE_RULES)
def test_update(backend: Backend, timed: Any, name: str) -> None:
    rule, size = UPDATE_RULES[name], 2**20
    params, grads = numbers(backend, size), backend.full((size,), 1e-6, np.float32)
    state = backend.full((rule.states, size), 1e-3, np.float32)
    segments = backend.asarray(np.array([[0, size, 1]]))
    settings = backend.asarray(np.array([0, 0, 0, 0, 0.9, 0.999, 1e-8, 0]), np.float32)
    control = backend.control(1, np.float32, table=np.array([[1e-6, 1.0, 1.0]]))
    timed(lambda: backend.update(rule, params, grads, state, segments, settings, control))


def test_global_norm(backend: Backend, timed: Any) -> None:
    grads, control = numbers(backend, 2**20), backend.control(1, np.float32)
    segments = backend.asarray(np.array([[0, 2**20, 1]]))
    timed(lambda: backend.global_norm(grads, segments, control))


def test_advance(backend: Backend, timed: Any) -> None:
    control = backend.control(1, np.float32)
    timed(lambda: backend.advance(control))


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_gather(backend: Backend, timed: Any, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x = backend.asarray(rng.integers(0, 256, (60000, 784), dtype=np.uint8).astype(dtype))
    samples = Samples(x, backend.asarray(rng.integers(0, 10, 60000)), None, 1 / 255)
    labels = backend.empty((128,), np.int64)
    batch = Batch(numbers(backend, 128, 784), labels, backend.full((128,), 1.0, np.float32), False)
    control = backend.control(1, np.float32, shuffle=True)
    timed(lambda: backend.gather(samples, control, batch))


def test_dropout(backend: Backend, timed: Any) -> None:
    x, out, control = numbers(backend, B, M), numbers(backend, B, M), backend.control(1, np.float32)
    timed(lambda: backend.dropout(x, 0.5, 0, control, out))


@pytest.mark.parametrize(
    "optimizer",
    [SGD(learning_rate=1e-6), Momentum(learning_rate=1e-6), Adam(learning_rate=1e-6)],
    ids=lambda optimizer: type(optimizer).__name__,
)
@pytest.mark.parametrize("hidden", [(30,), (128,), (256, 128), (512, 512)], ids=str)
@pytest.mark.parametrize("batch_size", [10, 128, 2048])
def test_full_step(backend: Backend, timed: Any, hidden: tuple[int, ...], batch_size: int, optimizer: Any) -> None:
    """Gather, forward, loss, backward and update of 20 mini-batches, or fewer if 10,000 samples are not enough."""
    rng = np.random.default_rng(0)
    x = backend.asarray(rng.integers(0, 256, (10000, 784), dtype=np.uint8))
    samples = Samples(x, backend.asarray(rng.integers(0, 10, 10000)), None, 1 / 255)
    network = Network([*(Dense(width, "relu") for width in hidden), Dense(10)], inputs=784, backend=backend)
    run = Run(network, samples, Settings(SoftmaxCrossEntropy(), optimizer, Constant(), 1, batch_size, 0))

    steps = min(20, run.batches.full_steps)

    def some_steps() -> None:
        run.begin_epoch(0)
        run.run_steps(steps)

    some_steps()  # the steps are recorded and checked
    timed(some_steps)


def test_evaluation(backend: Backend, timed: Any) -> None:
    rng = np.random.default_rng(0)
    network = Network([Dense(128, "relu"), Dense(10)], inputs=784, backend=backend)
    network.loss = SoftmaxCrossEntropy()
    x, y = rng.integers(0, 256, (10000, 784), dtype=np.uint8), rng.integers(0, 10, 10000)
    timed(lambda: network.evaluate(x, y))
