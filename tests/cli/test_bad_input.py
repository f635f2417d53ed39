"""Bad input on the command line: exit code 2 and one clear line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bpcore import Network, load_dataset
from bpcore.backends import available_backends
from bpcore.cli import app
from bpcore.data.mnist import FILES
from support.command_line import SMALL, Outcome, Run, files_below, flowers, write_csv


def check_refused(outcome: Outcome, said: str) -> None:
    """Assert exit code 2 and one line, without a claim of success before it."""
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


def test_a_missing_gpu_is_reported_first(run: Run, work: Path) -> None:
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


def test_a_non_finite_loss(run: Run, work: Path) -> None:
    outcome = run("train", *SMALL, "--learning-rate", "1e30", "--json", "r.json")
    assert outcome.code == 1
    assert outcome.err.startswith("bpcore: error: the loss is not finite at epoch 1, step ")
    assert outcome.err.endswith("the weights are in runs/mnist-1\n")
    assert outcome.err.count("\n") == 1
    assert not (work / "r.json").exists()
    network = Network.load(work / "runs" / "mnist-1" / "model.safetensors")
    data = load_dataset("mnist")
    assert np.isfinite(network.evaluate(data.x_train, data.y_train).loss)
