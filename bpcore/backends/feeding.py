"""Feeding a run: which samples its next batches are gathered from.

As a rule a data set lies on the device as a whole. One that does not fit there comes in chunks (streaming.py); whoever
asks a feed before each stretch of batches need not know which of the two it is.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bpcore.backends.contract.device_arrays import DeviceArrays
from bpcore.backends.control import Control
from bpcore.backends.samples import Samples


class Feed:
    """A data set that lies on the device as a whole.

    samples     on the device: what the gather of a step reads
    batches     how many an epoch has; the last one may be short
    """

    streamed = False
    """Whether the samples come in chunks."""

    def __init__(self, backend: DeviceArrays, samples: Samples, batch_size: int) -> None:
        self.backend, self.samples = backend, samples
        self.batches: int = -(-samples.x.shape[0] // batch_size)

    def begin(self, counters: np.ndarray, control: Control, *, another: bool = False) -> None:
        """An epoch begins: its counters, on the host, go to the device. another: whether one more is to come."""
        self.backend.write(counters, control.counters)

    def ready(self, batch: int) -> int:
        """From here on the samples of a batch lie on the device; returns of how many batches, this one included.

        An epoch's batches are asked for in their order.
        """
        return self.batches - batch

    def close(self) -> None:
        """Nothing more is wanted for now; the next `begin` starts anew."""

    def describe(self) -> str:
        """Where the samples are, in words."""
        return "on the device"


def as_sent(samples: Samples, rows: int, dtype: np.dtype[Any]) -> list[tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and dtype of the features, targets and weights of some samples, as they are streamed.

    What is wider than the network's numbers, `dtype`, is converted before it is sent, the rest by the gather there.
    """
    x, targets, weights = samples.x, samples.targets, samples.weights
    kind = x.dtype if x.dtype.itemsize <= dtype.itemsize else dtype
    return [
        ((rows, *x.shape[1:]), kind),
        ((rows, *targets.shape[1:]), targets.dtype),
        ((0 if weights is None else rows,), dtype),
    ]


def row_bytes(samples: Samples, dtype: np.dtype[Any]) -> int:
    """The bytes of one sample, as it is streamed."""
    return sum(math.prod(shape) * kind.itemsize for shape, kind in as_sent(samples, 1, dtype))
