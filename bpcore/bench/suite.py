"""The whole benchmark: start the processes, measure the roofline, then measure the cells and save after each."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from bpcore import __version__
from bpcore.backends.cpu_threads import THREAD_VARIABLES
from bpcore.bench import roofline
from bpcore.bench.cells import Cell
from bpcore.bench.contenders import CONTENDERS, OURS, PEERS
from bpcore.bench.measure import Plan, Timed, as_results, measure_cell
from bpcore.bench.process import Process
from bpcore.data.files import readable
from bpcore.errors import BpcoreError, InputError, unknown_name

AUTO = "auto"
STOPPED_BY_CTRL_C = "stopped by Ctrl-C"

BUSY = 0.5
"""The load, in busy cores before the benchmark starts, above which its results are unreliable: a library whose threads
spin while they wait for one another can become a hundred times slower if one of them gets no core."""

Contenders = Mapping[str, Mapping[str, Timed]]
"""Device -> name -> contender."""


@dataclass(frozen=True)
class Job:
    """What to measure.

    peers      "auto" for those installed, or names
    budget     in seconds; None for no limit
    alone      measure bpcore without the products
    quick      measure the limits in less time
    """

    cells: Sequence[Cell]
    peers: Sequence[str] | str = ()
    plan: Plan = field(default_factory=Plan)
    budget: float | None = None
    alone: bool = False
    quick: bool = False


def chosen_peers(text: str) -> Sequence[str] | str:
    """Parse "auto", "", or peers separated by commas; InputError for one that is unknown or not installed."""
    if text in (AUTO, ""):
        return AUTO if text else ()
    names = list(dict.fromkeys(part.strip() for part in text.split(",")))
    for name in names:
        if name not in PEERS:
            raise unknown_name("peer", name, [*PEERS, AUTO])
        if not PEERS[name].installed:
            raise InputError(f"{name} is not installed: {PEERS[name].install}; --peers auto uses those that are")
    return names


@contextmanager
def processes(job: Job, notify: Callable[[str], None]) -> Iterator[tuple[Contenders, dict[str, dict[str, Any]]]]:
    """A context with the contenders' processes by device and name, and a description of each.

    InputError, before any work, for a contender that cannot run what is asked for; peers chosen by "auto" are left out
    instead, and `notify` gets a line about it.
    """
    devices = list(dict.fromkeys(cell.device for cell in job.cells))
    first = job.cells[0]
    wanted = [*(["bpcore"] if job.alone else OURS), *_peers(job.peers)]
    misplaced = [name for name in wanted if name in PEERS and not any(CONTENDERS[name].on(one) for one in devices)]
    if misplaced and job.peers != AUTO:
        supported = PEERS[misplaced[0]].devices[0]
        raise InputError(f"{misplaced[0]} does not run on {' or '.join(devices)}, but on {supported}")
    with ExitStack() as stack:
        found: dict[str, dict[str, Process]] = {}
        about: dict[str, dict[str, Any]] = {}
        for device in devices:
            found[device], about[device] = {}, {}
            for name in wanted:
                if not CONTENDERS[name].on(device):
                    continue
                process = stack.enter_context(Process(name, device, first.precision))
                try:
                    about[device][name] = process.hello(first.activation, first.optimizer, first.precision)
                    found[device][name] = process
                except BpcoreError as error:
                    if name not in PEERS or job.peers != AUTO:
                        raise InputError(f"{name}: {error}") from error
                    notify(f"note: without {name}: {error}")
        yield found, about


def run(
    job: Job,
    contenders: Contenders,
    results: dict[str, Any],
    *,
    notify: Callable[[str], None],
    save: Callable[[dict[str, Any]], None],
) -> str:
    """Measure every cell that `results` does not have yet, and add it. Returns why it stopped early, or "".

    save(results) is called after every cell. At least one cell is measured, however small the budget.
    """
    began, measured = time.monotonic(), None
    try:
        for number, cell in enumerate(job.cells, 1):
            on_device = contenders[cell.device]
            if _done(results, cell, on_device):
                continue
            if measured and job.budget is not None and time.monotonic() - began >= job.budget:
                return f"stopped after {job.budget:g} s; the same command with --resume continues from here"
            limits = _roofline(results, cell.device, cell.precision, notify, quick=job.quick)
            started = time.monotonic()
            measured = as_results(cell, measure_cell(cell, on_device, job.plan), limits)
            results["cells"] = [one for one in results["cells"] if not _matches(one, cell)] + [measured]
            save(results)
            seconds = time.monotonic() - started
            notify(f"{number:3}/{len(job.cells)}  {_summary(cell, measured)}  ({seconds:.0f} s)")
    except KeyboardInterrupt:
        return STOPPED_BY_CTRL_C
    return ""


def new_results(job: Job, about: Mapping[str, Any], previous: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The results before the first cell, including the cells of an earlier run that is resumed.

    InputError if the earlier run was made on another machine or measured other steps, so that cells cannot be compared.
    """
    results: dict[str, Any] = {
        "bpcore": __version__,
        "date": str(date.today()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "load": load(),
        "threads": {name: os.environ[name] for name in (*THREAD_VARIABLES, "MKL_NUM_THREADS") if name in os.environ},
        "data": job.plan.data,
        "activation": job.cells[0].activation,
        "optimizer": job.cells[0].optimizer,
        "precision": job.cells[0].precision,
        "rounds": job.plan.rounds,
        "seconds_a_round": job.plan.seconds,
        "contenders": {device: dict(known) for device, known in about.items()},
        "rooflines": {},
        "cells": [],
    }
    if previous is None:
        return results
    for name in ("data", "activation", "optimizer", "precision"):
        if previous[name] != results[name]:
            raise InputError(f"the file to resume was measured with {name} {previous[name]}, not {results[name]}")
    for device, known in results["contenders"].items():
        before, now = previous["contenders"].get(device, {}).get("bpcore", {}), known["bpcore"]
        if before and (before["device"], before.get("threads")) != (now["device"], now.get("threads")):
            raise InputError(f"the file to resume was measured on {_machine(before)}; this is {_machine(now)}")
    for device, known in previous["contenders"].items():
        results["contenders"][device] = known | results["contenders"].get(device, {})
    return results | {"rooflines": previous["rooflines"], "cells": previous["cells"]}


def load() -> float:
    """The system's load average of the last minute, in busy cores; 0 if the system does not provide it."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def read_results(path: Path) -> dict[str, Any] | None:
    """Read the results of an earlier run; None if the file does not exist yet."""
    if not path.exists():
        return None
    try:
        with readable(path):
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for part in ("data", "activation", "optimizer", "contenders", "rooflines"):
            found[part]
        found.setdefault("precision", "float32")  # older files have none
        for cell in found["cells"]:
            cell["network"], cell["results"].keys()
            cell.setdefault("precision", "float32")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} cannot be resumed: it was not written by bpcore bench --json") from error
    return found


def _machine(about: Mapping[str, str]) -> str:
    return about["device"] + (f" with {about['threads']} threads" if "threads" in about else "")


def _peers(chosen: Sequence[str] | str) -> Sequence[str]:
    if isinstance(chosen, str):
        return [name for name, entry in PEERS.items() if entry.installed]
    return chosen


def _matches(one: Mapping[str, Any], cell: Cell) -> bool:
    return all(one[name] == value for name, value in cell.key().items())


def _done(results: Mapping[str, Any], cell: Cell, wanted: Mapping[str, object]) -> bool:
    return any(_matches(one, cell) and set(wanted) <= set(one["results"]) for one in results["cells"])


def _roofline(
    results: dict[str, Any], device: str, precision: str, notify: Callable[[str], None], *, quick: bool
) -> roofline.Roofline | None:
    """The device's limits, measured once in a separate process; None if they cannot be measured."""
    if device not in roofline.WIDTHS:
        return None
    if device not in results["rooflines"]:
        results["rooflines"][device] = None
        with Process("products", device, precision) as process:
            try:
                results["rooflines"][device] = process.ask("roofline", precision=precision, quick=quick)["roofline"]
            except BpcoreError as error:
                notify(f"note: the limits of {device} cannot be measured: {error}")
                return None
        found = roofline.from_json(results["rooflines"][device])
        (small, fast), (large, slow) = found.bandwidth[0], found.bandwidth[-1]
        notify(
            f"{device}: products at {found.gflops:,.0f} GFLOP/s; {fast:,.0f} GB/s in {small / 2**20:g} MiB, "
            f"{slow:,.0f} in {large / 2**20:g}"
        )
    known = results["rooflines"][device]
    return None if known is None else roofline.from_json(known)


def _summary(cell: Cell, measured: Mapping[str, Any]) -> str:
    times = [
        f"{name} {one['us_per_step']:,.1f}" if "us_per_step" in one else f"{name}: {one['error']}"
        for name, one in measured["results"].items()
    ]
    return f"{cell.name}, {cell.device}, us per step: {', '.join(times)}"
