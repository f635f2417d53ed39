"""The CuPy backend without a GPU, on a stand-in device that counts and refuses (stand_in.py).

Tests marked `gpu` need a real GPU.
"""

from __future__ import annotations

import importlib.metadata
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpcore.kernels
from bpcore import Adam, Callback, Dense, Dropout, Maxout, Network, Residual, gradcheck
from bpcore.backends import available_backends, cupy_backend, get_backend
from bpcore.backends.base import Batch, Control, Samples
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.errors import InputError, InputTypeError, MissingExtraError
from bpcore.kernels import cpu
from bpcore.testing import BackendConformance
from bpcore.training.run import Run
from support import kernel_cases
from support.stand_in import Device, StandInArray

# The backend has no cuBLASLt here, so that every step is launched operation by operation; test_graphs.py tests it.
pytestmark = pytest.mark.filterwarnings("ignore:cuBLASLt cannot be loaded:UserWarning")


@pytest.fixture
def backend(device: Device) -> CupyBackend:
    return CupyBackend(device, device.launch)


class TestOnTheStandIn(BackendConformance):
    """The whole conformance suite, with this file's `backend`."""


# --- training: the same run, and all of it on the device ------------------------------------------------------


def data(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return rng.integers(0, 256, (70, 12), np.uint8), rng.integers(0, 3, 70), rng.random(70) + 0.5


def test_a_run_matches_the_cpu(backend: CupyBackend, rng: np.random.Generator) -> None:
    x, y, weights = data(rng)
    networks, histories = [], []
    for chosen in (backend, "numpy"):
        layers = [Dense(16, "prelu"), Dropout(0.3), Dense(9, "gelu"), Dense(3)]
        network = Network(layers, backend=chosen, seed=4)
        options: dict[str, Any] = {"epochs": 3, "batch_size": 16, "seed": 8, "sample_weight": weights}
        histories.append(network.fit(x, y, optimizer=Adam(l2=0.01, max_norm=1.0), validation=(x, y), **options))
        networks.append(network)
    for column in ("loss", "accuracy", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(histories[0][column], histories[1][column], rtol=1e-5)
    expected = networks[1].parameters_by_name()
    for name, array in networks[0].parameters_by_name().items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(networks[0].predict(x), networks[1].predict(x))


def test_the_gradient_check_on_the_device(backend: CupyBackend, rng: np.random.Generator) -> None:
    layers = [Dense(6, "relu", bias=0.1), Residual([Dropout(0.3), Dense(6, "prelu")]), Maxout(5), Dense(3)]
    network = Network(layers, backend=backend, precision="float64")
    check = gradcheck(network, rng.standard_normal((5, 4)), rng.integers(0, 3, 5))
    assert check.ok, str(check)


class Watched(CupyBackend):
    """Asserts that nothing crosses between host and device from the first operation of a step to the last."""

    steps = 0

    def crossings(self) -> tuple[int, int]:
        return self._xp.to_host, self._xp.to_device

    def gather(self, samples: Samples, control: Control, batch: Batch) -> None:
        self.before = self.crossings()
        super().gather(samples, control, batch)

    def advance(self, control: Control) -> None:
        super().advance(control)
        assert self.crossings() == self.before
        self.steps += 1


def test_a_step_never_touches_the_host(device: Device, rng: np.random.Generator) -> None:
    x, y, weights = data(rng)
    watched = Watched(device, device.launch)
    network = Network([Dense(16, "prelu"), Dropout(0.3), Dense(9, "gelu"), Dense(3)], backend=watched)
    network.fit(x, y, epochs=3, batch_size=16, sample_weight=weights, validation=(x, y), optimizer=Adam(max_norm=1.0))
    assert watched.steps >= 3 * (5 + 1), "five steps of training an epoch, and the validation"


def test_nothing_is_allocated_from_the_second_epoch_on(
    device: Device, backend: CupyBackend, rng: np.random.Generator
) -> None:
    class Count(Callback):
        def on_epoch_end(self, run: Run) -> None:
            counts.append((device.allocations, backend.allocations))

    counts: list[tuple[int, int]] = []
    x, y, _ = data(rng)
    network = Network([Dense(16, "relu"), Dropout(0.3), Dense(9, "gelu"), Dense(3)], backend=backend)
    network.fit(x, y, epochs=4, batch_size=16, validation=(x, y), optimizer=Adam(max_norm=1.0), callbacks=[Count()])
    assert len(counts) == 4
    assert len(set(counts)) == 1
    assert counts[0][0] == counts[0][1], "the backend counts what the device allocates"


@pytest.mark.parametrize("max_norm", [None, 1.0])
def test_the_launches_of_a_step(
    device: Device, backend: CupyBackend, max_norm: float | None, rng: np.random.Generator
) -> None:
    """Every kernel and product of a step, in order; one more would cost time on a small network."""
    x, y, _ = data(rng)
    network = Network([Dense(16, "relu"), Dropout(0.3), Dense(9, "gelu"), Dense(3)], backend=backend)
    network.fit(x, y, epochs=2, batch_size=16, optimizer=Adam(max_norm=max_norm))
    forward = ["activate", "dropout", "activate_keeping_input", "loss_head"]
    backward = ["delta", "dropout", "delta"]
    step = ["gather", *forward, *backward, *["global_norm"] * (max_norm is not None), "update", "advance"]
    assert device.launches == step * 5 * 2
    assert device.products == (3 + 3 + 2) * 5 * 2, "forward, weight gradients, and deltas of all layers but the first"


# --- the doors, and what does not go through them ---------------------------------------------------------------


def test_the_stand_in_refuses_implicit_copies_to_the_host(device: Device) -> None:
    array = device.asarray(np.ones((2, 2), np.float32))
    roads: list[Any] = [np.asarray, np.sum, float, int, bool, list, len, memoryview, lambda a: np.ones((2, 2)) @ a]
    for road in [*roads, lambda a: np.ones(2) + a, lambda a: np.copyto(np.ones((2, 2)), a), lambda a: 1.0 in a]:
        with pytest.raises(TypeError):
            road(array)
    assert (device.to_host, device.to_device) == (0, 1)


def test_matmul_scales_and_adds_on_the_device(device: Device, backend: CupyBackend) -> None:
    a, b = backend.full((4, 3), 2.0, np.float32), backend.full((3, 5), 3.0, np.float32)
    out, half = backend.full((4, 5), 1.0, np.float32), backend.full((1,), 0.5, np.float32)
    before = device.to_host, device.to_device, device.allocations
    backend.matmul(a, b, out)
    backend.matmul(a, b, out, alpha=half)
    assert (device.to_host, device.to_device, device.allocations) == before, "nothing but a sum needs a buffer"
    backend.matmul(a, b, out, alpha=half, beta=half)
    assert (device.to_host, device.to_device) == before[:2]
    assert (backend.to_numpy(out) == 13.5).all()  # 18 / 2, and half of that


def test_arrays_of_the_device_are_not_copied(device: Device, backend: CupyBackend) -> None:
    array = backend.asarray([[1, 2], [3, 4]], np.float32)
    assert backend.owns(array)
    assert backend.asarray(array) is array
    assert backend.asarray(array, np.float32) is array
    for copy in (backend.asarray(array.T), backend.asarray(array, np.float64)):
        assert copy is not array
        assert copy.flags.c_contiguous
    assert (device.to_host, device.to_device) == (0, 1)
    assert backend.allocations == device.allocations == 3
    backend.write(np.array([7.0, 8.0]), array)
    np.testing.assert_array_equal(backend.to_numpy(array), [[7, 8], [7, 8]])
    backend.synchronize()


def test_describe_names_the_device_and_the_versions(backend: CupyBackend) -> None:
    description = backend.describe()
    assert description["device"] == "GPU: Stand-in, 16.0 GiB, 132 multiprocessors, compute capability 9.0"
    assert (description["driver"], description["cuda"]) == ("CUDA 13.0", "12.9")
    assert {"cupy", "numba-cuda"} <= set(description)


def test_arrays_of_two_backends_are_refused_by_name(backend: CupyBackend) -> None:
    ours, theirs = backend.full((2, 2), 1.0, np.float32), np.ones((2, 2), np.float32)
    assert isinstance(ours, StandInArray)
    with pytest.raises(
        InputTypeError, match=r"^the cupy backend was given an array of numpy \(ndarray\).*StandInArray"
    ):
        backend.hadamard(ours, theirs)
    with pytest.raises(InputTypeError, match=r"^the cupy backend was given an array of numpy"):
        backend.matmul(ours, theirs)
    with pytest.raises(InputTypeError, match=r"^the numpy backend was given an array of support \(StandInArray\)"):
        get_backend("numpy").hadamard(theirs, ours)


# --- what is missing is said --------------------------------------------------------------------------------------


def test_without_cupy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.delenv("BPCORE_BACKEND", raising=False)
    with pytest.raises(MissingExtraError, match=r'pip install "bpcore\[cuda12\]" or "bpcore\[cuda13\]"$') as caught:
        CupyBackend()
    assert "\n" not in str(caught.value)
    assert get_backend("auto").reason == "CuPy is not installed"  # in one line of every run
    assert available_backends()["cupy"] == str(caught.value)  # and this at length, in `bpcore info`


def test_with_a_broken_cupy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    for cause in (
        "ImportError('====\\nlibnvrtc is gone\\nreinstall')",
        "ModuleNotFoundError('no fastrlock', name='f')",
    ):
        (tmp_path / "cupy.py").write_text(f"raise {cause}")
        with pytest.raises(
            InputError, match=r"^CuPy is installed but cannot be loaded: (libnvrtc is gone|no fastrlock)$"
        ):
            CupyBackend()


def test_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    class CUDARuntimeError(RuntimeError):
        pass

    def count() -> int:
        raise CUDARuntimeError("cudaErrorInsufficientDriver: CUDA driver version is insufficient")

    runtime = types.SimpleNamespace(CUDARuntimeError=CUDARuntimeError, getDeviceCount=count)
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(cuda=types.SimpleNamespace(runtime=runtime)))
    with pytest.raises(InputError, match=r"^CuPy finds no CUDA GPU that it can use: cudaErrorInsufficientDriver: CUDA"):
        CupyBackend()
    runtime.getDeviceCount = lambda: 0
    with pytest.raises(InputError, match="there are 0 devices"):
        CupyBackend()


def test_without_numba_cuda(monkeypatch: pytest.MonkeyPatch, device: Device) -> None:
    installed = importlib.metadata.version

    def missing(name: str) -> str:
        if name == "numba-cuda":
            raise importlib.metadata.PackageNotFoundError(name)
        return installed(name)

    for module in [name for name in sys.modules if f"{name}.".startswith("bpcore.kernels.cuda.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delattr(bpcore.kernels, "cuda", raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(importlib.metadata, "version", missing)
        with pytest.raises(MissingExtraError, match=r"CUDA 12 or 13\) \(No package metadata .* numba-cuda\) needs"):
            CupyBackend(device)
    monkeypatch.setattr(cupy_backend, "version", missing)
    assert CupyBackend(device, device.launch).describe()["numba-cuda"] == "not installed"


def test_without_nvidias_compiler(monkeypatch: pytest.MonkeyPatch, device: Device) -> None:
    cuda = pytest.importorskip("bpcore.kernels.cuda", reason="numba-cuda is not installed")
    monkeypatch.setattr(cuda, "compiler_problem", lambda: "libnvvm cannot be found")
    with pytest.raises(MissingExtraError, match=r"\(libnvvm cannot be found\) needs an optional package"):
        CupyBackend(device)
    monkeypatch.setattr(cuda, "compiler_problem", lambda: "")
    assert CupyBackend(device)._launch is cuda.launch


# --- on a real GPU --------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(5, 7), (1, 6), (6, 1), (130, 70), (3, 5000), (3000, 10)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_kernel_agrees_with_its_cpu_twin_on_a_gpu(gpu: CupyBackend, dtype: Any, shape: tuple[int, int]) -> None:
    # The GPU sums over the rows in another order; partial sums of n normal numbers are about n^(1/2), rounded n times.
    relative, absolute = (1e-4, 1e-5) if dtype == np.float32 else (1e-10, 1e-11)
    close = (relative, max(absolute, float(np.finfo(dtype).eps) * shape[0]))
    for case in kernel_cases.every_case(dtype, *shape):
        expected = [value.copy() if isinstance(value, np.ndarray) else value for value in case.arguments]
        found = [gpu.asarray(value) if isinstance(value, np.ndarray) else value for value in case.arguments]
        with np.errstate(all="ignore"):
            cpu.compiled(case.spec)(*expected)
        gpu.run(case.spec, *found)
        for place, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
            if isinstance(theirs, np.ndarray):
                rtol, atol = (0.0, 0.0) if case.exact or theirs.dtype.kind == "i" else close
                words = f"{case.name}, argument {place}"
                np.testing.assert_allclose(gpu.to_numpy(ours), theirs, rtol, atol, err_msg=words)


@pytest.mark.gpu
def test_training_on_a_gpu_matches_the_cpu(gpu: CupyBackend, rng: np.random.Generator) -> None:
    test_a_run_matches_the_cpu(gpu, rng)
