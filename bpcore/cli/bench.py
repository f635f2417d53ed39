"""`bpcore bench`: check the options, run the benchmark, print and write the results."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpcore.backends import available_backends, get_backend
from bpcore.bench import cells, data, plot, report, suite
from bpcore.bench.cells import Cell
from bpcore.bench.measure import Plan
from bpcore.cli.devices import choose_device
from bpcore.cli.program import INTERRUPTED
from bpcore.cli.report import STANDARD_OUTPUT, Report, check_writable_file, write_json
from bpcore.data.files import as_path, replaced
from bpcore.errors import InputError, unknown_name
from bpcore.model.activations import get_activation
from bpcore.training.optimizers import OPTIMIZERS

ALL = "all"

ROUNDS, QUICK_ROUNDS = 7, 3
SECONDS, QUICK_SECONDS = 0.3, 0.1


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of `bpcore bench` with their defaults; for None, the default depends on --quick."""

    networks: str | None = None
    batches: str | None = None
    activation: str = "relu"
    optimizer: str = "sgd"
    precision: str = "float32"
    device: str = ALL
    peers: str = ""
    data: str = "random"
    data_dir: str | None = None
    rounds: int | None = None
    budget: float | None = None
    quick: bool = False
    scaling: bool = False
    resume: str | None = None
    markdown: str | None = None
    plot: str | None = None


def bench(options: Options, out: Report) -> int:
    """Measure, print the tables and write the files. Returns the exit code."""
    job = prepare(options)
    files = _files(options, out)
    previous = None if options.resume is None else suite.read_results(as_path(options.resume))
    if (load := suite.load()) > suite.BUSY:
        out.say(f"note: the machine is busy (load {load:.1f}): measurements on an idle machine are more reliable")
    with suite.processes(job, out.say) as (contenders, about):
        results = suite.new_results(job, about, previous)
        stopped = suite.run(job, contenders, results, notify=out.say, save=lambda found: _save(found, files))
    if not results["cells"]:
        raise InputError(f"nothing was measured: {stopped}")
    results["summary"] = report.summary(results)
    _save(results, files)
    out.write(results)
    if options.markdown is not None:
        with replaced(as_path(options.markdown)) as file:
            file.write(report.markdown(results).encode())
    if options.plot is not None:
        plot.draw(results, as_path(options.plot))
    report.print_tables(results, out.stream)
    for device in report.devices_of(results):
        out.say(*report.versions(results, device), *report.failures(results, device))
    out.result(*results["summary"], *(report.cliffs(results) if options.scaling else []))
    if stopped:
        out.result(stopped)
    return INTERRUPTED if stopped == suite.STOPPED_BY_CTRL_C else 0


def prepare(options: Options) -> suite.Job:
    """Check every option before any work; return the benchmark to run."""
    get_activation(options.activation)
    if options.optimizer not in OPTIMIZERS:
        raise unknown_name("optimizer", options.optimizer, OPTIMIZERS)
    if options.precision not in cells.PRECISIONS:
        raise unknown_name("precision", options.precision, cells.PRECISIONS)
    if options.data not in data.KINDS:
        raise unknown_name("data", options.data, data.KINDS)
    if options.budget is not None and not options.budget > 0:
        raise InputError(f"budget={options.budget}; accepted: a number of seconds above 0")
    peers = suite.chosen_peers(options.peers)
    chosen = _cells(options)
    if options.data == "mnist":
        for cell in chosen:
            data.check_mnist(cell.network)
    if options.scaling and peers:
        raise InputError("--scaling measures bpcore alone; omit --peers")
    return suite.Job(
        cells=chosen,
        peers=peers,
        plan=Plan(
            rounds=options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS),
            seconds=QUICK_SECONDS if options.quick else SECONDS,
            data=options.data,
            data_dir=options.data_dir,
        ),
        budget=options.budget,
        alone=options.scaling,
        quick=options.quick,
    )


def _cells(options: Options) -> list[Cell]:
    quick_or_full = (cells.QUICK_NETWORKS, cells.QUICK_BATCHES) if options.quick else (cells.NETWORKS, cells.BATCHES)
    networks = quick_or_full[0] if options.networks is None else cells.parse_networks(options.networks)
    batches = quick_or_full[1] if options.batches is None else cells.parse_batches(options.batches)
    devices = _devices(options.device)
    for device in devices if options.precision != "float32" else ():
        get_backend(device).at_precision(options.precision)
    if options.scaling:
        if options.networks is not None or options.batches is not None or options.quick:
            raise InputError("--scaling uses its own networks and batches; omit --networks, --batches and --quick")
        return cells.scaling(devices, options.activation, options.optimizer, options.precision)
    return cells.grid(networks, list(batches), devices, options.activation, options.optimizer, options.precision)


def _devices(text: str) -> list[str]:
    """The names of the backends for "all" or for device names separated by commas."""
    if text == ALL:
        return [name for name, state in available_backends().items() if state == "available"]
    names = [part.strip() for part in text.split(",")]
    return list(dict.fromkeys(get_backend(choose_device(name)).name for name in names))


def _files(options: Options, out: Report) -> list[Path]:
    """The JSON files to write after each cell. InputError if an output file cannot be written."""
    for name in (options.resume, options.markdown, options.plot):
        if name is not None:
            check_writable_file(as_path(name))
    if options.plot is not None:
        plot.check(as_path(options.plot))
    named = (options.resume, None if out.json == STANDARD_OUTPUT else out.json)
    return list(dict.fromkeys(as_path(name) for name in named if name is not None))


def _save(results: dict[str, Any], files: Iterable[Path]) -> None:
    for path in files:
        write_json(path, results)
