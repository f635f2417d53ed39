"""Fixtures for tests of backends."""

from __future__ import annotations

import pytest

from bpcore.backends import cupy_backend
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.training import placement
from support.stand_in import Device
from support.stand_in_cublas import backend_on
from support.streaming import BATCH


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk holds two batches of samples of 12 bytes and a label; two threads gather them."""
    monkeypatch.setattr(placement, "CHUNK_BYTES", 2 * BATCH * (12 + 8))
    monkeypatch.setenv("BPCORE_NUM_THREADS", "2")


@pytest.fixture
def backend(device: Device) -> CupyBackend:
    """A CuPy backend on the stand-in device, with cuBLASLt."""
    return backend_on(device)


@pytest.fixture
def small_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes cuBLAS's workspace small beside the memory of a stand-in device."""
    monkeypatch.setattr(cupy_backend, "WORKSPACE_BYTES", 4096)
