"""Saved networks: restored at any precision, damaged files, and paths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save

import bpcore
from bpcore import Activation, Dense, Dropout, Network
from bpcore.errors import InputError, InputTypeError
from support.small_network import network


def test_a_saved_network_is_restored(tmp_path: Path, rng: np.random.Generator) -> None:
    x, y = rng.integers(0, 256, (30, 6), dtype=np.uint8), rng.integers(0, 3, 30)
    net = network(Dense(8, "prelu", bias=0.1), Dropout(0.2), Activation("gelu"), Dense(4, "elu", bias=False), Dense(3))
    net.fit(x, y, loss=bpcore.SoftmaxCrossEntropy(0.1), epochs=2)
    net.about = {"classes": ["a", "b", "c"]}
    path = tmp_path / "deep" / "model.safetensors"
    net.save(path)
    again = Network.load(path, backend="numpy")
    np.testing.assert_array_equal(again.predict_proba(x), net.predict_proba(x))
    assert again.evaluate(x, y) == net.evaluate(x, y)
    assert again.about == net.about
    assert again.summary() == net.summary()
    assert [layer.config() for layer in again.layers] == [layer.config() for layer in net.layers]
    assert list(path.parent.iterdir()) == [path]
    again.fit(x, y, epochs=1)


@pytest.mark.parametrize("saved", ["float32", "float64"])
def test_a_network_is_loaded_at_any_precision(saved: str, tmp_path: Path, rng: np.random.Generator) -> None:
    """A wider precision predicts the same to rounding, a narrower one rounds parameters once; both can train on."""
    x, y = rng.standard_normal((30, 6)), rng.integers(0, 3, 30)
    net = network(Dense(8, "tanh"), Dense(3), precision=saved)
    net.fit(x, y, epochs=2)
    net.save(path := tmp_path / "model.safetensors")
    assert Network.load(path, backend="numpy").dtype == saved
    for precision in ("float32", "float64"):
        again = Network.load(path, backend="numpy", precision=precision)
        for name, array in again.parameters_by_name().items():
            assert array.dtype == precision
            np.testing.assert_array_equal(array, net.parameters_by_name()[name].astype(precision))
        np.testing.assert_allclose(again.predict_proba(x), net.predict_proba(x), rtol=1e-5)
        again.fit(x, y, epochs=1)
    for precision, said in (("bfloat16", "needs a GPU"), ("fp64", r"unknown precision 'fp64' \(here: 'float64'\)")):
        with pytest.raises(InputError, match=said):
            Network.load(path, backend="numpy", precision=precision)


def test_a_user_initializer_is_not_needed_to_load(tmp_path: Path) -> None:
    net = network(Dense(2, initializer=lambda rng, n, m: np.full((n, m), 0.5)), inputs=3)
    net.save(tmp_path / "m.safetensors")
    again = Network.load(tmp_path / "m.safetensors", backend="numpy")
    np.testing.assert_array_equal(again.parameters_by_name()["0.W"], 0.5)
    assert callable(net.layers[0].initializer), "saving leaves the network as it is"


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x10\x00\x00\x00\x00\x00\x00\x00{}", None])
def test_files_that_are_not_models(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"no model file|not a model file|holds no bpcore network"):
        Network.load(path)


def test_a_truncated_model_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    network(inputs=2).save(path)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="damaged"):
        Network.load(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda config, arrays: config.pop("inputs"),
            "damaged, or .* another version of bpcore: KeyError: 'inputs'",
        ),
        (lambda config, arrays: config["layers"][0].update(new=1), "another version of bpcore: TypeError: .*'new'"),
        (lambda config, arrays: config.update(layers=3), "is damaged, or was written by another version"),
        (lambda config, arrays: config.update(frozen=["9.W"]), "is damaged, or was written by another version"),
        (lambda config, arrays: arrays.pop("1.W"), "safetensors lacks parameter '1.W'; it has 0.W, 0.b, 1.b"),
        (lambda config, arrays: config.clear(), "another version of bpcore, which stores it in another way"),
        (None, "is damaged: "),
    ],
)
def test_a_model_that_was_tampered_with_gets_one_line(tmp_path: Path, change: Any, said: str) -> None:
    """A network that lacks an array would otherwise keep its initial random numbers."""
    path = tmp_path / "m.safetensors"
    network(inputs=2).save(path)
    with safe_open(str(path), framework="numpy") as file:
        text, arrays = file.metadata()["bpcore"], {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    config = json.loads(text)
    if change is not None:
        change(config, arrays)
    path.write_bytes(save(arrays, metadata={"bpcore": "[1" if change is None else json.dumps(config)}))
    with pytest.raises(InputError, match=said) as caught:
        Network.load(path)
    assert "\n" not in str(caught.value)


def test_model_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    network(inputs=2).save("~/m.safetensors")
    assert Network.load("~/m.safetensors").inputs == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.safetensors"]
    with pytest.raises(InputError, match=r"no model file .*, which is a folder"):
        Network.load(tmp_path)
    with pytest.raises(InputTypeError, match="3 is not a path"):
        Network.load(3)  # type: ignore[arg-type]


def test_a_model_with_an_unknown_activation_says_so(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    network(inputs=2).save(path)
    path.write_bytes(path.read_bytes().replace(b"relu", b"rela"))
    with pytest.raises(InputError, match=r"unknown activation 'rela'.*register"):
        Network.load(path)


def test_a_path_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        network(inputs=2).save(tmp_path / "file" / "m.safetensors")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_about_is_json(tmp_path: Path) -> None:
    net = network(inputs=2)
    net.about = {"classes": ["ä", "b"], "nested": {"numbers": [1, 2.5, None]}}
    net.save(tmp_path / "m.safetensors")
    assert Network.load(tmp_path / "m.safetensors", backend="numpy").about == json.loads(json.dumps(net.about))
    net.about = {"mean": np.float32(0.5)}
    with pytest.raises(InputTypeError, match=r"np.float32\(0.5\) cannot be saved, in `about` say: it is no JSON value"):
        net.save(tmp_path / "n.safetensors")
