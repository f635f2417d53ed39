"""Samples as they are stored, and the buffers of the mini-batch that is gathered from them."""

from __future__ import annotations

from dataclasses import dataclass

from bpcore.backends.arrays import Array


@dataclass(frozen=True)
class Samples:
    """A data set as it is stored, on the device or on the host before it goes there: x (samples, N) of any real dtype.

    targets are int64 labels (samples,) or a matrix (samples, M); weights (samples,) or None. The network sees
    x * scale + shift. On the host x may also be something with a shape, a dtype and `feed(backend, samples, dtype,
    batch_size)`, which brings it to the steps in its own way.
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
    """The buffers that one mini-batch is gathered into: x (B, N), targets (B,) or (B, M), weights (B,)."""

    x: Array
    targets: Array
    weights: Array
    weighted: bool

    def rows(self, count: int) -> Batch:
        """The leading rows, for a short batch."""
        return Batch(self.x[:count], self.targets[:count], self.weights[:count], self.weighted)
