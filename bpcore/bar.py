"""A row of numbers with a bar behind it, at the foot of a terminal; imported only where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

WIDEST = 40
NARROWEST = 5


class Bar:
    """Drawn when it is told to, never by itself; lines are written above it."""

    def __init__(self, stream: TextIO) -> None:
        console = Console(file=stream, highlight=False, markup=False, emoji=False, force_terminal=True)
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live.start()

    def draw(self, row: str, done: int, total: int, time_left: str) -> None:
        """Draw the row, the bar and the time left; without the bar where the terminal is too narrow for it."""
        room = self._live.console.width - len(row) - len(time_left) - 4
        line = Table.grid(padding=(0, 2, 0, 0))
        if room >= NARROWEST:
            line.add_row(row, ProgressBar(total=total, completed=done, width=min(room, WIDEST)), time_left)
        else:
            line.add_row(row, time_left)
        self._live.update(line, refresh=True)

    def write(self, lines: Sequence[str]) -> None:
        """Write lines that stay."""
        if lines:
            self._live.console.print("\n".join(lines), soft_wrap=True)

    def close(self) -> None:
        """Take the bar away."""
        self._live.stop()
