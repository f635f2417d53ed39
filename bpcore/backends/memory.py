"""Check that a run fits into the device's memory before it allocates any; if not, raise a one-line error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bpcore.backends.base import Backend
from bpcore.errors import InputError, bytes_in_words

SPARE_BYTES = 256 * 2**20
"""Memory reserved for CUDA itself, its kernels and graphs; on a small device, a sixteenth of the free memory."""


def require(backend: Backend, dtype: np.dtype[Any], needs: Mapping[str, int], mend: str) -> None:
    """Raise InputError if the needs (name -> bytes) do not fit; the message lists them, the free memory and a remedy.

    mend: the advice that ends the message, after "use".
    """
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
    """The number of bytes that can still be allocated for arrays on the device."""
    free = backend.free_bytes() or 0
    return free - min(SPARE_BYTES, free // 16)
