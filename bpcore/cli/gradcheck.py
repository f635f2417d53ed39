"""`bpcore gradcheck`: compare the gradients of backpropagation with differences of the loss, array by array."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bpcore.cli import options as training
from bpcore.cli.datasets import load
from bpcore.cli.devices import choose_device, device_row
from bpcore.cli.report import Report, columns
from bpcore.errors import InputError
from bpcore.inspection.gradcheck import GradientCheck, gradcheck
from bpcore.model.layers import Dense
from bpcore.model.losses import Loss
from bpcore.network import Network

FAILED = 1


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of `bpcore gradcheck` with their defaults."""

    data: str | None = None
    data_dir: str | None = None
    target: str | None = None
    samples: int = 16
    inputs: int | None = None  # None: RANDOM_INPUTS and RANDOM_OUTPUTS
    outputs: int | None = None

    network: str = "8,6"
    activation: str = "relu"
    output_activation: str = "identity"
    dropout: float = 0.0
    loss: str | None = None
    label_smoothing: float = 0.0

    epsilon: float = 1e-5
    tolerance: float = 1e-6
    directions: int = 4
    seed: int = 0
    device: str = "auto"


RANDOM_INPUTS, RANDOM_OUTPUTS = 6, 4

Batch = tuple[np.ndarray, np.ndarray, str]
"""x (B, N) float64, y, and a description for the user."""


def check(options: Options, report: Report) -> int:
    """Check the gradients and print a table. Returns the exit code: 1 for a gradient that is wrong or unchecked."""
    hidden = training.hidden_layers(
        training.Options(network=options.network, activation=options.activation, dropout=options.dropout)
    )
    backend = choose_device(options.device)
    loss, outputs, (x, y, description) = _data(options, report)
    layers = [*hidden, Dense(outputs, options.output_activation)]
    network = Network(layers, inputs=x.shape[1], backend=backend, precision="float64", seed=options.seed)
    _draw_biases(network, options.seed)
    found = gradcheck(
        network,
        x,
        y,
        loss=loss,
        epsilon=options.epsilon,
        tolerance=options.tolerance,
        directions=options.directions,
        seed=options.seed,
    )
    rows = [("data", description), device_row(backend), ("loss", loss.name)]
    report.say(*columns(rows), "", network.summary(), "")
    if not report.quiet:
        _show(found, report)
    report.result(_conclusion(found))
    report.write(_results(options, found))
    return 0 if found.ok else FAILED


def _draw_biases(network: Network, seed: int) -> None:
    """Set small random biases: if all units below are dead, a bias of zero would put ReLU exactly on its kink."""
    rng = np.random.default_rng(seed)
    arrays = {name: array for name, array in network.parameters_by_name().items() if name.endswith(".b")}
    network.set_parameters({name: 0.1 * rng.standard_normal(array.shape) for name, array in arrays.items()})


def _data(options: Options, report: Report) -> tuple[Loss, int, Batch]:
    """The loss, the number of outputs, and one batch of the named data or of random numbers."""
    if options.data is None:
        if options.target is not None:
            raise InputError("--target is for a file of your own: bpcore gradcheck FILE --target COLUMN")
        loss = Loss(options.loss or "softmax_cross_entropy", options.label_smoothing)
        inputs, outputs = options.inputs or RANDOM_INPUTS, options.outputs or RANDOM_OUTPUTS
        return loss, outputs, _random(options, loss, inputs, outputs)
    if options.inputs is not None or options.outputs is not None:
        raise InputError("--inputs and --outputs are for random data; named data has its own")
    dataset = load(options.data, report, data_dir=options.data_dir, target=options.target, task="auto")
    loss = training.chosen_loss(training.Options(loss=options.loss, label_smoothing=options.label_smoothing), dataset)
    rows = np.random.default_rng(options.seed).permutation(len(dataset.x_train))[: options.samples]
    x = np.asarray(dataset.x_train[rows], np.float64).reshape(len(rows), -1) * dataset.scale + dataset.shift
    return loss, dataset.outputs, (x, dataset.y_train[rows], f"{len(rows)} samples of {dataset.name}")


def _random(options: Options, loss: Loss, inputs: int, outputs: int) -> Batch:
    """A batch of normally distributed inputs, and random targets of the kind that the loss needs."""
    rng = np.random.default_rng(options.seed)
    x = rng.standard_normal((options.samples, inputs))
    return x, random_targets(loss, rng, options.samples, outputs), f"{options.samples} random samples"


def random_targets(loss: Loss, rng: np.random.Generator, samples: int, outputs: int) -> np.ndarray:
    """Class labels (samples,) or a matrix (samples, M) of the numbers, counts or answers that the loss predicts."""
    match loss.rule.predicts:
        case "number":
            return rng.standard_normal((samples, outputs))
        case "count":
            return rng.poisson(2.0, (samples, outputs)).astype(np.float64)
        case "yes_or_no":
            return rng.integers(0, 2, (samples, outputs)).astype(np.float64)
    return rng.integers(0, outputs, samples) if outputs > 1 else np.ones((samples, 1))


def _show(found: GradientCheck, report: Report) -> None:
    """Print a table with a row for each array."""
    from rich.console import Console  # takes 40 ms to import, which other commands should not pay
    from rich.table import Table

    console = Console(file=report.stream, highlight=False)
    if not console.is_terminal:
        console = Console(file=report.stream, highlight=False, width=120)
    table = Table("array", "shape", "checked", "worst relative error", "verdict")
    for array in found.arrays:
        shape = " x ".join(map(str, array.shape))
        error = f"{array.error:.2e}" if array.checked else "-"
        style = "green" if array.ok else "bold red"
        table.add_row(array.name, shape, array.how, error, f"[{style}]{array.verdict}[/]")
    console.print(table)


def _conclusion(found: GradientCheck) -> str:
    bad = [array for array in found.arrays if not array.ok]
    compared = sum(array.checked for array in found.arrays)
    if bad:
        verdicts = ", ".join(f"{array.name} {array.verdict}" for array in bad)
        line = f"{len(bad)} of {len(found.arrays)} gradients cannot be trusted: {verdicts}"
    else:
        worst = max(found.arrays, key=lambda array: array.error)
        line = f"all {len(found.arrays)} gradients agree within {found.tolerance:g}, at worst {worst.error:.1e}"
    if not found.skipped:
        return f"{line}; {compared} differences"
    return f"{line}; {compared} differences, and {found.skipped} more skipped because they cross a kink of the loss"


def _results(options: Options, found: GradientCheck) -> dict[str, Any]:
    arrays = [asdict(array) | {"verdict": array.verdict} for array in found.arrays]
    return {"ok": found.ok, "skipped": found.skipped, "arrays": arrays, "settings": asdict(options)}
