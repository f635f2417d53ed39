"""A data set as it is stored, and the buffers that a mini-batch is gathered into."""

from __future__ import annotations

from dataclasses import dataclass

from bpcore.backends.arrays import Array


@dataclass(frozen=True)
class Samples:
    """A data set as it is stored, on the device or on the host.

    x (samples, N) of any real dtype; targets int64 labels (samples,) or a matrix (samples, M); weights (samples,) or
    None. The network sees x * scale + shift. On the host x may also be an object with `shape`, `dtype` and
    `feed(backend, samples, dtype, batch_size)`, which returns the feed (feeding.py) that brings it to the device.
    """

    x: Array
    targets: Array
    weights: Array | None = None
    scale: float = 1.0
    shift: float = 0.0

    @property
    def labels(self) -> bool:
        """Whether the targets are class labels."""
        return len(self.targets.shape) == 1


@dataclass(frozen=True)
class Batch:
    """The buffers of one mini-batch: x (B, N), targets (B,) or (B, M), weights (B,).

    weighted: whether the samples have weights; without them the weights are all 1.
    """

    x: Array
    targets: Array
    weights: Array
    weighted: bool

    def rows(self, count: int) -> Batch:
        """The leading rows, for a last batch that is short."""
        return Batch(self.x[:count], self.targets[:count], self.weights[:count], self.weighted)
