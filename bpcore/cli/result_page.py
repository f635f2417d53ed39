"""What `--report DIR` writes: a page that shows a trained network to another person, and its pictures as files.

The page stands alone: it can be sent by mail. Parts that do not apply (images of a table, classes of numbers) are left
out.
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
"""Of more classes, those with the smallest share of right answers are listed."""
MOST_TARGETS = 4
"""So many targets of a regression are drawn."""
MOST_MISTAKES, MOST_TEMPLATES = 24, 40


@dataclass(frozen=True)
class Subject:
    """A trained network and all that the page says about it.

    figures       what matters most, as pairs of a name and a value; facts likewise, all the rest
    x, y          the test samples, none or more, and their labels (n,) or targets (n, m)
    classes       their names, None for regression
    command       what makes the same again
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
    """The pictures of a page: each becomes a PNG file in the folder and is embedded."""

    folder: Path

    def embed(self, name: str, figure: Figure, alt: str, caption: str) -> str:
        """The picture's HTML."""
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=DOTS_PER_INCH)
        png = stream.getvalue()
        with replaced(self.folder / f"{name}.png") as file:
            file.write(png)
        return html.picture(png, round(96 * figure.get_figwidth()), alt, caption)


def check(folder: str | None) -> None:
    """Refuse, before any work, what could not be written in the end. None: no page is wanted."""
    if folder is not None:
        require_matplotlib("--report")
        with run_folder(folder, option="--report"):
            pass


def write(subject: Subject, named: str) -> Path:
    """Write the pictures and the page into a folder; returns the page's file. InputError where it cannot be written."""
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
        html.heading("How it was made"),
        html.facts(subject.facts),
        html.preformatted(subject.network.summary()),
        html.heading("How to make it again"),
        html.preformatted(subject.command, wraps=True),
    ]


def _curves(subject: Subject, pictures: Pictures) -> Iterator[str]:
    history = subject.history
    if history is None or len(history) == 0:
        return
    yield html.heading("Learning curves")
    losses = history["loss"]
    alt = f"Curves over {len(history)} epochs: the training loss goes from {losses[0]:.4g} to {losses[-1]:.4g}"
    for measure, said in (("val_loss", "validation loss"), ("accuracy", "training accuracy")):
        if measure in history:
            first, last = history[measure][0], history[measure][-1]
            values = (percent(first), percent(last)) if measure == "accuracy" else (f"{first:.4g}", f"{last:.4g}")
            alt += f", the {said} from {values[0]} to {values[1]}"
    caption = (
        "Training figures are means over an epoch's mini-batches, as they were while the network learnt from them."
    )
    yield pictures.embed("learning-curves", plots.learning_curves(history), f"{alt}.", caption)


def _classes(subject: Subject, pictures: Pictures) -> Iterator[str]:
    """Confusion matrix, a table of the classes, and for images the worst mistakes."""
    if len(subject.x) == 0:
        return
    scores, probabilities = _scores(subject.network, subject.x)
    classes = subject.classes or ()
    if len(classes) != scores.shape[1]:
        classes = tuple(map(str, range(scores.shape[1])))
    matrix = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(matrix, (subject.y, scores.argmax(axis=1)), 1)
    wrong = int(matrix.sum() - np.trace(matrix))
    yield html.heading("Which classes are taken for which")
    alt = f"Confusion matrix of {len(classes)} classes over {matrix.sum():,} test samples, {wrong:,} of them wrong."
    caption = (
        "Each row is a true class, each column what the network said; the darker, the larger the share of the row."
    )
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
        which = f"All {wrong} wrong answers" if shown == wrong else f"{shown} of the {wrong:,} wrong answers"
        yield pictures.embed(
            "worst-mistakes",
            figure,
            f"{shown} test images that were classified wrongly, with what the network said.",
            f"{which}, those first of which the network was surest: what it said, and what is true.",
        )


def _worst_pair(matrix: np.ndarray, classes: Sequence[str]) -> str:
    off = matrix - np.diag(np.diag(matrix))
    row, column = divmod(int(off.argmax()), len(off))
    if not off.any():
        return ""
    return f" Most often {classes[row]} is taken for {classes[column]}, {off[row, column]:,} times."


def _class_table(matrix: np.ndarray, classes: Sequence[str]) -> Iterator[str]:
    """Of each class: how many there are, how many of them were found, how often the network was right to say it."""
    found, there, said = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    order = np.arange(len(classes))
    if len(order) > MOST_CLASSES:
        order = np.argsort(found / np.maximum(there, 1) + (there == 0), kind="stable")[:MOST_CLASSES]
        yield html.paragraph(f"The {MOST_CLASSES} classes of which the smallest share was found:")
    rows = [
        [classes[c], f"{there[c]:,}", _share(found[c], there[c]), _share(found[c], said[c])] for c in order.tolist()
    ]
    yield html.numbers(["class", "test samples", "recall", "precision"], rows)


def _numbers(subject: Subject, pictures: Pictures) -> Iterator[str]:
    """Predicted against true, for each target."""
    if len(subject.x) == 0:
        return
    codec, output = subject.codec, subject.network.output(subject.x)
    true, predicted = (codec.decode_targets(part) if codec else part for part in (subject.y, output))
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
    """The first layer's weights as images, where the first layer with weights sees the images themselves."""
    weights = subject.network.parameters_by_name().get("0.W")
    if subject.image_shape is None or weights is None or weights.ndim != 2 or len(weights) != subject.network.inputs:
        return
    units = weights.shape[1]
    of_classes = subject.classes if len(subject.network.layers) == 1 and subject.classes else None
    yield html.heading("What the first layer looks for")
    shown = (
        f"the {MOST_TEMPLATES} of {units:,} units with the longest weights"
        if units > MOST_TEMPLATES
        else f"all {units} units"
    )
    yield pictures.embed(
        "templates",
        plots.templates(weights, subject.image_shape, of_classes, most=MOST_TEMPLATES),
        f"The weights of the first layer as small images, {shown}.",
        f"The weights of {shown} of the first layer: violet pixels speak for a unit, orange ones against it.",
    )


def _diagnostics(subject: Subject, pictures: Pictures) -> Iterator[str]:
    found = subject.diagnostics
    if found is None or not found.samples:
        return
    yield html.heading("Inside the layers")
    for line in found.warnings:
        yield html.paragraph(line, "warning")
    if not found.warnings:
        yield html.paragraph("No gradients that vanish or explode, no layer with more than half of its units dead.")
    last = found.samples[-1]
    alt = f"Gradient norms, updates and saturation of {len(last.layers)} layers in {len(found.samples)} samples."
    caption = (
        f"{len(found.samples)} looks at up to {found.rows} training samples, which took {found.seconds:.1f} s in all."
    )
    yield pictures.embed("diagnostics", plots.diagnostics(found.samples), alt, caption)
    yield html.paragraph(f"{title(last)}:")
    yield html.numbers(*table(last))


def _scores(network: Network, x: np.ndarray) -> tuple[np.ndarray, bool]:
    """What the network says of each class (n, M), and whether these are probabilities; one output becomes two."""
    probabilities = network.loss is not None and network.loss.name.endswith("cross_entropy")
    scores = network.predict_proba(x) if probabilities else network.output(x)
    if scores.shape[1] == 1:
        no = 1.0 - scores if probabilities else -scores
        scores = np.concatenate([no, scores], axis=1)
    return scores, probabilities


def _share(part: int, whole: int) -> str:
    return percent(part / whole) if whole else "-"
