"""Bring a data set to the device, batch by batch.

Usually the whole data set is on the device. One that does not fit is streamed in chunks (streaming.py). A run asks its
feed how many batches are ready, and need not know which of the two it has.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bpcore.backends.contract.device_arrays import DeviceArrays
from bpcore.backends.control import Control
from bpcore.backends.samples import Samples


class Feed:
    """Feeds a run with a data set that is completely on the device.

    samples     on the device: the step's gather reads them
    batches     the number of batches in an epoch; the last one may be short
    """

    streamed = False
    """Whether the samples come to the device in chunks."""

    def __init__(self, backend: DeviceArrays, samples: Samples, batch_size: int) -> None:
        self.backend, self.samples = backend, samples
        self.batches: int = -(-samples.x.shape[0] // batch_size)

    def begin(self, counters: np.ndarray, control: Control, *, another: bool = False) -> None:
        """Begin an epoch: copy its counters from the host to the device. another: whether an epoch follows it."""
        self.backend.write(counters, control.counters)

    def ready(self, batch: int) -> int:
        """Make sure that a batch's samples are on the device; return for how many batches that holds, from this one on.

        The batches of an epoch are requested in order.
        """
        return self.batches - batch

    def close(self) -> None:
        """Stop any work in progress; the next `begin` starts afresh."""

    def describe(self) -> str:
        """Where the samples are, as text for the user."""
        return "on the device"


def as_sent(samples: Samples, rows: int, dtype: np.dtype[Any]) -> list[tuple[tuple[int, ...], np.dtype[Any]]]:
    """The shape and dtype of `rows` rows of features, targets and weights, as they are streamed.

    Features wider than the network's `dtype` are converted before they are sent, others by the gather on the device.
    """
    x, targets, weights = samples.x, samples.targets, samples.weights
    kind = x.dtype if x.dtype.itemsize <= dtype.itemsize else dtype
    return [
        ((rows, *x.shape[1:]), kind),
        ((rows, *targets.shape[1:]), targets.dtype),
        ((0 if weights is None else rows,), dtype),
    ]


def row_bytes(samples: Samples, dtype: np.dtype[Any]) -> int:
    """The number of bytes of one sample, as it is streamed."""
    return sum(math.prod(shape) * kind.itemsize for shape, kind in as_sent(samples, 1, dtype))
