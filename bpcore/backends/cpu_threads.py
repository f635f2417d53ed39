"""The number of threads that bpcore uses on the CPU."""

from __future__ import annotations

import os
import sys

from bpcore.errors import InputError

THREAD_VARIABLES = ("BPCORE_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
"""The environment variables that set it: the first one that holds a positive number counts."""


def threads() -> int:
    """The number set by $BPCORE_NUM_THREADS, or else by BLAS's variables; by default, the cores of this process.

    InputError if $BPCORE_NUM_THREADS is not a positive integer. Other values of the other variables are ignored.
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
    """The number of cores that a container may keep busy: its quota divided by its period; sys.maxsize if unlimited."""
    try:
        with open(path, encoding="ascii") as file:
            quota, period = file.read().split()
        return int(quota) // int(period)
    except (OSError, ValueError):  # no such file, or the quota is "max"
        return sys.maxsize
