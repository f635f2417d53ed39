"""The conformance suite on every backend that is there."""

from __future__ import annotations

from typing import Any

import pytest

from bpcore.backends import available_backends, get_backend
from bpcore.backends.base import Backend
from bpcore.testing import BackendConformance


def backends() -> list[Any]:
    """All that are there; the GPU's is listed, and skipped where there is no GPU."""
    others = [name for name, state in available_backends().items() if state == "available" and name != "cupy"]
    return [*others, pytest.param("cupy", marks=pytest.mark.gpu)]


class TestBackends(BackendConformance):
    @pytest.fixture(params=backends())
    def backend(self, request: pytest.FixtureRequest) -> Backend:
        return get_backend(request.param)
