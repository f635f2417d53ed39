"""Which device the names of bpcore.numpy stand for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bpcore.backends import other_than_numpy
from bpcore.backends.base import Backend
from bpcore.errors import InputTypeError, unknown_name
from bpcore.numpy.border import POLICIES, Policy, Transfer
from bpcore.numpy.device import Device

_chosen = False
_device: Device | None = None
_when_changed: list[Callable[[], None]] = []


def use(backend: str | Backend = "auto", *, fallback: Policy = "warn") -> None:
    """Choose the device, from now on and in all modules; names that were imported singly before stay as they are.

    backend   as for bpcore.get_backend: "numpy", "cupy", another package's, "auto", or a backend that exists
    fallback  what happens where the device lacks something, and it would be computed on the host: "warn" once for each
              name, "raise" InputError, or "ignore"

    The list of transfers begins anew. InputError or MissingExtraError where the backend cannot be used.
    """
    global _chosen, _device
    if not isinstance(backend, str | Backend):
        raise InputTypeError(f"backend {backend!r} was given; accepted: a name, or a backend")
    if fallback not in POLICIES:
        raise unknown_name("fallback", fallback, POLICIES)
    other, _ = other_than_numpy(backend)
    _device = None if other is None else Device(other, fallback)
    _chosen = True
    for changed in _when_changed:
        changed()


def at_hand() -> Device | None:
    """The device chosen, or None for the CPU; the first to ask chooses "auto" where nobody has chosen."""
    if not _chosen:
        use()
    return _device


def on_change(changed: Callable[[], None]) -> None:
    """Have this called whenever a device is chosen."""
    _when_changed.append(changed)


def backend_name() -> str:
    """The name of the backend at hand: "numpy", "cupy", ..."""
    device = at_hand()
    return "numpy" if device is None else device.border.backend.name


def transfers() -> list[Transfer]:
    """What crossed between host and device since the last `use`, by line of the script; the largest first."""
    device = at_hand()
    return [] if device is None else device.border.transfers()


def to_numpy(array: Any) -> np.ndarray:
    """The array on the host: itself on the CPU, a copy from a device; for plotting, files, other libraries."""
    device = at_hand()
    if device is None or not device.border.backend.owns(array):
        return np.asarray(array)
    return device.border.on_host("to_numpy", np.asarray, (array,), {}, why="asked for", back=False)  # type: ignore[no-any-return]
