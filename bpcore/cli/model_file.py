"""Open a model file for a command: the network, and the description of the data it was trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bpcore.backends.base import Backend
from bpcore.data.codec import TableCodec
from bpcore.data.dataset import Dataset
from bpcore.data.files import as_path
from bpcore.errors import InputError
from bpcore.network import Network

FILE = "model.safetensors"


@dataclass(frozen=True)
class Model:
    """A trained network and the description of its data.

    classes       the class names; None for regression
    image_shape   (height, width) if a row is an image, else None
    codec         encodes rows of a table and decodes outputs; None for other data
    data          the arguments of load_dataset for the data that it was trained on
    """

    path: Path
    network: Network
    classes: tuple[str, ...] | None
    image_shape: tuple[int, int] | None
    codec: TableCodec | None
    data: dict[str, Any]


def about(dataset: Dataset, data: dict[str, Any]) -> dict[str, Any]:
    """The description of a data set to store in a model file; `open_model` reads it."""
    return {
        "dataset": dataset.name,
        "data": data,
        "classes": None if dataset.classes is None else list(dataset.classes),
        "image_shape": None if dataset.image_shape is None else list(dataset.image_shape),
        "codec": None if dataset.codec is None else dataset.codec.to_json(),
    }


def open_model(path: str, backend: Backend) -> Model:
    """Open a model file, or the one in a folder that `bpcore train` wrote."""
    file = as_path(path)
    if file.is_dir():
        file = file / FILE
    network = Network.load(file, backend=backend)
    if network.loss is None:
        raise InputError(f"{file} holds a network that has not been trained")
    stored = network.about
    try:
        codec = TableCodec.from_json(stored["codec"]) if stored.get("codec") else None
        classes = tuple(map(str, stored["classes"])) if stored.get("classes") else None
        shape = stored.get("image_shape")
        image_shape = (int(shape[0]), int(shape[1])) if shape else None
        data = dict(stored.get("data") or {})
    except (TypeError, ValueError, KeyError, IndexError) as error:
        raise InputError(f"{file}: the description of its data is damaged: {error}") from error
    if classes is None and network.classifies:
        classes = tuple(map(str, range(max(network.outputs, 2))))  # a single output tells two classes apart
    if image_shape is None and codec is None:
        image_shape = _square(network.inputs)
    _check_sizes(file, network, classes, image_shape, codec)
    return Model(file, network, classes, image_shape, codec, data)


def _square(inputs: int) -> tuple[int, int] | None:
    """The shape of square images, assumed for a model that was saved from Python without a description."""
    side = math.isqrt(inputs)
    return (side, side) if side * side == inputs else None


def _check_sizes(
    file: Path,
    network: Network,
    classes: tuple[str, ...] | None,
    image_shape: tuple[int, int] | None,
    codec: TableCodec | None,
) -> None:
    if classes is not None and len(classes) != max(network.outputs, 2):
        raise InputError(f"{file} names {len(classes)} classes, but its network has {network.outputs} outputs")
    inputs = codec.inputs if codec else math.prod(image_shape) if image_shape else network.inputs
    if inputs != network.inputs:
        raise InputError(f"{file} describes data of {inputs} inputs, but its network takes {network.inputs}")
