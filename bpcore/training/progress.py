"""Progress of a run: a row of numbers for each epoch and, on a terminal, a bar below them."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, NamedTuple, Self, TextIO

from bpcore.training.callbacks import Callback
from bpcore.training.run import Run

if TYPE_CHECKING:
    from bpcore.training.bar import Bar  # loads rich

REFRESH_SECONDS = 0.1
"""The shortest time between two updates of the bar, because each reads losses from the device."""
MOST_ROWS = 50
"""The most rows that are shown; if a run has more epochs, only every 2nd, 5th, 10th, ... is."""


COMPILE_EVENTS = {"numba.core.event": "numba:compile", "numba.cuda.core.event": "numba-cuda:compile"}
"""The compilation events of Numba and numba-cuda: the module and the event's name."""


class Column(NamedTuple):
    """A column: a measure of the history, its heading, and a function that formats its numbers."""

    measure: str
    title: str
    write: Callable[[float], str]

    @property
    def width(self) -> int:
        """The width for the heading and for any number, with two spaces before them."""
        return max(len(self.title), 7) + 2


def _loss(value: float) -> str:
    size = abs(value)
    if size == 0 or 1e-3 <= size < 10:
        return f"{value:.4f}"
    return f"{value:.2f}" if 10 <= size < 1000 else f"{value:.1e}"


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


