"""Evaluation: the loss and the accuracy of a network over a data set."""

from __future__ import annotations

import numpy as np

from bpcore.backends.base import Backend
from bpcore.backends.control import Control
from bpcore.backends.samples import Batch, Samples
from bpcore.model.layer_stack import LayerStack
from bpcore.model.losses import Loss
from bpcore.training.history import Evaluation
from bpcore.training.passes import EVALUATION_BATCH, Pass


class Evaluator(Pass):
    """Measures a network's loss and accuracy over a data set, each time that `evaluate` is called."""

    def __init__(
        self,
        network: LayerStack,
        samples: Samples,
        loss: Loss,
        batch_size: int = EVALUATION_BATCH,
        *,
        repeats: bool = False,
    ) -> None:
        self.loss = loss
        super().__init__(network, samples, batch_size, repeats=repeats)

    def work(self, batch: Batch) -> None:
        """Write the loss and the number of correct answers into the batch's slots."""
        self.network.loss_and_delta(batch, self.loss, self.control, training=False)

    def evaluate(self) -> Evaluation:
        """Return the mean loss and the share of correct answers."""
        self.run()
        return read_slots(self.backend, self.control, self.batches.steps, self.batches.samples)


def read_slots(backend: Backend, control: Control, slots: int, samples: int) -> Evaluation:
    """Sum the first slots of a control block, which cover this many samples, in float64."""
    if slots == 0:
        return Evaluation(float("nan"), float("nan"))
    losses = backend.to_numpy(control.losses)[:slots].astype(np.float64)
    totals = backend.to_numpy(control.totals)[:slots].astype(np.float64)
    correct = backend.to_numpy(control.correct)[:slots]
    return Evaluation(float(np.average(losses, weights=totals)), float(correct.sum()) / samples)
