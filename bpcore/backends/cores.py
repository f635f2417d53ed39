"""How many threads bpcore may use on the CPU."""

from __future__ import annotations

import os
import sys

from bpcore.errors import InputError

THREAD_VARIABLES = ("BPCORE_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
"""What says how many, in the environment: the first that holds a positive number counts."""


def threads() -> int:
    """As many as $BPCORE_NUM_THREADS says, or what limits BLAS; else as many as this process has cores.

    InputError where the first is no such number; what the others mean besides is not bpcore's business.
    """
    for name in THREAD_VARIABLES:
        chosen = os.environ.get(name, "")
        if chosen.isdecimal() and int(chosen) > 0:
            return int(chosen)
        if chosen and name == THREAD_VARIABLES[0]:
            raise InputError(f"{name}={chosen}; accepted: an integer of 1 or more")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _container_limit("/sys/fs/cgroup/cpu.max")))


def _container_limit(path: str) -> int:
    """How many cores a container may keep busy: its quota over its period; no limit where there is none."""
    try:
        with open(path, encoding="ascii") as file:
            quota, period = file.read().split()
        return int(quota) // int(period)
    except (OSError, ValueError):  # no such file, or the quota is "max"
        return sys.maxsize
