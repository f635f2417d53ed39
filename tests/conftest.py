"""What the tests share."""

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

# One thread for each test process: the processes share the cores. Kernels are cached between runs, in the
# repository's build folder so that nothing of the user's is touched.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("BPCORE_NUM_THREADS", "1")
os.environ.setdefault("BPCORE_CACHE_DIR", str(Path(__file__).parents[1] / "build" / "test-cache"))

# What scikit-learn's array API dispatch asks for, before scipy is imported for the first time.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

from bpcore.backends import available_backends, get_backend, taping
from bpcore.backends.base import Backend
from bpcore.errors import BpcoreError

if os.environ.get("NUMBA_DISABLE_JIT") == "1":
    np.seterr(all="ignore")  # plain NumPy scalars warn where compiled integers wrap and floats overflow in silence

# How long an example, or making one, takes says how busy the machine is.
hypothesis.settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs a GPU is listed as skipped where there is none, with the reason."""
    state = available_backends()["cupy"]
    if state != "available":
        for item in items:
            if item.get_closest_marker("gpu"):  # item.keywords has the names of folders as well
                item.add_marker(pytest.mark.skip(reason=state))


@pytest.fixture
def every_thread_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For networks that are tiny; and a refusal to record is an error."""
    monkeypatch.setattr(taping, "OPERATIONS_WORTH_A_THREAD", 1)
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
    """A real GPU's backend."""
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
