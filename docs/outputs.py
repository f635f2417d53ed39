"""Run the programs of the pages, and compare what they print with what the pages show.

    python docs/outputs.py [--write] [PAGE ...]

A page is one program. Its ```python blocks run in order in one process. A ```console block holds commands after "$ "
and what they print; its bpcore commands run where they stand between the Python blocks. A ```text block that follows a
Python block shows what that block prints. The last digits depend on the processor, so numbers that are no integers may
differ by a tenth; times are not compared. A line "..." stands for any number of lines.

Without --write the program lists the differences and exits with 1 where there are some; with it, the pages are
corrected.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parent
MARK = "--- what follows is the output of block"
FENCE = re.compile(r"^```(?P<kind>\S+)[^\n]*\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
TIME = re.compile(r"[\d.,]+ (?=s\b|samples/s)| \([\d.]+ s to compile\)")
NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
RELATIVE, ABSOLUTE = 0.1, 1e-6
"""How far numbers that are no integers may be apart."""


@dataclass(frozen=True)
class Step:
    """A Python block or one command, and what the page shows below it: text, and where it stands on the page."""

    code: str
    shown: str | None
    start: int
    stop: int


def steps(page: str) -> list[Step]:
    """The Python blocks and bpcore commands of a page, in order."""
    found: list[Step] = []
    fences = list(FENCE.finditer(page))
    for place, fence in enumerate(fences):
        if fence["kind"] == "python":
            below = next(iter(fences[place + 1 :]), None)
            shows = below is not None and below["kind"] == "text"
            shown = (below["body"], *below.span("body")) if below and shows else (None, 0, 0)
            found.append(Step(fence["body"], *shown))
        elif fence["kind"] == "console":
            found += _commands(fence["body"], fence.start("body"))
    return found


def _commands(body: str, at: int) -> list[Step]:
    """The commands of a console block."""
    found = []
    for match in re.finditer(r"^\$ (?P<command>.*(?:\\\n.*)*)\n(?P<output>(?:(?!\$ ).*\n)*)", body, re.MULTILINE):
        words = shlex.split(match["command"].replace("\\\n", " "), comments=True)
        if words[0] != "bpcore":
            continue
        found.append(Step(as_program(words), match["output"], at + match.start("output"), at + match.end("output")))
    return found


def as_program(words: Sequence[str]) -> str:
    """Python code that runs a command of bpcore."""
    return f"import subprocess, sys\nsubprocess.run([sys.executable, '-m', *{list(words)!r}], check=True)\n"


def outputs(todo: Sequence[Step], folder: Path, environment: dict[str, str] | None = None) -> list[str]:
    """What each step prints, run in order in one process in a folder. RuntimeError where one fails."""
    marked = [f"{step.code}\nprint({MARK!r}, {number + 1}, flush=True)" for number, step in enumerate(todo)]
    (folder / "page.py").write_text("\n".join(marked) + "\n", encoding="utf-8")
    command = [sys.executable, "page.py"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return re.split(rf"{MARK} \d+\n", done.stdout)[: len(todo)]


def agree(shown: str, printed: str) -> bool:
    """Whether what a page shows is what was printed."""
    expected, actual = _lines(shown), _lines(printed)
    if "..." not in expected:
        return len(expected) == len(actual) and all(map(_alike, expected, actual))
    here = expected.index("...")
    if len(actual) < here or not all(map(_alike, expected[:here], actual[:here])):
        return False
    rest = "\n".join(expected[here + 1 :])
    return any(agree(rest, "\n".join(actual[skipped:])) for skipped in range(here, len(actual) + 1))


def _lines(text: str) -> list[str]:
    return [TIME.sub("", line).rstrip() for line in text.strip("\n").splitlines()]


def _alike(shown: str, printed: str) -> bool:
    """Whether two lines have the same words, and numbers that are close."""
    if " ".join(NUMBER.sub("#", shown).split()) != " ".join(NUMBER.sub("#", printed).split()):
        return False
    return all(map(_close, NUMBER.findall(shown), NUMBER.findall(printed)))


def _close(shown: str, printed: str) -> bool:
    """Whether two numbers are equal, or nearly so where they are no integers."""
    one, other = shown.replace(",", ""), printed.replace(",", "")
    if one.lstrip("+-").isdigit():
        return one == other
    return math.isclose(float(one), float(other), rel_tol=RELATIVE, abs_tol=ABSOLUTE)


def differences(page: str, folder: Path, environment: dict[str, str] | None = None) -> list[tuple[Step, str]]:
    """The steps of a page that print something other than what it shows, each with what it prints."""
    todo = steps(page)
    printed = outputs(todo, folder, environment)
    pairs = zip(todo, printed, strict=True)
    return [(step, text) for step, text in pairs if step.shown is not None and not agree(step.shown, text)]


def main() -> int:
    """Compare, or write; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pages", nargs="*", type=Path, default=[DOCS.parent / "README.md", *sorted(DOCS.rglob("*.md"))])
    parser.add_argument("--write", action="store_true", help="correct the pages")
    arguments = parser.parse_args()
    wrong = 0
    for path in arguments.pages:
        text = path.read_text(encoding="utf-8")
        if all(step.shown is None for step in steps(text)):
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = differences(text, Path(folder), os.environ | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")})
        for step, printed in reversed(found):
            wrong += 1
            print(f"{path}: shown\n{step.shown}printed\n{printed}")
            lines = [line.rstrip() for line in printed.rstrip().splitlines()]
            text = text[: step.start] + "\n".join([*lines, ""]) + text[step.stop :]
        if arguments.write and found:
            path.write_text(text, encoding="utf-8")
    return 1 if wrong and not arguments.write else 0


if __name__ == "__main__":
    sys.exit(main())
