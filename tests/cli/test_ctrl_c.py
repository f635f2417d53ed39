"""Ctrl-C during and around `bpcore train`."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bpcore import Network
from bpcore.network import Evaluation
from support.command_line import SMALL, Run, files_below, results


def test_ctrl_c_keeps_what_was_learned(run: Run, work: Path) -> None:
    """In a separate process, interrupted after its first epochs."""
    command = [sys.executable, "-m", "bpcore", "train", "--network", "16", "--epochs", "100000", "--json", "r.json"]
    process = subprocess.Popen(command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        head = ""
        for line in process.stdout:
            head += line
            if re.match(r" +1/100000 ", line):
                break
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert err == ""
    assert "stopped by Ctrl-C; complete: " in out
    assert "test accuracy" in out
    found = results(work / "r.json")
    assert found["stopped"] == "stopped by Ctrl-C"
    assert 1 <= found["epochs"] < 100000
    assert json.loads(run("evaluate", "runs/mnist-1", "--json", "-").out)["test_accuracy"] == found["test_accuracy"]


def test_ctrl_c_after_the_training_loses_nothing(run: Run, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> Evaluation:
        raise KeyboardInterrupt

    monkeypatch.setattr(Network, "evaluate", interrupt)
    outcome = run("train", *SMALL)
    assert outcome.code == 130
    assert outcome.err.endswith("bpcore: stopped\n")
    assert files_below(work / "runs") == {"mnist-1", "mnist-1/model.safetensors", "mnist-1/training.safetensors"}


def test_ctrl_c_before_the_training_leaves_nothing(run: Run, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Network, "fit", interrupt)
    assert run("train", *SMALL).code == 130
    assert files_below(work) == set()
