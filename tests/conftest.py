"""Settings and fixtures for all tests."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from support.local_server import Server

# One thread per test process, because the processes share the cores. Kernels are cached between runs in the
# repository's build folder, so that the user's cache is not touched.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("BPCORE_NUM_THREADS", "1")
os.environ.setdefault("BPCORE_CACHE_DIR", str(Path(__file__).parents[1] / "build" / "test-cache"))

# scikit-learn's array API dispatch requires this before scipy is first imported.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

from bpcore.backends import available_backends, cpu_tape, get_backend
from bpcore.backends.base import Backend
from bpcore.errors import BpcoreError

if os.environ.get("NUMBA_DISABLE_JIT") == "1":
    np.seterr(all="ignore")  # plain NumPy scalars warn where compiled code wraps and overflows silently

# The time that examples take depends on the load of the machine, so it must not fail a test.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a GPU, list the tests that need one as skipped, with the reason."""
    state = available_backends()["cupy"]
    if state != "available":
        for item in items:
            if item.get_closest_marker("gpu"):  # item.keywords has the names of folders as well
                item.add_marker(pytest.mark.skip(reason=state))


@pytest.fixture
def every_thread_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Use all threads even for tiny networks, and make a failed recording an error."""
    monkeypatch.setattr(cpu_tape, "OPERATIONS_WORTH_A_THREAD", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


@pytest.fixture
def numpy_backend() -> Backend:
    return get_backend("numpy")


@pytest.fixture
def scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture
def gpu() -> Backend:
    """The backend of a real GPU."""
    try:
        return get_backend("cupy")
    except BpcoreError as error:
        pytest.skip(str(error))


@pytest.fixture
def serve() -> Iterator[type[Server]]:
    servers: list[Server] = []

    def start(folder: Path, status: int = 0) -> Server:
        servers.append(Server(folder, status))
        return servers[-1]

    yield start  # type: ignore[misc]
    for server in servers:
        server.server.shutdown()
        server.server.server_close()
