"""`bpcore train --resume`: a resumed run equals an uninterrupted one, and its errors."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bpcore.backends.cupy_backend import CupyBackend
from bpcore.cli import app, resuming
from bpcore.cli import train as training
from bpcore.training.run import Run
from support.stand_in import Device

OPTIONS = ["data.npz", "--network", "8", "--batch-size", "16", "--validation", "0.2", "--device", "cpu", "--seed", "4"]
FOUR = [*OPTIONS, "--epochs", "4"]


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with 70 samples of three classes, so that the last batch of an epoch is short."""
    monkeypatch.chdir(tmp_path)
    write_data(seed=0)
    return tmp_path


def write_data(seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = np.arange(70) % 3
    np.savez("data.npz", x=rng.standard_normal((70, 6)) + y[:, None], y=y)


def train(*arguments: str) -> dict[str, Any]:
    assert app.main(["train", *arguments, "--quiet", "--json", "results.json"]) in (0, 130)
    found: dict[str, Any] = json.loads(Path("results.json").read_text(encoding="utf-8"))
    return found


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert app.main(["train", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def assert_same(one: dict[str, Any], other: dict[str, Any], folders: tuple[str, str]) -> None:
    """Assert the same model, byte for byte, and the same figures in every epoch."""
    for measure in ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"):
        assert one["history"][measure] == other["history"][measure]
    assert one["epochs"] == other["epochs"] == len(one["history"]["loss"])
    assert one["test_loss"] == other["test_loss"]
    first, second = (Path(folder, "model.safetensors").read_bytes() for folder in folders)
    assert first == second


OTHERS = ("--precision", "float64", "--optimizer", "momentum", "--max-norm", "0.5", "--max-weight-norm", "1")


@pytest.mark.parametrize("how", [(), OTHERS])
def test_a_resumed_run_equals_an_uninterrupted_one(how: tuple[str, ...]) -> None:
    """Bit for bit, with Adam, one_cycle, shuffles and dropout; stopped after two epochs."""
    whole = train(*FOUR, *how, "--output", "whole")
    begun = train(*FOUR, *how, "--output", "part", "--stop-at-loss", str(whole["history"]["loss"][1]))
    assert (begun["epochs"], begun["resumed_after"]) == (2, 0)
    ended = train("--resume", "part", "--stop-at-loss", "0")
    assert (ended["resumed_after"], ended["settings"]["epochs"]) == (2, 4)
    assert_same(whole, ended, ("whole", "part"))


def test_a_complete_run_resumes_with_more_epochs_if_its_schedule_has_no_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = train(*FOUR, "--schedule", "constant", "--output", "whole")
    train(*OPTIONS, "--epochs", "2", "--schedule", "constant", "--output", "part")
    said = refused(capsys, "--resume", "part")
    assert "there is nothing to resume; raise --epochs" in said
    ended = train("--resume", "part/model.safetensors", "--epochs", "4", "--output", "on")
    assert_same(whole, ended, ("whole", "on"))
    assert Path("part/training.safetensors").read_bytes() != Path("on/training.safetensors").read_bytes()


@pytest.mark.parametrize("killed", [False, True])
def test_a_run_that_ends_within_an_epoch_resumes_from_its_start(killed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped by Ctrl-C, or killed and resumed from what had been written by then."""
    whole = train(*FOUR, "--output", "whole")

    def one_step(run: Run, wanted: int) -> int:
        steps = run_steps(run, min(wanted, 1))
        if (run.epoch, run.batch) == (2, 2):
            if killed:
                raise KeyboardInterrupt
            signal.raise_signal(signal.SIGINT)
        return steps

    run_steps = Run.run_steps
    with monkeypatch.context() as patch:
        patch.setattr(Run, "run_steps", one_step)
        if killed:
            patch.setattr(resuming, "SECONDS", -1.0)
            patch.setattr(resuming.Keep, "on_end", lambda self, run: None)
        assert app.main(["train", *FOUR, "--quiet", "--output", "part"]) == 130
    assert Path("part/model.safetensors").exists() != killed
    ended = train("--resume", "part")
    assert ended["resumed_after"] == 2
    assert_same(whole, ended, ("whole", "part"))


@pytest.mark.filterwarnings("ignore:cuBLASLt cannot be loaded:UserWarning")
def test_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the CuPy backend on the stand-in; a run started there can also resume on the CPU, to rounding."""
    device = Device()
    backend = CupyBackend(device, device.launch)
    with monkeypatch.context() as patch:
        patch.setattr(training, "choose_device", lambda name: backend)
        whole = train(*FOUR, "--output", "whole")
        train(*FOUR, "--output", "part", "--stop-at-loss", str(whole["history"]["loss"][1]))
        Path("cpu").mkdir()
        Path("cpu/training.safetensors").write_bytes(Path("part/training.safetensors").read_bytes())
        assert_same(whole, train("--resume", "part", "--stop-at-loss", "0"), ("whole", "part"))
    on_cpu = train("--resume", "cpu", "--device", "cpu", "--stop-at-loss", "0")
    assert on_cpu["history"]["loss"] == pytest.approx(whole["history"]["loss"], rel=1e-4)


def test_what_cannot_be_resumed_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    train(*OPTIONS, "--epochs", "2", "--output", "run")
    before = Path("run/training.safetensors").read_bytes()
    for arguments, said in (
        (["--resume", "run"], "completed 2 epochs, with --epochs 2: there is nothing to resume; one_cycle ends there"),
        (["--resume", "run", "--epochs", "4"], "one_cycle planned its learning rates for 2 epochs; for 4 those"),
        (["--resume", "run", "--batch-size", "32"], "batch-size 32 was given, but the run in run was started with 16,"),
        (
            ["--resume", "run", "--batch-size", "128"],
            "batch-size 128 was given, but the run in run was started with 16,",
        ),
        (["--resume", "run", "--l2", "0.1"], "l2 0.1 was given, but the run in run was started without it"),
        (["other.npz", "--resume", "run"], "data other.npz was given, but the run in run was started with data.npz"),
        (["--resume", "elsewhere"], "elsewhere cannot be resumed: there is no run"),
    ):
        assert said in refused(capsys, *arguments)
    write_data(seed=1)
    assert "the run was started with other training data" in refused(capsys, "--resume", "run", "--epochs", "4")
    assert Path("run/training.safetensors").read_bytes() == before
    Path("run/training.safetensors").write_bytes(before[:-10])
    assert "is not a model file, or is damaged" in refused(capsys, "--resume", "run")
    Path("run/training.safetensors").unlink()
    assert "there is only a model (model.safetensors)" in refused(capsys, "--resume", "run")


def test_patience_resumes_with_the_best_weights(capsys: pytest.CaptureFixture[str]) -> None:
    """With the best epoch before the break, patience counts from it, and its weights are restored."""
    how = [*OPTIONS, "--epochs", "9", "--schedule", "constant", "--learning-rate", "0.5", "--patience", "3"]
    whole = train(*how, "--output", "whole")
    best = int(np.argmin(whole["history"]["val_loss"])) + 1
    assert whole["epochs"] == best + 3 < 9
    assert whole["stopped"] == f"val_loss has not improved for 3 epochs; best at epoch {best}"
    begun = train(*how, "--output", "part", "--stop-at-loss", str(whole["history"]["loss"][best]))
    assert (begun["epochs"], begun["stopped"][:8]) == (best + 1, "the loss")
    ended = train("--resume", "part", "--stop-at-loss", "0")
    assert ended["stopped"] == whole["stopped"]
    assert_same(whole, ended, ("whole", "part"))
    more = train("--resume", "part", "--patience", "4")
    assert (more["epochs"], more["stopped"][:40]) == (best + 4, "val_loss has not improved for 4 epochs; ")
    train(*FOUR, "--output", "other")
    assert "patience 4 was given, but the run in other was started without it" in refused(
        capsys, "--resume", "other", "--patience", "4"
    )


def test_a_file_that_cannot_be_written_does_not_end_the_training(capsys: pytest.CaptureFixture[str]) -> None:
    Path("run/training.safetensors").mkdir(parents=True)
    assert app.main(["train", *OPTIONS, "--epochs", "1", "--output", "run"]) == 0
    said = capsys.readouterr().out
    assert "note: this run cannot be resumed: run/training.safetensors cannot be written" in said
    assert Path("run/model.safetensors").is_file()


def test_the_saved_state_is_not_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    train(*OPTIONS, "--epochs", "1", "--output", "run")
    assert app.main(["evaluate", "run/training.safetensors"]) == 2
    assert "run/training.safetensors holds no bpcore network" in capsys.readouterr().err
    Path("run/training.safetensors").write_bytes(Path("run/model.safetensors").read_bytes())
    assert "run/training.safetensors holds no bpcore training" in refused(capsys, "--resume", "run")
