"""The device's limits: the speed of its fastest matrix product, and its bandwidth for each size of working set.

The roofline (Williams, Waterman and Patterson 2009) gives a step's least time: its operations divided by that speed, or
its bytes divided by the bandwidth, whichever is larger. Both are measured in the same run as the contenders.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bpcore.backends import get_backend
from bpcore.backends.base import Backend
from bpcore.bench.cells import NUMBER, Cell, Product
from bpcore.bench.contenders.products import (
    Operands,
    Way,
    all_ways,
    array_module,
    operand_sets,
    seconds,
    side_by_side,
)

WIDTHS = {"numpy": (1024, 2048), "cupy": (4096, 8192)}
SIZES = {"numpy": [2**power for power in range(18, 29)], "cupy": [2**power for power in range(24, 32)]}
"""Bytes of the three arrays of c <- a + b together. On a GPU, smaller work would take less time than its launch."""

ROUNDS = 7
"""The fastest round counts: a limit is the device's speed when nothing disturbs it."""

ROUND_BYTES = {"numpy": 2**28, "cupy": 2**33}
"""The least bytes to move in a round, so that it is long enough to time."""


@dataclass(frozen=True)
class Roofline:
    """The limits of a device.

    gflops       of the fastest product, at the precision of the cells
    bandwidth    pairs (bytes of the working set, GB/s), sorted by size
    """

    gflops: float
    bandwidth: list[tuple[int, float]]

    def seconds(self, cell: Cell) -> float:
        """The least time of a step, by the larger of the two limits."""
        by_operations = cell.operations / (1e9 * self.gflops)
        return max(by_operations, cell.bytes / (1e9 * self.gigabytes_per_second(cell.working_set)))

    def gigabytes_per_second(self, working_set: int) -> float:
        """The bandwidth for a working set in bytes, interpolated between measured sizes over their logarithm."""
        sizes = [math.log(size) for size, _ in self.bandwidth]
        return float(np.interp(math.log(working_set), sizes, [rate for _, rate in self.bandwidth]))

    def as_json(self) -> dict[str, Any]:
        """The roofline as JSON values."""
        return asdict(self)


def from_json(found: dict[str, Any]) -> Roofline:
    """The roofline from the values of `as_json`."""
    return Roofline(found["gflops"], [(size, rate) for size, rate in found["bandwidth"]])


def measure(device: str, precision: str = "float32", *, quick: bool = False) -> Roofline:
    """Measure a device's limits in a few seconds of products and sums.

    quick: only the smaller product, and every third size.
    """
    backend = get_backend(device)
    ways = all_ways(device, precision)
    best = 0.0
    for width in WIDTHS[device][: 1 if quick else None]:
        cell = Cell((width, width), width, device=device, precision=precision)
        product = Product("square", width, width, width, "", cell.between, cell.between)
        sets = operand_sets(cell, product)[:1]
        for way in ways.values():
            best = max(best, product.operations / _least_seconds(way, sets, 1, backend))
    return Roofline(best / 1e9, [(size, _bandwidth(backend, size)) for size in SIZES[device][:: 3 if quick else 1]])


def _bandwidth(backend: Backend, size: int) -> float:
    """The bandwidth in GB/s of c <- a + b, on one thread or on all, whichever is faster."""
    numbers = size // (3 * NUMBER)
    add = array_module(backend.name).add
    choices = sorted({1, int(backend.describe().get("threads", 1))})
    arrays = tuple(backend.full((numbers,), 1.0, np.float32) for _ in range(3))
    times = math.ceil(ROUND_BYTES[backend.name] / size)
    rates = []
    for threads in choices:
        taken = _least_seconds(_adding(add, threads), [arrays], times, backend)
        rates.append(3 * NUMBER * numbers * times / taken / 1e9)
    return max(rates)


def _adding(add: Any, threads: int) -> Way:
    def work(arrays: list[Any], times: int) -> None:
        a, b, c = arrays
        for _ in range(times):
            add(a, b, out=c)

    def way(sets: list[Operands], times: int) -> None:
        cuts = [part * sets[0][0].shape[0] // threads for part in range(threads + 1)]
        parts = [[array[first:stop] for array in sets[0]] for first, stop in itertools.pairwise(cuts)]
        side_by_side(work, parts, times)

    return way


def _least_seconds(way: Way, sets: list[Operands], times: int, backend: Backend) -> float:
    seconds(way, sets, times, backend.synchronize)
    return min(seconds(way, sets, times, backend.synchronize) for _ in range(ROUNDS))
