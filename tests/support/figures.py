"""Reads what a figure shows."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import AxesImage


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
