"""Plots of a network: confusion matrix, mistakes, predictions, templates, decision boundaries."""

from __future__ import annotations

import numpy as np
import pytest

from bpcore import Dense, InputError, Network

pytest.importorskip("matplotlib")

from matplotlib.figure import Figure

from bpcore import plots
from bpcore.plots import style
from support.figures import assert_nothing_overlaps, pixels, ticks

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
