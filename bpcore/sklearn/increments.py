"""Reuse the run of the previous partial_fit if the new samples have the same number and types.

Allocating a run's buffers and recording its step takes as long as dozens of steps; a small partial_fit makes one step.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bpcore.backends.arrays import Array
from bpcore.backends.samples import Samples
from bpcore.model.layer_stack import LayerStack
from bpcore.training.run import Run
from bpcore.training.settings import Asked, Settings, TrainingState

KEPT_BYTES = 2**26
"""The largest size of the samples, in bytes, for which a run is kept. A larger run has many steps, so recording it
again is worthwhile."""


class Increments:
    """Keeps the last partial_fit run of a network, whose samples are in device arrays that belong to the run."""

    def __init__(self, network: LayerStack) -> None:
        self._network, self._backend = network, network.backend
        self._last: Run | None = None

    def run(self, samples: Samples, settings: Settings, asked: Asked, start: TrainingState) -> Run:
        """The last run, reused, or a new one, over these samples and from the network's current weights."""
        last, self._last = self._last, None
        if not self._may_be_kept(samples):
            return Run(self._network, samples, settings, None, asked, start)
        if last is None or _kind(samples) != _kind(last.samples) or not last.can_begin_again(settings, asked, start):
            last = Run(self._network, self._copied(samples), settings, None, asked, start)
        else:
            for array, out in zip(_arrays(samples), _arrays(last.samples), strict=True):
                self._bring(array, out)
            last.begin_again(settings, start)
        self._last = last
        return last

    def _may_be_kept(self, samples: Samples) -> bool:
        """Whether the samples are small dense arrays; sparse rows have their own feed."""
        dense = all(isinstance(array, np.ndarray) or self._backend.owns(array) for array in _arrays(samples))
        return dense and sum(array.size * array.dtype.itemsize for array in _arrays(samples)) <= KEPT_BYTES

    def _copied(self, samples: Samples) -> Samples:
        copies = [self._backend.empty(array.shape, array.dtype) for array in _arrays(samples)]
        for array, out in zip(_arrays(samples), copies, strict=True):
            self._bring(array, out)
        x, targets, *weights = copies
        return replace(samples, x=x, targets=targets, weights=weights[0] if weights else None)

    def _bring(self, array: Array, out: Array) -> None:
        if self._backend.owns(array):
            self._backend.copy(array, out)
        else:
            self._backend.write(array, out)


def _arrays(samples: Samples) -> list[Array]:
    return [samples.x, samples.targets, *([] if samples.weights is None else [samples.weights])]


def _kind(samples: Samples) -> list[Any]:
    """The properties that two sets of samples must have in common to share a recorded step."""
    return [*((array.shape, array.dtype) for array in _arrays(samples)), samples.scale, samples.shift]
