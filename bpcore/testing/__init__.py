"""The conformance suite for backends: pytest tests of all requirements on a backend.

    import pytest
    from bpcore import get_backend
    from bpcore.testing import BackendConformance

    class TestMine(BackendConformance):
        @pytest.fixture
        def backend(self):
            return get_backend("mine")

It tests every operation of the contract over dtypes, activations, losses, optimizers and layouts, against float64
references (`bpcore.testing.references`); signatures and defaults; errors for wrong arguments; and whole training runs,
which must agree with the NumPy backend's. A fixture `backend`, in the class, its module or a conftest, provides the
backend; it may be parametrised. bpcore's own backends are tested by the same class.
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
    """All tests of a backend; those of a subclass run on the backend that its fixture `backend` returns."""
