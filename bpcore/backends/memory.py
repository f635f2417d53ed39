"""What a device has room for: measured before it is asked for, so that a run that does not fit ends in one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bpcore.backends.base import Backend
from bpcore.errors import InputError, bytes_in_words

SPARE_BYTES = 256 * 2**20
"""What is left to CUDA itself, for kernels and graphs; on a small device a sixteenth of what is free."""


def require(backend: Backend, dtype: np.dtype[Any], needs: Mapping[str, int], mend: str) -> None:
    """One line where so much does not fit: what takes how much, what is free, and what would help."""
    free = backend.free_bytes()
    if free is None or sum(needs.values()) <= usable_bytes(backend):
        return
    largest_first = sorted(needs.items(), key=lambda item: -item[1])
    parts = ", ".join(f"{name} {bytes_in_words(size)}" for name, size in largest_first if size)
    narrower = " or precision='float32'" if dtype == np.float64 else ""
    raise InputError(
        f"this takes {bytes_in_words(sum(needs.values()))} of the {backend.name} device's memory, of which "
        f"{bytes_in_words(usable_bytes(backend))} can be used: {parts}; use {mend}{narrower}"
    )


def usable_bytes(backend: Backend) -> int:
    """The bytes of arrays that the device may still be asked for."""
    free = backend.free_bytes() or 0
    return free - min(SPARE_BYTES, free // 16)
