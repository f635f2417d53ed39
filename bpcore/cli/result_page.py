"""The report page of --report: a trained network's results on one web page, and its plots as files beside it.

The page is self-contained, so that it can be sent by mail. Sections that do not apply are left out.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bpcore import plots
from bpcore.cli import html
from bpcore.cli.measure import class_scores
from bpcore.cli.report import percent
from bpcore.cli.run_folder import run_folder
from bpcore.data.codec import TableCodec
from bpcore.data.files import replaced
from bpcore.inspection.diagnostics import Diagnostics, table, title
from bpcore.network import Network
from bpcore.plots.style import require_matplotlib
from bpcore.training.history import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE = "index.html"
DOTS_PER_INCH = 144
MOST_CLASSES = 30
"""If there are more classes, only those with the lowest recall are listed."""
MOST_TARGETS = 4
"""If a regression has more targets, only the first ones are plotted."""
MOST_MISTAKES, MOST_TEMPLATES = 24, 40


@dataclass(frozen=True)
class Subject:
    """A trained network and the content of its page.

    figures       the most important values, as pairs of a name and a value
    facts         the other values, likewise
    command       the command that reproduces the run
    x, y          the test samples (there may be none) and their labels (n,) or targets (n, m)
    classes       the class names; None for regression
    """

    title: str
    figures: Sequence[tuple[str, str]]
    facts: Sequence[tuple[str, str]]
    command: str
    network: Network
    x: np.ndarray
    y: np.ndarray
    classes: Sequence[str] | None
    image_shape: tuple[int, int] | None
    codec: TableCodec | None = None
    history: History | None = None
    diagnostics: Diagnostics | None = None


@dataclass(frozen=True)
class Pictures:
    """The plots of a page: each is written to the folder as a PNG file and embedded in the page."""

    folder: Path

    def embed(self, name: str, figure: Figure, alt: str, caption: str) -> str:
        """Write a figure to NAME.png; return the HTML that embeds it."""
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=DOTS_PER_INCH)
        png = stream.getvalue()
        with replaced(self.folder / f"{name}.png") as file:
            file.write(png)
        return html.picture(png, round(96 * figure.get_figwidth()), alt, caption)


def check(folder: str | None) -> None:
    """InputError, before any work, if the page could not be written; folder is None if no page is requested."""
    if folder is not None:
        require_matplotlib("--report")
        with run_folder(folder, option="--report"):
            pass


def write(subject: Subject, named: str) -> Path:
    """Write the page and its plots to a folder; return the page's path. InputError if it cannot be written."""
    with run_folder(named, option="--report") as folder:
        page = folder / PAGE
        text = html.page(subject.title, _parts(subject, Pictures(folder)))
        with replaced(page) as file:
            file.write(text.encode())
    return page


def _parts(subject: Subject, pictures: Pictures) -> list[str]:
    """The page from top to bottom."""
    return [
        html.heading(subject.title, 1),
        html.figures(subject.figures),
        *_curves(subject, pictures),
        *(_classes(subject, pictures) if subject.classes is not None else _numbers(subject, pictures)),
        *_templates(subject, pictures),
        *_diagnostics(subject, pictures),
        html.heading("Details"),
        html.facts(subject.facts),
        html.preformatted(subject.network.summary()),
        html.heading("Command"),
        html.preformatted(subject.command, wraps=True),
    ]


def _curves(subject: Subject, pictures: Pictures) -> Iterator[str]:
    history = subject.history
    if history is None or len(history) == 0:
        return
    yield html.heading("Learning curves")
    losses = history["loss"]
    alt = f"Curves over {len(history)} epochs: the training loss goes from {losses[0]:.4g} to {losses[-1]:.4g}"
    for measure, label in (("val_loss", "validation loss"), ("accuracy", "training accuracy")):
        if measure in history:
            first, last = history[measure][0], history[measure][-1]
            values = (percent(first), percent(last)) if measure == "accuracy" else (f"{first:.4g}", f"{last:.4g}")
            alt += f", the {label} from {values[0]} to {values[1]}"
    caption = "Training values are means over an epoch's mini-batches, measured while the network was learning."
    yield pictures.embed("learning-curves", plots.learning_curves(history), f"{alt}.", caption)


