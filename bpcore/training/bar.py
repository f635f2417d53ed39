"""A progress bar for terminals, with a row of numbers above it. Imported only if there is a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

WIDEST = 60


class Bar:
    """A bar that changes only when `draw` is called, with lines written above it."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False, force_terminal=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._live.start()

    def draw(self, row: str, done: int, total: int, time_left: str) -> None:
        """Draw the row, and below it the bar and the time left."""
        width = max(1, min(self._console.width - len(time_left) - 2, WIDEST))
        line = Table.grid(padding=(0, 2, 0, 0))
        line.add_row(ProgressBar(total=total, completed=done, width=width), time_left)
        self._live.update(Group(Text(row, no_wrap=True, overflow="crop"), line), refresh=True)

    def write(self, lines: Sequence[str]) -> None:
        """Write lines above the bar, where they stay."""
        if lines:
            self._console.print("\n".join(lines), soft_wrap=True)

    def close(self) -> None:
        """Remove the bar."""
        self._live.stop()
