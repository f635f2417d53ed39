"""What every loader returns: arrays on the host, and all that is needed to read and to feed them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from bpcore.data.codec import TableCodec


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in two parts, C-contiguous, checked.

    name            what the user calls it
    x_train, x_test (n, d) uint8 or float32; the network sees x * scale + shift
    y_train, y_test int64 class labels (n,), or float32 targets (n, m); the test part may be empty
    classes         the classes' names, None for regression
    image_shape     (height, width) where a row is an image
    codec           how new rows of a table are encoded and its outputs decoded, None for images with labels
    source          one phrase that says where the data came from
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
        """Numbers in one row."""
        return int(self.x_train.shape[1])

    @property
    def outputs(self) -> int:
        """What a network for it must give: one output a class, or one a target."""
        return int(self.y_train.shape[1]) if self.classes is None else len(self.classes)
