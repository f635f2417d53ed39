"""Compare each fused activation and delta kernel with PyTorch's operations, on one thread and on two.

    python benchmarks/activations_versus_torch.py [--shapes 128x128,512x512,2048x1024] [--threads 1,2] [--rounds 9]

forward   bpcore: out <- f(z + bias), one kernel. PyTorch: f(torch.add(z, bias)).
delta     bpcore: delta <- delta * f'(saved) and the bias gradient, one kernel. PyTorch: the backward operation that
          autograd calls for f, then the sum over the rows.

bpcore's kernels are on a tape as in training, split into as many parts as there are threads. The contenders take turns,
each in its own process; a turn is many calls in a row on the same data, as long as a replay in training. Medians are
printed, in microseconds per call, and PyTorch's time over bpcore's. bpcore overwrites the delta, which would fade into
subnormal numbers, and these are slow. So its tape restores the delta before each call, and the time of a tape that only
restores it is subtracted. PyTorch is not a dependency of bpcore: pip install torch.
"""

from __future__ import annotations

import argparse
import itertools
import math
import multiprocessing
import statistics
import time
from collections.abc import Callable
from datetime import date
from importlib.metadata import version
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from bpcore.backends.cpu_tape import Cutter, tape_of
from bpcore.backends.numpy_backend import NumpyBackend
from bpcore.backends.operations import Operation
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.training.replay import REPLAY_SECONDS

PAUSE = 0.03
"""Seconds before a turn, since the other library's threads may still be spinning."""

NAMES = ["identity", "sigmoid", "tanh", "relu", "leaky_relu", "elu", "selu", "softplus", "silu", "gelu"]
SELU = (1.6732632423543772, 1.0507009873554805, 1.0)

Run = Callable[[int], object]
"""Called as run(calls): makes that many calls."""


class Case:
    """A computation to measure: an activation, its arrays (the same for each contender), and the number of threads."""

    def __init__(self, name: str, rows: int, columns: int, threads: int) -> None:
        rng = np.random.default_rng(0)
        self.name, self.rows, self.threads = name, rows, threads
        self.z, self.delta = (rng.standard_normal((rows, columns), np.float32) for _ in range(2))
        self.bias = 1e-3 * rng.standard_normal(columns, np.float32)  # bpcore adds it in each call where z is saved
        self.saves_input = ACTIVATIONS[name].saves == "input"


# --- the contenders -----------------------------------------------------------------------------------------------

Prepared = dict[str, tuple[Run, Run, list[np.ndarray]]]
"""For "forward" and "delta": the run to time, the run whose time is subtracted, and the results."""


def in_bpcore(case: Case) -> Prepared:
    backend, activation = NumpyBackend(), ACTIVATIONS[case.name]
    dtype = np.dtype(np.float32)
    z, out, zeros, fresh, delta, saved = (backend.empty(case.z.shape, dtype) for _ in range(6))
    bias, bias_grad = (backend.empty(case.bias.shape, dtype) for _ in range(2))
    for host, array in ((case.z, z), (case.bias, bias), (case.delta, fresh), (np.zeros_like(case.z), zeros)):
        backend.write(host, array)

    def restore() -> None:
        backend.add(fresh, zeros, delta)

    def forward() -> None:
        backend.activate(z, bias, activation, out)

    def backward() -> None:
        backend.delta(delta, saved, activation, bias_grad)

    forward()
    backend.copy(z if case.saves_input else out, saved)
    restore()
    backward()
    results = out.copy(), delta.copy(), bias_grad.copy()
    return {
        "forward": (on_tape(backend, case.threads, forward), lambda calls: None, [results[0]]),
        "delta": (
            on_tape(backend, case.threads, restore, backward),
            on_tape(backend, case.threads, restore),
            [*results[1:]],
        ),
    }


def on_tape(backend: NumpyBackend, threads: int, *operations: Callable[[], object]) -> Run:
    """A tape of some operations in order, recorded as in training."""
    recorded: list[Operation] = []
    backend.watcher = recorded.append
    try:
        for operation in operations:
            operation()
    finally:
        backend.watcher = None
    cutter = Cutter(threads)
    return tape_of([entry for operation in recorded for entry in cutter.entries(operation)]).replay


