"""The device on which bpcore.numpy is tested."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import bpcore.numpy as np
from bpcore.backends.cupy_backend import CupyBackend
from support.stand_in_numpy import NumpyDevice


@pytest.fixture
def device() -> Iterator[NumpyDevice]:
    """Selects the stand-in device and forbids fallbacks to the host."""
    device = NumpyDevice()
    np.use(CupyBackend(device, device.launch), fallback="raise")
    yield device
    np.use("numpy")
