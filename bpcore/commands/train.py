"""`bpcore train`: from the options to a trained model in a folder."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bpcore.activations import get_activation
from bpcore.backends.base import Backend
from bpcore.callbacks import Callback, EarlyStopping, StopAtLoss
from bpcore.commands.datasets import SPLIT_SEED, load
from bpcore.commands.devices import choose_device, device_line
from bpcore.commands.measure import in_words, measure
from bpcore.commands.model_file import FILE, about
from bpcore.commands.report import Report, check_writable_folder, columns, write_json
from bpcore.data.dataset import Dataset
from bpcore.data.files import as_path
from bpcore.data.split import split
from bpcore.errors import InputError, unknown_name
from bpcore.layers import Dense, Dropout, Layer
from bpcore.losses import Loss, get_loss
from bpcore.model import Network
from bpcore.network import PRECISIONS
from bpcore.optimizers import Optimizer, get_optimizer
from bpcore.progress import Progress, compilation_noticed
from bpcore.schedules import get_schedule
from bpcore.train import NonFiniteLossError, Run

RESULTS = "results.json"
INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `bpcore train` can be told, and what it does where it is not told."""

    data: str | None = None
    data_dir: str | None = None
    target: str | None = None
    task: str = "auto"
    test_fraction: float = 0.2
    validation: float = 0.0

    network: str = "512"
    activation: str = "relu"
    dropout: float = 0.2

    loss: str | None = None  # softmax_cross_entropy for classes, squared_error for numbers
    label_smoothing: float = 0.0
    optimizer: str = "adam"
    learning_rate: float | None = None  # None: the optimizer's own
    momentum: float | None = None
    weight_decay: float | None = None
    l2: float | None = None
    max_norm: float | None = None
    schedule: str = "one_cycle"
    epochs: int = 15
    batch_size: int = 128
    patience: int | None = None
    stop_at_loss: float | None = None
    seed: int = 0

    device: str = "auto"
    precision: str = "float32"
    output: str | None = None


def train(options: Options, report: Report) -> int:
    """Train, evaluate on the test data, save. Returns the exit code.

    Every option is checked before the data is loaded, and everything else before the first step.
    """
    layers = hidden_layers(options)
    optimizer = chosen_optimizer(options)
    _check_names(options)
    callbacks = _stopping(options)
    backend = choose_device(options.device)
    if options.output is not None:
        _check_output(as_path(options.output))
    dataset = load(
        options.data,
        report,
        data_dir=options.data_dir,
        target=options.target,
        task=options.task,
        test_fraction=options.test_fraction,
    )
    loss = _loss(options, dataset)
    training, held_out = hold_out(dataset, options.validation)
    network = Network(
        [*layers, Dense(dataset.outputs)],
        inputs=dataset.inputs,
        backend=backend,
        precision=options.precision,
        seed=options.seed,
    )
    data = {name: getattr(options, name) for name in ("target", "task", "test_fraction")}
    network.about = about(dataset, {"name": options.data or dataset.name, **data})
    _introduce(report, dataset, backend, network, optimizer, loss, options, len(training[0]), held_out)

    watch = _Watch()
    with output_folder(options.output, dataset.name) as folder, Progress(report.stream) as progress:
        shown = [] if report.quiet else [progress]
        try:
            with compilation_noticed(lambda line: None if report.quiet else progress.note(line)):
                history = network.fit(
                    *training,
                    loss=loss,
                    optimizer=optimizer,
                    schedule=options.schedule,
                    epochs=options.epochs,
                    batch_size=options.batch_size,
                    validation=held_out,
                    callbacks=[*shown, *callbacks, watch],
                    seed=options.seed,
                    scale=dataset.scale,
                    shift=dataset.shift,
                )
        except NonFiniteLossError as error:
            progress.close()
            network.save(folder / FILE)
            raise NonFiniteLossError(f"{error}; they are in {folder}") from error
        network.save(folder / FILE)
        results = {
            "dataset": _dataset_facts(dataset, training, held_out),
            "device": backend.describe()["device"],
            "backend": backend.name,
            "parameters": network.parameters.count,
            **_test(network, dataset),
            "train_seconds": watch.seconds,
            "samples_per_second": watch.samples / watch.seconds,
            "epochs": len(history),
            "stopped": history.stopped,
            "model": str(folder / FILE),
            "settings": _settings(options, optimizer, loss),
            "history": _in_percent(history.measures),
        }
        write_json(folder / RESULTS, results)
    report.write(results)
    _conclude(report, dataset, results, folder)
    return INTERRUPTED if history.stopped == "stopped by Ctrl-C" else 0


