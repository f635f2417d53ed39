"""Translate the device names of the command line into backends."""

from __future__ import annotations

from bpcore.backends import ALIASES, backend_names, get_backend
from bpcore.backends.base import Backend
from bpcore.errors import unknown_name


def device_names() -> list[str]:
    """The names that --device accepts: auto, cpu, gpu, and the backends' names."""
    return ["auto", *ALIASES, *backend_names()]


def choose_device(name: str) -> Backend:
    """The backend for a device name. There is no fall-back: an unavailable device is an error."""
    if name not in device_names():
        raise unknown_name("device", name, device_names())
    return get_backend(name)


def device_row(backend: Backend) -> tuple[str, str]:
    """A row for `columns`: the device and why it was chosen."""
    return "device", f"{backend.describe()['device']} ({backend.name}: {backend.reason})"
