"""The progress display of a run, on a terminal and in a file."""

from __future__ import annotations

import io
import itertools
import math
import os
import pty
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest

from bpcore import Adam, Callback, Dense, Network, NonFiniteLossError
from bpcore.kernels import build
from bpcore.training.history import Evaluation
from bpcore.training.progress import COLUMNS, MOST_ROWS, REFRESH_SECONDS, Compilation, Progress, duration, stride
from bpcore.training.run import Run

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
SHOW_CURSOR, HIDE_CURSOR = "\x1b[?25h", "\x1b[?25l"


def fit(progress: Progress, *, classes: bool = True, epochs: int = 3, held_out: bool = False, **how: Any) -> Network:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 5)).astype(np.float32)
    y = (x[:, 0] > 0).astype(np.int64) if classes else x[:, :2]
    network = Network([Dense(4, "relu"), Dense(2)], backend="numpy")
    validation = (x, y) if held_out else None
    network.fit(x, y, epochs=epochs, batch_size=8, validation=validation, callbacks=[progress], **how)
    return network


@pytest.mark.parametrize("bar", [False, True])
@pytest.mark.parametrize("classes", [True, False])
@pytest.mark.parametrize("held_out", [True, False])
def test_a_row_for_each_epoch(bar: bool, classes: bool, held_out: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bar is not refreshed within an epoch, as it is on a slow machine: that row lacks the val_ measures."""
    monkeypatch.setattr("bpcore.training.progress.REFRESH_SECONDS", math.inf)
    stream = io.StringIO()
    fit(Progress(stream, bar=bar), classes=classes, held_out=held_out)
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", ESCAPES.sub("", stream.getvalue()))]
    heading = next(line for line in lines if line.startswith("epoch"))
    assert ("accuracy" in heading) == classes
    assert ("val loss" in heading) == held_out
    assert ("val accuracy" in heading) == (held_out and classes)
    assert heading.endswith("samples/s  seconds")
    for epoch in (1, 2, 3):
        rows = [line for line in lines if line.startswith(f" {epoch}/3 ") and len(line) == len(heading)]
        assert rows, lines
        assert len(re.split(" {2,}", heading)) == len(re.split(" {2,}", rows[-1].strip()))  # every column is filled
    if not bar:
        assert len(lines) == 5  # the heading, three rows, and the end
        assert stream.getvalue() == ESCAPES.sub("", stream.getvalue())


def test_columns_are_aligned() -> None:
    stream = io.StringIO()
    fit(Progress(stream), epochs=12, held_out=True)
    lines = stream.getvalue().splitlines()
    assert len({len(line) for line in lines}) == 1
    ends = [match.end() for match in re.finditer(r"\S+( \S+)*", lines[0])]
    for line in lines[1:]:
        assert [match.end() for match in re.finditer(r"\S+( %)?", line)][1:] == ends[1:]


def test_the_numbers_match_the_history() -> None:
    stream = io.StringIO()
    progress = Progress(stream)
    runs: list[Run] = []

    class Keep(Callback):
        def on_end(self, run: Run) -> None:
            runs.append(run)

    rng = np.random.default_rng(0)
    network = Network([Dense(2)], backend="numpy")
    network.fit(rng.normal(size=(30, 4)), np.arange(30) % 2, epochs=2, callbacks=[progress, Keep()])
    last = runs[0].history.last()
    row = stream.getvalue().splitlines()[-1].split("  ")
    cells = [cell.strip() for cell in row if cell.strip()]
    assert cells[1] == f"{last['loss']:.4f}"
    assert cells[2] == f"{100 * last['accuracy']:.2f} %"
    assert cells[3] == f"{last['samples_per_second']:,.0f}"


def test_many_epochs_are_shown_thinned() -> None:
    stream = io.StringIO()
    fit(Progress(stream), epochs=203)
    shown = [int(line.split("/")[0]) for line in stream.getvalue().splitlines()[1:]]
    assert shown == [1, *range(5, 201, 5), 203]
    assert [stride(epochs) for epochs in (1, 50, 51, 100, 101, 250, 251, 500, 501)] == [1, 1, 2, 2, 5, 5, 10, 10, 20]
    assert all(epochs / stride(epochs) <= MOST_ROWS for epochs in range(1, 3000))


def test_the_last_epoch_is_shown_when_a_run_ends_early() -> None:
    class Stop(Callback):
        def on_epoch_end(self, run: Run) -> None:
            if run.epoch == 7:
                run.stop("enough")

    stream = io.StringIO()
    rng = np.random.default_rng(0)
    network = Network([Dense(2)], backend="numpy")
    network.fit(rng.normal(size=(9, 4)), np.arange(9) % 2, epochs=600, callbacks=[Progress(stream), Stop()])
    assert [line.split("/")[0].strip() for line in stream.getvalue().splitlines()[1:]] == ["1", "7"]


def test_the_bar_is_drawn_ten_times_a_second_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """running() reads the device; with a clock that advances 1 ms per call it runs on every 100th call."""
    clock = itertools.count()
    monkeypatch.setattr("bpcore.training.progress.time.perf_counter", lambda: 0.001 * next(clock))
    looks = 0
    reads = 0

    class Stand:
        epoch, batch, steps_per_epoch, batch_size = 0, 1, 10**6, 8
        validation = None
        settings = type("", (), {"epochs": 1, "classifies": True})()
        samples = type("", (), {"x": np.zeros((1000, 1))})()

        def running(self) -> Evaluation:
            nonlocal reads
            reads += 1
            return Evaluation(0.5, 0.5)

    run: Any = Stand()
    with Progress(io.StringIO(), bar=True) as progress:
        progress.on_begin(run)
        for looks in range(1, 1001):
            run.batch = looks
            progress.on_progress(run)
    assert 1 <= reads <= looks * 0.001 / REFRESH_SECONDS


def test_the_terminal_is_restored() -> None:
    stream = io.StringIO()
    with pytest.raises(NonFiniteLossError), Progress(stream, bar=True) as progress:
        fit(progress, optimizer=Adam(learning_rate=1e35), classes=False)
    assert stream.getvalue().rfind(SHOW_CURSOR) > stream.getvalue().rfind(HIDE_CURSOR) >= 0


def test_a_note_appears_above_the_bar_at_once() -> None:
    class Note(Callback):
        def on_progress(self, run: Run) -> None:
            if "by the way" not in stream.getvalue():
                progress.note("by the way")
                assert "by the way" in stream.getvalue()

    stream = io.StringIO()
    progress = Progress(stream, bar=True)
    rng = np.random.default_rng(0)
    Network([Dense(2)], backend="numpy").fit(
        rng.normal(size=(9, 4)), np.arange(9) % 2, epochs=2, callbacks=[progress, Note()]
    )
    assert "by the way" in stream.getvalue()


def test_without_a_terminal_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    assert not Progress(io.StringIO()).bar
    assert Progress(Terminal()).bar
    monkeypatch.setenv("TERM", "dumb")
    assert not Progress(Terminal()).bar
    fit(Progress())  # to the standard output


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_in_a_real_terminal(tmp_path: Path, columns: int) -> None:
    """On a pseudo-terminal the bar appears, ends, and leaves the rows."""
    program = (
        "import numpy as np; from bpcore import *; r = np.random.default_rng(0);"
        "Network([Dense(64, 'relu'), Dense(2)], backend='numpy').fit("
        "r.normal(size=(20000, 64)), r.integers(0, 2, 20000), epochs=4, callbacks=[Progress()])"
    )
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": str(columns), "LINES": "30"}
    process = subprocess.Popen([sys.executable, "-c", program], stdout=theirs, cwd=tmp_path, env=environment)
    os.close(theirs)
    collected = bytearray()

    def read() -> None:
        try:
            while chunk := os.read(ours, 1 << 16):
                collected.extend(chunk)
        except OSError:  # the other end is closed
            pass

    reader = threading.Thread(target=read)
    reader.start()
    assert process.wait(timeout=60) == 0
    reader.join(timeout=60)
    os.close(ours)
    text = collected.decode()
    assert "━" in text
    assert " 4/4 " in text
    assert text.rfind(SHOW_CURSOR) > text.rfind(HIDE_CURSOR)


def test_numbers_of_every_size_fit() -> None:
    write = {column.measure: column.write for column in COLUMNS}
    assert [write["loss"](value) for value in (0.0, 0.00012, 0.5, 123.4, 54321.0, -2.5)] == [
        "0.0000",
        "1.2e-04",
        "0.5000",
        "123.40",
        "5.4e+04",
        "-2.5000",
    ]
    assert write["accuracy"](1.0) == "100.00 %"
    assert write["samples_per_second"](1234567.8) == "1,234,568"


def test_duration() -> None:
    cases = [
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1:00 min"),
        (185, "3:05 min"),
        (3753, "1:02:33 h"),
    ]
    for seconds, words in cases:
        assert duration(seconds) == words


def test_compilation_is_reported_once_and_timed() -> None:
    """Also if numba-cuda is loaded, which reports compilations under another name."""
    pytest.importorskip("numba.cuda.core.event")
    said: list[str] = []

    @numba.njit
    def inner(x: float) -> float:
        return x + 1.0

    @numba.njit
    def outer(x: float) -> float:
        return inner(x) * 2.0

    with Compilation(said.append).watched() as compilation:
        assert compilation.seconds == 0
        outer(1.0)
        first = compilation.seconds
        outer(2.0)
        assert compilation.seconds == first > 0
        outer(1)
        assert compilation.seconds > first
    assert len(said) == 1
    assert "compiling kernels" in said[0]
    seconds = compilation.seconds
    outer(1j)
    assert compilation.seconds == seconds  # no longer watched


def test_compilation_of_a_function_by_address_is_reported() -> None:
    """The functions of a recorded step are compiled like this."""

    def nothing(block: int) -> None:
        return

    with Compilation(lambda line: None).watched() as compilation:
        compiled = build.callback(nothing, False)
    assert compiled.address
    assert compilation.seconds > 0
