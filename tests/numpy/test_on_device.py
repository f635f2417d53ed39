"""bpcore.numpy on a device gives the CPU's results; the device is the stand-in of stand_in_numpy.py.

Tests marked `gpu` need a real GPU.
"""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy
import pytest

import bpcore.numpy as np
from bpcore.backends.base import Backend
from support.numpy_scripts import ON_THE_DEVICE, again, on_host, run, same
from support.stand_in import StandInArray
from support.stand_in_numpy import NumpyDevice


@pytest.mark.parametrize("code", ON_THE_DEVICE)
@pytest.mark.usefixtures("device")
def test_the_device_matches_the_cpu(code: str) -> None:
    np.use("numpy")
    expected = run(code, np)
    again(NumpyDevice(), "raise")
    found = run(code, np)
    assert {transfer.why for transfer in np.transfers()} <= {"argument", "creation", "random"}
    same(on_host(found), expected)


SCRIPT = """\
import numpy as np

rng = np.random.default_rng(0)
x = rng.normal(size=(60, 5))
w = np.array([1.0, -2.0, 0.5, 0.0, 3.0])
y = x @ w + 0.01 * rng.standard_normal(60)

order = np.argsort(y)[::-1]
x, y = x[order], y[order]                       # fancy indexing
x[:, 3] *= 0.5                                  # in place
x[y < np.median(y), 4] += 1.0
np.add.at(y, [0, 0, 1], 0.25)

gram = np.einsum("ni,nj->ij", x, x)
solution = np.linalg.solve(gram + 1e-3 * np.eye(5), x.T @ y)
values, vectors = np.linalg.eigh(gram)
spread = np.block([[np.sort(values)], [np.cumsum(values)]])
residual = np.linalg.norm(x @ solution - y)
np.random.seed(4)
noise = np.random.rand(3)
picked = y[rng.permutation(60)[:4]]
"""


def test_a_script_changes_only_its_import(device: NumpyDevice, tmp_path: Path) -> None:
    (tmp_path / "theirs.py").write_text(SCRIPT)
    (tmp_path / "ours.py").write_text(SCRIPT.replace("import numpy as np", "import bpcore.numpy as np"))
    again(device, "warn")
    with pytest.warns(np.FallbackWarning, match=r"^bpcore\.numpy\.block is") as caught:
        ours = runpy.run_path(str(tmp_path / "ours.py"))
    transfers = np.transfers()
    theirs = runpy.run_path(str(tmp_path / "theirs.py"))
    for name in ("x", "y", "gram", "solution", "values", "spread", "residual", "noise", "picked"):
        assert isinstance(ours[name], StandInArray)
        numpy.testing.assert_allclose(np.to_numpy(ours[name]), theirs[name], rtol=1e-9)
    assert [(warning.filename, warning.lineno) for warning in caught] == [(str(tmp_path / "ours.py"), 17)]
    crossed = {(int(t.place.rpartition(":")[2]), t.name, t.direction, t.why): (t.arrays, t.bytes) for t in transfers}
    assert crossed == {
        (4, "random.normal", "to device", "random"): (1, 60 * 5 * 8),
        (5, "array", "to device", "creation"): (1, 5 * 8),
        (6, "random.standard_normal", "to device", "random"): (1, 60 * 8),
        (12, "add", "to device", "argument"): (1, 3 * 8),
        (17, "block", "to host", "fallback"): (2, 2 * 5 * 8),
        (17, "block", "to device", "fallback"): (1, 2 * 5 * 8),
        (20, "random.rand", "to device", "random"): (1, 3 * 8),
        (21, "random.permutation", "to device", "random"): (1, 60 * 8),
    }
    assert all(transfer.place.startswith(str(tmp_path / "ours.py")) for transfer in transfers)


@pytest.mark.gpu
@pytest.mark.parametrize("code", ON_THE_DEVICE)
def test_a_gpu_matches_the_cpu(code: str, gpu: Backend) -> None:
    np.use("numpy")
    expected = run(code, np)
    np.use(gpu, fallback="ignore")
    try:
        found = run(code, np)
        same(_from(gpu, found), expected, rtol=1e-6)
    finally:
        np.use("numpy")


def _from(backend: Backend, value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_from(backend, one) for one in value]
    return backend.to_numpy(value) if backend.owns(value) else value


@pytest.mark.gpu
def test_a_singular_matrix_raises_on_a_gpu(gpu: Backend) -> None:
    np.use(gpu)
    try:
        with pytest.raises(np.linalg.LinAlgError):
            np.linalg.inv(np.zeros((2, 2)))
    finally:
        np.use("numpy")
