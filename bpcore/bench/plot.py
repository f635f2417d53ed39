"""Plotting the results: for each device, the ratios to the peers, the times and the share of the limits; and a
comparison of the devices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bpcore.bench.cells import network_name
from bpcore.bench.report import (
    axes,
    best_ratio,
    cells_of,
    devices_of,
    geometric_mean,
    peers_of,
    ratio_to,
    title,
)
from bpcore.plots.style import COLOURS, MARKERS, check_picture, cycle, finish, new_figure, require_matplotlib

Results = Mapping[str, Any]
Panel = Callable[[Any, Results, str], None]


def check(path: Path) -> None:
    """Check, before any work, that a plot can be written to path; InputError otherwise."""
    require_matplotlib("--plot")
    check_picture(path)


def draw(results: Results, path: Path) -> None:
    """Draw the results into a file: a row for each device, a column for each panel that has data."""
    devices = devices_of(results)
    panels = [panel for panel in (_ratios, _batches, _widths, _shares) if _has_data(panel, results, devices)]
    rows = len(devices) + (len(devices) > 1)
    figure = new_figure(4.5 * max(len(panels), 2), 5.5 * rows)
    grid = figure.subplots(rows, max(len(panels), 1), squeeze=False)
    for axis in grid.flat:
        cycle(axis)
    for row, device in zip(grid, devices, strict=False):
        for axis, panel in zip(row, panels, strict=False):
            panel(axis, results, device)
    if len(devices) > 1:
        _devices(grid[-1, 0], results, devices)
    for axis in grid.flat:
        if not axis.has_data():
            axis.set_axis_off()
    figure.suptitle("   ".join(title(results, device) for device in devices))
    figure.savefig(path)


def _has_data(panel: Panel, results: Results, devices: Sequence[str]) -> bool:
    """Whether a panel draws anything for one of the devices, found by drawing on a figure that is thrown away."""
    scratch = new_figure(1, 1).subplots(1, len(devices), squeeze=False)[0]
    for axis, device in zip(scratch, devices, strict=True):
        panel(axis, results, device)
    return any(axis.has_data() for axis in scratch)


def _ratios(axis: Any, results: Results, device: str) -> None:
    """Plot the time of each peer and of the best one over bpcore's: the geometric mean over the networks, by batch."""
    cells = cells_of(results, device)
    for name in [None, *peers_of(cells)]:
        by_batch: dict[int, list[float]] = {}
        for cell in cells:
            ratio = best_ratio(cell) if name is None else ratio_to(cell, name)
            if ratio is not None:
                by_batch.setdefault(cell["batch"], []).append(ratio)
        if by_batch:
            points = sorted((batch, geometric_mean(ratios)) for batch, ratios in by_batch.items())
            style = {"color": "black", "marker": "", "linewidth": 4, "alpha": 0.5} if name is None else {"linewidth": 1}
            axis.plot(*zip(*points, strict=True), label=name or "the best peer", **style)
    if axis.has_data():
        axis.axhline(1.0, color="grey", linestyle=":")
        _finish(axis, "a peer's time / bpcore's, mean over the networks", "batch", "ratio")


def _batches(axis: Any, results: Results, device: str) -> None:
    """Plot the time against the batch: bpcore with its quartiles, the best peer dashed."""
    _lines(axis, results, device, "batch, ", "us per step against the batch", "batch")


def _widths(axis: Any, results: Results, device: str) -> None:
    """Plot the time against the width of equal hidden layers."""
    _lines(axis, results, device, "width, ", "us per step against the width", "width")


def _lines(axis: Any, results: Results, device: str, prefix: str, title: str, label: str) -> None:
    lines = {name: line for name, line in axes(cells_of(results, device)).items() if name.startswith(prefix)}
    dashed = ""
    looks = _looks([name.removeprefix(prefix) for name in lines])
    for (name, look), line in zip(looks.items(), lines.values(), strict=True):
        sizes = [size for size, _ in line]
        own = [cell["results"]["bpcore"] for _, cell in line]
        axis.plot(sizes, [one["us_per_step"] for one in own], label=name, **look)
        low, high = zip(*(one["quartiles_us"] for one in own), strict=True)
        axis.fill_between(sizes, low, high, alpha=0.2, color=look["color"])
        peers = [(size, best_ratio(cell), one["us_per_step"]) for (size, cell), one in zip(line, own, strict=True)]
        known = [(size, ratio * time) for size, ratio, time in peers if ratio is not None]
        if known:
            dashed = " (dashed: the best peer)"
            axis.plot(*zip(*known, strict=True), linestyle="--", marker="", color=look["color"], linewidth=1)
    if axis.has_data():
        _finish(axis, title + dashed, label, "us", log=True)


def _looks(names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Line styles for names such as "784-128-10" or "784-W-10 at batch 32".

    The marker shows the network; the colour shows the batch if the name has one, else the network.
    """
    parts = [name.partition(" at ") for name in names]
    networks = list(dict.fromkeys(network for network, _, _ in parts))
    colours = list(dict.fromkeys(batch or network for network, _, batch in parts))
    return {
        name: {
            "color": COLOURS[colours.index(batch or network) % len(COLOURS)],
            "marker": MARKERS[networks.index(network) % len(MARKERS)],
        }
        for name, (network, _, batch) in zip(names, parts, strict=True)
    }


def _shares(axis: Any, results: Results, device: str) -> None:
    """Plot bpcore's share of the roofline and (dashed) of the speed of the products alone."""
    dashed = ""
    for network in dict.fromkeys(tuple(cell["network"]) for cell in cells_of(results, device)):
        cells = [cell for cell in cells_of(results, device) if tuple(cell["network"]) == network]
        if len(cells) == 1:  # one of many widths, for example: there is no line over the batch
            continue
        own: dict[str, Any] = {}
        for share, style in (("share_of_roofline", "-"), ("share_of_products", "--")):
            points = [(cell["batch"], 100 * one) for cell in cells if (one := cell["results"]["bpcore"].get(share))]
            if points:
                label = network_name(network) if style == "-" else None
                (line,) = axis.plot(*zip(*points, strict=True), linestyle=style, markersize=4, label=label, **own)
                own = {"color": line.get_color(), "marker": line.get_marker()}
                dashed = " (dashed: of the products)" if style == "--" else dashed
    if axis.has_data():
        axis.axhline(100.0, color="grey", linestyle=":")
        _finish(axis, f"share of the roofline{dashed}", "batch", "%")


def _devices(axis: Any, results: Results, devices: Sequence[str]) -> None:
    """Plot the samples per second on each device."""
    for device, style in zip(devices, ("--", "-", ":", "-."), strict=False):
        for number, (name, line) in enumerate(axes(cells_of(results, device)).items()):
            if name.startswith("batch, "):
                points = [(size, cell["results"]["bpcore"]["samples_per_second"]) for size, cell in line]
                label = f"{name.removeprefix('batch, ')}, {device}"
                axis.plot(*zip(*points, strict=True), linestyle=style, color=f"C{number % 10}", label=label)
    if axis.has_data():
        _finish(axis, "comparison of the devices", "batch", "samples/s", log=True)


def _finish(axis: Any, title: str, x: str, y: str, *, log: bool = False) -> None:
    axis.set_xscale("log", base=2)
    if log:
        axis.set_yscale("log")
    finish(axis, title, x, y, legend=True)
