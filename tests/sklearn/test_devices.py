"""The estimators on a GPU, which is the stand-in device: reused runs, pickles, and device arrays."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone

from bpcore.backends.cupy_backend import CupyBackend
from bpcore.errors import BpcoreError
from bpcore.sklearn import MLPClassifier, engine, increments, inputs
from bpcore.training.run import Run
from support import stand_in_cublas
from support.estimators import CPU, classes
from support.stand_in import Device

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def gpu_stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Makes device="gpu" a stand-in, whose graphs refuse work on the host, until the patch is undone."""
    device = Device()
    backend = CupyBackend(device, device.launch, stand_in_cublas.Cublas(device))
    made = engine.get_backend
    monkeypatch.setattr(engine, "get_backend", lambda name: backend if name == "gpu" else made(name))
    yield monkeypatch
    assert device.graphs or not device.launches


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("weighted", [False, True])
def test_partial_fits_of_a_stream_share_one_run(
    device: str, weighted: bool, rng: np.random.Generator, gpu_stand_in: pytest.MonkeyPatch
) -> None:
    """New samples of the same kind at each call give the bits of estimators that do not reuse a run."""
    runs, begin = [], Run.__init__
    gpu_stand_in.setattr(Run, "__init__", lambda run, *given: (runs.append(run), begin(run, *given))[1])
    settings: dict[str, Any] = {"batch_size": 16, "hidden_layer_sizes": (7,), "dropout": 0.2, "device": device}
    kept, anew = (MLPClassifier(**CPU | settings) for _ in range(2))
    for call in range(6):
        x, y = rng.integers(0, 9, (40, 5)).astype(np.float32), rng.integers(0, 3, 40)
        given: dict[str, Any] = {"sample_weight": rng.random(40) + 0.5} if weighted else {}
        before = x.copy(), y.copy()
        if call == 3:
            for model in (kept, anew):
                model.set_params(learning_rate_init=0.01)
                model.coefs_[0][:2] *= 0.5
        made = len(runs)
        kept.partial_fit(x, y, classes=[0, 1, 2], **given)
        assert len(runs) - made == (call in (0, 3))
        anew = pickle.loads(pickle.dumps(anew)).partial_fit(x, y, classes=[0, 1, 2], **given)
        assert kept.loss_curve_ == anew.loss_curve_
        for mine, other in zip(kept.coefs_ + kept.intercepts_, anew.coefs_ + anew.intercepts_, strict=True):
            np.testing.assert_array_equal(mine, other)
        np.testing.assert_array_equal(kept.predict(x[:5]), anew.predict(x[:5]))
        np.testing.assert_array_equal(x, before[0])
        np.testing.assert_array_equal(y, before[1])


@pytest.mark.parametrize("large", [False, True])
def test_data_for_which_no_run_is_kept(large: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sparse rows and large data: same results, bit for bit."""
    x, y = classes(rng)
    model, other = (MLPClassifier(batch_size=16, **CPU) for _ in range(2))
    with monkeypatch.context() as patch:
        if large:
            patch.setattr(increments, "KEPT_BYTES", 100)
        for _ in range(3):
            model.partial_fit(x if large else scipy.sparse.csr_array(x), y, classes=[0, 1, 2])
    for _ in range(3):
        other.partial_fit(x, y, classes=[0, 1, 2])
    assert model._engine.increments._last is None
    np.testing.assert_array_equal(model.coefs_[0], other.coefs_[0])


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("sparse", [False, True])
def test_an_estimator_fitted_on_a_gpu_predicts_without_one(
    solver: str, sparse: bool, rng: np.random.Generator, gpu_stand_in: pytest.MonkeyPatch
) -> None:
    """Fitting on the stand-in matches the CPU to rounding; unpickled without a GPU, the estimator predicts."""
    x, y = classes(rng)
    features = scipy.sparse.csr_array(x) if sparse else x
    settings: dict[str, Any] = {"hidden_layer_sizes": (7,), "solver": solver, "batch_size": 16, "max_iter": 3}
    on_gpu = MLPClassifier(random_state=3, device="gpu", **settings).fit(features, y)
    on_cpu = MLPClassifier(**CPU, **settings).fit(features, y)
    np.testing.assert_allclose(on_gpu.coefs_[0], on_cpu.coefs_[0], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(on_gpu.predict_proba(features), on_cpu.predict_proba(features), rtol=1e-6)
    stored = pickle.dumps(on_gpu)
    gpu_stand_in.undo()
    there = pickle.loads(stored)
    with pytest.raises(BpcoreError, match=r"GPU|CUDA|bpcore\[cuda"):
        there.predict(x)
    np.testing.assert_allclose(there.set_params(device="auto").predict_proba(x), on_cpu.predict_proba(x), rtol=1e-6)
    if solver != "lbfgs":
        there.partial_fit(x, y)
        on_cpu.partial_fit(x, y)
        np.testing.assert_allclose(there.coefs_[0], on_cpu.coefs_[0], rtol=1e-6, atol=1e-9)


def test_device_arrays_stay_on_the_device(rng: np.random.Generator) -> None:
    device = Device()
    backend = CupyBackend(device, device.launch)
    x = backend.asarray(rng.standard_normal((5, 4)))
    assert inputs.for_samples(x, backend) is x
    assert clone(MLPClassifier(device=backend)).device is backend
