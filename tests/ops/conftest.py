"""The backends on which bpcore.ops is tested."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bpcore.backends import dispatch, get_backend
from bpcore.backends.base import Backend
from bpcore.backends.cupy_backend import CupyBackend
from support.ops_arrays import STAND_IN


@pytest.fixture(params=["numpy", "cupy"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Backend]:
    """The NumPy backend, and the CuPy backend on the stand-in device."""
    made = get_backend("numpy") if request.param == "numpy" else CupyBackend(STAND_IN, STAND_IN.launch)
    monkeypatch.setitem(dispatch.MADE, request.param, made)
    return made
