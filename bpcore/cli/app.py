"""The commands of `bpcore`, with their arguments, options and help texts.

Exit codes: 0 done; 1 the loss became infinite or NaN (the last good weights are saved), or a gradient is wrong; 2 an
argument cannot be used (nothing was done); 130 stopped by Ctrl-C (what was learned is saved).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated, Any

import typer

from bpcore import __version__
from bpcore.backends import ALIASES
from bpcore.backends.precision import PRECISIONS
from bpcore.bench.cells import PRECISIONS as BENCH_PRECISIONS
from bpcore.bench.contenders import PEERS
from bpcore.bench.data import KINDS as BENCH_DATA
from bpcore.cli import bench as benching
from bpcore.cli import evaluate as evaluating
from bpcore.cli import gradcheck as checking
from bpcore.cli import info as informing
from bpcore.cli import options
from bpcore.cli import predict as predicting
from bpcore.cli import train as training
from bpcore.cli.options import Options
from bpcore.cli.program import ended_by_ctrl_c, exit_code
from bpcore.cli.report import Report
from bpcore.data import DATASETS
from bpcore.data.targets import TASKS
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.kernels.losses import LOSSES
from bpcore.training.optimizers import OPTIMIZERS
from bpcore.training.schedules import SCHEDULES

NAME = "bpcore"
DEFAULTS = Options()
DEFAULT_RATES = ", ".join(f"{rate:g} for {name}" for name, rate in options.LEARNING_RATES.items())
DEFAULT_EPOCHS = (
    f"by default {options.FEWEST_EPOCHS}, or more if that makes fewer than {options.FEWEST_STEPS} mini-batches"
)
DECAYING = ", ".join(name for name, kind in OPTIMIZERS.items() if hasattr(kind, "weight_decay"))
DEVICES = ["auto", *ALIASES]

app = typer.Typer(
    name=NAME,
    help="Train multilayer perceptrons by backpropagation, fast, on the CPU or a CUDA GPU.",
    epilog="Exit codes: 0 done; 1 the loss became infinite or NaN (the last good weights are saved), or a gradient is "
    "wrong; 2 an argument cannot be used (nothing was done); 130 stopped by Ctrl-C (what was learned is saved).",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


def _completion(names: Iterable[str]) -> Callable[[str], list[str]]:
    """The shell completion for an option that takes one of these names."""
    return lambda incomplete: [name for name in names if name.startswith(incomplete)]


def _choice(panel: str, text: str, names: Iterable[str]) -> Any:
    names = list(names)
    return _option(panel, f"{text}: {', '.join(names)}.", metavar="NAME", autocompletion=_completion(names))


def _option(panel: str, text: str, *, flags: Sequence[str] = (), **settings: Any) -> Any:
    return typer.Option(*flags, help=text, rich_help_panel=panel, **settings)


DATA, NETWORK, LEARNING, STOPPING, RUN = "Data", "Network", "Learning", "Stopping", "Run"
BATCH, DIFFERENCES = "Batch", "Differences"
DIAGNOSTICS = "Diagnostics"
CELLS, METHOD = "What to measure", "Method"
BENCH = benching.Options()
CHECK = checking.Options()
SOURCES = f"{', '.join(DATASETS)}, or your own .csv, .npz or folder of IDX files"

Data = Annotated[str | None, typer.Argument(metavar="DATA", help=f"{SOURCES}.", show_default=False)]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="A model's file, or the folder that train wrote.")]
DataDir = Annotated[
    str | None,
    _option(DATA, "Where to look for data sets before $BPCORE_DATA_DIR and the cache.", metavar="FOLDER"),
]
Device = Annotated[
    str, _option(RUN, "auto, cpu, gpu, or a backend's name.", metavar="NAME", autocompletion=_completion(DEVICES))
]
Json = Annotated[
    str | None,
    _option(RUN, "Write the results to a file as JSON; - for the standard output.", metavar="FILE"),
]
ReportFolder = Annotated[
    str | None,
    _option(RUN, "Write a web page with plots to a folder: curves, confusion matrix, mistakes.", metavar="FOLDER"),
]
Quiet = Annotated[bool, _option(RUN, "Print nothing but the result.", flags=("--quiet", "-q"))]


@app.callback(invoke_without_command=True)
def _without_command(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        print(f"bpcore {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def train(
    context: typer.Context,
    data: Data = DEFAULTS.data,
    data_dir: DataDir = DEFAULTS.data_dir,
    target: Annotated[str | None, _option(DATA, "The column of a table to predict.", metavar="COLUMN")] = (
        DEFAULTS.target
    ),
    task: Annotated[str, _choice(DATA, "How to treat a table's target", TASKS)] = DEFAULTS.task,
    test_fraction: Annotated[
        float,
        _option(DATA, "Share of the samples held out for the test, if the data has no test part.", metavar="SHARE"),
    ] = DEFAULTS.test_fraction,
    validation: Annotated[
        float,
        _option(DATA, "Share of the training samples held out and evaluated after every epoch.", metavar="SHARE"),
    ] = DEFAULTS.validation,
    network: Annotated[
        str,
        _option(NETWORK, "Sizes of the hidden layers, such as 512 or 512,256; or none.", metavar="SIZES"),
    ] = DEFAULTS.network,
    activation: Annotated[str, _choice(NETWORK, "Activation of the hidden layers", ACTIVATIONS)] = DEFAULTS.activation,
    dropout: Annotated[float, _option(NETWORK, "Share of hidden units dropped in training.", metavar="SHARE")] = (
        DEFAULTS.dropout
    ),
    max_weight_norm: Annotated[
        float | None,
        _option(NETWORK, "Largest norm of each hidden unit's incoming weights (max-norm).", metavar="NORM"),
    ] = DEFAULTS.max_weight_norm,
    precision: Annotated[str, _choice(NETWORK, "Precision of numbers and products", PRECISIONS)] = DEFAULTS.precision,
    epochs: Annotated[
        int | None,
        _option(LEARNING, f"Passes over the training data; {DEFAULT_EPOCHS}.", min=1, metavar="N"),
    ] = DEFAULTS.epochs,
    batch_size: Annotated[int, _option(LEARNING, "Samples in a mini-batch.", min=1, metavar="N")] = DEFAULTS.batch_size,
    optimizer: Annotated[str, _choice(LEARNING, "Optimizer", OPTIMIZERS)] = DEFAULTS.optimizer,
    learning_rate: Annotated[
        float | None,
        _option(LEARNING, f"Learning rate; by default {DEFAULT_RATES}, else the optimizer's own.", metavar="RATE"),
    ] = DEFAULTS.learning_rate,
    schedule: Annotated[str, _choice(LEARNING, "Learning-rate schedule", SCHEDULES)] = DEFAULTS.schedule,
    momentum: Annotated[
        float | None, _option(LEARNING, "Momentum, for optimizers that have it.", metavar="SHARE")
    ] = DEFAULTS.momentum,
    weight_decay: Annotated[
        float | None, _option(LEARNING, f"Decoupled weight decay, for {DECAYING}.", metavar="RATE")
    ] = DEFAULTS.weight_decay,
    l2: Annotated[float | None, _option(LEARNING, "Add 1/2 L2 sum W^2 to the loss.", metavar="L2")] = DEFAULTS.l2,
    max_norm: Annotated[
        float | None, _option(LEARNING, "Scale gradients of a larger norm down to this one.", metavar="NORM")
    ] = DEFAULTS.max_norm,
    loss: Annotated[
        str | None,
        _choice(LEARNING, "Loss; by default softmax_cross_entropy for classes, squared_error for numbers", LOSSES),
    ] = DEFAULTS.loss,
    label_smoothing: Annotated[
        float, _option(LEARNING, "Share of each label to spread over all classes.", metavar="SHARE")
    ] = DEFAULTS.label_smoothing,
    seed: Annotated[int, _option(LEARNING, "Seed of weights, shuffles, dropout.", min=0, metavar="N")] = DEFAULTS.seed,
    patience: Annotated[
        int | None,
        _option(STOPPING, "Stop when the validation loss has not improved for N epochs.", min=1, metavar="N"),
    ] = DEFAULTS.patience,
    stop_at_loss: Annotated[
        float | None, _option(STOPPING, "Stop when the training loss is at or below this.", metavar="LOSS")
    ] = DEFAULTS.stop_at_loss,
    device: Device = DEFAULTS.device,
    output: Annotated[
        str | None,
        _option(RUN, "Folder for the model and its results; by default a new one in runs/.", metavar="FOLDER"),
    ] = DEFAULTS.output,
    resume: Annotated[
        str | None,
        _option(RUN, "Resume the run in this folder, with the settings it was started with.", metavar="RUN"),
    ] = None,
    diagnose: Annotated[
        bool, _option(DIAGNOSTICS, "Inspect the layers once an epoch: gradients, updates, saturated and dead units.")
    ] = DEFAULTS.diagnose,
    diagnose_every: Annotated[
        int | None, _option(DIAGNOSTICS, "Inspect the layers every N mini-batches.", min=1, metavar="N")
    ] = DEFAULTS.diagnose_every,
    report: ReportFolder = DEFAULTS.report,
    json: Json = None,
    quiet: Quiet = False,
) -> int:
    """Train a network: on MNIST, another data set, or your own table.

    The test data is evaluated once, at the end. Ctrl-C stops early and keeps what was learned; --resume continues.
    """
    given = dict(locals())
    del given["context"], given["resume"]
    out = Report(given.pop("json"), quiet=given.pop("quiet"))
    if resume is None:
        return _run(training.train, Options(**given), out)
    named = {name: value for name, value in given.items() if _was_given(context, name)}
    return _run(training.resume, resume, named, out)


@app.command()
def evaluate(
    model: Model,
    data: Data = None,
    data_dir: DataDir = None,
    device: Device = "auto",
    report: ReportFolder = None,
    json: Json = None,
    quiet: Quiet = False,
) -> int:
    """Evaluate a model: on the test part of its own data, or on other data.

    If DATA is a table, all of its rows are evaluated.
    """
    out = Report(json, quiet=quiet)
    return _run(evaluating.evaluate, model, data, out, data_dir=data_dir, device=device, folder=report)


@app.command()
def predict(
    model: Model,
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="Images, .npy arrays or, for a model of a table, .csv rows."),
    ],
    top: Annotated[int, _option(RUN, "How many classes to show.", min=1, metavar="N")] = 3,
    device: Device = "auto",
    json: Json = None,
) -> int:
    """Predict classes, with their probabilities, or numbers for new images or rows.

    A photographed digit is inverted, cropped and centred like MNIST's.
    """
    return _run(predicting.predict, model, files, Report(json), top=top, device=device)


@app.command()
def bench(
    networks: Annotated[
        str | None, _option(CELLS, "Sizes of all layers, such as 784-30-10,784-128-10.", metavar="SIZES")
    ] = BENCH.networks,
    batches: Annotated[str | None, _option(CELLS, "Batch sizes, such as 10,128.", metavar="SIZES")] = BENCH.batches,
    activation: Annotated[str, _choice(CELLS, "Activation of the hidden layers", ACTIVATIONS)] = BENCH.activation,
    optimizer: Annotated[str, _choice(CELLS, "Optimizer", OPTIMIZERS)] = BENCH.optimizer,
    precision: Annotated[str, _choice(CELLS, "Precision of numbers and products", BENCH_PRECISIONS)] = BENCH.precision,
    device: Annotated[
        str, _option(CELLS, "all, or cpu, gpu, a backend's name; several separated by commas.", metavar="NAMES")
    ] = BENCH.device,
    scaling: Annotated[
        bool, _option(CELLS, "Measure bpcore alone over many batch sizes and widths, to find drops in speed.")
    ] = BENCH.scaling,
    peers: Annotated[
        str,
        _option(METHOD, f"Frameworks to compare with: {', '.join(PEERS)}; auto: those installed.", metavar="NAMES"),
    ] = BENCH.peers,
    data: Annotated[str, _choice(METHOD, "Samples to train on", BENCH_DATA)] = BENCH.data,
    data_dir: DataDir = BENCH.data_dir,
    quick: Annotated[bool, _option(METHOD, "Measure a few cells only, in about a minute.")] = BENCH.quick,
    rounds: Annotated[
        int | None, _option(METHOD, "How often to measure each contender.", min=1, metavar="N")
    ] = BENCH.rounds,
    budget: Annotated[
        float | None, _option(METHOD, "Stop after the current cell once this time has passed.", metavar="SECONDS")
    ] = BENCH.budget,
    resume: Annotated[
        str | None,
        _option(
            RUN, "Write the JSON to a file after every cell; skip the cells that are already in it.", metavar="FILE"
        ),
    ] = BENCH.resume,
    json: Json = None,
    markdown: Annotated[str | None, _option(RUN, "Write the tables as Markdown.", metavar="FILE")] = BENCH.markdown,
    plot: Annotated[str | None, _option(RUN, "Draw the results: .svg, .png or .pdf.", metavar="FILE")] = BENCH.plot,
    quiet: Quiet = False,
) -> int:
    """Measure the speed of training steps, compared with other frameworks and with the machine's limits.

    Cells are networks x batch sizes x devices. The contenders take turns, each in its own process.
    """
    given = dict(locals())
    report = Report(given.pop("json"), quiet=given.pop("quiet"))
    return _run(benching.bench, benching.Options(**given), report)


@app.command()
def gradcheck(
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help=f"{SOURCES}; by default random numbers.")
    ] = CHECK.data,
    data_dir: DataDir = CHECK.data_dir,
    target: Annotated[str | None, _option(DATA, "The column of a table to predict.", metavar="COLUMN")] = (
        CHECK.target
    ),
    samples: Annotated[int, _option(BATCH, "Samples in the batch.", min=1, metavar="N")] = CHECK.samples,
    inputs: Annotated[
        int | None,
        _option(BATCH, f"Features of random data; by default {checking.RANDOM_INPUTS}.", min=1, metavar="N"),
    ] = CHECK.inputs,
    outputs: Annotated[
        int | None,
        _option(BATCH, f"Outputs for random data; by default {checking.RANDOM_OUTPUTS}.", min=1, metavar="M"),
    ] = CHECK.outputs,
    network: Annotated[
        str, _option(NETWORK, "Sizes of the hidden layers, such as 8,6,4; or none.", metavar="SIZES")
    ] = CHECK.network,
    activation: Annotated[str, _choice(NETWORK, "Activation of the hidden layers", ACTIVATIONS)] = CHECK.activation,
    output_activation: Annotated[
        str, _choice(NETWORK, "Activation of the last layer, below the loss", ACTIVATIONS)
    ] = CHECK.output_activation,
    dropout: Annotated[float, _option(NETWORK, "Share of hidden units dropped.", metavar="SHARE")] = CHECK.dropout,
    loss: Annotated[
        str | None,
        _choice(NETWORK, "Loss; by default softmax_cross_entropy for classes, squared_error for numbers", LOSSES),
    ] = CHECK.loss,
    label_smoothing: Annotated[
        float, _option(NETWORK, "Share of each label to spread over all classes.", metavar="SHARE")
    ] = CHECK.label_smoothing,
    epsilon: Annotated[
        float, _option(DIFFERENCES, "Step of the central differences, at most 0.001.", metavar="STEP")
    ] = CHECK.epsilon,
    tolerance: Annotated[
        float, _option(DIFFERENCES, "The largest relative error that passes.", metavar="ERROR")
    ] = CHECK.tolerance,
    directions: Annotated[
        int, _option(DIFFERENCES, "Random directions for each array of more than 64 elements.", min=1, metavar="N")
    ] = CHECK.directions,
    seed: Annotated[int, _option(RUN, "Seed of data, weights, dropout, directions.", min=0, metavar="N")] = CHECK.seed,
    device: Device = CHECK.device,
    json: Json = None,
    quiet: Quiet = False,
) -> int:
    """Check backpropagation against central differences: every parameter array, and the input.

    In float64. A difference across a kink (ReLU, hinge) proves nothing: it is skipped and counted.

    The exit code is 1 if a gradient is wrong, or if all of its differences had to be skipped.
    """
    given = dict(locals())
    report = Report(given.pop("json"), quiet=given.pop("quiet"))
    return _run(checking.check, checking.Options(**given), report)


@app.command()
def info(json: Json = None) -> int:
    """Show devices, versions, caches and available data sets."""
    return informing.info(Report(json))


def _was_given(context: typer.Context, name: str) -> bool:
    """Whether an option was given on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit code; a user's error is reported in one line on the standard error."""
    return exit_code(app, arguments, NAME)


def _run(command: Callable[..., int], *arguments: Any, **options: Any) -> int:
    """Call a command's function; Ctrl-C ends it with a message and its exit code."""
    with ended_by_ctrl_c(NAME):
        return command(*arguments, **options)
