"""Every example runs, and does what it says."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import pytest
from conftest import REPOSITORY, mnist_folder

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


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_sklearn_pipeline() -> None:
    assert example("sklearn_pipeline").main() > 0.95


def test_every_example_is_tested() -> None:
    names = {path.stem for path in (REPOSITORY / "examples").glob("*.py")}
    assert names == {name.removeprefix("test_") for name in globals() if name.startswith("test_")} - {
        "every_example_is_tested"
    }
