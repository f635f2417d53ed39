"""The CUDA kernels in Numba's simulator against the CPU kernels: every kernel, in both dtypes, without a GPU.

Numba selects the simulator at start-up, so this file also runs as a program in a separate process, which saves the
arguments of every launch as the kernel left them. The simulator runs each GPU thread as a Python thread, so arrays
must be tiny.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bpcore.kernels import bfloat16
from bpcore.kernels.bfloat16 import BFLOAT16
from support import kernel_cases
from support.repository import PYTHONPATH

pytest.importorskip("numba_cuda", reason="numba-cuda is not installed")

# One row, one column, neither a power of two, and more outputs than threads share (32 lanes, 3 outputs each).
SHAPES = [(5, 7), (1, 6), (6, 1), (3, 70)]
# A block has at most 8 threads here, so that 11 rows take several rounds.
CROWDED = (11, 9)
FEW_THREADS = 8


def cases() -> Iterator[tuple[kernel_cases.Case, int]]:
    """Every case with the maximum number of threads of a block; 0 means the kernel's own number."""
    for shape in SHAPES:
        for dtype in (np.float32, np.float64) if shape == SHAPES[0] else (np.float32,):
            yield from ((case, 0) for case in kernel_cases.every_case(dtype, *shape))
    yield from ((case, 0) for case in kernel_cases.bfloat16_cases(*SHAPES[0]))
    yield from ((case, FEW_THREADS) for case in kernel_cases.every_case(np.float64, *CROWDED))


def copied(arguments: tuple[Any, ...]) -> list[Any]:
    return [np.array(value) if isinstance(value, np.ndarray) else value for value in arguments]


def test_every_kernel_agrees_with_its_cpu_twin(tmp_path: Path) -> None:
    from bpcore.kernels import cpu
    from support.stand_in import widened

    results = tmp_path / "results.npz"
    environment = {
        **os.environ,
        "NUMBA_ENABLE_CUDASIM": "1",
        "PYTHONWARNINGS": "ignore",
        "PYTHONPATH": PYTHONPATH,
    }
    program = subprocess.Popen(
        [sys.executable, __file__, str(results)], env=environment, stderr=subprocess.PIPE, text=True
    )
    expected = []
    with np.errstate(all="ignore"):
        for case, _ in cases():
            arguments = copied(case.arguments)
            with widened(case.spec, arguments) as numbers:
                cpu.compiled(case.spec)(*numbers)
            expected.append(arguments)
    _, errors = program.communicate()
    assert program.returncode == 0, errors

    wrong = []
    found = np.load(results)
    for number, (case, threads) in enumerate(cases()):
        for place, value in enumerate(expected[number]):
            if isinstance(value, np.ndarray):
                problem = difference(found[f"{number}.{place}"], value, case.exact)
                if problem:
                    wrong.append(f"{case.name}{f' of {threads} threads' * bool(threads)}, argument {place}: {problem}")
    assert not wrong, "\n".join(wrong)


def difference(found: np.ndarray, expected: np.ndarray, exact: bool) -> str:
    """Describe the first difference; empty if there is none."""
    try:
        if exact or expected.dtype.kind == "i":
            np.testing.assert_array_equal(found, expected)
        elif expected.dtype == BFLOAT16:  # float32 numbers that differ in the last place may round to neighbours
            found, expected = (bfloat16.widened(bits) for bits in (found, expected))
            np.testing.assert_allclose(found, expected, rtol=2 * bfloat16.UNIT_ROUNDOFF, atol=2e-6)
        elif expected.dtype == np.float32:
            np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)
        else:
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
    except AssertionError as error:
        return str(error)
    return ""


# --- in the process with the simulator ------------------------------------------------------------------------


def simulate(path: str) -> None:
    """Launch every case and save the arguments."""
    from bpcore.kernels import cuda

    mend_the_simulator()
    plans = dict(cuda.PLANS)
    results: dict[str, Any] = {}
    for number, (case, threads) in enumerate(cases()):
        plan = plans[case.spec.template]
        cuda.PLANS[case.spec.template] = replace(plan, threads=min(threads or plan.threads, plan.threads))
        arguments = copied(case.arguments)
        # Here kernel[grid, block] is the kernel itself, with the last grid and block.
        cuda.launching._configured.cache_clear()
        cuda.launch(case.spec, arguments)
        for place, value in enumerate(arguments):
            if isinstance(value, np.ndarray):
                results[f"{number}.{place}"] = value
    np.savez(path, **results)


def mend_the_simulator() -> None:
    """Make the simulator faster and remove a race.

    Its main thread polls the others and lets none run before its time slice ends, so slices must be short. It finds
    shared arrays by a slow walk up the stack, and two threads that race create two of them. Here they are found by the
    calling line, under a lock, and filled with NaN, so that a kernel that reads unwritten elements is detected.
    """
    from numba.cuda.simulator import kernelapi

    sys.setswitchinterval(1e-4)
    lock = threading.Lock()

    def array(self: Any, shape: int, dtype: Any, alignment: int | None = None) -> np.ndarray:
        caller = sys._getframe(1)
        place = (caller.f_code.co_filename, caller.f_lineno)
        with lock:
            if place not in self._allocations:
                fill = np.nan if np.dtype(dtype).kind == "f" else -(2**62)
                self._allocations[place] = np.full(shape, fill, dtype)
            result: np.ndarray = self._allocations[place]
        return result

    kernelapi.FakeCUDAShared.array = array


if __name__ == "__main__":
    simulate(sys.argv[1])
