"""Plots show the given data, and are readable."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bpcore import Dense, History, InputError, MissingExtraError, Network
from bpcore.inspection.probe import DiagnosticSample, LayerSample

pytest.importorskip("matplotlib")

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from bpcore import plots
from bpcore.plots import style


def ticks(axes: Axes, which: str = "x") -> list[str]:
    return [label.get_text() for label in getattr(axes, f"get_{which}ticklabels")()]


def pixels(axes: Axes) -> np.ndarray:
    (image,) = [one for one in axes.get_children() if isinstance(one, AxesImage)]
    return np.asarray(image.get_array())


def lines(axes: Axes) -> dict[str, tuple[list[float], list[float]]]:
    return {str(line.get_label()): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()}


def assert_nothing_overlaps(figure: Figure) -> None:
    """Assert that tick labels and titles do not overlap and nothing leaves the figure."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    width, height = figure.bbox.width, figure.bbox.height
    for axes in figure.axes:
        for which in ("x", "y"):
            labels = [one for one in getattr(axes, f"get_{which}ticklabels")() if one.get_text() and one.get_visible()]
            low, high = sorted(getattr(axes, f"get_{which}lim")())
            at = getattr(axes, f"get_{which}ticks")()
            shown = [one for one, place in zip(labels, at, strict=False) if low <= place <= high and axes.axison]
            boxes = [one.get_window_extent(renderer) for one in shown]
            for one, other in pairwise(boxes):
                assert not one.shrunk(0.95, 0.95).overlaps(other.shrunk(0.95, 0.95)), (axes.get_title(), which)
        box = axes.title.get_window_extent(renderer)
        if axes.get_title():
            assert box.x0 >= -1
            assert box.x1 <= width + 1
            assert box.y1 <= height + 1
    titles = [axes.title.get_window_extent(renderer) for axes in figure.axes if axes.get_title()]
    for number, one in enumerate(titles):
        assert not any(one.shrunk(0.98, 0.9).overlaps(other.shrunk(0.98, 0.9)) for other in titles[number + 1 :])


# --- training ---------------------------------------------------------------------------------------------------


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


# --- what a network says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [2, 3, 10, 26, 47, 100])
def test_confusion_matrix(classes: int, rng: np.random.Generator) -> None:
    counts = rng.integers(0, 3, (classes, classes)) + np.diag(rng.integers(100, 1200, classes))
    counts[0] = 0
    names = [f"a long name of class {number}" for number in range(classes)]
    figure = plots.confusion_matrix(counts, names)
    axes, bar = figure.axes
    np.testing.assert_allclose(pixels(axes), counts / np.maximum(counts.sum(axis=1, keepdims=True), 1))
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert bar.get_ylabel() == "share of the true class, %"
    shown = [text.get_text() for text in axes.texts]
    assert shown == ([str(count) for count in counts.ravel() if count] if classes <= 30 else [])
    every = 2 if classes == 100 else 1
    assert ticks(axes) == ticks(axes, "y") == [style.plain(name) for name in names[::every]]
    assert_nothing_overlaps(figure)
    for text in axes.texts:
        assert 5.0 <= text.get_fontsize() <= 10.0


def test_counts_can_be_read_on_every_colour() -> None:
    """Contrast is at least 4.5, as WCAG requires, for every share from 0 to 1; zero is white."""
    counts = np.stack([np.arange(1, 26), np.arange(25, 0, -1)])
    shares = np.array([[one, 26 - one] for one in range(1, 26)]) / 26
    figure = plots.confusion_matrix(np.pad(counts.T, ((0, 0), (0, 23))))
    axes = figure.axes[0]
    colours = axes.images[0].to_rgba(np.pad(shares, ((0, 0), (0, 23))))
    assert axes.images[0].to_rgba(np.zeros((1, 1))).tolist() == [[[1.0, 1.0, 1.0, 1.0]]]
    inks = set()
    for text in axes.texts:
        column, row = text.get_position()
        red, green, blue, _ = np.where(
            colours[row, column] <= 0.04045,
            colours[row, column] / 12.92,
            ((colours[row, column] + 0.055) / 1.055) ** 2.4,
        )
        luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
        inks.add(text.get_color())
        contrast = {"white": 1.05 / (luminance + 0.05), "black": (luminance + 0.05) / 0.05}[text.get_color()]
        assert contrast > 4.5
    assert inks == {"white", "black"}


