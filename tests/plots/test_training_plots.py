"""Plots of a training: learning curves, and measures by layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bpcore import History, InputError
from bpcore.inspection.probe import DiagnosticSample, LayerSample

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

from bpcore import plots
from bpcore.plots import style
from support.figures import assert_nothing_overlaps, lines, ticks


@pytest.mark.parametrize("epochs", [1, 2, 200])
def test_learning_curves(epochs: int) -> None:
    falling = [1.0 / (1 + epoch) for epoch in range(epochs)]
    history = History(
        {
            "loss": falling,
            "accuracy": [0.5] * epochs,
            "learning_rate": [0.1] * epochs,
            "val_loss": [2 * loss for loss in falling],
            "val_accuracy": [0.25] * epochs,
        }
    )
    figure = plots.learning_curves(history)
    assert isinstance(figure, Figure)
    loss, accuracy = figure.axes
    numbers = list(range(1, epochs + 1))
    assert lines(loss) == {"training": (numbers, falling), "validation": (numbers, history["val_loss"])}
    assert lines(accuracy) == {"training": (numbers, [50.0] * epochs), "validation": (numbers, [25.0] * epochs)}
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss", "accuracy, %"]
    assert {axes.get_xlabel() for axes in figure.axes} == {"epoch"}
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["training", "validation"]
    assert [line.get_color() for line in loss.get_lines()] == style.COLOURS[:2]
    assert bool(loss.get_lines()[0].get_marker()) == (epochs < 30)
    figure.canvas.draw()
    assert all(float(tick).is_integer() for tick in loss.get_xticks())
    assert_nothing_overlaps(figure)


def test_learning_curves_of_numbers_with_a_schedule() -> None:
    figure = plots.learning_curves({"loss": [3.0, 2.0], "learning_rate": [0.1, 0.05]})
    loss, rate = figure.axes
    assert loss.get_legend() is None
    assert lines(rate)["training"] == ([1, 2], [0.1, 0.05])
    with pytest.raises(InputError, match="holds no epoch"):
        plots.learning_curves(History())


def samples(layers: int, moments: int = 4) -> list[DiagnosticSample]:
    """Gradients halve with each layer below, and are 0 in the lowest of many; layer 1 has no activation."""
    return [
        DiagnosticSample(
            step=10 * moment,
            epoch=float(moment),
            loss=1.0,
            gradient_norm=1.0,
            learning_rate=0.1,
            layers=tuple(
                LayerSample(
                    str(place + 1),
                    "Dense, tanh",
                    gradient_norm=0.0 if layers > 20 and place == 0 else 0.5 ** (layers - place),
                    weight_norm=1.0,
                    update_ratio=0.001 * (moment + 1),
                    **({"units": 4, "saturated": 0.1 * moment, "dead": 0} if place else {}),
                )
                for place in range(layers)
            ),
        )
        for moment in range(moments)
    ]


def test_a_measure_by_layer() -> None:
    taken = samples(3)
    figure = plots.by_layer(taken)
    (axes,) = figure.axes
    assert lines(axes) == {
        f"{place} Dense, tanh": ([0.0, 1.0, 2.0, 3.0], [0.5 ** (4 - place)] * 4) for place in (1, 2, 3)
    }
    assert axes.get_yscale() == "log"
    assert axes.get_title() == "the gradient of each layer"
    (axes,) = plots.by_layer(taken, "update_ratio").axes
    assert lines(axes)["2 Dense, tanh"][1] == pytest.approx([0.001, 0.002, 0.003, 0.004])
    (axes,) = plots.by_layer(taken, "saturated").axes
    assert list(lines(axes)) == ["2 Dense, tanh", "3 Dense, tanh"]
    assert lines(axes)["2 Dense, tanh"][1] == pytest.approx([0.0, 10.0, 20.0, 30.0])
    assert axes.get_yscale() == "linear"
    with pytest.raises(InputError, match="unknown measure 'speed'; accepted: gradient_norm, update_ratio, saturated"):
        plots.by_layer(taken, "speed")
    with pytest.raises(InputError, match="no sample"):
        plots.by_layer([])


def test_many_layers_have_a_scale_instead_of_a_legend() -> None:
    figure = plots.by_layer(samples(152))
    axes, bar = figure.axes
    assert len(axes.get_lines()) == 152
    assert axes.get_legend() is None
    assert bar.get_ylabel() == "layer, from the input upward"
    assert bar.get_ylim() == (1, 152)
    assert axes.get_title().endswith("(not drawn: 4 of 608 points that are 0)")
    assert np.isnan(axes.get_lines()[0].get_ydata()).all()
    colours = [str(line.get_color()) for line in axes.get_lines()]
    assert len(set(colours)) > 140


def test_gradients_against_the_layer() -> None:
    figure = plots.gradient_profile(samples(152, 20))
    (axes,) = figure.axes
    assert [str(line.get_label()) for line in axes.get_lines()] == [f"epoch {one}" for one in (0, 4, 8, 11, 15, 19)]
    x, y = lines(axes)["epoch 0"]
    assert x == list(range(1, 153))
    assert y[1:] == pytest.approx([0.5 ** (152 - place) for place in range(1, 152)])
    assert (ticks(axes)[0], ticks(axes)[-1]) == ("1", "152")
    assert_nothing_overlaps(figure)
    names = [f"{50 + number // 2}.{1 + number % 2}" for number in range(152)]
    blocks = [
        replace(one, layers=tuple(replace(layer, place=name) for layer, name in zip(one.layers, names, strict=True)))
        for one in samples(152, 3)
    ]
    figure = plots.diagnostics(blocks)
    assert ticks(figure.axes[0])[::5] == ["50.1", "125.2"]
    assert_nothing_overlaps(figure)


def test_a_layer_with_zero_initial_weights() -> None:
    """Its relative update is undefined in the first sample, and defined from the second on."""
    first, *later = samples(3)
    layers = (replace(first.layers[0], update_ratio=None), *first.layers[1:])
    (axes,) = plots.by_layer([replace(first, layers=layers), *later], "update_ratio").axes
    assert lines(axes)["1 Dense, tanh"][1] == pytest.approx([np.nan, 0.002, 0.003, 0.004], nan_ok=True)


@pytest.mark.parametrize("layers", [1, 3, 30])
@pytest.mark.parametrize("moments", [1, 5])
def test_all_four_views(layers: int, moments: int) -> None:
    figure = plots.diagnostics(samples(layers, moments))
    assert len([axes for axes in figure.axes if axes.get_title()]) >= 3
    assert_nothing_overlaps(figure)
