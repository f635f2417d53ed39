"""One addition touches one place: the files in which three of the tables' entries are named.

All else, the command line, scikit-learn's estimators, the pages and the tests of both devices, reads the tables. What
an addition needs more than this list is a place that a table should replace.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.repository import REPOSITORY

FOLDERS = ("bpcore", "kernels", "tests", "docs", "examples")
BINARY = {".png", ".gz", ".npz", ".pyc", ".svg"}

TABLE = {"mish": "kernels/activations.py", "lion": "kernels/optimizers.py", "huber": "kernels/losses.py"}
REFERENCE = "bpcore/testing/references.py"
CLASS = {
    "lion": ["bpcore/training/optimizers.py", "bpcore/__init__.py"],
    "huber": ["bpcore/model/losses.py", "bpcore/__init__.py"],
}
"""The class of its settings, and the export of the class."""

OPTIONAL = {
    "mish": ["docs/sphinx/tables.py"],
    "huber": ["docs/sphinx/tables.py", "docs/faq.md", "docs/guides/from-pytorch.md"],
}
"""A formula that reads better in the reference than the docstring, and pages that recommend the entry."""

OWN_TESTS = {"huber": ["tests/model/test_losses.py"]}
"""Tests of what is special about an entry, beyond those that run over the table."""


def files() -> list[Path]:
    """Every text file of the repository; the link bpcore/kernels is not followed."""
    found = [path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*")]
    return [path for path in found if path.is_file() and path.suffix not in BINARY and path != Path(__file__)]


@pytest.mark.parametrize("name", TABLE)
def test_an_entry_is_named_in_its_table_its_class_and_its_reference(name: str) -> None:
    word = re.compile(rf"(?<![a-z]){name}(?![a-z])", re.IGNORECASE)
    named = {str(path.relative_to(REPOSITORY)) for path in files() if word.search(path.read_text(encoding="utf-8"))}
    beside = (CLASS, OPTIONAL, OWN_TESTS)
    assert named == {TABLE[name], REFERENCE, *(file for places in beside for file in places.get(name, ()))}