def test_confusion_matrix_without_names_into_given_axes() -> None:
    figure = Figure()
    left, right = figure.subplots(1, 2)
    assert plots.confusion_matrix(np.array([[3, 1], [0, 2]]), axes=right) is figure
    assert ticks(right) == ["0", "1"]
    assert not left.has_data()
    assert [(text.get_text(), text.get_position()) for text in right.texts] == [
        ("3", (0, 0)), ("1", (1, 0)), ("2", (1, 1)),
    ]  # fmt: skip
    for matrix, names in ((np.ones((2, 3)), None), (np.ones((0, 0)), None), (np.ones((2, 2)), ["a"])):
        with pytest.raises(InputError):
            plots.confusion_matrix(matrix, names)


def test_a_name_with_dollars_is_not_a_formula() -> None:
    figure = plots.confusion_matrix(np.eye(2, dtype=int), ["$1$ to $x_", "<b>&"])
    figure.canvas.draw()
    assert ticks(figure.axes[0]) == [r"\$1\$ to \$x_", "<b>&"]


def test_worst_mistakes(rng: np.random.Generator) -> None:
    """Samples 2, 0 and 3 are wrong, in order of the network's confidence."""
    images = rng.random((4, 6, 5))
    scores = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.0, 0.1, 0.9], [0.3, 0.3, 0.4]])
    true = np.array([1, 1, 0, 0])
    np.testing.assert_array_equal(plots.mistakes(true, scores), [2, 0, 3])
    figure = plots.worst_mistakes(images, true, scores, ["cat", "dog", "cow"])
    titles = ["said cow (90 %)\nis cat", "said cat (70 %)\nis dog", "said cow (40 %)\nis cat"]
    assert [axes.get_title() for axes in figure.axes] == titles
    for axes, sample in zip(figure.axes, (2, 0, 3), strict=True):
        np.testing.assert_array_equal(pixels(axes), images[sample])
        assert not axes.axison
    assert len(plots.worst_mistakes(images, true, scores, most=2).axes) == 2
    assert plots.worst_mistakes(images, true, scores, probabilities=False).axes[0].get_title() == "said 2\nis 0"
    (axes,) = plots.worst_mistakes(images, scores.argmax(axis=1), scores).axes
    assert [text.get_text() for text in axes.texts] == ["no mistakes"]


@pytest.mark.parametrize("name", ["{}", "a rather long name {}"])
def test_many_mistakes_do_not_overlap(name: str, rng: np.random.Generator) -> None:
    scores = rng.random((60, 10))
    scores /= scores.sum(axis=1, keepdims=True)
    true = (scores.argmax(axis=1) + 1) % 10
    figure = plots.worst_mistakes(rng.random((60, 8, 8)), true, scores, [name.format(number) for number in range(10)])
    assert len([axes for axes in figure.axes if axes.get_title()]) == 24
    assert_nothing_overlaps(figure)


def test_predicted_against_true(rng: np.random.Generator) -> None:
    true = 1e5 * rng.random(50)
    predicted = true + 1000.0
    figure = plots.predicted_against_true(true, predicted, "price $")
    (axes,) = figure.axes
    np.testing.assert_array_equal(np.asarray(axes.collections[0].get_offsets()), np.stack([true, predicted], axis=1))
    assert axes.get_xlim() == axes.get_ylim()
    (line,) = axes.get_lines()
    np.testing.assert_array_equal(line.get_xdata(), line.get_ydata())
    assert (axes.get_xlabel(), axes.get_ylabel()) == (r"true price \$", r"predicted price \$")
    assert_nothing_overlaps(figure)
    plots.predicted_against_true(np.ones(3), np.ones(3)).canvas.draw()


def test_templates(rng: np.random.Generator) -> None:
    weights = rng.standard_normal((6 * 4, 50)) * np.arange(1, 51)
    figure = plots.templates(weights, (6, 4), most=12)
    shown = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title() for axes in shown] == [str(unit + 1) for unit in sorted(_longest(weights, 12))]
    np.testing.assert_array_equal(pixels(shown[0]), weights[:, int(shown[0].get_title()) - 1].reshape(6, 4))
    assert figure.axes[-1].get_ylabel() == "weight"
    assert_nothing_overlaps(figure)
    few = plots.templates(weights[:, :3], (6, 4), ["zero", "one", "two"])
    assert [axes.get_title() for axes in few.axes][:3] == ["zero", "one", "two"]
    with pytest.raises(InputError, match="do not match images of 5 x 5 pixels"):
        plots.templates(weights, (5, 5))


