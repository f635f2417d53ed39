"""Compare the tape's matrix product with NumPy's OpenBLAS, on one thread, at the shapes of training steps.

    python benchmarks/product_versus_blas.py

forward           x @ W            (B, N) @ (N, M)
weight gradient   W += x^T @ delta (N, B) @ (B, M), added onto W as plain gradient descent does
input delta       delta @ W^T      (B, M) @ (M, N)

The two take turns; the fastest of many rounds counts, as GFLOP/s (other processes can only make a round slower).
Operands stay where the previous product left them, small ones in the caches. It needs a NumPy that bundles OpenBLAS.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from datetime import date

import numpy as np

from bpcore import get_backend
from bpcore.backends.cpu_tape import Cutter, tape_of
from bpcore.backends.operations import Product
from bpcore.bench import openblas
from bpcore.kernels.memory import aligned

LAYERS = ((784, 30), (784, 128), (784, 512), (512, 512), (2048, 2048), (512, 10))
BATCHES = (10, 32, 128, 512, 2048)
ROUNDS, SECONDS = 7, 0.01


def filled(*shape: int) -> np.ndarray:
    array = aligned(shape, np.float32)
    array[:] = np.random.default_rng(0).standard_normal(shape, np.float32)
    return array


def products(batch: int, inputs: int, outputs: int) -> dict[str, tuple[Product, Callable[[], object]]]:
    """Each product as an operation for the tape, and as a call of NumPy."""
    x, weights, delta = filled(batch, inputs), filled(inputs, outputs), filled(batch, outputs)
    z, dx, gradient = filled(batch, outputs), filled(batch, inputs), filled(inputs, outputs)
    return {
        "forward": (Product(x, weights, z), lambda: np.matmul(x, weights, out=z)),
        # BLAS could add to its result as well, but NumPy offers no way to ask for it.
        "weight gradient": (Product(x.T, delta, weights, -1e-6, 1.0), lambda: np.matmul(x.T, delta, out=gradient)),
        "input delta": (Product(delta, weights.T, dx), lambda: np.matmul(delta, weights.T, out=dx)),
    }


def fastest(*runs: Callable[[int], object]) -> list[float]:
    """The least seconds of one call of each run, measured in turns."""
    times = [math.inf] * len(runs)
    calls = []
    for run in runs:
        run(1)
        began = time.perf_counter()
        run(1)
        calls.append(max(1, int(SECONDS / (time.perf_counter() - began))))
    for _ in range(ROUNDS):
        for index, run in enumerate(runs):
            began = time.perf_counter()
            run(calls[index])
            times[index] = min(times[index], (time.perf_counter() - began) / calls[index])
    return times


def repeated(call: Callable[[], object]) -> Callable[[int], None]:
    def run(times: int) -> None:
        for _ in range(times):
            call()

    return run


def main() -> int:
    library = openblas.find()
    if library is None:
        print("this NumPy bundles no OpenBLAS", file=sys.stderr)
        return 1
    library.set_threads(1)
    device = get_backend("numpy").describe()
    print(
        f"{date.today()}  {device['device']}; {device['numpy']}; numba {device['numba']}; one thread, float32, GFLOP/s"
    )
    print(f"{'layer':>12} {'batch':>6} {'product':>16} {'bpcore':>8} {'OpenBLAS':>9} {'ratio':>6}")
    ratios = []
    for inputs, outputs in LAYERS:
        for batch in BATCHES:
            for name, (product, call) in products(batch, inputs, outputs).items():
                tape = tape_of(list(Cutter(1).entries(product)))
                own, blas = fastest(tape.replay, repeated(call))
                rate = 2 * batch * inputs * outputs / 1e9
                ratios.append(blas / own)
                print(
                    f"{f'{inputs}x{outputs}':>12} {batch:6} {name:>16} {rate / own:8.1f} {rate / blas:9.1f} "
                    f"{blas / own:6.2f}",
                    flush=True,
                )
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    print(f"geometric mean of {len(ratios)} ratios {mean:.2f}, least {min(ratios):.2f}, largest {max(ratios):.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
