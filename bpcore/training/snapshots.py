"""Snapshots of a run's weights on the device, from its last two boundaries between epochs and its best moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bpcore.backends.arrays import Array
from bpcore.model.layer_stack import LayerStack


class Moment(NamedTuple):
    """The position of a run.

    epoch                  the number of finished epochs
    learning_rate_scale    the factor on the learning rate
    measured               the number of epochs in the history
    """

    epoch: int
    learning_rate_scale: float
    measured: int


@dataclass
class Snapshot:
    """Copies of the parameters (P,) and the optimizer's state (states, P), and when they were taken (None: never)."""

    params: Array
    state: Array
    moment: Moment | None = None


class Snapshots:
    """The snapshots of one run: the last boundary, the one before it and, if asked for, the best moment.

    state    the run's optimizer state (states, P)
    """

    def __init__(self, network: LayerStack, state: Array, *, keeps_best: bool) -> None:
        self._backend = network.backend
        self._params, self._state = network.parameters.params, state
        self.last, self._before = self._new(), self._new()
        self.best = self._new() if keeps_best else None

    def _new(self) -> Snapshot:
        empty, dtype = self._backend.empty, self._params.dtype
        return Snapshot(empty(self._params.shape, dtype), empty(self._state.shape, dtype))

    def keep(self, moment: Moment) -> None:
        """Take a snapshot of this boundary, which replaces the older of the two."""
        self.last, self._before = self._before, self.last
        self.take(moment, self.last)

    def take(self, moment: Moment, out: Snapshot) -> None:
        """Copy the current parameters and state to `out`."""
        self._backend.copy(self._params, out.params)
        self._backend.copy(self._state, out.state)
        out.moment = moment

    def bring_back(self, epoch: int) -> Moment:
        """Restore the latest boundary at or before the beginning of this epoch; returns its moment."""
        for snapshot in (self.last, self._before):
            if snapshot.moment is not None and snapshot.moment.epoch <= epoch:
                self._backend.copy(snapshot.params, self._params)
                self._backend.copy(snapshot.state, self._state)
                return snapshot.moment
        raise LookupError(f"no snapshot is from epoch {epoch} or before it")

    def best_params(self) -> Array | None:
        """Return the best parameters (P,) on the device; None if none have been kept."""
        return None if self.best is None or self.best.moment is None else self.best.params

    def begin_with(self, best: np.ndarray | None, moment: Moment) -> None:
        """Discard all snapshots; best: the best parameters (P,) of an earlier run, on the host, or None."""
        self.last.moment = self._before.moment = None
        if self.best is not None:
            self.best.moment = None if best is None else moment
            if best is not None:
                self._backend.write(best, self.best.params)
