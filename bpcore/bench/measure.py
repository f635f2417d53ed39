"""Measuring one cell: the contenders take turns, round after round; the results are medians and quartiles."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from bpcore.bench.cells import Cell
from bpcore.bench.process import ContenderError
from bpcore.bench.roofline import Roofline
from bpcore.errors import InputError

PAUSE = 0.01
"""Seconds between two contenders, since the threads of the previous one may still be spinning."""

UNTIMED = 10
"""Before a timed run, 1/UNTIMED as many untimed steps bring the contender's data back into the caches."""


class Timed(Protocol):
    """The requests that a contender's process answers; tests use their own implementation."""

    def prepare(self, cell: Cell, data: str, data_dir: str | None) -> dict[str, Any]:
        """Build, compile and run the first steps; return seconds, chunk and notes."""

    def time(self, steps: int) -> float:
        """Run a number of steps and return the seconds taken."""

    def loss(self) -> float | None:
        """The loss of the latest steps; None for a contender that trains nothing."""


@dataclass(frozen=True)
class Plan:
    """How to measure: the rounds, and the approximate seconds for each contender in a round."""

    rounds: int = 7
    seconds: float = 0.3
    data: str = "random"
    data_dir: str | None = None


@dataclass
class Found:
    """The measurements of one contender on one cell.

    steps      run in each round
    seconds    one value for each round
    error      why there is no result, or ""
    """

    prepare_seconds: float = 0.0
    chunk: int = 1
    steps: int = 0
    seconds: list[float] = field(default_factory=list)
    loss: float | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    error: str = ""


def measure_cell(cell: Cell, contenders: Mapping[str, Timed], plan: Plan) -> dict[str, Found]:
    """Measure all contenders on one cell. One that fails is skipped from then on; its error is recorded."""
    found = {name: Found() for name in contenders}
    for name, contender in contenders.items():
        with _noting_errors(found[name]):
            _prepare(contender, found[name], cell, plan)
    names = list(contenders)
    for number in range(plan.rounds):
        first = number % max(1, len(names))  # each round starts with another contender
        for name in [*names[first:], *names[:first]]:
            if not found[name].error:
                time.sleep(PAUSE)
                with _noting_errors(found[name]):
                    _time(contenders[name], found[name])
    for name, contender in contenders.items():
        if not found[name].error:
            with _noting_errors(found[name]):
                found[name].loss = contender.loss()
                _check_loss(found[name].loss)
    return found


def as_results(cell: Cell, found: Mapping[str, Found], roofline: Roofline | None) -> dict[str, Any]:
    """The cell as JSON values: its operations and bytes, and each contender's results."""
    results = {name: _result(cell, one) for name, one in found.items()}
    limits = {
        "share_of_roofline": None if roofline is None else 1e6 * roofline.seconds(cell),
        "share_of_products": results.get("products", {}).get("us_per_step"),
    }
    for one in results.values():
        if "us_per_step" in one:
            one |= {share: limit and limit / one["us_per_step"] for share, limit in limits.items()}
    return cell.key() | {
        "operations": cell.operations,
        "bytes": cell.bytes,
        "working_set": cell.working_set,
        "roofline_us": limits["share_of_roofline"],
        "results": results,
    }


def _result(cell: Cell, one: Found) -> dict[str, Any]:
    if one.error:
        return {"error": one.error}
    times = [1e6 * seconds / one.steps for seconds in one.seconds]
    median = statistics.median(times)
    low, _, high = statistics.quantiles(times, n=4, method="inclusive") if len(times) > 1 else [median] * 3
    return {
        "us_per_step": median,
        "quartiles_us": [low, high],
        "samples_per_second": 1e6 * cell.batch / median,
        "gflops": cell.operations / median / 1e3,
        "prepare_seconds": one.prepare_seconds,
        "loss": one.loss,
        "steps_a_round": one.steps,
        "rounds_us": times,
        "notes": one.notes,
    }


def _prepare(contender: Timed, one: Found, cell: Cell, plan: Plan) -> None:
    """Build and warm up, then find the number of steps that fill a round, in runs of growing length."""
    prepared = contender.prepare(cell, plan.data, plan.data_dir)
    one.prepare_seconds, one.chunk, one.notes = prepared["seconds"], prepared["chunk"], prepared["notes"]
    steps = one.chunk
    while (taken := contender.time(steps)) < plan.seconds / 4:
        steps *= max(2, min(10, int(plan.seconds / 2 / max(taken, 1e-9))))
    one.steps = max(1, round(steps * plan.seconds / taken / one.chunk)) * one.chunk


def _time(contender: Timed, one: Found) -> None:
    untimed = one.steps // UNTIMED // one.chunk * one.chunk
    if untimed:
        contender.time(untimed)
    one.seconds.append(contender.time(one.steps))


def _check_loss(loss: float | None) -> None:
    """ContenderError for NaN or infinity: such arithmetic must not be timed."""
    if loss is not None and not math.isfinite(loss):
        raise ContenderError(f"the loss is not finite: {loss}")


@contextmanager
def _noting_errors(one: Found) -> Iterator[None]:
    try:
        yield
    except (ContenderError, InputError) as error:
        one.error = str(error)
