"""Measuring one cell: all contenders in turns, round after round; medians and quartiles."""

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
"""Seconds between two contenders: the threads of the last one may still be watching for work."""

UNTIMED = 10
"""Before a timed run a tenth of its steps, not timed, brings the contender's data back into the caches."""


class Timed(Protocol):
    """What a contender's process can be asked; a test brings its own."""

    def prepare(self, cell: Cell, data: str, data_dir: str | None) -> dict[str, Any]:
        """Build, compile, run the first steps; seconds, chunk, notes."""

    def time(self, steps: int) -> float:
        """Seconds for so many steps."""

    def loss(self) -> float | None:
        """The loss of the latest steps; None where nothing is trained."""


@dataclass(frozen=True)
class Plan:
    """How to measure. seconds: of each contender in each round, about."""

    rounds: int = 7
    seconds: float = 0.3
    data: str = "random"
    data_dir: str | None = None


@dataclass
class Found:
    """What was measured of one contender on one cell. steps: in each round; error: why there is nothing."""

    prepare_seconds: float = 0.0
    chunk: int = 1
    steps: int = 0
    seconds: list[float] = field(default_factory=list)
    loss: float | None = None
    notes: dict[str, Any] = field(default_factory=dict)
    error: str = ""


def measure_cell(cell: Cell, contenders: Mapping[str, Timed], plan: Plan) -> dict[str, Found]:
    """All contenders on one cell. One that fails is left out from there on, with the reason."""
    found = {name: Found() for name in contenders}
    for name, contender in contenders.items():
        with _noting_errors(found[name]):
            _prepare(contender, found[name], cell, plan)
    names = list(contenders)
    for number in range(plan.rounds):
        first = number % max(1, len(names))  # each round begins with another
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
    """The cell as JSON values: what it costs, and what each contender made of it."""
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
    """Build and warm up; then find how many steps take about as long as a round should, in runs that grow."""
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
    """NaN and infinity are no arithmetic to be timed."""
    if loss is not None and not math.isfinite(loss):
        raise ContenderError(f"the loss is not finite: {loss}")


@contextmanager
def _noting_errors(one: Found) -> Iterator[None]:
    try:
        yield
    except (ContenderError, InputError) as error:
        one.error = str(error)
