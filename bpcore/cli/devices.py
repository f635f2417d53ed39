"""Devices as the command line names them."""

from __future__ import annotations

from bpcore.backends import ALIASES, backend_names, get_backend
from bpcore.backends.base import Backend
from bpcore.errors import unknown_name


def device_names() -> list[str]:
    """What --device takes: auto, cpu, gpu, or the name of a backend."""
    return ["auto", *ALIASES, *backend_names()]


def choose_device(name: str) -> Backend:
    """The backend of a device's name; a device that is asked for is never replaced by another."""
    if name not in device_names():
        raise unknown_name("device", name, device_names())
    return get_backend(name)


def device_row(backend: Backend) -> tuple[str, str]:
    """Which device, and why, in one line."""
    return "device", f"{backend.describe()['device']} ({backend.name}: {backend.reason})"
