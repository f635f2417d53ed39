"""The inputs of a training run: how to train, what callbacks request, and the state to begin from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from bpcore.errors import InputError
from bpcore.model.layer_stack import LayerStack
from bpcore.model.losses import Loss
from bpcore.training.history import History
from bpcore.training.optimizers import Optimizer
from bpcore.training.schedules import Schedule


@dataclass(frozen=True)
class Settings:
    """How to train; Network.fit explains each setting."""

    loss: Loss
    optimizer: Optimizer
    schedule: Schedule
    epochs: int
    batch_size: int
    seed: int
    shuffle: bool = True
    classifies: bool = True
    """Whether the number of correct answers is meaningful."""
    resident: bool | None = None
    """True: the training data must be on the device; False: it must be streamed; None: on the device if it fits."""


class Asked(NamedTuple):
    """The requests that a run's callbacks make; see Callback."""

    keeps_best: bool = False
    reads_gradients: bool = False


NOTHING_ASKED = Asked()


@dataclass(frozen=True)
class TrainingState:
    """The state of a run between two epochs, on the host. With the weights, it is all that another run needs to resume.

    epoch, step            the numbers of finished epochs and steps
    optimizer              the optimizer's state (rule.states, P); None if there is none yet
    learning_rate_scale    the factor on the learning rate that callbacks have set
    history                the measures of the epochs so far, as far as they are known
    best                   the parameters (P,) that a callback has kept as the best; None if it has kept none
    """

    epoch: int = 0
    step: int = 0
    optimizer: np.ndarray | None = None
    learning_rate_scale: float = 1.0
    history: History = field(default_factory=History)
    best: np.ndarray | None = None

    def check(self, network: LayerStack, settings: Settings) -> None:
        """Raise InputError if a run of this network with these settings cannot begin in this state."""
        if self.epoch >= settings.epochs:
            raise InputError(
                f"epochs={settings.epochs}, but the run is to begin after {self.epoch}; epochs counts from the first"
            )
        shape = (settings.optimizer.rule.states, *network.parameters.params.shape)
        if self.optimizer is not None and self.optimizer.shape != shape:
            raise InputError(
                f"the training state holds {self.optimizer.shape} numbers; this network with this optimizer has {shape}"
            )
        if self.best is not None and self.best.shape != shape[1:]:
            raise InputError(f"the best weights are {self.best.shape} numbers; this network has {shape[1:]}")
