"""The conformance suite on every available backend."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bpcore.backends import available_backends, get_backend
from bpcore.backends.base import Array, Backend, Control
from bpcore.backends.numpy_backend import NumpyBackend
from bpcore.testing import BackendConformance
from bpcore.testing.common import contiguous


def backends() -> list[Any]:
    """All available backends; the GPU's is listed, and skipped without a GPU."""
    others = [name for name, state in available_backends().items() if state == "available" and name != "cupy"]
    return [*others, pytest.param("cupy", marks=pytest.mark.gpu)]


class TestBackends(BackendConformance):
    @pytest.fixture(params=backends())
    def backend(self, request: pytest.FixtureRequest) -> Backend:
        return get_backend(request.param)


# --- the suite notices --------------------------------------------------------------------------------------------


class IgnoresOut(NumpyBackend):
    def add(self, a: Array, b: Array, out: Array | None = None) -> Array:
        return super().add(a, b)


class OtherDefault(NumpyBackend):
    def softmax(self, z: Array, out: Array | None = None, temperature: float = 1.0) -> Array:
        return super().softmax(z, out)


class CopiesNothing(NumpyBackend):
    def write(self, host: Any, out: Array) -> None:
        pass


class LosesTheMask(NumpyBackend):
    def dropout(self, x: Array, rate: float, layer: int, control: Control, out: Array | None = None) -> Array:
        return super().dropout(x, rate, layer + 1, control, out)


class LearnsFaster(NumpyBackend):
    def control(self, slots: int, dtype: Any, *, table: np.ndarray | None = None, **options: Any) -> Control:
        return super().control(slots, dtype, table=None if table is None else 1.01 * table, **options)


SUITE = BackendConformance()


@pytest.mark.parametrize(
    ("kind", "test", "arguments"),
    [
        (IgnoresOut, SUITE.test_elementwise_and_sums, (contiguous, np.float32)),
        (OtherDefault, SUITE.test_signatures_and_defaults, ()),
        (CopiesNothing, SUITE.test_arrays, (np.float32,)),
        (LosesTheMask, SUITE.test_dropout_mask_is_the_reference, (8, 0.5)),
        (LearnsFaster, SUITE.test_a_run_gives_what_the_cpu_gives, ()),
    ],
)
def test_the_suite_detects_a_defect(
    kind: type[NumpyBackend], test: Callable[..., None], arguments: tuple[Any, ...], rng: np.random.Generator
) -> None:
    takes_numbers = "rng" in test.__code__.co_varnames[: test.__code__.co_argcount]
    with pytest.raises(AssertionError):
        test(kind(), *arguments, **({"rng": rng} if takes_numbers else {}))


def test_without_pytest_the_extra_is_named() -> None:
    program = "import sys; sys.modules['pytest'] = None; import bpcore.testing"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.strip().endswith('needs an optional package: pip install "bpcore[test]"')
