"""The conformance suite, run on the toy backend."""

from __future__ import annotations

import pytest
from toy_backend import ToyBackend

from bpcore.testing import BackendConformance


class TestToy(BackendConformance):
    """Runs every test of the suite on the toy backend."""

    @pytest.fixture
    def backend(self) -> ToyBackend:
        """The backend under test."""
        return ToyBackend()
