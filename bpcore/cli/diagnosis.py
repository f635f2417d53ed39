"""The terminal output of `bpcore train --diagnose`."""

from __future__ import annotations

from bpcore.cli.report import Report
from bpcore.inspection.diagnostics import Diagnostics, table, title


def show(diagnostics: Diagnostics, report: Report) -> None:
    """Print the last sample as a table, and the time taken. Warnings have already been printed during the run."""
    if report.quiet or not diagnostics.samples:
        return
    from rich.console import Console  # takes 40 ms to import, which other commands need not spend
    from rich.table import Table

    console = Console(file=report.stream, highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(file=report.stream, highlight=False, markup=False, width=120)
    header, rows = table(diagnostics.samples[-1])
    shown = Table(title=title(diagnostics.samples[-1]), title_justify="left")
    for number, name in enumerate(header):
        shown.add_column(name, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        shown.add_row(*row)
    console.print(shown)
    count = len(diagnostics.samples)
    report.say(f"diagnostics: {count} samples of {diagnostics.rows} rows took {diagnostics.seconds:.2f} s", "")
