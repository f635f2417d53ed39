"""`bpcore evaluate`: measure a saved model on test data."""

from __future__ import annotations

import shlex
from typing import Any

import numpy as np

from bpcore.cli import result_page
from bpcore.cli.datasets import all_rows, load
from bpcore.cli.devices import choose_device, device_row
from bpcore.cli.measure import in_figures, in_words, measure
from bpcore.cli.model_file import Model, open_model
from bpcore.cli.report import Report, columns
from bpcore.cli.result_page import Subject
from bpcore.data.files import as_path
from bpcore.data.table import CSV_SUFFIXES
from bpcore.errors import InputError


def evaluate(
    path: str, data: str | None, report: Report, *, data_dir: str | None, device: str, folder: str | None
) -> int:
    """Evaluate a model on a data set's test part, or on all rows of a table. Returns the exit code.

    folder: the folder to write the report page to, or None
    """
    result_page.check(folder)
    backend = choose_device(device)
    model = open_model(path, backend)
    if data is not None and model.codec is not None:
        x, y = all_rows(as_path(data), model.codec)
        source, extent = data, f"all {len(x):,} rows"
    else:
        x, y, source = _test_part(model, data, data_dir, report)
        extent = f"{len(x):,} test samples"
    report.say(*columns([("model", str(model.path)), ("data", f"{source}: {extent}"), device_row(backend)]))
    results: dict[str, Any] = measure(model.network, x, y, model.codec)
    report.result(in_words(results, model.codec.target if model.codec else None))
    facts = {"model": str(model.path), "data": source, "samples": len(x), "device": backend.describe()["device"]}
    report.write(facts | results)
    if folder is not None:
        command = ["bpcore", "evaluate", path, *([] if data is None else [data])]
        page = result_page.write(_subject(model, x, y, results, facts, command), folder)
        report.say(f"report: {page}")
    return 0


def _subject(
    model: Model,
    x: np.ndarray,
    y: np.ndarray,
    results: dict[str, Any],
    facts: dict[str, Any],
    command: list[str],
) -> Subject:
    """The content of the report page; unlike a training run's, it has no learning curves."""
    parameters = model.network.parameters.count
    return Subject(
        title=f"{model.path}, evaluated",
        figures=[*in_figures(results), ("samples", f"{len(x):,}"), ("parameters", f"{parameters:,}")],
        facts=[(name, str(value)) for name, value in facts.items()],
        command=shlex.join(command),
        network=model.network,
        x=x,
        y=y,
        classes=model.classes,
        image_shape=model.image_shape,
        codec=model.codec,
    )


def _test_part(
    model: Model, data: str | None, data_dir: str | None, report: Report
) -> tuple[np.ndarray, np.ndarray, str]:
    """The test part of the named data set, or of the one that the model was trained on: x, y, and a description."""
    if data is not None and as_path(data).suffix.lower() in CSV_SUFFIXES:
        raise InputError(
            f"{data} is a table, but {model.path} was not trained on one; name a data set, .npz or IDX folder"
        )
    options = dict(model.data)
    trained_on = options.pop("name", None)
    if data is not None:
        options = {}
    elif trained_on is None:
        raise InputError(f"{model.path} does not say what it was trained on: name the data to evaluate it on")
    dataset = load(data or trained_on, report, data_dir=data_dir, **options)
    if data is None and dataset.codec is not None and dataset.codec != model.codec:
        raise InputError(
            f"{trained_on} has changed since the model was trained, so its test rows are not known; "
            f"bpcore evaluate MODEL FILE evaluates all rows of a file"
        )
    if dataset.classes is not None and model.classes is not None and len(dataset.classes) != len(model.classes):
        raise InputError(f"{dataset.name} has {len(dataset.classes)} classes, but the model has {len(model.classes)}")
    if dataset.inputs != model.network.inputs:
        raise InputError(f"{dataset.name} has {dataset.inputs} inputs, but the model takes {model.network.inputs}")
    if len(dataset.x_test) == 0:
        raise InputError(f"{dataset.name} has no test part")
    return dataset.x_test, dataset.y_test, f"{dataset.name} ({dataset.source})"
