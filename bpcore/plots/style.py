"""The look of bpcore's plots, and the one place that creates matplotlib figures.

Figures are plain objects: nothing here touches pyplot's global state, so plots work without a display, in a notebook
and in several threads. matplotlib is imported inside the functions, so that importing this module stays fast.
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

# Okabe and Ito's colours, the yellow darkened. Seven colours and five markers have no common divisor: 35 pairs.
COLOURS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C7A00"]
MARKERS = ["o", "s", "^", "D", "v"]

ORDER = "viridis"
"""The colour map for a sequence: layers, epochs."""
SIGNED = "PuOr"
"""The colour map for values on both sides of zero."""

LONGEST_NAME = 24


def require_matplotlib(feature: str) -> None:
    """MissingExtraError, naming the feature, if matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        raise MissingExtraError(feature, "plot")


def check_picture(path: Path) -> None:
    """Check, before any work, that a picture can be written to path; InputError otherwise."""
    require_matplotlib("a plot")
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path} cannot be drawn; accepted: a name that ends in {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}")


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, width and height in inches, whose layout makes room for labels."""
    require_matplotlib("a plot")
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def axes_or_new(axes: Axes | None, width: float, height: float) -> tuple[Figure, Axes]:
    """The axes and their figure; a new figure of width x height inches if axes is None."""
    if axes is not None:
        owner: Any = axes.figure
        return owner, axes
    figure = new_figure(width, height)
    return figure, figure.subplots()


def cycle(axes: Axes) -> None:
    """Give each of the next lines another colour and marker."""
    axes.set_prop_cycle(color=COLOURS * len(MARKERS), marker=MARKERS * len(COLOURS))


def finish(axes: Axes, title: str = "", x: str = "", y: str = "", *, legend: bool = False, **options: Any) -> None:
    """Add the title, the axis labels, a faint grid and, below the axes, the legend; options go to Axes.legend."""
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    if legend:
        below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.14), "ncols": 2}
        axes.legend(**{"fontsize": 8, "frameon": False, **below, **options})


def write_instead(axes: Axes, text: str) -> None:
    """Show a text in the middle of the axes instead of data."""
    axes.text(0.5, 0.5, text, ha="center", va="center", transform=axes.transAxes)
    axes.set_axis_off()


def whole_numbers_across(axes: Axes) -> None:
    """Put the ticks of the x axis at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def in_order(number: int, count: int) -> Any:
    """The colour of item number (from 0) of a sequence of count; the palest colours are left out."""
    from matplotlib import colormaps

    return colormaps[ORDER](0.92 * number / max(count - 1, 1))


def order_bar(figure: Figure, axes: Axes, label: str, count: int) -> None:
    """Add a colour bar beside the axes for the colours that `in_order` gives to 1, 2, ..., count."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize

    colours = ListedColormap([in_order(number, count) for number in range(count)])
    figure.colorbar(ScalarMappable(Normalize(1, count), colours), ax=axes, label=label)


def amounts() -> Any:
    """The colour map for values of zero or more: from white through the first of COLOURS to a dark blue."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("amounts", [(0.0, "white"), (0.75, COLOURS[0]), (1.0, "#00314F")])


def ink(background: np.ndarray) -> str:
    """Black or white, whichever contrasts more with a background colour (WCAG contrast ratio)."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in background[:3]]
    luminance = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return "black" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "white"


def root_scale() -> Any:
    """A scale for shares in 0..1 by their square root, which sets small ones apart from 0."""
    from matplotlib.colors import PowerNorm

    return PowerNorm(0.5, vmin=0.0, vmax=1.0)


def pale(colours: Sequence[str]) -> Any:
    """Colours as RGB (M, 3), lightened for a background."""
    from matplotlib.colors import to_rgb

    return np.array([[1.0 - 0.28 * (1.0 - part) for part in to_rgb(colour)] for colour in colours])


def plain(text: object, longest: int = LONGEST_NAME) -> str:
    """A name as text for matplotlib: whitespace collapsed, shortened to `longest`, dollar signs escaped."""
    name = " ".join(str(text).split())
    short = name if len(name) <= longest else name[: longest - 1] + "…"
    return short.replace("$", r"\$")
