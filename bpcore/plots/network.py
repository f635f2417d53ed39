"""Plots of a network: its predictions, its weights, and its decision boundaries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from bpcore.errors import InputError
from bpcore.network import Network
from bpcore.plots import style
from bpcore.plots.style import COLOURS, MARKERS, SIGNED, finish, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_COUNTS = 30
"""A confusion matrix of more classes shows colours without the counts."""
MOST_NAMES = 60
"""With more classes than this, only every second (third, ...) name is written."""
LETTER = 0.62
"""The width of a letter relative to its height."""


def confusion_matrix(
    matrix: np.ndarray, classes: Sequence[object] | None = None, *, axes: Axes | None = None
) -> Figure:
    """Plot a confusion matrix: true classes in rows, predicted ones in columns, coloured by the share of the row.

    matrix    (M, M) counts, as Network.confusion_matrix returns them
    classes   M names; by default 0, 1, 2, ...
    """
    counts = np.asarray(matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or counts.size == 0:
        raise InputError(f"the confusion matrix has shape {counts.shape}; accepted: (M, M), M >= 1")
    number = len(counts)
    names = [plain(name) for name in (range(number) if classes is None else classes)]
    if len(names) != number:
        raise InputError(f"{len(names)} class names were given for a matrix of {number} classes")
    size = min(3.4 + 0.34 * number, 11.0)
    figure, axes = style.axes_or_new(axes, size + 1.2, size)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(shares, cmap=style.amounts(), norm=style.root_scale(), interpolation="nearest")
    bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=30, label="share of the true class, %")
    bar.set_ticks([0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0], labels=["0", "1", "5", "10", "25", "50", "100"])
    cell = 72.0 * 0.85 * size / number  # points
    every = -(-number // MOST_NAMES)
    axes.set_xticks(range(0, number, every), names[::every], fontsize=9)
    axes.set_yticks(range(0, number, every), names[::every], fontsize=9)
    if max(map(len, names)) * LETTER * 9 > 0.9 * cell * every:
        axes.tick_params(axis="x", rotation=90)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if number <= MOST_COUNTS:
        _write_counts(axes, counts, image.to_rgba(shares), min(10.0, 0.9 * cell / (LETTER * len(str(counts.max())))))
    return figure


def worst_mistakes(
    images: np.ndarray,
    true: np.ndarray,
    scores: np.ndarray,
    classes: Sequence[object] | None = None,
    *,
    most: int = 24,
    probabilities: bool = True,
) -> Figure:
    """Show the misclassified images of which the network was most confident, with the predicted and the true class.

    images          (n, height, width)
    true            labels (n,)
    scores          (n, M): probabilities; or, with probabilities=False, any scores of which the largest wins
    most            how many images to show
    """
    wrong = mistakes(true, scores)[:most]
    if len(wrong) == 0:
        figure = style.new_figure(5.0, 1.5)
        style.write_instead(figure.subplots(), "no mistakes")
        return figure
    names = range(scores.shape[1]) if classes is None else classes
    longest = max(len(plain(names[label], 12)) for label in range(scores.shape[1]))
    columns = min(8 if longest <= 4 else 5, len(wrong))
    rows = -(-len(wrong) // columns)
    width = 1.25 if longest <= 4 else 2.0
    figure = style.new_figure(max(width * columns, 4.0), 1.7 * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, sample in zip(grid.flat, wrong, strict=False):
        predicted = int(scores[sample].argmax())
        confidence = f" ({100 * scores[sample, predicted]:.0f} %)" if probabilities else ""
        lines = f"said {plain(names[predicted], 12)}{confidence}", f"is {plain(names[int(true[sample])], 12)}"
        axes.imshow(images[sample], cmap="Greys", interpolation="nearest")
        axes.set_title("\n".join(lines), fontsize=8)
    for axes in figure.axes:
        axes.set_axis_off()
    return figure


def mistakes(true: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The indices of the samples that scores (n, M) misclassify, given labels (n,); the most confident come first."""
    wrong = np.flatnonzero(scores.argmax(axis=1) != true)
    rows = scores[wrong]
    margin = rows.max(axis=1) - rows[np.arange(len(wrong)), true[wrong]]
    by_margin = np.lexsort((wrong, -margin, -rows.max(axis=1)))
    return np.asarray(wrong[by_margin])


def predicted_against_true(
    true: np.ndarray, predicted: np.ndarray, name: str = "", *, axes: Axes | None = None
) -> Figure:
    """Plot predicted numbers (n,) against the true ones (n,), with the line on which the two are equal."""
    figure, axes = style.axes_or_new(axes, 5.5, 5.5)
    low, high = (float(bound) for bound in (min(true.min(), predicted.min()), max(true.max(), predicted.max())))
    room = 0.04 * (high - low) or 1.0
    limits = (low - room, high + room)
    axes.plot(limits, limits, color="black", linewidth=1, linestyle="--", zorder=1)
    alpha = float(np.clip(40.0 / math.sqrt(len(true)), 0.15, 0.8))
    axes.scatter(true, predicted, s=14, color=COLOURS[0], alpha=alpha, edgecolors="none", zorder=2, rasterized=True)
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    axes.set_aspect("equal")
    of = f" {plain(name)}" if name else ""
    axes.tick_params(axis="x", rotation=30)
    finish(axes, "", f"true{of}", f"predicted{of}")
    return figure