COLUMNS = (
    Column("loss", "loss", _loss),
    Column("accuracy", "accuracy", _percent),
    Column("val_loss", "val loss", _loss),
    Column("val_accuracy", "val accuracy", _percent),
    Column("samples_per_second", "samples/s", lambda value: f"{value:,.0f}"),
    Column("seconds", "seconds", lambda value: f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"),
)


class Progress(Callback):
    """Shows loss, accuracy, samples per second and the time left while a network trains.

        with Progress() as progress:
            network.fit(x, y, callbacks=[progress])

    stream   where to write; standard output by default
    bar      whether to draw a bar below the rows; by default only if the stream is a terminal

    Leaving the `with` block removes the bar, even if the run failed. Loss and accuracy are means over the epoch's
    batches, taken while the network learned from them, with dropout; val_ measures are taken at the end of the epoch.
    """

    def __init__(self, stream: TextIO | None = None, *, bar: bool | None = None) -> None:
        self.stream = sys.stdout if stream is None else stream
        self.bar = self.stream.isatty() and os.environ.get("TERM") != "dumb" if bar is None else bar
        self._bar: Bar | None = None
        self._waiting: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def on_begin(self, run: Run) -> None:
        """Write the headings and draw the bar."""
        lacking = {"accuracy", "val_accuracy"} if not run.settings.classifies else set()
        lacking |= {"val_loss", "val_accuracy"} if run.validation is None else set()
        self._columns = [column for column in COLUMNS if column.measure not in lacking]
        self._digits = max(len(str(run.settings.epochs)), 2)
        self._every = stride(run.settings.epochs)
        self._epochs_shown = 0
        self._epoch_began = self._refreshed = time.perf_counter()
        self._first: tuple[float, int] | None = None
        epoch = "epoch".rjust(2 * self._digits + 1)
        self.note(epoch + "".join(c.title.rjust(c.width) for c in self._columns))
        if self.bar:
            from bpcore.training.bar import Bar  # loads rich, which takes 40 ms and is not needed for a log file

            self._bar = Bar(self.stream)
            self._bar.draw(self._row(run, 1, {}), 0, 1, "")

    def on_progress(self, run: Run) -> None:
        """Draw the bar again if REFRESH_SECONDS have passed."""
        now = time.perf_counter()
        if self._first is None:
            self._first = (now, _steps_done(run))  # excludes the first steps, which may have waited for a compiler
        if self._bar is not None and now - self._refreshed >= REFRESH_SECONDS:
            self._refresh(run, self._bar, now)

    def on_epoch_end(self, run: Run) -> None:
        """Write the row of this epoch, if it is one of those shown."""
        self._epoch_began = time.perf_counter()
        if run.epoch % self._every == 0 or run.epoch == 1:
            self._keep(run)

    def on_end(self, run: Run) -> None:
        """Write the last row and remove the bar."""
        if run.epoch > self._epochs_shown:
            self._keep(run)
        self.close()

    def note(self, line: str) -> None:
        """Write a line, above the bar if there is one."""
        if self._bar is None:
            print(line, file=self.stream, flush=True)
        else:
            self._waiting.append(line)
            self._flush(self._bar)

    def close(self) -> None:
        """Write the rows that are waiting, and remove the bar."""
        if self._bar is not None:
            self._flush(self._bar)
            self._bar.close()
            self._bar = None

    def _keep(self, run: Run) -> None:
        self._epochs_shown = run.epoch
        row = self._row(run, run.epoch, run.history.last())
        if self._bar is None:
            self.note(row)
        else:
            self._waiting.append(row)  # epochs may be faster than a terminal

    def _row(self, run: Run, epoch: int, measures: dict[str, float]) -> str:
        number = f"{epoch:>{self._digits}}/{run.settings.epochs:<{self._digits}}"
        cells = ((c, c.write(measures[c.measure]) if c.measure in measures else "") for c in self._columns)
        return number + "".join(text.rjust(column.width) for column, text in cells)

    def _refresh(self, run: Run, bar: Bar, now: float) -> None:
        self._refreshed = now
        evaluation, seconds = run.running(), now - self._epoch_began
        measures = {
            "loss": evaluation.loss,
            "accuracy": evaluation.accuracy,
            "samples_per_second": min(run.batch * run.batch_size, run.samples.x.shape[0]) / seconds,
            "seconds": seconds,
        }
        self._flush(bar)
        total = run.settings.epochs * run.steps_per_epoch
        bar.draw(self._row(run, run.epoch + 1, measures), _steps_done(run), total, self._time_left(run, now))

    def _flush(self, bar: Bar) -> None:
        bar.write(self._waiting)
        self._waiting.clear()

    def _time_left(self, run: Run, now: float) -> str:
        assert self._first is not None
        since, steps = self._first
        done = _steps_done(run)
        if now - since < 0.5 or done == steps:
            return ""
        left = (run.settings.epochs * run.steps_per_epoch - done) * (now - since) / (done - steps)
        return f"{duration(left)} left"


class Compilation:
    """Measures the time that Numba spends compiling uncached kernels; calls `notify` when it first begins."""

    def __init__(self, notify: Callable[[str], None]) -> None:
        self.notify = notify
        self.seconds = 0.0
        self._depth = 0
        self._began = 0.0

    @contextmanager
    def watched(self) -> Iterator[Self]:
        """Measure within this block, if Numba has been loaded."""
        with ExitStack() as stack:
            for name, kind in COMPILE_EVENTS.items():
                module = sys.modules.get(name)
                if module is not None:
                    methods = {"on_start": lambda _, event: self._start(), "on_end": lambda _, event: self._end()}
                    listener = type("Listener", (module.Listener,), methods)()
                    stack.enter_context(module.install_listener(kind, listener))
            yield self

    def _start(self) -> None:
        self._depth += 1  # compiling a kernel includes compiling the functions that it calls
        if self._depth == 1:
            self._began = time.perf_counter()
            if self.seconds == 0:
                self.notify("compiling kernels for this machine; the next run finds them in its cache")

    def _end(self) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.seconds += time.perf_counter() - self._began


def duration(seconds: float) -> str:
    """Format a time: 0.4 s, 12 s, 3:05 min, 1:02:33 h."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    hours, rest = divmod(whole, 3600)
    minutes = f"{rest // 60}:{rest % 60:02d} min"
    return minutes if not hours else f"{hours}:{rest // 60:02d}:{rest % 60:02d} h"


def _steps_done(run: Run) -> int:
    done: int = run.epoch * run.steps_per_epoch + run.batch
    return done


def stride(epochs: int) -> int:
    """Return the first of 1, 2, 5, 10, ... for which at most MOST_ROWS epochs are shown."""
    power = 1
    while True:
        for stride in (power, 2 * power, 5 * power):
            if epochs <= stride * MOST_ROWS:
                return stride
        power *= 10
