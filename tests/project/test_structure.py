"""How the package is laid out: directions of import, start-up time, and the contents of the wheel."""

from __future__ import annotations

import ast
import functools
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from support.repository import REPOSITORY, start_up_cost

# From the ground up: a module imports from its own floor or from those below, never upward.
FLOORS = [
    ["bpcore.kernels"],
    ["bpcore.errors"],
    ["bpcore.backends", "bpcore.data"],
    ["bpcore.model"],
    ["bpcore.training"],
    ["bpcore.inspection", "bpcore.checkpoint"],
    ["bpcore.network"],
    ["bpcore"],
]


@functools.cache
def modules() -> dict[str, Path]:
    """Every module of the package by its name; kernels/ is bpcore.kernels."""
    found = {}
    for folder, package in ((REPOSITORY / "bpcore", "bpcore"), (REPOSITORY / "kernels", "bpcore.kernels")):
        for path in folder.rglob("*.py"):  # which does not follow the link bpcore/kernels
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join([package, *parts]).removesuffix(".__init__")] = path
    return found


def imports(name: str, path: Path) -> set[str]:
    """The bpcore modules that a module imports anywhere: at its top, inside a function, or for types alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parents, *([node.module] if node.module else [])])
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                found.add(whole if whole in modules() else base)
    return {module for module in found if module.split(".")[0] == "bpcore"}


def floor(module: str) -> int:
    """The floor of a module: of the longest listed prefix; what is on no floor is a face, on top."""
    best = [
        (len(prefix), number)
        for number, prefixes in enumerate(FLOORS)
        for prefix in prefixes
        if module == prefix or (module.startswith(prefix + ".") and prefix != "bpcore")
    ]
    return max(best)[1] if best else len(FLOORS)


def import_graph() -> dict[str, set[str]]:
    """Each module with those that it imports."""
    return {name: imports(name, path) - {name} for name, path in modules().items()}


def test_imports_go_downward() -> None:
    upward = [
        f"{name} imports {target}"
        for name, targets in import_graph().items()
        for target in targets
        if floor(target) > floor(name)
    ]
    assert upward == []


def test_there_is_no_import_cycle() -> None:
    graph = import_graph()
    finished: set[str] = set()

    def visit(name: str, trail: list[str]) -> None:
        assert name not in trail, " -> ".join([*trail, name])
        if name not in finished:
            for target in graph.get(name, ()):
                visit(target, [*trail, name])
            finished.add(name)

    for name in graph:
        visit(name, [])


@pytest.mark.parametrize("alias", ["Array", "DTypeLike"])
def test_a_name_for_a_type_is_defined_once(alias: str) -> None:
    text = f"{alias} = Any"
    assert [name for name, path in modules().items() if text in path.read_text(encoding="utf-8").splitlines()] == [
        "bpcore.backends.arrays"
    ]


def python_files(*folders: str) -> list[Path]:
    """The Python files below these folders of the repository."""
    return [path for folder in folders for path in sorted((REPOSITORY / folder).rglob("*.py"))]


def test_no_file_is_long() -> None:
    """A file is about one thing. One that is longer says why in its docstring, which names this limit."""
    longest = 400
    too_long = {
        str(path.relative_to(REPOSITORY)): lines
        for path in python_files("bpcore", "kernels", "tests", "benchmarks", "examples", "docs")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > longest
        and f"{longest} lines" not in (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "")
    }
    assert too_long == {}


def test_no_test_file_imports_another() -> None:
    """What tests share is in tests/support, or a fixture in a conftest.py."""
    importing = [
        str(path.relative_to(REPOSITORY))
        for path in python_files("tests")
        if re.search(r"^\s*(from|import) (tests\b|test_|conftest)", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert importing == []


def test_the_tables_import_only_math_and_small_modules_of_the_standard_library() -> None:
    allowed = {"__future__", "math", "collections", "collections.abc", "dataclasses", "functools", "typing", "table"}
    for name in ("table", "activations", "losses", "optimizers", "counter", "__init__"):
        tree = ast.parse((REPOSITORY / "kernels" / f"{name}.py").read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                assert {alias.name for alias in node.names} <= allowed
            elif isinstance(node, ast.ImportFrom):
                assert node.module in allowed


def test_import_is_quick() -> None:
    assert start_up_cost("-c", "import bpcore") < 6


@pytest.mark.parametrize(
    "heavy",
    ["numba", "cupy", "matplotlib", "typer", "rich", "pooch", "PIL", "safetensors", "sklearn", "pytest", "hypothesis"],
)
def test_import_brings_nothing_heavy(heavy: str) -> None:
    program = f"import sys, bpcore; sys.exit({heavy!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_the_wheel_puts_only_bpcore_at_the_top(tmp_path: Path) -> None:
    """`kernels` is the name of another distribution's package. Built from a copy: setuptools would find in the
    repository's build/ what an earlier build left, modules included that have moved since."""
    copy = tmp_path / "copy"
    for folder in ("bpcore", "kernels"):
        shutil.copytree(REPOSITORY / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / file, copy)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(copy)],
        check=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    version = re.search(r"bpcore-([^-]+)-", wheel.name)
    assert version is not None
    assert {name.split("/")[0] for name in names} == {"bpcore", f"bpcore-{version[1]}.dist-info"}
    packaged = {name for name in names if name.endswith(".py")}
    assert packaged == {
        module.replace(".", "/") + ("/__init__.py" if path.name == "__init__.py" else ".py")
        for module, path in modules().items()
    }
    assert "bpcore/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_versions_agree() -> None:
    import bpcore

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["version"] == bpcore.__version__
