"""The data set that every loader returns: arrays on the host, and how to interpret them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from bpcore.data.codec import TableCodec


@dataclass(frozen=True, eq=False)
class Dataset:
    """A checked data set: a training part and a test part, which may be empty, in C-contiguous arrays.

    name            the data set's name
    x_train, x_test (n, d) uint8 or float32; the network's input is x * scale + shift
    y_train, y_test int64 class labels (n,), or float32 targets (n, m)
    classes         the class names; None for regression
    image_shape     (height, width) if a row is a grey image, else None
    codec           encodes new rows of a table and decodes outputs; None for images with labels
    source          a phrase that says where the data came from
    """

    name: str
    x_train: NDArray[Any] = field(repr=False)
    y_train: NDArray[Any] = field(repr=False)
    x_test: NDArray[Any] = field(repr=False)
    y_test: NDArray[Any] = field(repr=False)
    classes: tuple[str, ...] | None
    source: str
    scale: float = 1.0
    shift: float = 0.0
    image_shape: tuple[int, int] | None = None
    codec: TableCodec | None = field(default=None, repr=False)

    @property
    def inputs(self) -> int:
        """The number of values in a row."""
        return int(self.x_train.shape[1])

    @property
    def outputs(self) -> int:
        """The number of outputs that a network needs: one for each class or target."""
        return int(self.y_train.shape[1]) if self.classes is None else len(self.classes)
