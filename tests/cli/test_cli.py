"""The command line apart from its commands' work: version, help, `bpcore info`, and start-up time."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bpcore import __version__
from bpcore.cli import app
from bpcore.cli.options import Options
from bpcore.data import DATASETS
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.kernels.losses import LOSSES
from bpcore.training.optimizers import OPTIMIZERS
from bpcore.training.schedules import SCHEDULES
from support.command_line import Run, results
from support.repository import start_up_cost


def test_version(run: Run) -> None:
    assert run("--version").out == f"bpcore {__version__}\n"
    assert run("--version").code == 0


def test_help_lists_the_tables(run: Run) -> None:
    command = [sys.executable, "-m", "bpcore", "train", "--help"]
    shown = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "200", "TERM": "dumb"}
    ).stdout
    for table in (ACTIVATIONS, LOSSES, OPTIMIZERS, SCHEDULES, DATASETS):
        for name in table:
            assert re.search(rf"\b{name}\b", shown), name
    assert f"[default: {Options().batch_size}]" in shown
    without = run()
    assert without.code == 0
    assert "train" in without.out


def test_paragraphs_of_a_helps_text_are_one_line_each() -> None:
    """Typer keeps line breaks in all but the first paragraph and also wraps the lines."""
    for command in app.app.registered_commands:
        _, *paragraphs = inspect.getdoc(command.callback).split("\n\n")
        assert not any("\n" in paragraph.strip() for paragraph in paragraphs), command.callback.__name__


def test_info(run: Run, work: Path, data_dir: Path) -> None:
    outcome = run("info", "--json", "i.json")
    assert outcome.code == 0
    assert outcome.out.startswith(f"bpcore {__version__}, Python 3.")
    found = results(work / "i.json")
    assert found["devices"]["numpy"]["state"] == "available"
    assert {"device", "numpy", "numba", "threads"} <= set(found["devices"]["numpy"]["about"])
    assert found["chosen"]["backend"] in found["devices"]
    assert found["chosen"]["why"]
    assert set(found["data_sets"]) == set(DATASETS)
    assert found["data_sets"]["mnist"] == f"available in {data_dir / 'mnist'}"
    assert found["environment"]["BPCORE_DATA_DIR"] == str(data_dir)
    assert found["environment"]["BPCORE_NUM_THREADS"] == os.environ["BPCORE_NUM_THREADS"]
    for part in ("auto selects", "data sets", "caches", "numba"):
        assert part in outcome.out


def test_info_with_a_missing_backend(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPCORE_BACKEND", "nonsense")
    outcome = run("info")
    assert outcome.code == 0
    assert "unknown backend 'nonsense'" in outcome.out


def test_help_is_quick() -> None:
    assert start_up_cost("-m", "bpcore", "--help") < 8


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys; from bpcore.cli.app import main; main(['--help']); "
        "sys.exit(bool({'numba', 'cupy', 'PIL', 'pooch', 'safetensors', 'matplotlib'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)


def test_a_command_without_a_table_does_not_import_rich() -> None:
    program = (
        "import sys; from bpcore.cli.app import main; main(['--version']); sys.exit('rich.console' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
