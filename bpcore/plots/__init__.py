"""Pictures of a network and of its training, by matplotlib: `pip install "bpcore[plot]"`.

Each function takes data, draws into the axes it is given or into a new figure, and returns the figure:

    plots.learning_curves(history).savefig("curves.png")

Colours are Okabe and Ito's, the way from white to the first of them, and matplotlib's viridis and PuOr, which
colour-blind readers can tell apart.
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