def _classes(subject: Subject, pictures: Pictures) -> Iterator[str]:
    """The confusion matrix, a table of the classes and, for images, the worst mistakes."""
    if len(subject.x) == 0:
        return
    scores, probabilities = class_scores(subject.network, subject.x)
    classes = subject.classes or ()
    if len(classes) != scores.shape[1]:
        classes = tuple(map(str, range(scores.shape[1])))
    matrix = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(matrix, (subject.y, scores.argmax(axis=1)), 1)
    wrong = int(matrix.sum() - np.trace(matrix))
    yield html.heading("Confusion matrix")
    alt = f"Confusion matrix of {len(classes)} classes over {matrix.sum():,} test samples, {wrong:,} of them wrong."
    caption = "Rows are true classes, columns predicted ones. The darker a cell, the larger its share of the row."
    yield pictures.embed(
        "confusion-matrix", plots.confusion_matrix(matrix, classes), alt + _worst_pair(matrix, classes), caption
    )
    yield from _class_table(matrix, classes)
    if subject.image_shape is not None and wrong:
        yield html.heading("Worst mistakes")
        images = subject.x.reshape(-1, *subject.image_shape)
        figure = plots.worst_mistakes(
            images, subject.y, scores, classes, most=MOST_MISTAKES, probabilities=probabilities
        )
        shown = min(wrong, MOST_MISTAKES)
        which = f"All {wrong} mistakes" if shown == wrong else f"{shown} of the {wrong:,} mistakes"
        yield pictures.embed(
            "worst-mistakes",
            figure,
            f"{shown} misclassified test images, with the predicted and the true class.",
            f"{which}, the most confident first, with the predicted class (said) and the true class (is).",
        )


def _worst_pair(matrix: np.ndarray, classes: Sequence[str]) -> str:
    off = matrix - np.diag(np.diag(matrix))
    row, column = divmod(int(off.argmax()), len(off))
    if not off.any():
        return ""
    return f" The most frequent mistake is {classes[column]} for {classes[row]}, {off[row, column]:,} times."


def _class_table(matrix: np.ndarray, classes: Sequence[str]) -> Iterator[str]:
    """A table with the number of test samples, recall and precision of each class."""
    correct, true, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    order = np.arange(len(classes))
    if len(order) > MOST_CLASSES:
        order = np.argsort(correct / np.maximum(true, 1) + (true == 0), kind="stable")[:MOST_CLASSES]
        yield html.paragraph(f"The {MOST_CLASSES} classes with the lowest recall:")
    rows = [
        [classes[c], f"{true[c]:,}", _share(correct[c], true[c]), _share(correct[c], predicted[c])]
        for c in order.tolist()
    ]
    yield html.numbers(["class", "test samples", "recall", "precision"], rows)


def _numbers(subject: Subject, pictures: Pictures) -> Iterator[str]:
    """Plots of predicted against true numbers, one for each target."""
    if len(subject.x) == 0:
        return
    codec, predicted = subject.codec, subject.network.predict(subject.x)
    true, predicted = (codec.decode_targets(part) if codec else part for part in (subject.y, predicted))
    yield html.heading("Predicted against true")
    several = true.shape[1] > 1
    for target in range(min(true.shape[1], MOST_TARGETS)):
        name = (codec.target if codec else "target") + (f" {target + 1}" if several else "")
        figure = plots.predicted_against_true(true[:, target], predicted[:, target], name)
        alt = f"Predicted {name} against true {name} of {len(true):,} test samples."
        file = f"predicted-against-true{f'-{target + 1}' if several else ''}"
        yield pictures.embed(file, figure, alt, "Each point is a test sample; on the dashed line the two are equal.")
    if true.shape[1] > MOST_TARGETS:
        yield html.paragraph(f"The first {MOST_TARGETS} of {true.shape[1]} targets are shown.")


def _templates(subject: Subject, pictures: Pictures) -> Iterator[str]:
    """The first layer's weights as images, if its inputs are the images."""
    weights = subject.network.parameters_by_name().get("0.W")
    if subject.image_shape is None or weights is None or weights.ndim != 2 or len(weights) != subject.network.inputs:
        return
    units = weights.shape[1]
    names = subject.classes if len(subject.network.layers) == 1 and subject.classes else None
    yield html.heading("Weights of the first layer")
    shown = (
        f"the {MOST_TEMPLATES} of {units:,} units with the largest weight norms"
        if units > MOST_TEMPLATES
        else f"all {units} units"
    )
    yield pictures.embed(
        "templates",
        plots.templates(weights, subject.image_shape, names, most=MOST_TEMPLATES),
        f"The weights of the first layer as small images, {shown}.",
        f"The weights of {shown} in the first layer: violet pixels excite a unit, orange ones inhibit it.",
    )


def _diagnostics(subject: Subject, pictures: Pictures) -> Iterator[str]:
    found = subject.diagnostics
    if found is None or not found.samples:
        return
    yield html.heading("Layer diagnostics")
    for line in found.warnings:
        yield html.paragraph(line, "warning")
    if not found.warnings:
        yield html.paragraph("No vanishing or exploding gradients, and no layer with more than half of its units dead.")
    last = found.samples[-1]
    alt = f"Gradient norms, updates and saturation of {len(last.layers)} layers in {len(found.samples)} samples."
    caption = (
        f"Measured {len(found.samples)} times on up to {found.rows} training samples, in {found.seconds:.1f} s in all."
    )
    yield pictures.embed("diagnostics", plots.diagnostics(found.samples), alt, caption)
    yield html.paragraph(f"{title(last)}:")
    yield html.numbers(*table(last))


def _share(part: int, whole: int) -> str:
    return percent(part / whole) if whole else "-"
