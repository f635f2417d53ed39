"""Fixtures for tests of backends."""

from __future__ import annotations

import pytest

from bpcore.training import placement
from support.stand_in import Device
from support.streaming import BATCH


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk holds two batches of samples of 12 bytes and a label; two threads gather them."""
    monkeypatch.setattr(placement, "CHUNK_BYTES", 2 * BATCH * (12 + 8))
    monkeypatch.setenv("BPCORE_NUM_THREADS", "2")
