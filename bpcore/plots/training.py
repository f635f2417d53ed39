"""Pictures of a training run: learning curves, and the diagnostics of the layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bpcore.errors import InputError
from bpcore.inspection.probe import DiagnosticSample
from bpcore.plots import style
from bpcore.plots.style import COLOURS, MARKERS, finish
from bpcore.training.history import History

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FEW_POINTS = 30
"""Lines of more points have no markers."""


def learning_curves(history: History | Mapping[str, Sequence[float]]) -> Figure:
    """Loss, accuracy (where there are classes) and, where it changes, the learning rate, epoch by epoch.

    history   of Network.fit, or its measures: accuracies are shares of 0 to 1
    """
    measures = history.measures if isinstance(history, History) else history
    epochs = np.arange(1, len(measures.get("loss", ())) + 1)
    if len(epochs) == 0:
        raise InputError("the history holds no epoch, so there is nothing to draw")
    panels = [("loss", "loss", 1.0)]
    if "accuracy" in measures:
        panels.append(("accuracy", "accuracy, %", 100.0))
    if len(set(measures.get("learning_rate", ()))) > 1:
        panels.append(("learning_rate", "learning rate", 1.0))
    figure = style.new_figure(max(3.4 * len(panels), 4.5), 3.2)
    for axes, (measure, label, unit) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        lines = [(measure, "training", 0), (f"val_{measure}", "validation", 1)]
        drawn = [(name, said, place) for name, said, place in lines if name in measures]
        for name, said, place in drawn:
            _line(axes, epochs, unit * np.array(measures[name]), said, place)
        style.whole_numbers_across(axes)
        if len(epochs) == 1:
            axes.set_xlim(0.5, 1.5)  # in the middle
        finish(axes, "", "epoch", label, legend=len(drawn) > 1, bbox_to_anchor=(0.5, -0.2))
    return figure


def diagnostics(samples: Sequence[DiagnosticSample]) -> Figure:
    """Four views of what Diagnostics found: gradients against the layer; gradients, updates, saturation over time."""
    figure = style.new_figure(10.4, 8.4)
    grid = figure.subplots(2, 2)
    gradient_profile(samples, axes=grid[0, 0])
    for axes, measure in zip(grid.flat[1:], ("gradient_norm", "update_ratio", "saturated"), strict=True):
        by_layer(samples, measure, axes=axes)
    return figure


_MEASURES = {
    "gradient_norm": ("the gradient of each layer", "norm"),
    "update_ratio": ("the next update of each layer's weights", "share of their length"),
    "saturated": ("activations with a derivative near zero", "%"),
}


def by_layer(
    samples: Sequence[DiagnosticSample], measure: str = "gradient_norm", *, axes: Axes | None = None
) -> Figure:
    """A measure of each layer over time: "gradient_norm", "update_ratio" (both on a log scale) or "saturated".

    A few layers have a legend, many a scale of colours from the lowest to the highest. What is 0 has no place on a log
    scale; the title says how often that is so.
    """
    if measure not in _MEASURES:
        raise InputError(f"unknown measure {measure!r}; accepted: {', '.join(_MEASURES)}")
    _require_samples(samples)
    figure, axes = style.axes_or_new(axes, 6.5, 4.5)
    title, label = _MEASURES[measure]
    times = [sample.epoch for sample in samples]
    every = np.array([[getattr(layer, measure) for layer in sample.layers] for sample in samples], float)
    layers = np.flatnonzero(~np.isnan(every).all(axis=0)).tolist()
    values = every[:, layers]
    if measure == "saturated":
        values *= 100.0
        axes.set_ylim(-3.0, 103.0)
    else:
        values, missing = _above_zero(values)
        title += missing
        axes.set_yscale("log")
    few = len(layers) <= len(COLOURS)
    for column, place in enumerate(layers):
        layer = samples[0].layers[place]
        colour = COLOURS[column] if few else style.in_order(column, len(layers))
        _line(axes, times, values[:, column], f"{layer.place} {layer.layer}", column, colour=colour, thin=not few)
    if times[-1] >= 2:
        style.whole_numbers_across(axes)
    finish(axes, title, "epoch", label, legend=few and bool(layers))
    if not few:
        style.order_bar(figure, axes, "layer, from the input upward", len(layers))
    if not layers:
        style.write_instead(axes, "no layer has this")
    return figure


def gradient_profile(samples: Sequence[DiagnosticSample], *, axes: Axes | None = None) -> Figure:
    """The norm of each layer's gradient against the layer, from the input upward; up to six moments of the training.

    A line that falls to the left is a gradient that vanishes on its way down.
    """
    _require_samples(samples)
    figure, axes = style.axes_or_new(axes, 6.5, 4.5)
    layers = [layer for layer in samples[0].layers if layer.gradient_norm is not None]
    chosen = [samples[place] for place in sorted({round(p) for p in np.linspace(0, len(samples) - 1, 6)})]
    norms = np.array(
        [[layer.gradient_norm for layer in sample.layers if layer.gradient_norm is not None] for sample in chosen]
    )
    values, missing = _above_zero(norms)
    places = np.arange(1, len(layers) + 1)
    for number, (sample, line) in enumerate(zip(chosen, values, strict=True)):
        colour = style.in_order(number, len(chosen))
        if len(layers) <= FEW_POINTS:
            _line(axes, places, line, f"epoch {sample.epoch:.4g}", number, colour=colour)
        else:  # in blocks neighbours differ, and lines would go up and down
            axes.plot(places, line, ".", label=f"epoch {sample.epoch:.4g}", color=colour, markersize=3)
    axes.set_yscale("log")
    most = 10 if max(len(layer.place) for layer in layers) <= 3 else 6
    shown = np.unique(np.linspace(0, len(layers) - 1, min(len(layers), most)).round().astype(int))
    axes.set_xticks(places[shown], [layers[place].place for place in shown])
    finish(axes, f"gradients from the input to the output{missing}", "layer", "norm", legend=True, ncols=3)
    return figure


def _line(axes: Axes, x: Any, y: Any, label: str, number: int, *, colour: Any = None, thin: bool = False) -> None:
    """A line in the colour and with the marker of its number."""
    few = len(x) <= FEW_POINTS
    axes.plot(
        x,
        y,
        label=label,
        color=colour or COLOURS[number % len(COLOURS)],
        marker=MARKERS[number % len(MARKERS)] if (few and not thin) or len(x) == 1 else "",
        markersize=4,
        linewidth=0.8 if thin else 1.5,
    )


def _above_zero(values: np.ndarray) -> tuple[np.ndarray, str]:
    """The values with gaps where they are 0, and a remark for the title where there are such."""
    zeros = int((values == 0).sum())
    missing = f"\n(not drawn: {zeros} of {values.size} points that are 0)" if zeros else ""
    return np.where(values > 0, values, np.nan), missing


def _require_samples(samples: Sequence[DiagnosticSample]) -> None:
    if not samples:
        raise InputError("the diagnostics hold no sample, so there is nothing to draw")
