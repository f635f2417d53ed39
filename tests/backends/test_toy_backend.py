"""The example of a backend in a separate package: found by its entry point, tested by the suite, and used.

Other processes get it on their path, with the metadata that installing its pyproject.toml would leave.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from bpcore import backends
from bpcore.errors import InputError
from support.repository import REPOSITORY

PACKAGE = REPOSITORY / "examples" / "toy_backend"
Outside = Callable[..., str]


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    """Run Python with the example installed; returns what it printed."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    metadata = tmp_path / "installed" / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8"
    )
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(metadata.parent), str(PACKAGE)])}

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_it_passes_the_suite(outside: Outside) -> None:
    said = outside("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:benchmark", str(PACKAGE / "tests"))
    assert " passed" in said
    assert "skipped" not in said


def test_it_is_listed(outside: Outside) -> None:
    facts = json.loads(outside("-m", "bpcore", "info", "--json", "-"))
    assert facts["devices"]["toy"]["state"] == "available"
    assert facts["devices"]["toy"]["about"]["device"].startswith("toy:")


def test_it_trains(outside: Outside) -> None:
    """Batches, masks and updates are those of the CPU, so the run is the same to rounding."""
    options = ["--network", "16", "--epochs", "8", "--batch-size", "64", "--quiet", "--json", "-"]
    found, expected = (
        json.loads(outside("-m", "bpcore", "train", "digits", "--device", device, *options))
        for device in ("toy", "cpu")
    )
    assert (found["backend"], expected["backend"]) == ("toy", "numpy")
    assert found["history"]["loss"] == pytest.approx(expected["history"]["loss"], rel=1e-3)
    assert found["test_accuracy"] == pytest.approx(expected["test_accuracy"], abs=0.6)  # two samples
    assert found["test_accuracy"] > 75


def test_its_arrays_find_it(outside: Outside) -> None:
    """get_backend by name, and bpcore.ops by the array alone."""
    program = """
import numpy as np
from bpcore import InputTypeError, get_backend, ops
toy = get_backend("toy")
x = toy.asarray(np.ones((2, 3)))
total = ops.add(x, x)
print(type(total).__module__, toy.to_numpy(total).sum())
try:
    ops.add(x, np.ones((2, 3)))
except InputTypeError as error:
    print(error)
"""
    first, second = outside("-c", program).splitlines()
    assert first == "toy_backend.backend 12.0"
    assert "the toy backend (toy_backend.ToyArray), b one of the numpy backend (numpy.ndarray)" in second


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("nowhere_at_all:Backend", "cannot be loaded: No module named 'nowhere_at_all'"),
        ("bpcore.errors:Backend", "cannot be loaded: module 'bpcore.errors' has no attribute 'Backend'"),
        ("bpcore.backends.base:Backend", "cannot be loaded: Can't instantiate abstract class Backend"),
        ("builtins:dict", "is of <class 'dict'>, which is not a bpcore.backends.base.Backend"),
    ],
)
def test_a_package_that_is_broken(monkeypatch: pytest.MonkeyPatch, value: str, words: str) -> None:
    """One line, and the other backends remain available."""
    entry = importlib.metadata.EntryPoint("broken", value, backends.GROUP)
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry])
    with pytest.raises(InputError, match=re.escape(f"the broken backend {words}")):
        backends.get_backend("broken")
    states = backends.available_backends()
    assert states["numpy"] == "available"
    assert words in states["broken"]


def test_the_page_matches_the_code() -> None:
    """The page's list of kernels is complete, and its code is the example's."""
    page = (REPOSITORY / "docs" / "guides" / "add-a-backend.md").read_text(encoding="utf-8")
    assert "\n```{kernels}\n```\n" in page  # docs/sphinx/tables.py makes it from the table
    entry_point, suite = re.findall("```(?:toml|py)\n(.*?)```", page, re.DOTALL)
    assert entry_point in (PACKAGE / "pyproject.toml").read_text(encoding="utf-8")
    test = (PACKAGE / "tests" / "test_toy_backend.py").read_text(encoding="utf-8")
    assert [line for line in suite.splitlines() if line.strip() and line not in test] == []