# --- the options -----------------------------------------------------------------------------------------------


def hidden_sizes(text: str) -> list[int]:
    """The sizes of the hidden layers: "512", "512,256" or "512-256"; "none" for no hidden layer."""
    if text.strip().lower() == "none":
        return []
    sizes = [part.strip() for part in re.split("[,-]", text)]
    if not all(re.fullmatch(r"0*[1-9]\d{0,8}", size) for size in sizes):
        raise InputError(
            f"network {text!r} cannot be read; accepted: the sizes of the hidden layers, such as 512 or 512,256, or none"
        )
    return [int(size) for size in sizes]


def hidden_layers(options: Options) -> list[Layer]:
    """The layers below the last, each with its dropout."""
    get_activation(options.activation)
    dropout = Dropout(options.dropout)
    layers: list[Layer] = []
    for size in hidden_sizes(options.network):
        layers.append(Dense(size, options.activation))
        if dropout.rate > 0:
            layers.append(Dropout(options.dropout))
    return layers


def chosen_optimizer(options: Options) -> Optimizer:
    """The optimizer with the settings that were given; it refuses those that it has not."""
    names = ("learning_rate", "momentum", "weight_decay", "l2", "max_norm")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    return get_optimizer(options.optimizer, **given)


def _check_names(options: Options) -> None:
    if options.data is None and (options.target is not None or options.task != "auto"):
        raise InputError("--target and --task are for a file of your own: bpcore train FILE --target COLUMN")
    get_schedule(options.schedule)
    if options.loss is not None:
        Loss(options.loss, options.label_smoothing)
    if options.precision not in PRECISIONS:
        raise unknown_name("precision", options.precision, PRECISIONS)
    if not 0.0 <= options.validation < 1.0:
        raise InputError(f"validation={options.validation}; accepted: a share of the training data, 0 <= share < 1")


def _stopping(options: Options) -> list[Callback]:
    callbacks: list[Callback] = []
    if options.patience is not None:
        if options.validation == 0:
            raise InputError("--patience watches the loss on validation data: hold some out, with --validation 0.1 say")
        callbacks.append(EarlyStopping(patience=options.patience))
    if options.stop_at_loss is not None:
        callbacks.append(StopAtLoss(options.stop_at_loss))
    return callbacks


def _loss(options: Options, dataset: Dataset) -> Loss:
    name = options.loss or ("squared_error" if dataset.classes is None else "softmax_cross_entropy")
    if dataset.classes is None and get_loss(name).name != "squared_error":
        raise InputError(f"{name} is for classes, but the target of {dataset.name} is a number; use squared_error")
    return Loss(name, options.label_smoothing)


def hold_out(
    dataset: Dataset, share: float
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray] | None]:
    """The training data without the share that is held out for validation, and that share; None where it is 0."""
    x, y = dataset.x_train, dataset.y_train
    if share == 0:
        return (x, y), None
    labels = None if dataset.classes is None else y
    kept, held = split(len(x), labels, share, seed=SPLIT_SEED)
    if len(held) == 0:
        raise InputError(f"validation={share} of {len(x)} training samples is not a single one")
    return (x[kept], y[kept]), (x[held], y[held])


# --- the folder ------------------------------------------------------------------------------------------------


@contextmanager
def output_folder(output: str | None, name: str) -> Iterator[Path]:
    """The folder for the model: the one that was named, else a new one, runs/NAME-1, runs/NAME-2, ...

    Made before the training, so that one that cannot be written is known then; taken away again if nothing came of it.
    """
    path = as_path(output) if output is not None else _free_folder(Path("runs"), re.sub(r"[^\w.-]+", "_", name))
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the folder {path} cannot be made: {error.strerror or error}; choose another with --output"
        ) from error
    try:
        check_writable_folder(path)
        yield path
    finally:
        for folder in made:
            if not any(folder.iterdir()):
                folder.rmdir()