def _longest(weights: np.ndarray, count: int) -> list[int]:
    return list(np.argsort(-np.linalg.norm(weights, axis=0))[:count])


# --- the plane ----------------------------------------------------------------------------------------------------


def halves(outputs: int = 2) -> Network:
    """Predicts class 1 if x > 0; with a single output, yes if x > 0."""
    network = Network([Dense(outputs)], inputs=2, backend="numpy")
    weights = np.array([[1.0], [0.0]]) if outputs == 1 else np.array([[-1.0, 1.0], [0.0, 0.0]])
    network.set_parameters({"0.W": weights, "0.b": np.zeros(outputs)})
    network.classifies = True
    return network


@pytest.mark.parametrize("outputs", [1, 2])
def test_decision_boundary(outputs: int) -> None:
    x, y = np.array([[-1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]), np.array([0, 1, 0])
    figure = plots.decision_boundary(halves(outputs), x, y, resolution=20)
    (axes,) = figure.axes
    seen = pixels(axes)
    assert seen.shape == (20, 20, 3)
    left, right = seen[:, :10], seen[:, 10:]
    assert (left == left[0, 0]).all()
    assert (right == right[0, 0]).all()
    blue, orange = style.pale(style.COLOURS[:2])
    np.testing.assert_allclose(left[0, 0], blue)
    np.testing.assert_allclose(right[0, 0], orange)
    points = [np.asarray(one.get_offsets()) for one in axes.collections if len(one.get_offsets())]
    assert any(np.array_equal(of_class, x[y == 0]) for of_class in points)
    assert any(np.array_equal(of_class, x[y == 1]) for of_class in points)


def test_integer_samples_do_not_make_the_grid_integer() -> None:
    x, y = np.array([[-1, -1], [1, 1], [-1, 1]]), np.array([0, 1, 0])
    of_integers, of_floats = (
        pixels(plots.decision_boundary(halves(), samples, y, resolution=20).axes[0]) for samples in (x, x.astype(float))
    )
    np.testing.assert_array_equal(of_integers, of_floats)


def test_a_grid_of_boundaries() -> None:
    x, y = np.array([[-1.0, -1.0], [1.0, 1.0]]), np.array([0, 1])
    figure = plots.decision_boundaries(
        [[halves(), halves(1)]] * 3, x, y, rows=["a", "b", "c"], columns=["one", "two"], resolution=10
    )
    assert len(figure.axes) == 6
    assert [axes.get_title() for axes in figure.axes[:2]] == ["one", "two"]
    assert [axes.get_ylabel() for axes in figure.axes[::2]] == ["a", "b", "c"]
    with pytest.raises(InputError, match="has 3 inputs"):
        plots.decision_boundary(Network([Dense(2)], inputs=3, backend="numpy"), x, y)
    with pytest.raises(InputError, match="has 2 inputs and does not classify"):
        plots.decision_boundary(Network([Dense(2)], inputs=2, backend="numpy"), x, y)


# --- imports and files --------------------------------------------------------------------------------------------


def test_no_picture_touches_pyplot() -> None:
    program = (
        "import sys, numpy as np\nfrom bpcore import plots\nassert 'matplotlib' not in sys.modules\n"
        "plots.confusion_matrix(np.eye(3, dtype=int)).savefig(sys.argv[1])\n"
        "plots.learning_curves({'loss': [1.0]}).savefig(sys.argv[1])\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, "/dev/null"], check=True, env={"PATH": ""})


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(style, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "bpcore\[plot\]"'):
        plots.learning_curves({"loss": [1.0]})


@pytest.mark.parametrize(("text", "said"), [("a" * 30, "a" * 23 + "…"), (" a\n b", "a b"), (3, "3")])
def test_names(text: Any, said: str) -> None:
    assert style.plain(text) == said


def test_files_of_every_kind(tmp_path: Path) -> None:
    for suffix in style.SUFFIXES:
        style.check_picture(tmp_path / f"a{suffix}")
    with pytest.raises(InputError, match=r"accepted: a name that ends in \.svg, \.png, \.pdf"):
        style.check_picture(tmp_path / "a.gif")
    with pytest.raises(InputError, match=r"a\.png cannot be written: there is no folder"):
        style.check_picture(tmp_path / "nowhere" / "a.png")
