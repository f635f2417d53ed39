"""The conformance suite for backends: what a backend must do, as tests that run wherever pytest does.

    import pytest
    from bpcore import get_backend
    from bpcore.testing import BackendConformance

    class TestMine(BackendConformance):
        @pytest.fixture
        def backend(self):
            return get_backend("mine")

The class has every operation of the contract over dtypes, activations, losses, optimizers and layouts, against
float64 references (`bpcore.testing.references`), the signatures and defaults, what must be refused, and whole training
runs that must agree with the NumPy backend's. A fixture `backend`, of the class, its module or a conftest, gives the
backend; it may be parametrised. bpcore's own backends are held by the same class.
"""

from __future__ import annotations

from bpcore.errors import MissingExtraError

try:
    import pytest
except ModuleNotFoundError as error:
    raise MissingExtraError("bpcore.testing, which runs in pytest,", "test") from error

for _module in ("arrays", "operations", "steps", "training"):
    pytest.register_assert_rewrite(f"bpcore.testing.{_module}")

from bpcore.testing.arrays import ArrayConformance
from bpcore.testing.operations import OperationConformance
from bpcore.testing.steps import StepConformance
from bpcore.testing.training import TrainingConformance

__all__ = ["BackendConformance"]


class BackendConformance(ArrayConformance, OperationConformance, StepConformance, TrainingConformance):
    """Everything that a backend must do; the tests of a subclass run on what its fixture `backend` gives."""
