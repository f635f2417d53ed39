"""`bpcore train`: check the options, train a network, and write the model and its results to a folder."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bpcore import __version__
from bpcore.cli import diagnosis, result_page, resuming
from bpcore.cli import options as chosen
from bpcore.cli.datasets import SPLIT_SEED, load
from bpcore.cli.devices import choose_device, device_row
from bpcore.cli.measure import in_figures, in_words, measure
from bpcore.cli.model_file import FILE, about
from bpcore.cli.options import Options
from bpcore.cli.program import INTERRUPTED
from bpcore.cli.report import Report, columns, write_json
from bpcore.cli.result_page import Subject
from bpcore.cli.resuming import Keep, Start
from bpcore.cli.run_folder import run_folder
from bpcore.data.dataset import Dataset
from bpcore.data.split import split
from bpcore.errors import InputError
from bpcore.inspection.diagnostics import Diagnostics
from bpcore.model.layers import Dense
from bpcore.model.losses import Loss
from bpcore.network import Network
from bpcore.training.batches import BatchPlan
from bpcore.training.callbacks import Callback
from bpcore.training.history import History
from bpcore.training.interrupts import STOPPED_BY_CTRL_C
from bpcore.training.nonfinite import NonFiniteLossError
from bpcore.training.optimizers import Optimizer
from bpcore.training.progress import Compilation, Progress, duration
from bpcore.training.run import Run

RESULTS = "results.json"
DIAGNOSTICS = "diagnostics.json"

Part = tuple[np.ndarray, np.ndarray]
"""Samples x (n, inputs) and their labels (n,) or targets (n, m)."""


@dataclass(frozen=True)
class Job:
    """A training run whose options have all been checked.

    options    with every default filled in
    start      the state it starts from: freshly drawn weights, or the state of a run that is resumed
    """

    options: Options
    start: Start
    dataset: Dataset
    training: Part
    held_out: Part | None
    network: Network
    optimizer: Optimizer
    loss: Loss
    callbacks: Sequence[Callback]
    diagnostics: Diagnostics | None


@dataclass(frozen=True)
class Learned:
    """The outcome of a training run.

    history           of the whole run, including the part before it was resumed
    seconds           from the first step to the last, since it was resumed
    compile_seconds   the part of them spent compiling
    samples           the number of samples trained on in that time
    """

    history: History
    seconds: float
    compile_seconds: float
    samples: int


def resume(run: str, named: Mapping[str, Any], report: Report) -> int:
    """Resume a run; named: the options given on the command line. Returns the exit code."""
    start, folder = resuming.read(run)
    return train(start.resumed_options(named, folder), report, start)


def train(options: Options, report: Report, start: Start | None = None) -> int:
    """Train, save, and evaluate on the test data. Returns the exit code."""
    job = prepare(options, report, start)
    _introduce(job, report)
    with run_folder(options.output, job.dataset.name) as folder:
        try:
            learned = learn(job, folder, report)
        except NonFiniteLossError as error:
            job.network.save(folder / FILE)
            raise NonFiniteLossError(f"{error}; the weights are in {folder}") from error
        job.network.save(folder / FILE)  # before anything else can go wrong
        results = collect(job, learned) | {"model": str(folder / FILE)}
        write_json(folder / RESULTS, results)
        if job.diagnostics is not None:
            write_json(folder / DIAGNOSTICS, job.diagnostics.to_json())
    report.write(results)
    _conclude(job, results, folder, report)
    if options.report is not None:
        page = result_page.write(_subject(job, learned, results), options.report)
        report.say(f"report: {page}")
    return INTERRUPTED if learned.history.stopped == STOPPED_BY_CTRL_C else 0


def prepare(options: Options, report: Report, start: Start | None = None) -> Job:
    """Check every option, then load the data, then build the network."""
    layers = chosen.hidden_layers(options)
    optimizer = chosen.chosen_optimizer(options)
    chosen.check_names(options)
    callbacks = chosen.stopping(options)
    diagnostics = chosen.diagnostics(options)
    backend = choose_device(options.device)
    with run_folder(options.output, "run"):
        pass  # a folder that cannot be written is reported before anything is downloaded
    result_page.check(options.report)
    dataset = load(
        options.data,
        report,
        data_dir=options.data_dir,
        target=options.target,
        task=options.task,
        test_fraction=options.test_fraction,
    )
    loss = chosen.chosen_loss(options, dataset)
    training, held_out = hold_out(dataset, options.validation)
    mark = resuming.mark(*training)
    if start is not None:
        start.check(options, mark, len(training[0]))
    epochs = options.epochs or chosen.default_epochs(len(training[0]), options.batch_size)
    network = Network(
        [*layers, Dense(dataset.outputs)],
        inputs=dataset.inputs,
        backend=backend,
        precision=options.precision,
        seed=options.seed,
    )
    source = {"target": options.target, "task": options.task, "test_fraction": options.test_fraction}
    network.about = about(dataset, {"name": options.data or dataset.name} | source)
    complete = replace(options, loss=loss.name, learning_rate=optimizer.learning_rate, epochs=epochs)
    start = replace(start or Start(options, mark), options=replace(complete, data=network.about["data"]["name"]))
    network.set_parameters(start.weights)
    return Job(complete, start, dataset, training, held_out, network, optimizer, loss, callbacks, diagnostics)


def learn(job: Job, folder: Path, report: Report) -> Learned:
    """Train the network, show its progress, and save in the folder the state to resume from."""
    options, clock = job.options, _Clock()
    assert options.epochs is not None
    with (
        Progress(report.stream) as progress,
        Compilation(lambda line: None if report.quiet else progress.note(line)).watched() as compilation,
    ):

        def tell(line: str) -> None:
            if not report.quiet:
                progress.note(line)

        if job.diagnostics is not None:
            job.diagnostics.notify = lambda line: tell(f"warning: {line}")
        history = job.network.fit(
            *job.training,
            loss=job.loss,
            optimizer=job.optimizer,
            schedule=options.schedule,
            epochs=options.epochs,
            batch_size=options.batch_size,
            validation=job.held_out,
            callbacks=[
                _TellStreaming(report),
                *([] if report.quiet else [progress]),
                *([] if job.diagnostics is None else [job.diagnostics]),
                *job.callbacks,
                clock,
                Keep(folder / resuming.FILE, job.start, tell),
            ],
            seed=options.seed,
            scale=job.dataset.scale,
            shift=job.dataset.shift,
            start=job.start.state,
        )
    return Learned(history, clock.seconds, compilation.seconds, clock.samples)


def collect(job: Job, learned: Learned) -> dict[str, Any]:
    """The results as JSON values, accuracies in percent; without test data there are no test measures."""
    dataset, network, history = job.dataset, job.network, learned.history
    tested = len(dataset.x_test) > 0
    return {
        "dataset": {
            "name": dataset.name,
            "source": dataset.source,
            "train_samples": len(job.training[0]),
            "validation_samples": len(job.held_out[0]) if job.held_out else 0,
            "test_samples": len(dataset.x_test),
            "inputs": dataset.inputs,
            "classes": None if dataset.classes is None else list(dataset.classes),
        },
        "device": network.backend.describe()["device"],
        "backend": network.backend.name,
        "parameters": network.parameters.count,
        **(measure(network, dataset.x_test, dataset.y_test, dataset.codec) if tested else {}),
        "train_seconds": learned.seconds,
        "compile_seconds": learned.compile_seconds,
        "samples_per_second": learned.samples / (learned.seconds - learned.compile_seconds),
        "epochs": len(history),
        "resumed_after": job.start.state.epoch,
        "stopped": history.stopped,
        "settings": asdict(job.options) | {"optimizer_settings": job.optimizer.config()},
        "history": {
            name: [100.0 * value for value in values] if "accuracy" in name else list(values)
            for name, values in history.measures.items()
        },
    }


def hold_out(dataset: Dataset, share: float) -> tuple[Part, Part | None]:
    """Split the training data into a part to train on and a share held out for validation (None if the share is 0)."""
    x, y = dataset.x_train, dataset.y_train
    if share == 0:
        return (x, y), None
    labels = None if dataset.classes is None else y
    kept, held = split(len(x), labels, share, seed=SPLIT_SEED)
    if len(held) == 0:
        raise InputError(
            f"validation={share} holds out none of the {len(x)} training samples; accepted: a larger share"
        )
    return (x[kept], y[kept]), (x[held], y[held])


def _introduce(job: Job, report: Report) -> None:
    options, dataset, samples = job.options, job.dataset, len(job.training[0])
    validation = f"{len(job.held_out[0]):,} validation, " if job.held_out else ""
    kind = "numbers to predict" if dataset.classes is None else f"{len(dataset.classes)} classes"
    batches = BatchPlan(samples, options.batch_size)
    steps, batch = _count(batches.steps, "batch", "batches"), batches.batch_size
    plan = f"{_count(options.epochs or 0, 'epoch')}, {steps} of {batch}"
    rows = [
        ("data", f"{dataset.name} ({dataset.source})"),
        ("", f"{samples:,} training, {validation}{len(dataset.x_test):,} test samples; {kind}"),
        device_row(job.network.backend),
        ("training", f"{options.optimizer}, learning rate {options.learning_rate:g} ({options.schedule})"),
        ("", f"{job.loss.name}, {plan}"),
    ]
    if job.start.state.epoch:
        rows.append(("", f"resumes after epoch {job.start.state.epoch}"))
    report.say(*columns(rows), "", job.network.summary(), "")
    if options.batch_size > samples:
        report.say(
            f"note: the batch size {options.batch_size} exceeds the {samples} training samples: a batch is all of them"
        )


def _conclude(job: Job, results: dict[str, Any], folder: Path, report: Report) -> None:
    codec = job.dataset.codec
    report.say("")
    if job.diagnostics is not None:
        diagnosis.show(job.diagnostics, report)
    if results["stopped"]:
        report.say(f"{results['stopped']}; complete: {_count(results['epochs'], 'epoch')}")
    tested = in_words(results, codec.target if codec else None) if "test_loss" in results else "no test data"
    compiled = f" ({results['compile_seconds']:.1f} s to compile)" if results["compile_seconds"] else ""
    rate = f"{results['samples_per_second']:,.0f} samples/s"
    report.result(f"{tested}; trained in {results['train_seconds']:.1f} s{compiled}, {rate}")
    argument = "IMAGE" if job.dataset.image_shape else "ROWS.csv" if codec else None
    report.say(f"saved in {folder}" + (f"; use it: bpcore predict {folder} {argument}" if argument else ""))


def _subject(job: Job, learned: Learned, results: dict[str, Any]) -> Subject:
    """The content of the report page."""
    options, dataset, history, data = job.options, job.dataset, learned.history, results["dataset"]
    parts = (f"{data[f'{part}_samples']:,} {part}" for part in ("train", "validation", "test"))
    facts = [
        ("data", f"{dataset.name} ({dataset.source})"),
        ("samples", ", ".join(parts)),
        ("loss", _settings(job.loss.config())),
        ("optimizer", _settings(job.optimizer.config())),
        ("schedule", options.schedule),
        ("epochs", f"{len(history)} of {options.epochs}" + (f": {history.stopped}" if history.stopped else "")),
        ("batch size", f"{min(options.batch_size, len(job.training[0])):,}"),
        ("seed", str(options.seed)),
        ("precision", options.precision),
        ("device", f"{results['device']} ({results['backend']})"),
        ("bpcore", __version__),
    ]
    if job.start.state.epoch:
        facts.append(("resumed", f"after epoch {job.start.state.epoch}; the time covers the epochs since then"))
    figures = [
        *in_figures(results),
        ("epochs", str(len(history))),
        ("trained in", duration(learned.seconds)),
        ("parameters", f"{results['parameters']:,}"),
    ]
    return Subject(
        title=f"{dataset.name}: a trained network",
        figures=figures,
        facts=facts,
        command=chosen.command_line(options, job.network.about["data"]["name"]),
        network=job.network,
        x=dataset.x_test,
        y=dataset.y_test,
        classes=dataset.classes,
        image_shape=dataset.image_shape,
        codec=dataset.codec,
        history=history,
        diagnostics=job.diagnostics,
    )


def _settings(config: dict[str, Any]) -> str:
    """The name in a config, followed by its settings other than None, 0 and the like."""
    others = (f"{name} {value}" for name, value in config.items() if name != "name" and value)
    return ", ".join([config["name"], *others])


def _count(number: int, one: str, many: str | None = None) -> str:
    return f"1 {one}" if number == 1 else f"{number:,} {many or one + 's'}"


class _TellStreaming(Callback):
    """Tells the user if the training data is streamed because it does not fit on the device."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def on_begin(self, run: Run) -> None:
        """Print the line before the first row of the progress table."""
        if run.feed.streamed:
            self._report.say(f"the training data is larger than the device's memory: {run.feed.describe()}", "")


class _Clock(Callback):
    """Measures the time from the first step to the last, and counts the samples trained on."""

    seconds = 0.0
    samples = 0

    def on_begin(self, run: Run) -> None:
        """Start the clock."""
        self._began, self._first = time.perf_counter(), run.epoch

    def on_end(self, run: Run) -> None:
        """Stop the clock and count the samples."""
        self.seconds = time.perf_counter() - self._began
        count = run.samples.x.shape[0]
        of_this_epoch = 0 if run.batch == run.steps_per_epoch else run.batch * run.batch_size
        self.samples = (run.epoch - self._first) * count + of_this_epoch
