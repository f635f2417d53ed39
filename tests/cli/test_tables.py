"""`bpcore train`, `evaluate` and `predict` on tables and arrays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bpcore import Dense, Loss, Network, load_dataset
from bpcore.cli.gradcheck import random_targets
from bpcore.kernels.losses import LOSSES
from support.command_line import SMALL, Run, flowers, houses, results, write_csv


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


def test_regression_in_the_units_of_the_targets(run: Run, work: Path) -> None:
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


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_with_classes(run: Run, work: Path, name: str) -> None:
    header, rows = flowers()
    write_csv(work / "flowers.csv", header, rows)
    assert run("train", "flowers.csv", "--target", "kind", *SMALL, "--loss", name, "--output", "m", "-q").code == 0
    assert "test_accuracy" in json.loads(run("evaluate", "m", "--json", "-").out)
    found = json.loads(run("predict", "m", "flowers.csv", "--json", "-").out)["predictions"]
    assert {one["prediction"] for one in found} <= {"rose", "lily", "tulip"}
    assert all(("probabilities" in one) == LOSSES[name].gives_probabilities for one in found)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_with_numbers(run: Run, work: Path, name: str) -> None:
    header, rows = houses()
    write_csv(work / "houses.csv", header, rows)
    outcome = run("train", "houses.csv", "--target", "price", *SMALL, "--loss", name, "--output", "m", "--quiet")
    if LOSSES[name].predicts != "number":
        assert outcome.code == 2
        assert "use squared_error" in outcome.err
        return
    assert outcome.code == 0, outcome.err
    assert "r2" in json.loads(run("evaluate", "m", "--json", "-").out)
    found = json.loads(run("predict", "m", "houses.csv", "--json", "-").out)["predictions"]
    assert all(isinstance(one["prediction"], float) for one in found)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_of_a_model_from_python(run: Run, work: Path, name: str) -> None:
    """One output where that is of use: a number, a count, or a yes or no."""
    rng = np.random.default_rng(8)
    outputs = 3 if LOSSES[name].predicts == "label" else 1
    x = rng.random((40, 4)).astype(np.float32)
    network = Network([Dense(outputs)], backend="numpy")
    network.fit(x, random_targets(Loss(name), rng, 40, outputs), loss=name, epochs=3)
    network.save("model.safetensors")
    images = rng.integers(0, 256, (9, 2, 2)).astype(np.uint8)
    np.save(work / "images.npy", images)
    found = json.loads(run("predict", "model.safetensors", "images.npy", "--json", "-").out)["predictions"]
    expected = network.predict(images.reshape(9, 4) / 255)
    np.testing.assert_allclose([float(one["prediction"]) for one in found], expected.reshape(-1), rtol=1e-6)


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
