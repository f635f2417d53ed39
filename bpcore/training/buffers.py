"""The device buffers of a training run besides its data, which are measured first and allocated later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from bpcore.backends.arrays import Array
from bpcore.backends.base import Backend
from bpcore.backends.control import Control
from bpcore.backends.memory_meter import bytes_of
from bpcore.backends.samples import Batch, Samples
from bpcore.model.layer_stack import LayerStack
from bpcore.training.batches import BatchPlan, batch_for
from bpcore.training.replay import COPIES_OF_A_RECORDING
from bpcore.training.settings import Settings
from bpcore.training.snapshots import Snapshots
from bpcore.training.step import bounded_weights


class RunBuffers:
    """The buffers of a run. `needs` returns their sizes in bytes; `allocate` makes them:

    control        the control block
    state          the optimizer's state (states, P)
    full, short    the buffers of full batches and of the short one; they share memory
    snapshots      copies of the weights

    table: the learning rates, see Control.table.
    """

    control: Control
    state: Array
    full: Batch
    short: Batch
    snapshots: Snapshots

    def __init__(
        self,
        network: LayerStack,
        samples: Samples,
        settings: Settings,
        batches: BatchPlan,
        table: np.ndarray,
        *,
        keeps_best: bool,
    ) -> None:
        self._network, self._samples, self._settings = network, samples, settings
        self._batches, self._table, self._keeps_best = batches, table, keeps_best
        self._states = settings.optimizer.rule.states

    def needs(self) -> dict[str, int]:
        """Return the bytes that the run needs on the device, without its data sets, by purpose."""
        network, states = self._network, self._states
        each = network.dtype.itemsize
        params = network.parameters.params.size * each
        batches = bytes_of(self._batch_buffers, network.backend) + network.bytes_for(self._batches.batch_size)
        bounded = sum(view.size for view, _ in bounded_weights(network)) * each
        return {
            "optimizer state": states * params,
            "snapshots": (2 + self._keeps_best) * (1 + states) * params,
            "batch buffers": batches,
            "learning rates and losses": bytes_of(self._control_block, network.backend),
            "recording": COPIES_OF_A_RECORDING * ((2 + states) * params + bounded + batches),
        }

    def allocate(self) -> None:
        """Make the buffers."""
        network, backend = self._network, self._network.backend
        network.reserve(self._batches.batch_size)
        self.control = self._control_block(backend)
        self.state = backend.full((self._states, *network.parameters.params.shape), 0.0, network.dtype)
        self.full = self._batch_buffers(backend)
        self.short = self.full.rows(self._batches.short_rows)
        self.snapshots = Snapshots(network, self.state, keeps_best=self._keeps_best)

    def _control_block(self, backend: Backend) -> Control:
        seed = self._settings.seed
        return backend.control(self._batches.steps, self._network.dtype, table=self._table, seed=seed)

    def _batch_buffers(self, backend: Backend) -> Batch:
        return batch_for(backend, self._samples, self._batches.batch_size, self._network.dtype)


def with_validation(training: Mapping[str, int], validation: Mapping[str, int]) -> dict[str, int]:
    """Return the bytes that a run with validation needs, by purpose; only one of the two is recorded at a time."""
    recording = max(training["recording"], validation["recording"])
    return dict(Counter(training) + Counter(validation)) | {"recording": recording}
