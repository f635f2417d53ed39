"""`bpcore predict`: apply a saved model to new images or rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bpcore.cli.devices import choose_device
from bpcore.cli.measure import class_scores
from bpcore.cli.model_file import Model, open_model
from bpcore.cli.report import Report, percent
from bpcore.data.files import as_path
from bpcore.data.images import load_image
from bpcore.errors import InputError


def predict(path: str, files: list[str], report: Report, *, top: int, device: str) -> int:
    """Print a line for each image or row: the class and the next likely ones, or the numbers. Returns the exit code.

    All files are read before the first line is printed.
    """
    model = open_model(path, choose_device(device))
    inputs = [(file, _rows(model, as_path(file))) for file in files]
    predictions = [one for file, x in inputs for one in _predictions(model, file, x)]
    width = max(len(one["at"]) for one in predictions)
    name_width = max(len(str(one["prediction"])) for one in predictions)
    for one in predictions:
        report.result(f"{one['at']:<{width}}  {_in_words(one, top, name_width)}")
    without_at = [{key: value for key, value in one.items() if key != "at"} for one in predictions]
    report.write({"model": str(model.path), "predictions": without_at})
    return 0


def _rows(model: Model, file: Path) -> np.ndarray:
    """Read a file as inputs (n, inputs) of the network."""
    if model.image_shape is not None:
        if file.suffix.lower() in (".csv", ".tsv", ".txt", ".npz"):
            raise InputError(f"{file}: this model takes images; accepted: an image file, or .npy")
        scale = model.network.scale
        if scale < 1:
            return load_image(file, model.image_shape, top=round(1 / scale))
        return load_image(file, model.image_shape) / 255  # it was trained on floats, assumed to be in 0..1
    if model.codec is not None:
        if file.suffix.lower() == ".npz":
            raise InputError(f"{file}: rows of a table are read from a .csv file, or from .npy")
        return model.codec.encode_rows(file)
    raise InputError(f"{model.path} does not say what its {model.network.inputs} inputs are; use it from Python")


def _predictions(model: Model, file: str, x: np.ndarray) -> Iterator[dict[str, Any]]:
    answers = _numbers(model, x) if model.classes is None else _classes(model, model.classes, x)
    for row, answer in enumerate(answers):
        yield {"file": file, "row": row, "at": file if len(x) == 1 else f"{file} {row + 1}", **answer}


def _numbers(model: Model, x: np.ndarray) -> Iterator[dict[str, Any]]:
    """The prediction for each row, in the target's units: a number, or a list if there are several targets."""
    numbers = model.network.predict(x)
    for row in model.codec.decode_targets(numbers) if model.codec else numbers:
        yield {"prediction": float(row[0]) if len(row) == 1 else row.tolist()}


def _classes(model: Model, classes: tuple[str, ...], x: np.ndarray) -> Iterator[dict[str, Any]]:
    """The class with the highest score for each row, with the probabilities of all classes if the loss gives them."""
    scores, probabilities = class_scores(model.network, x)
    for row in scores:
        found: dict[str, Any] = {"prediction": classes[int(row.argmax())]}
        if probabilities:
            found["probabilities"] = dict(zip(classes, row.tolist(), strict=True))
        yield found


def _in_words(one: dict[str, Any], top: int, width: int) -> str:
    prediction = one["prediction"]
    if not isinstance(prediction, str):
        return " ".join(f"{number:.6g}" for number in (prediction if isinstance(prediction, list) else [prediction]))
    if "probabilities" not in one:
        return prediction
    ranked = sorted(one["probabilities"].items(), key=lambda item: -item[1])
    others = ", ".join(f"{name} {percent(share)}" for name, share in ranked[1:top])
    return f"{prediction:<{width}}  {percent(ranked[0][1]):>8}" + (f"  ({others})" if others else "")
