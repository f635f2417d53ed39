"""benchmarks/first_questions.py and `make gpu`, without a GPU."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bpcore.backends import cuda_graphs
from bpcore.backends.cupy_backend import CupyBackend
from support.repository import REPOSITORY


@pytest.mark.filterwarnings("error::UserWarning")
def test_the_first_questions_can_be_asked(backend: CupyBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """All questions but the barrier, which needs a GPU. The answers mean nothing here; that there are answers does."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    first_questions = importlib.import_module("first_questions")
    monkeypatch.setattr(first_questions, "SHAPES", [(2, 3, 4)])
    monkeypatch.setattr(first_questions, "PRECISION_SHAPES", [(8, 4)])
    monkeypatch.setattr(first_questions, "microseconds", lambda backend, run, repeats: run() or 1.0)
    monkeypatch.setattr(first_questions, "step_microseconds", lambda run, steps: run.begin_epoch(0) or run.run_steps(1))
    left_out = ("grid_barrier", "folding")
    questions = [question for question in first_questions.QUESTIONS if question.__name__ not in left_out]
    answers = first_questions.ask(backend, 1, questions)
    assert not [name for name, answer in answers.items() if "failed" in answer], answers
    everything = ["forward", "gradient", "delta", "relu", "relu and mask", "relu backward"]
    assert answers["algorithms"]["tf32 2x3x4"] == everything
    assert answers["algorithms"]["bfloat16 7x5x3"] == everything[:3]
    assert answers["epilogues"] == {"2x3x4": {"product": 1.0, "two": 1.0, "one": 1.0}}
    assert answers["precisions"]["us_per_step"]["8 batch 4"].keys() == {"float32", "tf32", "bfloat16"}
    assert cuda_graphs.STEPS_IN_A_GRAPH == 16


def test_a_question_without_an_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question has a process, which finds no GPU here, or has no time to look for one."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    first_questions = importlib.import_module("first_questions")
    assert first_questions.in_own_process("folding") == {"failed": "its process ended with code 1"}
    monkeypatch.setattr(first_questions, "PATIENCE", 0)
    assert first_questions.in_own_process("folding") == {"failed": "no answer after 0 s"}


@pytest.mark.parametrize("crashes", [False, True])
def test_failed_questions_are_reported(
    crashes: bool, backend: CupyBackend, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any
) -> None:
    """The answers to the other questions are still written."""
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    first_questions = importlib.import_module("first_questions")
    monkeypatch.setattr(first_questions, "get_backend", lambda name: backend)
    answer = {"failed": "its process ended with code -11"} if crashes else {"blocks": 132}
    found = {"grid_barrier": answer}
    monkeypatch.setattr(first_questions, "in_own_process", lambda name: found.get(name, {"us": 1.0}))
    monkeypatch.setattr(sys, "argv", ["first_questions.py", "--out", str(tmp_path / "new" / "answers.json")])
    assert first_questions.main() == crashes
    answers = json.loads((tmp_path / "new" / "answers.json").read_text(encoding="utf-8"))
    assert answers["grid_barrier"] == answer
    assert answers["precisions"] == {"us": 1.0}
    assert capsys.readouterr().err == ("no answer to grid_barrier\n" if crashes else "")


def test_make_gpu_ends_in_one_line_without_a_gpu() -> None:
    command = [sys.executable, "-P", str(REPOSITORY / "benchmarks" / "first_questions.py"), "--look"]
    hidden = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    result = subprocess.run(command, check=False, capture_output=True, text=True, env=hidden)
    assert result.returncode == 1
    assert result.stdout == ""
    assert re.fullmatch(r"first_questions.py needs a GPU: .*\n", result.stderr)
