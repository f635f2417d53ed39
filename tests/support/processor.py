"""The processor that kernels are compiled for, and sweeps over float32 numbers."""

from __future__ import annotations

import os
import platform
import re

import llvmlite.binding
import numba
import numpy as np
import numpy.typing as npt

Float32s = npt.NDArray[np.float32]

PLAIN_PYTHON = bool(numba.config.DISABLE_JIT)  # type: ignore[attr-defined]

SWEEP = 2_000 if PLAIN_PYTHON else 1_000_000
"""Points of a sweep; plain Python takes a thousand times as long per point."""

OTHER_PROCESSOR = bool(os.environ.get("NUMBA_CPU_NAME"))

ON_X86 = platform.machine().lower() in {"x86_64", "amd64"}

CPU_FEATURES = llvmlite.binding.get_host_cpu_features()

HAS_AVX2 = ON_X86 and bool(CPU_FEATURES.get("avx2"))

HAS_FMA = not OTHER_PROCESSOR and (bool(CPU_FEATURES.get("fma")) if ON_X86 else True)

PACKED_ARITHMETIC = re.compile(r"\bv(?:fn?m(?:add|sub)\d+|mul|add|sub)ps\b.*%[yz]mm")


def patterns(first: float, last: float, count: int) -> Float32s:
    """float32 numbers from first to last at even steps of the bit pattern; both must have the same sign."""
    start, stop = np.array([first, last], dtype=np.float32).view(np.uint32).tolist()
    return np.linspace(start, stop, count).astype(np.uint32).view(np.float32)
