"""`--diagnose` and `--report`: the table, the file, and a self-contained page."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bpcore import load_dataset
from bpcore.cli import html
from bpcore.cli.app import DEFAULTS
from bpcore.cli.options import Options, command_line
from bpcore.cli.result_page import _class_table
from bpcore.plots import style
from support.command_line import Run, flowers, houses, write_csv

pytest.importorskip("matplotlib")


SMALL = ["--network", "16", "--epochs", "2"]


class Page(HTMLParser):
    """Parses a page; refuses unclosed or unknown elements and references outside the page."""

    VOID = frozenset({"meta", "img"})
    KNOWN = frozenset(
        {"html", "head", "body", "title", "style", "h1", "h2", "p", "dl", "div", "dt", "dd", "figure", "figcaption"}
        | {"table", "thead", "tbody", "tr", "th", "td", "pre"}
    )

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: dict[str, list[str]] = {}
        self.images: list[tuple[Image.Image, str]] = []
        assert text.startswith("<!DOCTYPE html>")
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.VOID | self.KNOWN, f"<{tag}>"
        given = dict(attrs)
        assert not {"href", "srcset", "onload", "onerror"} & set(given)
        if tag == "img":
            source = given["src"] or ""
            assert source.startswith("data:image/png;base64,")
            self.images.append((Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))), given["alt"] or ""))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and data.strip():
            self.texts.setdefault(self.open[-1], []).append(data)


def read(path: Path) -> Page:
    text = path.read_text(encoding="utf-8")
    without_pictures = re.sub(r"data:image/png;base64,[\w+/=]+", "", text)
    assert "http" not in without_pictures
    assert not re.search(r"url\(|@import|<script|<link|<iframe", without_pictures)
    page = Page(text)
    for image, alt in page.images:
        assert min(image.size) > 100
        assert len(alt) > 20
        assert alt.endswith(".")
    return page


# --- diagnose -----------------------------------------------------------------------------------------------------


def test_diagnose(run: Run, work: Path) -> None:
    outcome = run("train", *SMALL, "--diagnose", "--output", "here")
    assert outcome.code == 0
    assert re.search(r"after step 6 \(epoch 2\): loss \d\.\d+, gradient norm \d", outcome.out)
    assert re.search(r"│ 1 Dense, relu +│ +\d\S* │ +\d\S* │ +\d+\.\d % │ +\d+ of 16 │", outcome.out)
    assert re.search(r"^diagnostics: 3 samples of 256 rows took \d+\.\d\d s$", outcome.out, re.MULTILINE)
    found = json.loads((work / "here" / "diagnostics.json").read_text(encoding="utf-8"))
    assert [sample["step"] for sample in found["samples"]] == [0, 3, 6]
    assert [layer["place"] for layer in found["samples"][0]["layers"]] == ["1", "3"]


def test_diagnose_every_and_a_warning(run: Run, work: Path) -> None:
    deep = ["--network", ",".join(["8"] * 12), "--activation", "sigmoid", "--dropout", "0", "--epochs", "1"]
    outcome = run("train", *deep, "--diagnose-every", "2", "--output", "here")
    assert outcome.code == 0
    (warning,) = [line for line in outcome.out.splitlines() if line.startswith("warning: ")]
    assert warning.startswith("warning: gradients vanish: after step 2 their norm is ")
    found = json.loads((work / "here" / "diagnostics.json").read_text(encoding="utf-8"))
    assert [sample["step"] for sample in found["samples"]] == [0, 2]
    assert found["warnings"] == [warning.removeprefix("warning: ")]
    quiet = run("train", *deep, "--diagnose", "--quiet", "--output", "there")
    assert quiet.out.count("\n") == 1
    assert (work / "there" / "diagnostics.json").is_file()


def test_without_diagnose_nothing_is_measured(run: Run, work: Path) -> None:
    outcome = run("train", *SMALL, "--output", "here")
    assert "diagnostics" not in outcome.out
    assert sorted(path.name for path in (work / "here").iterdir()) == [
        "model.safetensors",
        "results.json",
        "training.safetensors",
    ]
    assert run("train", *SMALL, "--diagnose-every", "0").code == 2


# --- the page -----------------------------------------------------------------------------------------------------


def test_the_page_of_images(run: Run, work: Path) -> None:
    options = [*SMALL, "--validation", "0.1", "--diagnose", "--report", "shown/here", "--output", "model"]
    outcome = run("train", *options)
    assert outcome.code == 0
    assert outcome.out.splitlines()[-1] == "report: shown/here/index.html"
    page = read(work / "shown" / "here" / "index.html")
    results = json.loads((work / "model" / "results.json").read_text(encoding="utf-8"))
    figures = dict(zip(page.texts["dt"], page.texts["dd"], strict=True))
    assert figures["test accuracy"] == f"{results['test_accuracy']:.2f} %"
    assert figures["test loss"] == f"{results['test_loss']:.4f}"
    assert figures["epochs"] == "2"
    assert figures["parameters"] == f"{784 * 16 + 16 + 16 * 10 + 10:,}"
    assert page.texts["h2"] == [
        "Learning curves",
        "Confusion matrix",
        *(["Worst mistakes"] if results["test_accuracy"] < 100 else []),
        "Weights of the first layer",
        "Layer diagnostics",
        "Details",
        "Command",
    ]
    facts = " ".join(page.texts["td"])
    for said in (
        load_dataset("mnist").source,
        "270 train, 30 validation, 60 test",
        "Adam, learning_rate 0.003",
        "one_cycle",
    ):
        assert said in facts
    names = {"learning-curves", "confusion-matrix", "templates", "diagnostics"}
    written = {path.stem for path in (work / "shown" / "here").glob("*.png")}
    assert names <= written <= names | {"worst-mistakes"}
    assert len(page.images) == len(written)
    losses = results["history"]["loss"]
    assert f"training loss goes from {losses[0]:.4g} to {losses[-1]:.4g}" in page.images[0][1]
    command = page.texts["pre"][-1]
    assert command.startswith("bpcore train mnist ")
    assert run(*shlex.split(command)[1:], "--output", "again", "--quiet").code == 0
    assert (work / "again" / "model.safetensors").read_bytes() == (work / "model" / "model.safetensors").read_bytes()


def test_the_page_of_a_table_with_names_that_look_like_html(run: Run, work: Path) -> None:
    header, rows = flowers()
    evil = "<script>alert('x')</script>"
    for row in rows:
        row[3] = evil if row[3] == "rose" else row[3]
    write_csv(work / "a&b <i>.csv", header, rows)
    outcome = run("train", "a&b <i>.csv", "--target", "kind", "--epochs", "3", "--report", "shown")
    assert outcome.code == 0
    page = read(work / "shown" / "index.html")
    assert evil in page.texts["td"]
    assert page.texts["h1"] == ["a&b <i>: a trained network"]
    assert page.texts["h2"][:2] == ["Learning curves", "Confusion matrix"]
    assert not {"Worst mistakes", "Weights of the first layer", "Layer diagnostics"} & set(page.texts["h2"])
    assert page.texts["pre"][-1].startswith("bpcore train 'a&b <i>.csv' --target kind ")


def test_the_page_of_numbers(run: Run, work: Path) -> None:
    write_csv(work / "houses.csv", *houses())
    outcome = run(
        "train", "houses.csv", "--target", "price", "--epochs", "20", "--report", "shown", "--output", "model"
    )
    assert outcome.code == 0
    page = read(work / "shown" / "index.html")
    assert page.texts["h2"] == ["Learning curves", "Predicted against true", "Details", "Command"]
    assert page.texts["dt"][:3] == ["test RMSE", "test R2", "test loss"]
    assert "Predicted price against true price of 24 test samples." in [alt for _, alt in page.images]
    evaluated = run("evaluate", "model", "houses.csv", "--report", "evaluated")
    assert evaluated.out.splitlines()[-1] == "report: evaluated/index.html"
    assert read(work / "evaluated" / "index.html").texts["h2"][0] == "Predicted against true"


def test_the_page_of_an_evaluation(run: Run, work: Path) -> None:
    assert run("train", *SMALL, "--output", "model", "--loss", "binary_cross_entropy").code == 0
    assert run("evaluate", "model", "--report", "shown").code == 0
    page = read(work / "shown" / "index.html")
    assert page.texts["h1"] == ["model/model.safetensors, evaluated"]
    assert page.texts["h2"][0] == "Confusion matrix"
    assert "Learning curves" not in page.texts["h2"]
    assert page.texts["pre"][-1] == "bpcore evaluate model"


def test_without_test_data(run: Run, work: Path) -> None:
    write_csv(work / "flowers.csv", *flowers())
    options = ["--target", "kind", "--test-fraction", "0", "--epochs", "1"]
    assert run("train", "flowers.csv", *options, "--report", "shown").code == 0
    assert read(work / "shown" / "index.html").texts["h2"][:2] == ["Learning curves", "Details"]


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["train", *SMALL], ["evaluate", "model"]])
def test_without_matplotlib_training_does_not_start(
    run: Run, work: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style, "find_spec", lambda name: None)
    outcome = run(*command, "--report", "shown")
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err == 'bpcore: error: --report needs an optional package: pip install "bpcore[plot]"\n'
    assert list(work.iterdir()) == []


def test_a_folder_that_is_a_file(run: Run, work: Path) -> None:
    (work / "shown").write_text("x", encoding="utf-8")
    outcome = run("train", *SMALL, "--report", "shown")
    assert outcome.code == 2
    assert (
        outcome.err
        == "bpcore: error: the folder shown cannot be created: a file has that name; choose another with --report\n"
    )
    assert [path.name for path in work.iterdir()] == ["shown"]


# --- parts --------------------------------------------------------------------------------------------------------


def test_the_command_that_reproduces_the_run() -> None:
    assert command_line(Options(), "mnist") == "bpcore train mnist"
    options = Options(
        network="30,30", dropout=0.0, diagnose=True, diagnose_every=5, report="x", output="y", max_norm=1.5
    )
    assert command_line(options, "my data.csv") == (
        "bpcore train 'my data.csv' --network 30,30 --dropout 0.0 --max-norm 1.5 --diagnose --diagnose-every 5"
    )
    assert Options() == DEFAULTS


def test_the_table_of_classes() -> None:
    """Of many classes only the worst are shown; a class that is absent or never predicted has no ratio."""
    (table,) = _class_table(np.array([[3, 1, 0], [0, 0, 0], [2, 0, 2]]), ["a", "b", "c"])
    cells = re.findall(r"<td>(.*?)</td>", table)
    assert cells == ["a", "4", "75.00 %", "60.00 %", "b", "0", "-", "0.00 %", "c", "4", "50.00 %", "100.00 %"]
    matrix = np.diag(np.full(47, 10))
    matrix[46] = matrix[46, ::-1]
    words, table = _class_table(matrix, [f"class {number}" for number in range(47)])
    assert "30 classes" in words
    assert re.findall(r"<td>(.*?)</td>", table)[:3] == ["class 46", "10", "0.00 %"]
    assert table.count("<tr>") == 31


def test_every_text_is_escaped() -> None:
    evil = "<b>&\"'"
    parts = [
        html.heading(evil),
        html.paragraph(evil, "warning"),
        html.figures([(evil, evil)]),
        html.facts([(evil, evil)]),
        html.numbers([evil], [[evil]]),
        html.preformatted(evil),
        html.preformatted(evil, wraps=True),
    ]
    page = Page(html.page(evil, parts))
    for tag in ("title", "h2", "p", "dt", "dd", "th", "td", "pre"):
        assert evil in page.texts[tag]
    assert "<b>" not in html.picture(b"", 1, evil, evil)
