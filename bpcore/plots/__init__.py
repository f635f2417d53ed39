"""Plots of a network and of its training; they need matplotlib: `pip install "bpcore[plot]"`.

Each function draws into a new figure (or, if it has that parameter, into the given `axes`) and returns the figure:

    plots.learning_curves(history).savefig("curves.png")

Colour-blind readers can tell all colours apart: they are Okabe and Ito's palette, a scale from white to its first
colour, and matplotlib's viridis and PuOr.
"""

from __future__ import annotations

from bpcore.plots.network import (
    confusion_matrix,
    decision_boundaries,
    decision_boundary,
    mistakes,
    predicted_against_true,
    templates,
    worst_mistakes,
)
from bpcore.plots.training import (
    by_layer,
    diagnostics,
    gradient_profile,
    learning_curves,
)

__all__ = [
    "by_layer",
    "confusion_matrix",
    "decision_boundaries",
    "decision_boundary",
    "diagnostics",
    "gradient_profile",
    "learning_curves",
    "mistakes",
    "predicted_against_true",
    "templates",
    "worst_mistakes",
]