def templates(
    weights: np.ndarray, image_shape: tuple[int, int], names: Sequence[object] | None = None, *, most: int = 40
) -> Figure:
    """Show the weights of a layer whose inputs are images, as one image for each unit.

    weights       W (N, M) of a layer whose inputs are images of N = height * width pixels
    names         of its M units; by default their numbers from 1
    most          if there are more units, only those with the largest weight norms are shown
    """
    height, width = image_shape
    if weights.ndim != 2 or len(weights) != height * width:
        raise InputError(
            f"weights of shape {weights.shape} do not match images of {height} x {width} pixels; "
            f"accepted: ({height * width}, M)"
        )
    units = np.arange(weights.shape[1])
    if len(units) > most:
        units = np.sort(np.argsort(-np.linalg.norm(weights, axis=0), kind="stable")[:most])
    columns = min(10, len(units))
    rows = -(-len(units) // columns)
    figure = style.new_figure(max(0.9 * columns, 3.0) + 1.0, max(1.1 * rows, 2.0))
    grid = figure.subplots(rows, columns, squeeze=False)
    largest = float(np.quantile(np.abs(weights[:, units]), 0.998)) or 1.0
    for axes, unit in zip(grid.flat, units.tolist(), strict=False):
        template = weights[:, unit].reshape(image_shape)
        image = axes.imshow(template, cmap=SIGNED, vmin=-largest, vmax=largest, interpolation="nearest")
        axes.set_title(plain(unit + 1 if names is None else names[unit], 12), fontsize=8, pad=2)
    for axes in grid.flat:
        axes.set_axis_off()
    figure.colorbar(image, ax=grid, shrink=0.9, aspect=30, label="weight", extend="both")
    return figure


def decision_boundary(
    network: Network, x: np.ndarray, y: np.ndarray, *, resolution: int = 200, axes: Axes | None = None
) -> Figure:
    """Plot the regions that a classifier of two inputs assigns to each class, with samples x (n, 2), labels y (n,).

    resolution   points along each side of the grid on which the network is evaluated

    InputError for a network that does not take two inputs or does not classify.
    """
    if network.inputs != 2 or not network.classifies:
        found = f"has {network.inputs} inputs and {'classifies' if network.classifies else 'does not classify'}"
        raise InputError(f"decision boundaries need a network of 2 inputs that classifies; this one {found}")
    figure, axes = style.axes_or_new(axes, 5.0, 5.0)
    low, high = x.min(axis=0), x.max(axis=0)
    room = 0.08 * (high - low)
    across, up = (np.linspace(low[i] - room[i], high[i] + room[i], resolution) for i in (0, 1))
    plane = np.stack([part.ravel() for part in np.meshgrid(across, up)], axis=1)
    margins = _margins(network.output(plane)).reshape(resolution, resolution, -1)
    extent = (across[0], across[-1], up[0], up[-1])
    colours = [COLOURS[label % len(COLOURS)] for label in range(margins.shape[2])]
    axes.imshow(
        style.pale(colours)[margins.argmax(axis=2)],
        extent=extent,
        origin="lower",
        interpolation="nearest",
        aspect="auto",
    )
    for label in range(margins.shape[2]):
        if margins[:, :, label].min() < 0.0 < margins[:, :, label].max():
            axes.contour(across, up, margins[:, :, label], levels=[0.0], colors="black", linewidths=0.7)
        members = x[y == label]
        marker = MARKERS[label % len(MARKERS)]
        axes.scatter(
            members[:, 0], members[:, 1], s=9, color=colours[label], marker=marker, edgecolors="white", linewidths=0.2
        )
    axes.set_xlim(across[0], across[-1])
    axes.set_ylim(up[0], up[-1])
    axes.set_xticks([])
    axes.set_yticks([])
    return figure


def decision_boundaries(
    networks: Sequence[Sequence[Network]],
    x: np.ndarray,
    y: np.ndarray,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    resolution: int = 200,
) -> Figure:
    """Plot the decision boundaries of a grid of networks over the same samples x (n, 2) with labels y (n,).

    networks        rows of networks
    rows, columns   the titles of the rows and columns
    """
    figure = style.new_figure(3.0 * len(columns) + 0.3, 3.0 * len(rows) + 0.3)
    grid = figure.subplots(len(rows), len(columns), squeeze=False)
    for axes_row, network_row in zip(grid, networks, strict=True):
        for axes, network in zip(axes_row, network_row, strict=True):
            decision_boundary(network, x, y, resolution=resolution, axes=axes)
    for axes, name in zip(grid[0], columns, strict=True):
        axes.set_title(plain(name), fontsize=11)
    for axes, name in zip(grid[:, 0], rows, strict=True):
        axes.set_ylabel(plain(name), fontsize=11)
    return figure


def _write_counts(axes: Axes, counts: np.ndarray, colours: np.ndarray, size: float) -> None:
    """Write the count into each cell that is not 0, dark on light and light on dark; colours of the cells (M, M, 4)."""
    for (row, column), count in np.ndenumerate(counts):
        if count:
            ink = style.ink(colours[row, column])
            axes.text(column, row, str(count), ha="center", va="center", color=ink, fontsize=size)


def _margins(output: np.ndarray) -> np.ndarray:
    """How far each class (n, M) is ahead of the best other one; a single output above zero means class 1."""
    if output.shape[1] == 1:
        return np.concatenate([-output, output], axis=1)
    first_two = np.sort(output, axis=1)[:, -2:]
    best_other = np.where(output == first_two[:, 1:], first_two[:, :1], first_two[:, 1:])
    return np.asarray(output - best_other)
