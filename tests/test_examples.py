"""Every example runs, and does what it says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from conftest import REPOSITORY, mnist_folder
from stand_in_numpy import NumpyDevice

import bpcore.numpy
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.kernels.activations import ACTIVATIONS


def example(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, REPOSITORY / "examples" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_custom_activation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ACTIVATIONS, "softsign", ACTIVATIONS["relu"])
    assert example("custom_activation").main() > 0.95


def test_training_loop_on_ops() -> None:
    assert example("training_loop_on_ops").main() > 0.97


def test_mazur() -> None:
    losses = example("mazur").main()
    expected = [0.29837110876, 0.29102777369, 3.51018778e-5, 0.29837110876, 0.28047145, 2.44756e-6]
    assert losses == pytest.approx(expected, rel=1e-6)


def test_cs231n_two_layer() -> None:
    *losses, right = example("cs231n_two_layer").main()
    assert losses == pytest.approx([3.4702243556, 26.5948426952, 1.30378789133], abs=1e-8)
    assert right


def test_custom_layer() -> None:
    right, accuracy = example("custom_layer").main()
    assert right
    assert accuracy > 0.98


def test_xor() -> None:
    assert example("xor").main() == pytest.approx([0.0242, 0.9816, 0.9815, 0.0256], abs=1e-4)


def test_mnist() -> None:
    folder = mnist_folder()
    if folder is None:
        pytest.skip("no MNIST under $BPCORE_DATA_DIR")
    assert example("mnist").main(str(folder), epochs=1) > 0.95


def test_decision_boundaries(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    accuracies = example("decision_boundaries").main(str(tmp_path / "boundaries.png"), epochs=400)
    assert accuracies.shape == (3, 3)
    assert (accuracies > 0.8).all()
    assert accuracies[:, 0].max() > accuracies[:, 2].max() + 0.01  # a straight line is not enough
    assert (tmp_path / "boundaries.png").stat().st_size > 10_000


def test_numpy_network(capsys: pytest.CaptureFixture[str]) -> None:
    """The same numbers on the CPU and on a device, by the import alone; nothing but random numbers goes across."""
    device = NumpyDevice()
    accuracies = []
    for backend in (CupyBackend(device, device.launch), "numpy"):
        bpcore.numpy.use(backend, fallback="raise")
        accuracies.append(example("numpy_network").main(steps=60))
        assert all(transfer.why == "random" for transfer in bpcore.numpy.transfers())
    assert accuracies[0] == pytest.approx(accuracies[1], abs=0.01)
    assert accuracies[1] > 0.95
    assert "random.standard_normal: 1 array, 4.7 KiB to device" in capsys.readouterr().out


def test_every_example_is_tested() -> None:
    names = {path.stem for path in (REPOSITORY / "examples").glob("*.py")}
    assert names == {name.removeprefix("test_") for name in globals() if name.startswith("test_")} - {
        "every_example_is_tested"
    }
