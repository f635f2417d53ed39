"""The results as text: tables for the terminal and in Markdown, and a summary."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

from bpcore.bench.cells import network_name
from bpcore.bench.contenders import PEERS

EAGER = "torch"
CLIFF = 1.5
"""There is a cliff between two neighbouring sizes if the time of an operation grows by this factor."""

Results = Mapping[str, Any]


def table(results: Results, device: str) -> tuple[list[str], list[list[str]]]:
    """The header, and a row for each cell of a device; peers with their time and, in brackets, its ratio to ours."""
    cells = cells_of(results, device)
    peers = peers_of(cells)
    header = ["network", "batch", "us/step", "quartiles", "samples/s", "GFLOP/s", "roofline", "products", *peers]
    rows = []
    for cell in cells:
        own = cell["results"]["bpcore"]
        row = [network_name(cell["network"]), str(cell["batch"])]
        if "error" in own:
            row += ["failed", *[""] * 5]
        else:
            low, high = own["quartiles_us"]
            row += [number(own["us_per_step"]), f"{number(low)} - {number(high)}"]
            row += [f"{own['samples_per_second']:,.0f}", number(own["gflops"])]
            row += [share(own["share_of_roofline"]), share(own["share_of_products"])]
        rows.append(row + [_peer(cell["results"].get(name), own) for name in peers])
    return header, rows


def print_tables(results: Results, stream: IO[str]) -> None:
    """Print a table for each device."""
    from rich.console import Console
    from rich.table import Table

    console = Console(file=stream, highlight=False)
    if not console.is_terminal:
        console = Console(file=stream, highlight=False, width=200)
    for device in devices_of(results):
        header, rows = table(results, device)
        shown = Table(title=title(results, device), title_justify="left")
        for name in header:
            shown.add_column(name, justify="left" if name == "network" else "right", no_wrap=True)
        for row, following in zip(rows, [*rows[1:], None], strict=True):
            shown.add_row(*row, end_section=following is not None and following[0] != row[0])
        console.print(shown)


def markdown(results: Results) -> str:
    """The results as a Markdown page: the method, a table and notes for each device, and the summary."""
    parts = [f"# bpcore bench, {results['date']}", method(results)]
    for device in devices_of(results):
        header, rows = table(results, device)
        lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
        parts.append(f"## {title(results, device)}")
        parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
        parts.append("\n".join(f"- {line}" for line in [*versions(results, device), *failures(results, device)]))
    parts.append("\n".join(f"- {line}" for line in summary(results)))
    return "\n\n".join(part for part in parts if part) + "\n"


def method(results: Results) -> str:
    """A paragraph that says how the results were measured."""
    return (
        f"One training step in {results['precision']}: shuffled gather of {results['data']} data, forward "
        f"({results['activation']}), softmax cross-entropy, backward, {results['optimizer']}. The contenders take "
        f"turns, each in its own process; medians of {results['rounds']} rounds of {results['seconds_a_round']:g} s. "
        f"roofline, products: the share of the device's limit, and of the speed of the matrix products alone. "
        f"Peers: their time in us and, in brackets, its ratio to bpcore's."
    )


def summary(results: Results) -> list[str]:
    """For each device, the geometric means over the cells, and the number of cells in which no peer is faster."""
    lines = []
    for device in devices_of(results):
        cells = cells_of(results, device)
        best = [ratio for cell in cells if (ratio := best_ratio(cell)) is not None]
        eager = [ratio for cell in cells if (ratio := ratio_to(cell, EAGER)) is not None]
        products = [one for cell in cells if (one := cell["results"]["bpcore"].get("share_of_products"))]
        if best:
            lines.append(f"{device}: best peer / bpcore, geometric mean of {_cells(best)}: {geometric_mean(best):.2f}")
            level = sum(ratio >= 1.0 for ratio in best)
            lines.append(f"{device}: bpcore is at least as fast as the best peer in {level} of {_cells(best)}")
        if eager:
            lines.append(
                f"{device}: PyTorch eager / bpcore, geometric mean of {_cells(eager)}: {geometric_mean(eager):.2f}"
            )
        if products:
            lines.append(
                f"{device}: share of the products' speed, geometric mean of {_cells(products)}: "
                f"{share(geometric_mean(products))}"
            )
    return lines


def cliffs(results: Results) -> list[str]:
    """The sizes at which the time of an operation jumps, for `--scaling`."""
    lines = []
    for device in devices_of(results):
        for name, axis in axes(cells_of(results, device)).items():
            for (size, before), (larger, after) in itertools.pairwise(axis):
                times = [1.0 / cell["results"]["bpcore"]["gflops"] for cell in (before, after)]
                if times[1] >= CLIFF * times[0]:
                    lines.append(
                        f"{device}: {name}: from {size} to {larger} the time per operation grows by a factor of "
                        f"{times[1] / times[0]:.1f}"
                    )
        lines = lines or [f"{device}: no cliff: the time per operation never grows by a factor of {CLIFF} or more"]
    return lines


def axes(cells: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[int, Mapping[str, Any]]]]:
    """Series of cells by name: over the batch for each network, and over the width of equal hidden layers for a batch.

    A series is a list of (size, cell), sorted by size, of two or more cells that bpcore finished.
    """
    found: dict[str, list[tuple[int, Mapping[str, Any]]]] = {}
    for cell in cells:
        if "us_per_step" not in cell["results"]["bpcore"]:
            continue
        inputs, *hidden, outputs = cell["network"]
        found.setdefault(f"batch, {network_name(cell['network'])}", []).append((cell["batch"], cell))
        if hidden and len(set(hidden)) == 1:
            shape = "-".join(map(str, [inputs, *["W"] * len(hidden), outputs]))
            found.setdefault(f"width, {shape} at batch {cell['batch']}", []).append((hidden[0], cell))
    return {name: sorted(line, key=lambda point: point[0]) for name, line in found.items() if len(line) > 1}


def versions(results: Results, device: str) -> list[str]:
    """A line for each contender with its versions and device."""
    return [
        f"{name}: {', '.join(f'{key} {value}' for key, value in about.items())}"
        for name, about in results["contenders"][device].items()
        if name != "products"
    ]


def failures(results: Results, device: str) -> list[str]:
    """A line for each failure."""
    return [
        f"{network_name(cell['network'])} batch {cell['batch']}, {name}: {one['error']}"
        for cell in cells_of(results, device)
        for name, one in cell["results"].items()
        if "error" in one
    ]


def title(results: Results, device: str) -> str:
    """A description of the device."""
    about: dict[str, str] = results["contenders"][device]["bpcore"]
    return about["device"] + (f", {about['threads']} threads" if "threads" in about else "")


def devices_of(results: Results) -> list[str]:
    """The devices that have cells."""
    return list(dict.fromkeys(cell["device"] for cell in results["cells"]))


def cells_of(results: Results, device: str) -> list[Mapping[str, Any]]:
    """The cells of a device, sorted by network and batch."""
    cells = [cell for cell in results["cells"] if cell["device"] == device]
    return sorted(cells, key=lambda cell: (math.prod(cell["network"]), cell["network"], cell["batch"]))


def peers_of(cells: Sequence[Mapping[str, Any]]) -> list[str]:
    """The peers that have been measured, in the order of PEERS."""
    return [name for name in PEERS if any(name in cell["results"] for cell in cells)]


def ratio_to(cell: Mapping[str, Any], peer: str) -> float | None:
    """The peer's time over bpcore's."""
    times = [cell["results"].get(name, {}).get("us_per_step") for name in (peer, "bpcore")]
    return times[0] / times[1] if all(times) else None


def best_ratio(cell: Mapping[str, Any]) -> float | None:
    """The fastest peer's time over bpcore's."""
    return min(_ratios(cell), default=None)


def geometric_mean(values: Sequence[float]) -> float:
    """The n-th root of the product."""
    return math.exp(sum(map(math.log, values)) / len(values))


def number(value: float) -> str:
    """A number with at least three digits."""
    return f"{value:,.{max(0, 2 - math.floor(math.log10(value)))}f}" if value > 0 else "0"


def share(value: float | None) -> str:
    """A share as a percentage; a dash for None."""
    return "-" if value is None else f"{100 * value:.0f} %"


def _peer(peer: Mapping[str, Any] | None, own: Mapping[str, Any]) -> str:
    if peer is None:
        return "-"
    if "error" in peer:
        return "failed"
    ratio = f" ({peer['us_per_step'] / own['us_per_step']:.2f})" if "us_per_step" in own else ""
    return number(peer["us_per_step"]) + ratio


def _ratios(cell: Mapping[str, Any]) -> Iterator[float]:
    for name in PEERS:
        if (ratio := ratio_to(cell, name)) is not None:
            yield ratio


def _cells(values: Sequence[object]) -> str:
    return f"{len(values)} cell{'' if len(values) == 1 else 's'}"
