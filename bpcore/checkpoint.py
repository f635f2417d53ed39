"""Reads and writes models and training runs: safetensors files with named arrays and JSON metadata."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bpcore.data.files import replaced
from bpcore.errors import InputError, InputTypeError
from bpcore.model.layers import Layer, layer_from_config

FORMAT = 1
Kind = Literal["network", "training"]
KEYS: dict[Kind, str] = {"network": "bpcore", "training": "bpcore training"}
"""The only key of the metadata: several would be written in any order, and equal runs would give different bytes."""


def write(path: Path, arrays: dict[str, np.ndarray], config: dict[str, Any], *, holds: Kind = "network") -> None:
    """Write arrays and configuration; an old file is replaced as a whole or not at all."""
    from safetensors.numpy import save

    # A function, such as a user's own initialiser, cannot be stored; once weights exist it is not needed.
    text = json.dumps({"format": FORMAT, **config}, default=lambda value: None if callable(value) else _refuse(value))
    content = save(arrays, metadata={KEYS[holds]: text})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"the model cannot be written to {path}: {error.strerror or error}") from error
    with replaced(path) as file:
        file.write(content)


def _refuse(value: object) -> None:
    raise InputTypeError(f"{value!r} cannot be saved, in `about` say: it is no JSON value")


def read(path: Path, *, holds: Kind = "network") -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read named arrays and the configuration; raise InputError for a missing, damaged or other kind of file."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"there is no model file {path}" + (", which is a folder" if path.is_dir() else ""))
    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a dictionary
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(f"{path} is not a model file, or is damaged: {error}") from error
    if KEYS[holds] not in metadata:
        raise InputError(f"{path} holds no bpcore {holds}")
    try:
        config: dict[str, Any] = dict(json.loads(metadata[KEYS[holds]]))
    except (TypeError, ValueError) as error:
        raise InputError(f"{path} is damaged: {error}") from error
    if config.pop("format", None) != FORMAT:
        raise InputError(f"{path} was written by another version of bpcore, which stores it in another way")
    return arrays, config


def layers_from(config: dict[str, Any], path: Path) -> list[Layer]:
    """Make the layers of a stored architecture."""
    try:
        return [layer_from_config(layer) for layer in config["layers"]]
    except InputError as error:
        raise InputError(f"{path}: {error}; register your own activations and layers before loading") from error
