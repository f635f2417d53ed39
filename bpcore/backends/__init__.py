"""Choose a backend: by name, or the best one available.

A backend is a subclass of bpcore.backends.base.Backend. Another package adds one by an entry point in the group
`bpcore.backends`. A process has no current backend: a backend is an object that is created once and passed on.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bpcore.backends.base import Backend
from bpcore.backends.cupy_module import load_cupy
from bpcore.errors import BpcoreError, InputError, MissingExtraError, unknown_name

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "bpcore.backends"
"""The entry point group of backends in other packages."""

BUILT_IN = {
    "numpy": "bpcore.backends.numpy_backend:NumpyBackend",
    "cupy": "bpcore.backends.cupy_backend:CupyBackend",
}

ALIASES = {"cpu": "numpy", "gpu": "cupy"}


def _entries() -> dict[str, EntryPoint]:
    from importlib.metadata import EntryPoint, entry_points  # takes 15 ms, which `import bpcore` does not need

    own = {name: EntryPoint(name, value, GROUP) for name, value in BUILT_IN.items()}
    return {entry.name: entry for entry in entry_points(group=GROUP)} | own


def backend_names() -> list[str]:
    """The names of all known backends, usable on this machine or not."""
    return sorted(_entries())


def available_backends() -> dict[str, str]:
    """Each known backend's name with "available", or with the reason why it cannot be used on this machine."""
    result = {}
    for name in _entries():
        try:
            _make(name)
            result[name] = "available"
        except BpcoreError as error:
            result[name] = str(error)
    return result


def get_backend(name: str | Backend = "auto") -> Backend:
    """Return the backend with this name: "numpy" or "cpu", "cupy" or "gpu", another package's name, or "auto".

    "auto" uses $BPCORE_BACKEND if that is set, else a GPU if one can be used, else the CPU; the backend's `reason`
    says why. A named backend is never replaced by another one: if it cannot be used, InputError or MissingExtraError
    gives the reason.
    """
    if isinstance(name, Backend):
        return name
    other, reason = other_than_numpy(name)
    backend = _make("numpy") if other is None else other
    if reason:
        backend.reason = reason
    return backend


def other_than_numpy(name: str | Backend = "auto") -> tuple[Backend | None, str]:
    """As get_backend, with the reason for the choice; None means the NumPy backend, which is then not loaded.

    Loading it would load Numba, which takes half a second.
    """
    if isinstance(name, Backend):
        return (None if name.name == "numpy" else name), ""
    name = ALIASES.get(name, name)
    if name != "auto":
        return (None if name == "numpy" else _make(name)), ""
    chosen = os.environ.get("BPCORE_BACKEND", "auto")
    if chosen != "auto":
        return other_than_numpy(chosen)[0], f"BPCORE_BACKEND={chosen}"
    try:
        load_cupy()
    except MissingExtraError:
        # Normal on a machine without a GPU; `bpcore info` and device="gpu" say what to install.
        return None, "CuPy is not installed"
    except BpcoreError as error:
        return None, f"no GPU: {error}"
    try:
        return _make("cupy"), "a CUDA GPU is there"
    except BpcoreError as error:
        return None, f"no GPU: {error}"


def _make(name: str) -> Backend:
    entries = _entries()
    if name not in entries:
        raise unknown_name("backend", name, [*entries, *ALIASES, "auto"])
    try:
        backend: object = entries[name].load()()
    except BpcoreError:
        raise
    except Exception as error:
        if name in BUILT_IN and not isinstance(error, ImportError):
            raise  # a defect in bpcore keeps its traceback; one in another package is reported in one line
        raise InputError(f"the {name} backend cannot be loaded: {error}") from error
    if not isinstance(backend, Backend):
        raise InputError(f"the {name} backend is of {type(backend)}, which is not a bpcore.backends.base.Backend")
    return backend
