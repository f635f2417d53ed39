"""The choice of the device that bpcore.numpy computes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bpcore.backends import other_than_numpy
from bpcore.backends.base import Backend
from bpcore.errors import InputTypeError, unknown_name
from bpcore.numpy.fallback import Device
from bpcore.numpy.transfers import POLICIES, Policy, Transfer

_chosen = False
_device: Device | None = None
_when_changed: list[Callable[[], None]] = []


def use(backend: str | Backend = "auto", *, fallback: Policy = "warn") -> None:
    """Choose the device for the whole process; names imported before by `from ... import` do not change.

    backend   as for bpcore.get_backend: "numpy", "cupy", a name from another package, "auto", or a backend object
    fallback  what to do if the device lacks a function, before NumPy computes it on the host: "warn" once per name,
              "raise" InputError, or "ignore"

    Clears the list of transfers. InputError or MissingExtraError if the backend cannot be used.
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
    """The chosen device, or None for the CPU; chooses "auto" on first use if `use` was not called."""
    if not _chosen:
        use()
    return _device


def on_change(changed: Callable[[], None]) -> None:
    """Register a function to call whenever a device is chosen."""
    _when_changed.append(changed)


def backend_name() -> str:
    """The name of the current backend: "numpy", "cupy", ..."""
    device = at_hand()
    return "numpy" if device is None else device.border.backend.name


def transfers() -> list[Transfer]:
    """Copies between host and device since the last `use`, by line of the script, largest first."""
    device = at_hand()
    return [] if device is None else device.border.transfers()


def to_numpy(array: Any) -> np.ndarray:
    """The array on the host, for plotting, files and other libraries: itself on the CPU, else a copy."""
    device = at_hand()
    if device is None or not device.border.backend.owns(array):
        return np.asarray(array)
    return device.border.on_host("to_numpy", np.asarray, (array,), {}, why="asked for", back=False)  # type: ignore[no-any-return]
