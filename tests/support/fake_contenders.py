"""Pretended contenders for tests of the benchmark."""

from __future__ import annotations

import json
import math
from typing import Any

from bpcore.bench import cells, suite
from bpcore.bench.cells import Cell
from bpcore.bench.measure import Plan
from bpcore.bench.process import ContenderError
from bpcore.bench.roofline import Roofline

LIMITS = Roofline(100.0, [(2**18, 80.0), (2**28, 20.0)])
ABOUT = {"device": "CPU: a processor, 2 cores", "threads": "2"}


def job_of(networks: str, batches: str, **settings: Any) -> suite.Job:
    grid = cells.grid(cells.parse_networks(networks), cells.parse_batches(batches), ["numpy"], "relu", "sgd")
    return suite.Job(grid, plan=Plan(rounds=2, seconds=0.001), **settings)


def pretenders(*, torch: bool = True) -> dict[str, Pretender]:
    speeds = {"bpcore": 40.0, "products": 20.0, "jax": 60.0, **({"torch": 90.0} if torch else {})}
    return {name: Pretender(name, us, []) for name, us in speeds.items()}


def about(contenders: dict[str, Pretender]) -> dict[str, Any]:
    return {"numpy": {name: ABOUT if name in ("bpcore", "products") else {"version": "1"} for name in contenders}}


def measured(job: suite.Job, contenders: dict[str, Pretender], previous: Any = None) -> tuple[dict[str, Any], str, int]:
    results = suite.new_results(job, about(contenders), previous)
    results["rooflines"]["numpy"] = LIMITS.as_json()
    saved: list[str] = []
    lines: list[str] = []
    stopped = suite.run(
        job,
        {"numpy": contenders},
        results,
        notify=lines.append,
        save=lambda found: saved.append(json.dumps(found, allow_nan=False)),
    )
    assert len(lines) == len(saved)
    return results, stopped, len(saved)


class Pretender:
    """A contender that reports a given time per step, and logs when it was called."""

    def __init__(self, name: str, us: float, log: list[tuple[str, int]], chunk: int = 1, fails: str = "") -> None:
        self.name, self.us, self.log, self.chunk, self.fails = name, us, log, chunk, fails
        self.asked: list[Cell] = []

    def prepare(self, cell: Cell, data: str, data_dir: str | None) -> dict[str, Any]:
        self.asked.append(cell)
        self._fail("prepare")
        return {"seconds": 2.5, "chunk": self.chunk, "notes": {"way": self.name}}

    def time(self, steps: int) -> float:
        self._fail("time")
        assert steps % self.chunk == 0
        self.log.append((self.name, steps))
        return 1e-6 * self.us * steps * (1 + 0.1 * (len(self.log) % 3))

    def loss(self) -> float | None:
        self._fail("loss")
        return {"products": None, "diverged": math.nan}.get(self.name, 0.5)

    def _fail(self, where: str) -> None:
        if self.fails == where:
            raise ContenderError("no memory")
