"""`bpcore evaluate` and `bpcore predict` with saved models."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

from bpcore import Network, load_dataset
from support.command_line import SMALL, Run, results


def test_evaluate_a_saved_model(run: Run, work: Path, model: Path) -> None:
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
    np.testing.assert_allclose(shares[4], shares[3], atol=1e-6)  # an image of the model's size is used unchanged
    assert re.fullmatch(r"three\.png +3 +\d+\.\d\d %  \(\d \d+\.\d\d %, \d \d+\.\d\d %\)", lines[-1])
    assert "(" not in run("predict", str(model), "three.png", "--top", "1").out


def test_a_model_without_probabilities(run: Run, work: Path) -> None:
    assert run("train", *SMALL, "--loss", "hinge", "--output", "m", "--quiet").code == 0
    np.save(work / "one.npy", load_dataset("mnist").x_test[0])
    outcome = run("predict", "m", "one.npy")
    assert re.fullmatch(r"one\.npy  \d\n", outcome.out)


def test_independent_class_probabilities(run: Run, work: Path) -> None:
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
