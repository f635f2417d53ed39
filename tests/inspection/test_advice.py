"""Warnings of Diagnostics, and that healthy networks get none."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest

from bpcore import SGD, Adam, Dense, Diagnostics, Dropout, Layer, Maxout, Network, Residual
from bpcore.inspection.advice import advice
from bpcore.inspection.probe import DiagnosticSample, LayerSample
from bpcore.training.nonfinite import NonFiniteLossError
from support.diagnostics import data, plain


def told(layers: list[Layer], rng: np.random.Generator, **options: Any) -> dict[str, str]:
    x, y = rng.standard_normal((60, 8)), rng.integers(0, 3, 60)
    lines: list[str] = []
    found = Diagnostics(notify=lines.append)
    net = Network(layers, backend=plain())
    net.fit(x, y, **{"epochs": 2, "optimizer": SGD(learning_rate=0.1), "callbacks": [found], **options})
    assert lines == found.warnings
    return {line.split(":")[0]: line for line in lines}


def test_a_deep_network_of_sigmoids(rng: np.random.Generator) -> None:
    lines = told([Dense(8, "sigmoid") for _ in range(30)] + [Dense(3)], rng)
    assert list(lines) == ["gradients vanish"]
    line = lines["gradients vanish"]
    assert "in layer 1 (Dense, sigmoid)" in line
    assert "in layer 31" in line
    assert "layers from 1 to 2" in line
    assert "learn next to nothing" in line
    assert "the activation relu with He's initialiser (he_normal), residual blocks (Residual)" in line
    assert "\n" not in line


def test_residual_blocks_let_gradients_through(rng: np.random.Generator) -> None:
    """Twice as deep as the network above. A block starts as y = x: its lower layer learns nothing in the first step."""
    blocks: list[Layer] = [Residual([Dense(8, "sigmoid"), Dense(8, initializer="zeros")]) for _ in range(30)]
    for layers in ([Dense(8), *blocks, Dense(3)], [*blocks, Dense(3)]):
        x, y = rng.standard_normal((60, 8)), rng.integers(0, 3, 60)
        found = Diagnostics(notify=pytest.fail)
        net = Network(layers, backend=plain())
        net.fit(x, y, epochs=20, optimizer=Adam(learning_rate=0.01), callbacks=[found])
        places = [layer.place for layer in found.samples[0].layers]
        assert places[-3:] == [f"{len(layers) - 1}.1", f"{len(layers) - 1}.2", f"{len(layers)}"]
        assert found.samples[0].layers[-3].gradient_norm == 0.0


def test_saturated_layers_are_named() -> None:
    layers = (
        LayerSample("1", "Dense, tanh", {}, 1e-5, 1.0, 0.001, 8, 0.75, 0),
        LayerSample("2", "Dense, identity", {}, 1.0, 1.0, 0.001),
    )
    assert list(advice(DiagnosticSample(7, 1.0, 1.0, 1.0, 0.1, layers))) == [
        (
            "vanishing",
            "gradients vanish: after step 7 their norm is 1e-05 in layer 1 (Dense, tanh), where 75 % is saturated, but "
            "1 in layer 2; layer 1 learns next to nothing; try the activation relu with He's initialiser (he_normal), "
            "residual blocks (Residual), or fewer layers",
        )
    ]


def test_weights_that_are_too_large(rng: np.random.Generator) -> None:
    layers: list[Layer] = [
        Dense(8, "relu", initializer=lambda g, n, m: 3.0 * g.standard_normal((n, m))) for _ in range(8)
    ]
    lines = told([*layers, Dense(3)], rng, optimizer=SGD(learning_rate=1e-12))
    assert list(lines) == ["gradients explode"]
    assert "try clipping (max_norm=1), a smaller learning rate (now 1e-12)" in lines["gradients explode"]


def test_a_failed_run_keeps_its_samples(rng: np.random.Generator) -> None:
    x, y = data(rng)
    found = Diagnostics(1, notify=lambda line: None)
    net = Network([Dense(8, "relu"), Dense(1)], backend=plain())
    with pytest.raises(NonFiniteLossError):
        net.fit(
            1e3 * x,
            1e3 * y.astype(float),
            loss="squared_error",
            optimizer=SGD(learning_rate=1.0),
            epochs=50,
            callbacks=[found],
        )
    assert found.samples[0].loss > 0
    assert any(line.startswith("gradients explode") for line in found.warnings)
    assert any(line.startswith("updates are as large as the weights") for line in found.warnings)


def test_dead_units(rng: np.random.Generator) -> None:
    lines = told([Dense(8, "relu", bias=-100.0), Dense(3)], rng)
    assert lines["units are dead"].startswith("units are dead: after step 1 8 of the 8 in layer 1 (Dense, relu)")
    assert list(told([Dense(8, "leaky_relu", bias=-100.0), Dense(3)], rng)) == []


def test_dead_pieces(rng: np.random.Generator) -> None:
    """Five pieces that start out equal, so that the first wins."""
    line = told([Maxout(4, pieces=5, initializer="zeros"), Dense(3)], rng)["pieces are dead"]
    assert re.match(
        r"pieces are dead: after step 1 1\d of the 20 in layer 1 \(Maxout, 5 pieces\) have no gradient", line
    )
    assert line.endswith(" or fewer pieces")


@pytest.mark.parametrize(
    "make",
    [
        lambda: [Dense(32, "relu"), Dropout(0.2), Dense(3)],
        lambda: [Dense(16, "tanh"), Dense(16, "tanh"), Dense(3)],
        lambda: [Dense(16, "sigmoid"), Dense(3)],
        lambda: [Dense(32, "relu") for _ in range(8)] + [Dense(3)],
    ],
)
def test_a_healthy_network_gets_no_warning(make: Any, rng: np.random.Generator) -> None:
    assert told(make(), rng, epochs=20) == {}
    assert told(make(), rng, epochs=20, optimizer="adam") == {}


def test_a_warning_is_shown_once_and_uses_warnings_without_a_listener(rng: np.random.Generator) -> None:
    x, y = data(rng)
    found = Diagnostics()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Network([Dense(8, "relu", bias=-100.0), Dense(3)], backend=plain()).fit(x, y, epochs=3, callbacks=[found])
    assert [str(one.message) for one in caught] == found.warnings
    assert [line.split(":")[0] for line in found.warnings] == ["gradients vanish", "units are dead"]
