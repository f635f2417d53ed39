"""Fixtures for tests of the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from bpcore.cli import app
from support.command_line import Outcome, Run, write_mnist


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "mnist").mkdir()
    write_mnist(folder / "mnist")
    return folder


@pytest.fixture
def work(tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder on a machine that has MNIST."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BPCORE_DATA_DIR", str(data_dir))
    monkeypatch.delenv("BPCORE_BACKEND", raising=False)
    return tmp_path


@pytest.fixture
def run(work: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = app.main(arguments)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="module")
def model(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model trained on the synthetic MNIST."""
    folder = tmp_path_factory.mktemp("model")
    arguments = ["mnist", "--data-dir", str(data_dir), "--network", "32", "--epochs", "10", "--learning-rate", "0.01"]
    assert app.main(["train", *arguments, "--output", str(folder), "--quiet"]) == 0
    return folder