def in_torch(case: Case) -> Prepared:
    import torch
    from torch.nn import functional

    torch.set_num_threads(case.threads)
    aten = torch.ops.aten
    f: Callable[[Any], Any] = {
        "identity": lambda z: z,
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
        "relu": torch.relu,
        "leaky_relu": lambda z: functional.leaky_relu(z, 0.01),
        "elu": functional.elu,
        "selu": functional.selu,
        "softplus": functional.softplus,
        "silu": functional.silu,
        "gelu": functional.gelu,
    }[case.name]
    derivative: Callable[[Any, Any], Any] = {
        "identity": lambda delta, saved: delta,
        "sigmoid": aten.sigmoid_backward,
        "tanh": aten.tanh_backward,
        "relu": lambda delta, saved: aten.threshold_backward(delta, saved, 0),
        "leaky_relu": lambda delta, saved: aten.leaky_relu_backward(delta, saved, 0.01, False),
        "elu": lambda delta, saved: aten.elu_backward(delta, 1.0, 1.0, 1.0, True, saved),
        "selu": lambda delta, saved: aten.elu_backward(delta, *SELU, True, saved),
        "softplus": lambda delta, saved: aten.softplus_backward(delta, saved, 1.0, 20.0),
        "silu": aten.silu_backward,
        "gelu": aten.gelu_backward,
    }[case.name]
    z, bias, delta = (torch.from_numpy(array) for array in (case.z, case.bias, case.delta))
    total, bias_grad = torch.empty_like(z), torch.empty_like(bias)
    # PyTorch computes the derivative of softplus from the input, bpcore from the output.
    saved = z + bias if case.saves_input or case.name == "softplus" else f(z + bias)

    def forward(calls: int) -> None:
        for _ in range(calls):
            f(torch.add(z, bias, out=total))

    def backward(calls: int) -> None:
        for _ in range(calls):
            torch.sum(derivative(delta, saved), 0, out=bias_grad)

    backward(1)
    results = f(z + bias), derivative(delta, saved), bias_grad
    out, back, grad = (result.numpy().copy() for result in results)
    return {
        "forward": (forward, lambda calls: None, [out]),
        "delta": (backward, lambda calls: None, [back, grad]),
    }


CONTENDERS: dict[str, Callable[[Case], Prepared]] = {"bpcore": in_bpcore, "torch": in_torch}


# --- their processes --------------------------------------------------------------------------------------------


class Contender:
    """A contender in its own process."""

    def __init__(self, name: str) -> None:
        context = multiprocessing.get_context("spawn")  # a forked child inherits thread pools without threads
        self._pipe, theirs = context.Pipe()
        context.Process(target=serve, args=(name, theirs), daemon=True).start()

    def ask(self, request: object) -> Any:
        self._pipe.send(request)
        return self._pipe.recv()

    def end(self) -> None:
        self._pipe.send(None)


def serve(name: str, pipe: Connection) -> None:
    """Answer requests: a case by its results of each kind, a kind by the microseconds of a call; None ends it."""
    prepared: Prepared = {}
    calls: dict[str, int] = {}
    while (request := pipe.recv()) is not None:
        if isinstance(request, str):
            run, subtracted, _ = prepared[request]
            pipe.send((timed(run, calls[request]) - timed(subtracted, calls[request])) * 1e6)
        else:
            prepared = CONTENDERS[name](Case(*request))
            calls = {kind: enough(run) for kind, (run, _, _) in prepared.items()}
            pipe.send({kind: results for kind, (_, _, results) in prepared.items()})


def timed(run: Run, calls: int) -> float:
    """Seconds per call."""
    began = time.perf_counter()
    run(calls)
    return (time.perf_counter() - began) / calls


def enough(run: Run) -> int:
    """The number of calls that take as long as a replay in training."""
    run(10)
    calls = 10
    while (seconds := calls * timed(run, calls)) < REPLAY_SECONDS / 4:
        calls *= 2
    return max(10, round(calls * REPLAY_SECONDS / seconds))


def measure(contenders: dict[str, Contender], kind: str, rounds: int) -> list[float]:
    """The median microseconds per call of each contender, measured in turns; the first turn is not counted."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, contender in contenders.items():
            time.sleep(PAUSE)
            times[name].append(contender.ask(kind))
    return [statistics.median(found[1:]) for found in times.values()]


def check_alike(name: str, rows: int, mine: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    for a, b in zip(mine, theirs, strict=True):
        loose = 1e-5 if a.ndim == 2 else 1e-3 * math.sqrt(rows)
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=loose, err_msg=name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--names", default=",".join(NAMES))
    parser.add_argument("--shapes", default="128x128,512x512,2048x1024")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    shapes = [tuple(map(int, shape.split("x"))) for shape in options.shapes.split(",")]
    counts = [int(count) for count in options.threads.split(",")]
    contenders = {name: Contender(name) for name in CONTENDERS}
    device = NumpyBackend().describe()
    print(f"{date.today()}  {device['device']}, numba {device['numba']}, torch {version('torch')}")
    print(f"medians of {options.rounds} turns; us per call, and PyTorch's time / bpcore's")
    print(f"{'':12}{'':11}{'':9}{'forward':>28}{'delta':>32}")
    print(f"{'activation':12}{'shape':>11}{'threads':>9}" + f"{'bpcore':>12}{'torch':>10}{'ratio':>8}" * 2)
    ratios: dict[int, list[float]] = {count: [] for count in counts}
    for name, (rows, columns), count in itertools.product(options.names.split(","), shapes, counts):
        mine, theirs = (contender.ask((name, rows, columns, count)) for contender in contenders.values())
        line = f"{name:12}{f'{rows}x{columns}':>11}{count:>9}"
        for kind in ("forward", "delta"):
            check_alike(name, rows, mine[kind], theirs[kind])
            ours, other = measure(contenders, kind, options.rounds)
            ratios[count].append(other / ours)
            line += f"{ours:12.1f}{other:10.1f}{other / ours:8.2f}"
        print(line, flush=True)
    for contender in contenders.values():
        contender.end()
    for count, found in ratios.items():
        print(f"{count} thread{'s' * (count > 1)}: geometric mean of PyTorch's time / bpcore's", end=" ")
        print(f"{statistics.geometric_mean(found):.2f} over {len(found)}, least {min(found):.2f}")


if __name__ == "__main__":
    main()
