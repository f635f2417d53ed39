"""Only the step's matrix products, each in the fastest way found: a limit for any framework on the same BLAS.

The ways on the CPU: OpenBLAS through NumPy on one thread, on all threads, and with the work split by rows or columns
among Python threads that call OpenBLAS on one thread each. Each product is repeated on its own, so no way pays for
switching between products. The repetitions cycle through several sets of operands, together as large as the step's
working set, so that operands come from the same level of the memory hierarchy as in a step.
"""

from __future__ import annotations

import importlib
import itertools
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bpcore.backends import get_backend
from bpcore.bench import openblas
from bpcore.bench.cells import NUMBER, PRECISIONS, Cell, Product
from bpcore.bench.contenders.base import Contender
from bpcore.bench.data import Data

Operands = tuple[Any, Any, Any]
Way = Callable[[list[Operands], int], None]
"""Called as way(sets, times): multiplies `times` times, with each set of operands in turn."""

TRIALS = 3
TRIAL_SECONDS = 0.004
MOST_SETS = 16


class Products(Contender):
    """Repeats each product once per step. It trains nothing."""

    precisions = tuple(PRECISIONS)

    def __init__(self, cell: Cell, data: Data) -> None:
        self._wait = get_backend(cell.device).synchronize
        self._found: list[tuple[Product, str, Way, list[Operands]]] = []
        known: dict[tuple[object, ...], str] = {}
        ways = all_ways(cell.device, cell.precision)
        for product in cell.products():
            sets = operand_sets(cell, product)
            shape = (product.m, product.k, product.n, product.transposed, product.out)
            if shape not in known:
                known[shape] = fastest(ways, sets, self._wait)
            self._found.append((product, known[shape], ways[known[shape]], sets))

    def run(self, steps: int) -> None:
        """Run each product `steps` times before the next one."""
        for _, _, way, sets in self._found:
            way(sets, steps)
        self._wait()

    def notes(self) -> dict[str, Any]:
        """The fastest way for each product."""
        return {f"{one.kind} {one.m} x {one.k} x {one.n}": way for one, way, _, _ in self._found}

    @classmethod
    def about(cls, device: str) -> dict[str, str]:
        """The backend's BLAS and threads."""
        return get_backend(device).describe()


def operand_sets(cell: Cell, product: Product) -> list[Operands]:
    """Sets of a (m, k), b (k, n), out (m, n): as many as fill the step's working set, at most MOST_SETS."""
    backend, dtype = get_backend(cell.device).at_precision(cell.precision)
    rng, between = np.random.default_rng(0), backend.between_layers(dtype)
    count = min(MOST_SETS, -(-cell.working_set // product.bytes))

    def array(rows: int, columns: int, *, transposed: bool = False) -> Any:
        shape = (columns, rows) if transposed else (rows, columns)
        filled = backend.asarray(rng.standard_normal(shape, np.float32), between)
        return filled.T if transposed else filled

    return [
        (
            array(product.m, product.k, transposed=product.transposed == "a"),
            array(product.k, product.n, transposed=product.transposed == "b"),
            backend.empty((product.m, product.n), dtype if product.out == NUMBER else between),
        )
        for _ in range(count)
    ]


def array_module(device: str) -> Any:
    """The array module of a device: NumPy or CuPy."""
    return importlib.import_module(device)


def all_ways(device: str, precision: str = "float32") -> dict[str, Way]:
    """The ways to multiply on a device, by name."""
    if precision != "float32":
        backend, _ = get_backend(device).at_precision(precision)
        return {"cuBLASLt": _plain(backend.matmul)}
    if device == "cupy":
        return {"cupy.matmul": _plain(array_module(device).matmul)}
    library = openblas.find()
    if library is None:
        return {"NumPy's BLAS": _plain(np.matmul)}
    threads = int(get_backend(device).describe()["threads"])
    ways = {"one thread": _with_threads(library, 1, _plain(np.matmul))}
    if threads > 1:
        ways["all threads"] = _with_threads(library, threads, _plain(np.matmul))
        ways["rows"] = _with_threads(library, 1, _divided(threads, _rows))
        ways["columns"] = _with_threads(library, 1, _divided(threads, _columns))
    return ways


def fastest(ways: dict[str, Way], sets: list[Operands], wait: Callable[[], None]) -> str:
    """The name of the way with the smallest median time, measured in turns."""
    if len(ways) == 1:
        return next(iter(ways))
    times: dict[str, list[float]] = {name: [] for name in ways}
    repeats = {}
    for name, way in ways.items():
        once = max(seconds(way, sets, 1, wait), 1e-7)
        repeats[name] = max(1, min(1000, int(TRIAL_SECONDS / once)))
        seconds(way, sets, repeats[name], wait)
    for _ in range(TRIALS):
        for name, way in ways.items():
            times[name].append(seconds(way, sets, repeats[name], wait) / repeats[name])
    return min(times, key=lambda name: statistics.median(times[name]))


def seconds(way: Way, sets: list[Operands], times: int, wait: Callable[[], None]) -> float:
    """The seconds that a number of products take."""
    began = time.perf_counter()
    way(sets, times)
    wait()
    return time.perf_counter() - began


def _plain(matmul: Callable[..., Any]) -> Way:
    def multiply(sets: list[Operands], times: int) -> None:
        for a, b, out in itertools.islice(itertools.cycle(sets), times):
            matmul(a, b, out=out)

    return multiply


def _with_threads(library: openblas.Blas, threads: int, way: Way) -> Way:
    def multiply(sets: list[Operands], times: int) -> None:
        before = library.get_threads()
        library.set_threads(threads)
        try:
            way(sets, times)
        finally:
            library.set_threads(before)

    return multiply


def _divided(threads: int, cut: Callable[[Operands, int, int], Operands]) -> Way:
    """A way in which each thread multiplies its own part."""
    multiply_part = _plain(np.matmul)

    def multiply(sets: list[Operands], times: int) -> None:
        side_by_side(multiply_part, [[cut(one, part, threads) for one in sets] for part in range(threads)], times)

    return multiply


def side_by_side(work: Callable[[Any, int], None], parts: Sequence[Any], times: int) -> None:
    """Do each part of the work on its own thread, and wait for all of them."""
    workers = [threading.Thread(target=work, args=(part, times)) for part in parts[1:]]
    for worker in workers:
        worker.start()
    work(parts[0], times)
    for worker in workers:
        worker.join()


def _rows(operands: Operands, part: int, parts: int) -> Operands:
    a, b, out = operands
    share = slice(part * len(a) // parts, (part + 1) * len(a) // parts)
    return a[share], b, out[share]


def _columns(operands: Operands, part: int, parts: int) -> Operands:
    a, b, out = operands
    columns = b.shape[1]
    share = slice(part * columns // parts, (part + 1) * columns // parts)
    return a, b[:, share], out[:, share]
