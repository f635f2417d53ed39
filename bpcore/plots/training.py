"""Plots of a training run: learning curves, and the diagnostics of each layer."""

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
"""Lines with more points than this have no markers."""


def learning_curves(history: History | Mapping[str, Sequence[float]]) -> Figure:
    """Plot the loss, the accuracy (of a classifier) and the learning rate (if it changes) against the epoch.

    history   what Network.fit returns, or its measures by name, a value for each epoch; accuracies are in 0..1
    """
    measures = history.measures if isinstance(history, History) else history
    epochs = np.arange(1, len(measures.get("loss", ())) + 1)
    if len(epochs) == 0:
        raise InputError("the history holds no epochs, so there is nothing to draw")
    panels = [("loss", "loss", 1.0)]
    if "accuracy" in measures:
        panels.append(("accuracy", "accuracy, %", 100.0))
    if len(set(measures.get("learning_rate", ()))) > 1:
        panels.append(("learning_rate", "learning rate", 1.0))
    figure = style.new_figure(max(3.4 * len(panels), 4.5), 3.2)
    for axes, (measure, label, unit) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        lines = [(measure, "training", 0), (f"val_{measure}", "validation", 1)]
        drawn = [(name, title, number) for name, title, number in lines if name in measures]
        for name, title, number in drawn:
            _line(axes, epochs, unit * np.array(measures[name]), title, number)
        style.whole_numbers_across(axes)
        if len(epochs) == 1:
            axes.set_xlim(0.5, 1.5)  # centres the single point
        finish(axes, "", "epoch", label, legend=len(drawn) > 1, bbox_to_anchor=(0.5, -0.2))
    return figure


def diagnostics(samples: Sequence[DiagnosticSample]) -> Figure:
    """Plot what Diagnostics recorded: gradients by layer, and gradients, updates and saturation over time."""
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
    """Plot one measure of each layer over time: "gradient_norm", "update_ratio" (both on a log scale) or "saturated".

    A few layers are named in a legend; many get a colour scale from the first layer to the last. A log scale has no
    place for zeros, so the title says how many points are not drawn. InputError for an unknown measure or no samples.
    """
    if measure not in _MEASURES:
        raise InputError(f"unknown measure {measure!r}; accepted: {', '.join(_MEASURES)}")
    _require_samples(samples)
    figure, axes = style.axes_or_new(axes, 6.5, 4.5)
    title, label = _MEASURES[measure]
    times = [sample.epoch for sample in samples]
    measured = np.array([[getattr(layer, measure) for layer in sample.layers] for sample in samples], float)
    layers = np.flatnonzero(~np.isnan(measured).all(axis=0)).tolist()
    values = measured[:, layers]
    if measure == "saturated":
        values *= 100.0
        axes.set_ylim(-3.0, 103.0)
    else:
        values, missing = _above_zero(values)
        title += missing
        axes.set_yscale("log")
    few = len(layers) <= len(COLOURS)
    for column, index in enumerate(layers):
        layer = samples[0].layers[index]
        colour = COLOURS[column] if few else style.in_order(column, len(layers))
        _line(axes, times, values[:, column], f"{layer.place} {layer.layer}", column, colour=colour, thin=not few)
    if times[-1] >= 2:
        style.whole_numbers_across(axes)
    finish(axes, title, "epoch", label, legend=few and bool(layers))
    if not few:
        style.order_bar(figure, axes, "layer, from the input upward", len(layers))
    if not layers:
        style.write_instead(axes, "no layer has this measure")
    return figure


def gradient_profile(samples: Sequence[DiagnosticSample], *, axes: Axes | None = None) -> Figure:
    """Plot the norm of each layer's gradient against the layer, input first, at up to six points of the training.

    A line that falls towards the left shows a gradient that vanishes on its way back to the input.
    """
    _require_samples(samples)
    figure, axes = style.axes_or_new(axes, 6.5, 4.5)
    layers = [layer for layer in samples[0].layers if layer.gradient_norm is not None]
    chosen = [samples[index] for index in sorted({round(at) for at in np.linspace(0, len(samples) - 1, 6)})]
    norms = np.array(
        [[layer.gradient_norm for layer in sample.layers if layer.gradient_norm is not None] for sample in chosen]
    )
    values, missing = _above_zero(norms)
    places = np.arange(1, len(layers) + 1)
    for number, (sample, line) in enumerate(zip(chosen, values, strict=True)):
        colour = style.in_order(number, len(chosen))
        if len(layers) <= FEW_POINTS:
            _line(axes, places, line, f"epoch {sample.epoch:.4g}", number, colour=colour)
        else:  # no lines: in a network of blocks they would zigzag between the layers of each block
            axes.plot(places, line, ".", label=f"epoch {sample.epoch:.4g}", color=colour, markersize=3)
    axes.set_yscale("log")
    most = 10 if max(len(layer.place) for layer in layers) <= 3 else 6
    shown = np.unique(np.linspace(0, len(layers) - 1, min(len(layers), most)).round().astype(int))
    axes.set_xticks(places[shown], [layers[place].place for place in shown])
    finish(axes, f"gradients from the input to the output{missing}", "layer", "norm", legend=True, ncols=3)
    return figure


def _line(axes: Axes, x: Any, y: Any, label: str, number: int, *, colour: Any = None, thin: bool = False) -> None:
    """Draw a line in the colour and with the marker of its number."""
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
    """The values with zeros replaced by NaN, and a remark for the title that counts them ("" if there are none)."""
    zeros = int((values == 0).sum())
    missing = f"\n(not drawn: {zeros} of {values.size} points that are 0)" if zeros else ""
    return np.where(values > 0, values, np.nan), missing


def _require_samples(samples: Sequence[DiagnosticSample]) -> None:
    if not samples:
        raise InputError("the diagnostics hold no samples, so there is nothing to draw")
