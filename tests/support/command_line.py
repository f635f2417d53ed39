"""Shared by tests of the command line: the outcome of a command, and small data sets."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bpcore.data import write_idx
from bpcore.data.mnist import FILES


@dataclass
class Outcome:
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]

SMALL = ["--network", "16", "--epochs", "2"]
"""Options for a short training."""


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def results(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def write_mnist(folder: Path, *, train: int = 300, test: int = 60) -> None:
    """Write images of MNIST's form: noise, and a bright column that marks the class."""
    rng = np.random.default_rng(1)
    for first, samples in ((0, train), (2, test)):
        labels = np.arange(samples) % 10
        images = rng.integers(0, 60, (samples, 28, 28))
        images[np.arange(samples), :, 2 * labels + 4] += 180
        write_idx(folder / FILES[first], images.astype(np.uint8))
        write_idx(folder / FILES[first + 1], labels.astype(np.uint8))


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
    return path


def flowers() -> tuple[list[str], list[list[object]]]:
    rng = np.random.default_rng(2)
    kinds = ["rose", "lily", "tulip"]
    rows = [
        [f"{rng.normal(2 * k, 0.3):.3f}", f"{rng.normal(50 - 20 * k, 3):.3f}", ["red", "blue"][k % 2], kinds[k]]
        for k in (i % 3 for i in range(90))
    ]
    return ["length", "width", "colour", "kind"], rows


def houses() -> tuple[list[str], list[list[object]]]:
    rng = np.random.default_rng(3)
    rows: list[list[object]] = []
    for _ in range(120):
        area, rooms = rng.uniform(40, 200), int(rng.integers(1, 7))
        rows.append([f"{area:.2f}", rooms, f"{3000 * area + 20000 * rooms + rng.normal(0, 5000):.0f}"])
    return ["area", "rooms", "price"], rows
