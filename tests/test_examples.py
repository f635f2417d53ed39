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
