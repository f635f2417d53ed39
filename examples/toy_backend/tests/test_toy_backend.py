"""Everything that a backend must do."""

from __future__ import annotations

import pytest
from toy_backend import ToyBackend

from bpcore.testing import BackendConformance


class TestToy(BackendConformance):
    """The conformance suite on the toy backend."""

    @pytest.fixture
    def backend(self) -> ToyBackend:
        """The backend that is held against the suite."""
        return ToyBackend()