def _free_folder(parent: Path, name: str) -> Path:
    number = 1
    while (parent / f"{name}-{number}").exists():
        number += 1
    return parent / f"{name}-{number}"


def _check_output(path: Path) -> None:
    with output_folder(str(path), ""):
        pass


# --- the words -------------------------------------------------------------------------------------------------


def _introduce(
    report: Report,
    dataset: Dataset,
    backend: Backend,
    network: Network,
    optimizer: Optimizer,
    loss: Loss,
    options: Options,
    samples: int,
    held_out: tuple[np.ndarray, np.ndarray] | None,
) -> None:
    validation = f", {len(held_out[0]):,} for validation" if held_out else ""
    kind = "numbers to predict" if dataset.classes is None else f"{len(dataset.classes)} classes"
    batch = min(options.batch_size, samples)
    report.say(
        *columns(
            [
                ("data", f"{dataset.name} ({dataset.source})"),
                ("", f"{samples:,} samples to train{validation}, {len(dataset.x_test):,} to test; {kind}"),
                ("device", device_line(backend)),
                ("training", f"{options.optimizer}, learning rate {optimizer.learning_rate:g} ({options.schedule})"),
                ("", f"{loss.name}, {options.epochs} epochs, {-(-samples // batch):,} batches of {batch}"),
            ]
        ),
        "",
        network.summary(),
        "",
    )
    if options.batch_size > samples:
        report.say(
            f"note: the batch size {options.batch_size} is above the {samples} training samples: each batch is all of them"
        )


def _conclude(report: Report, dataset: Dataset, results: dict[str, Any], folder: Path) -> None:
    report.say("")
    if results["stopped"]:
        report.say(f"{results['stopped']}, after {results['epochs']} whole epochs")
    target = dataset.codec.target if dataset.codec else None
    tested = in_words(results, target) if "test_loss" in results else "no test data"
    seconds, rate = results["train_seconds"], results["samples_per_second"]
    report.result(f"{tested}; trained in {seconds:.1f} s, {rate:,.0f} samples/s")
    what = "ROWS.csv" if dataset.codec else "IMAGE"
    report.say(f"saved in {folder}; use it: bpcore predict {folder} {what}")


def _test(network: Network, dataset: Dataset) -> dict[str, Any]:
    if len(dataset.x_test) == 0:
        return {}
    return measure(network, dataset.x_test, dataset.y_test, dataset.codec)


def _dataset_facts(dataset: Dataset, training: Any, held_out: Any) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "source": dataset.source,
        "train_samples": len(training[0]),
        "validation_samples": len(held_out[0]) if held_out else 0,
        "test_samples": len(dataset.x_test),
        "inputs": dataset.inputs,
        "classes": None if dataset.classes is None else list(dataset.classes),
    }


def _settings(options: Options, optimizer: Optimizer, loss: Loss) -> dict[str, Any]:
    resolved = replace(options, loss=loss.name, learning_rate=optimizer.learning_rate)
    return asdict(resolved) | {"optimizer_settings": optimizer.config()}


def _in_percent(measures: dict[str, list[float]]) -> dict[str, list[float]]:
    return {
        name: [100.0 * value for value in values] if "accuracy" in name else list(values)
        for name, values in measures.items()
    }


class _Watch(Callback):
    """The time from the first step to the last, and the number of samples learnt from."""

    seconds = 0.0
    samples = 0

    def on_begin(self, run: Run) -> None:
        """Start."""
        self._began = time.perf_counter()

    def on_end(self, run: Run) -> None:
        """Stop."""
        self.seconds = time.perf_counter() - self._began
        count = run.samples.x.shape[0]
        of_this_epoch = 0 if run.batch == run.steps_per_epoch else run.batch * run.batch_size
        self.samples = run.epoch * count + of_this_epoch
