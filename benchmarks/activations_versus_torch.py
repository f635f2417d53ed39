"""Each fused activation and delta kernel beside PyTorch's operations for the same, on one thread and on two.

    python benchmarks/activations_versus_torch.py [--shapes 128x128,512x512,2048x1024] [--threads 1,2] [--rounds 9]

forward   bpcore: out <- f(z + bias), one kernel. PyTorch: f(torch.add(z, bias)).
delta     bpcore: delta <- delta * f'(saved) and the bias gradient, one kernel. PyTorch: the backward operation that
          autograd calls for f, then the sum over the rows.

bpcore's kernels stand on a tape as in training, cut into as many parts as there are threads. Each run is many calls in
a row on the same data, in turns with the other's; what is printed are medians, in microseconds a call, and PyTorch's
time over bpcore's. bpcore overwrites the delta, which would fade into subnormal numbers, and these are slow: so its
tape writes it anew before each call, and the time of a tape that does this alone is taken off. PyTorch is not a
dependency of bpcore: pip install torch.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import time
from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from bpcore.backends.numpy_backend import NumpyBackend
from bpcore.backends.operations import Operation
from bpcore.backends.taping import Cutter, tape_of
from bpcore.kernels.activations import ACTIVATIONS

NUMBERS = 50_000_000
"""A run goes over so many numbers, in ten calls at least: starting the tape's threads must not count."""

PAUSE = 0.003
"""Seconds before a run: the other library's threads may still be watching for work."""

aten = torch.ops.aten
Call = Callable[[], object]

FORWARD: dict[str, Callable[[Any], Any]] = {
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
}
SELU = (1.6732632423543772, 1.0507009873554805, 1.0)
BACKWARD: dict[str, Callable[[Any, Any], Any]] = {
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
}


def on_tape(backend: NumpyBackend, threads: int, calls: int, *operations: Call) -> Call:
    """So many calls of some operations one after the other, recorded as in training."""
    written: list[Operation] = []
    backend.watcher = written.append
    try:
        for operation in operations:
            operation()
    finally:
        backend.watcher = None
    cutter = Cutter(threads)
    tape = tape_of([entry for operation in written for entry in cutter.entries(operation)])
    return lambda: tape.replay(calls)


def repeated(call: Call, calls: int) -> Call:
    def run() -> None:
        for _ in range(calls):
            call()

    return run


def contenders(name: str, rows: int, columns: int, threads: int, calls: int) -> dict[str, tuple[Call, Call, Call]]:
    """For forward and delta: bpcore's run, what of it is taken off, and PyTorch's run. Both compute the same."""
    rng, backend, activation = np.random.default_rng(0), NumpyBackend(), ACTIVATIONS[name]
    z, delta = (rng.standard_normal((rows, columns), np.float32) for _ in range(2))
    bias = 1e-3 * rng.standard_normal(columns, np.float32)  # added again in each call where the input is saved
    out, zeros, now, bias_grad = np.empty_like(z), np.zeros_like(z), delta.copy(), np.empty_like(bias)
    tensor_z, tensor_bias, tensor_delta = (torch.from_numpy(array.copy()) for array in (z, bias, delta))
    tensor_sum, tensor_grad = torch.empty_like(tensor_z), torch.empty_like(tensor_bias)
    tensor_out = FORWARD[name](tensor_z + tensor_bias)
    # PyTorch's derivative of softplus is of the input, bpcore's of the output.
    tensor_saved = tensor_z + tensor_bias if activation.saves == "input" or name == "softplus" else tensor_out
    saved = (tensor_saved if activation.saves == "input" else tensor_out).numpy().copy()

    def anew() -> None:
        backend.add(delta, zeros, now)

    def torch_forward() -> None:
        FORWARD[name](torch.add(tensor_z, tensor_bias, out=tensor_sum))

    def torch_delta() -> None:
        torch.sum(BACKWARD[name](tensor_delta, tensor_saved), 0, out=tensor_grad)

    def forward() -> None:
        backend.activate(z, bias, activation, out)

    def backward() -> None:
        backend.delta(now, saved, activation, bias_grad)

    forward()
    np.testing.assert_allclose(out, tensor_out.numpy(), rtol=1e-4, atol=1e-5, err_msg=name)
    backward()
    torch_delta()
    np.testing.assert_allclose(bias_grad, tensor_grad.numpy(), rtol=1e-3, atol=1e-3 * math.sqrt(rows), err_msg=name)
    return {
        "forward": (on_tape(backend, threads, calls, forward), lambda: None, repeated(torch_forward, calls)),
        "delta": (
            on_tape(backend, threads, calls, anew, backward),
            on_tape(backend, threads, calls, anew),
            repeated(torch_delta, calls),
        ),
    }


def measure(runs: tuple[Call, Call, Call], calls: int, rounds: int) -> tuple[float, float]:
    """Median microseconds a call of bpcore and of PyTorch, in turns."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds + 1):
        for run, found in zip(runs, times, strict=True):
            time.sleep(PAUSE)
            began = time.perf_counter()
            run()
            found.append((time.perf_counter() - began) / calls * 1e6)
    own, taken_off, other = (statistics.median(found[1:]) for found in times)
    return own - taken_off, other


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", default="128x128,512x512,2048x1024")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    shapes = [tuple(map(int, shape.split("x"))) for shape in options.shapes.split(",")]
    counts = [int(count) for count in options.threads.split(",")]
    device = NumpyBackend().describe()
    print(f"{date.today()}  {device['device']}, numba {device['numba']}, torch {torch.__version__}")
    print(f"medians of {options.rounds} runs, in turns; us a call, and PyTorch's time / bpcore's")
    print(f"{'':12}{'':11}{'':9}{'forward':>28}{'delta':>32}")
    print(f"{'activation':12}{'shape':>11}{'threads':>9}" + f"{'bpcore':>12}{'torch':>10}{'ratio':>8}" * 2)
    ratios: dict[int, list[float]] = {count: [] for count in counts}
    for name, (rows, columns), count in itertools.product(FORWARD, shapes, counts):
        torch.set_num_threads(count)
        calls = max(10, NUMBERS // (rows * columns))
        line = f"{name:12}{f'{rows}x{columns}':>11}{count:>9}"
        for runs in contenders(name, rows, columns, count, calls).values():
            own, other = measure(runs, calls, options.rounds)
            ratios[count].append(other / own)
            line += f"{own:12.1f}{other:10.1f}{other / own:8.2f}"
        print(line, flush=True)
    for count, found in ratios.items():
        print(f"{count} thread{'s' * (count > 1)}: geometric mean of PyTorch's time / bpcore's", end=" ")
        print(f"{statistics.geometric_mean(found):.2f} over {len(found)}, least {min(found):.2f}")


if __name__ == "__main__":
    main()
