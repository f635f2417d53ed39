"""How bpcore's pictures look: colours that colour-blind readers can tell apart, markers; and the door to matplotlib.

Figures are made as objects: nothing here or above touches matplotlib's global state (pyplot), so it works without a
screen, beside a notebook, and in several threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bpcore.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".svg", ".png", ".pdf")

# Okabe and Ito's colours, the yellow darkened; with as many markers as have no common divisor.
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C7A00"]
MARKERS = ["o", "s", "^", "D", "v"]

ORDER = "viridis"
"""A colour map for what comes one after the other: layers, epochs."""
SIGNED = "PuOr"
"""A colour map for what is above or below zero."""

LONGEST_NAME = 24


def require_matplotlib(feature: str) -> None:
    """Refuse what could not be drawn later."""
    if find_spec("matplotlib") is None:
        raise MissingExtraError(feature, "plot")


def check_picture(path: Path) -> None:
    """Refuse, before any work, a file that could not be drawn in the end."""
    require_matplotlib("a picture")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path} cannot be drawn; accepted: a name that ends in {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches, which finds room for its labels by itself."""
    require_matplotlib("a picture")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def axes_or_new(axes: Axes | None, width: float, height: float) -> tuple[Figure, Axes]:
    """The figure and the axes to draw into: those that were given, or new ones."""
    if axes is not None:
        whole: Any = axes.figure
        return whole, axes
    figure = new_figure(width, height)
    return figure, figure.subplots()


def cycle(axes: Axes) -> None:
    """Let the lines to come differ in colour and in marker."""
    axes.set_prop_cycle(color=COLOURS * len(MARKERS), marker=MARKERS * len(COLOURS))


def finish(axes: Axes, title: str = "", x: str = "", y: str = "", *, legend: bool = False, **how: Any) -> None:
    """Title, labels and a faint grid; the legend below, where it covers nothing. how: see Axes.legend."""
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    if legend:
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14), "ncols": 2}
        axes.legend(**{"fontsize": 8, "frameon": False, **below, **how})


def write_instead(axes: Axes, text: str) -> None:
    """A text in the place of a picture that there is not."""
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
    axes.set_axis_off()


def whole_numbers_across(axes: Axes) -> None:
    """Ticks at whole numbers alone."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def in_order(number: int, count: int) -> Any:
    """The colour of one of several things that come one after the other; the palest is left out."""
    from matplotlib import colormaps

    return colormaps[ORDER](0.92 * number / max(count - 1, 1))


def order_bar(figure: Figure, axes: Axes, label: str, count: int) -> None:
    """A scale beside the axes that says which colour `in_order` gave to which of 1, 2, ..., count."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    colours = ListedColormap([in_order(number, count) for number in range(count)])
    figure.colorbar(ScalarMappable(Normalize(1, count), colours), ax=axes, label=label)


def amounts() -> Any:
    """A colour map for what is zero or more: from white, on the page and on paper, through the first colour to dark."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("amounts", [(0.0, "white"), (0.75, COLOURS[0]), (1.0, "#00314F")])


def ink(background: np.ndarray) -> str:
    """Black or white, whichever stands out more from a colour (WCAG's contrast of relative luminances)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in background[:3]]
    luminance = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return "black" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "white"


def root_scale() -> Any:
    """Colours for shares of 0 to 1 by their square root, so that small ones can be told from 0."""
    from matplotlib.colors import PowerNorm

    return PowerNorm(0.5, vmin=0.0, vmax=1.0)


def pale(colours: Sequence[str]) -> Any:
    """Colours (M, 3) as a background: most of the way to white."""
    from matplotlib.colors import to_rgb

    return np.array([[1.0 - 0.28 * (1.0 - part) for part in to_rgb(colour)] for colour in colours])


def plain(text: object, longest: int = LONGEST_NAME) -> str:
    """A name as it is to be read: shortened where it is long, and no formula where it holds dollar signs."""
    name = " ".join(str(text).split())
    short = name if len(name) <= longest else name[: longest - 1] + "…"
    return short.replace("$", r"\$")
