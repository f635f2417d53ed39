"""`bpcore bench` as a user calls it: its files and errors, and real contenders in their processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bpcore.backends import available_backends
from bpcore.bench import measure, report, suite
from bpcore.cli import app
from support.fake_contenders import LIMITS, Pretender, about, pretenders


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Pretender]:
    """Runs the command in an empty folder, with pretended contenders."""
    contenders = pretenders()

    @contextlib.contextmanager
    def processes(job: suite.Job, notify: Any) -> Iterator[Any]:
        yield {"numpy": contenders}, about(contenders)

    monkeypatch.setattr(measure, "PAUSE", 0.0)
    monkeypatch.setattr(suite, "processes", processes)
    monkeypatch.setattr(suite, "_roofline", lambda *_, **__: LIMITS)
    monkeypatch.chdir(tmp_path)
    return contenders


def test_the_command_writes_the_requested_files(pretend: Any, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    files = ["--json", "r.json", "--markdown", "r.md", "--plot", "r.svg", "--resume", "kept.json"]
    command = ["bench", "--device", "cpu", "--quick", "--batches", "10,32", *files]
    assert app.main(command) == 0
    out = capsys.readouterr().out
    assert "  1/6  784-30-10 batch 10, numpy, us per step: bpcore " in out
    assert "geometric mean of 6 cells" in out
    found = json.loads(Path("r.json").read_text(encoding="utf-8"))
    assert len(found["cells"]) == 6
    assert found["summary"] == report.summary(found)
    assert json.loads(Path("kept.json").read_text(encoding="utf-8")) == found
    assert {path.name for path in Path().iterdir()} == {"r.json", "r.md", "r.svg", "kept.json"}
    assert app.main(command) == 0
    assert len(pretend["bpcore"].asked) == 6  # the second run found all results


def test_json_on_the_standard_output(pretend: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["bench", "--device", "cpu", "--networks", "784-9-10", "--batches", "10", "--json", "-"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["cells"][0]["network"] == [784, 9, 10]
    assert "784-9-10 batch 10" in captured.err


def test_scaling_draws_lines_over_batch_and_width(pretend: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert app.main(["bench", "--device", "cpu", "--scaling", "--rounds", "1", "--json", "s.json"]) == 0
    assert "numpy: no cliff" in capsys.readouterr().out  # the pretender takes the same time for every size
    lines = report.axes(json.loads(Path("s.json").read_text(encoding="utf-8"))["cells"])
    assert {"batch, 784-128-10", "batch, 784-512-512-10", "width, 784-W-W-10 at batch 128"} <= set(lines)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--networks 784", "network '784' cannot be used"),
        ("--networks 784-x-10", "network '784-x-10' cannot be used"),
        ("--networks 784-30-1", "network '784-30-1' cannot be used"),
        ("--networks 784-30-10,", "network '' cannot be used"),
        ("--batches 0", "batch size '0' cannot be used"),
        ("--batches 10,60001", "batch size '60001' cannot be used; accepted: 1 to 60000"),
        ("--batches ten", "batch size 'ten'"),
        ("--activation reluu", "did you mean 'relu'?"),
        ("--optimizer adan", "did you mean 'adam'?"),
        ("--precision float16", "did you mean 'bfloat16'?"),
        ("--precision bfloat16 --device cpu", "precision 'bfloat16' needs a GPU; the numpy backend accepts"),
        ("--device gpuu", "did you mean 'gpu'?"),
        ("--device cpu,gpuu", "did you mean 'gpu'?"),
        ("--peers torhc", "did you mean 'torch'?"),
        ("--data mnits", "did you mean 'mnist'?"),
        ("--data mnist --networks 64-30-10", "does not match 64-30-10"),
        ("--rounds 0", "--rounds"),
        ("--budget 0", "budget=0.0"),
        ("--budget nan", "budget=nan"),
        ("--budget long", "--budget"),
        ("--scaling --batches 3", "--scaling uses its own networks and batches"),
        ("--scaling --peers auto", "--scaling measures bpcore alone"),
        ("--json nowhere/r.json", "there is no folder nowhere"),
        ("--resume nowhere/r.json", "there is no folder nowhere"),
        ("--resume broken.json", "broken.json cannot be resumed"),
        ("--resume other.json", "other.json cannot be resumed"),
        ("--markdown folder", "is a folder"),
        ("--plot r.txt", "a name that ends in .svg, .png, .pdf"),
    ],
)
def test_bad_options_are_one_line(
    arguments: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    (tmp_path / "other.json").write_text('{"cells": [], "epochs": 3}', encoding="utf-8")
    before = set(tmp_path.iterdir())
    assert app.main(["bench", *arguments.split()]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("bpcore: error: ")
    assert captured.err.count("\n") == 1
    assert said in captured.err
    assert captured.out == ""
    assert set(tmp_path.iterdir()) == before


def test_a_peer_that_is_not_installed_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bpcore.bench.contenders.find_spec", lambda _: None)
    for name, brings in (("torch-compile", "pip install torch"), ("sklearn", "pip install scikit-learn")):
        assert app.main(["bench", "--device", "cpu", "--peers", name]) == 2
        said = f"bpcore: error: {name} is not installed: {brings}; --peers auto uses those that are\n"
        assert capsys.readouterr().err == said


def test_a_missing_gpu_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    if available_backends()["cupy"] == "available":
        pytest.skip("there is a GPU")
    assert app.main(["bench", "--device", "gpu"]) == 2
    assert "CuPy" in capsys.readouterr().err


def test_without_matplotlib_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("bpcore.plots.style.find_spec", lambda _: None)
    assert app.main(["bench", "--device", "cpu", "--plot", str(tmp_path / "a.svg")]) == 2
    assert capsys.readouterr().err == 'bpcore: error: --plot needs an optional package: pip install "bpcore[plot]"\n'


# --- real contenders, each in its process -----------------------------------------------------------------------------


def test_a_tiny_run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """bpcore, the products and scikit-learn in one cell."""
    monkeypatch.setattr("bpcore.cli.bench.QUICK_SECONDS", 0.02)
    files = ["--json", str(tmp_path / "r.json"), "--markdown", str(tmp_path / "r.md")]
    cell = ["--networks", "784-16-10", "--batches", "64", "--device", "cpu", "--peers", "sklearn"]
    assert app.main(["bench", "--quick", *cell, *files]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    found = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    (measured,) = found["cells"]
    assert set(measured["results"]) == {"bpcore", "products", "sklearn"}
    for name, one in measured["results"].items():
        assert len(one["rounds_us"]) == 3
        assert one["us_per_step"] > 1
        assert one["share_of_roofline"] > 0
        assert (one["loss"] is None) == (name == "products")
        assert one["prepare_seconds"] > 0
    assert measured["operations"] == 2 * 64 * (2 * 784 * 16 + 3 * 16 * 10)
    assert found["rooflines"]["numpy"]["gflops"] > 1
    assert set(measured["results"]["products"]["notes"].values()) == {"one thread"}  # the tests have one
    assert "scikit-learn" in found["contenders"]["numpy"]["sklearn"]
    assert "| 784-16-10 | 64 |" in (tmp_path / "r.md").read_text(encoding="utf-8")


def nobody_left(group: int) -> bool:
    """Whether a process group has ended; waits until the system has removed its last process."""
    for _ in range(600):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


def test_ctrl_c_ends_the_workers_and_keeps_the_cells(tmp_path: Path) -> None:
    batches = range(50, 250, 5)  # so many that a busy machine sends the signal long before the last one
    cells = ["--networks", "784-8-10", "--batches", ",".join(map(str, batches))]
    process = subprocess.Popen(
        [sys.executable, "-m", "bpcore", "bench", *cells, "--device", "cpu", "--quick", "--resume", "r.json"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip().startswith(f"1/{len(batches)}"):
                break
        os.killpg(process.pid, signal.SIGINT)  # to the whole group, as a terminal does
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert err == ""
        assert out.endswith("stopped by Ctrl-C\n")
        assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["cells"]
        assert nobody_left(process.pid)
    finally:
        process.kill()
