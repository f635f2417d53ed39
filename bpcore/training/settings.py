"""What a training run is told before it begins: how to train, what callbacks ask for, and where to begin."""

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
    """Whether the number of correct answers has a meaning."""
    resident: bool | None = None
    """Whether the training data must be on the device (True) or be streamed (False); None: on the device if it fits."""


class Asked(NamedTuple):
    """What the callbacks of a run ask of it; see Callback."""

    keeps_best: bool = False
    reads_gradients: bool = False


NOTHING_ASKED = Asked()


@dataclass(frozen=True)
class TrainingState:
    """The state of a run between two epochs, on the host. With the weights, it is all that another run needs to resume.

    epoch, step            how many of each have been made
    optimizer              the optimizer's state (rule.states, P); None: it has none yet
    learning_rate_scale    the factor on the learning rate that callbacks have set
    history                the measures of the epochs so far, as far as they are known
    best                   the parameters (P,) that a callback has kept as the best; None: none yet
    """

    epoch: int = 0
    step: int = 0
    optimizer: np.ndarray | None = None
    learning_rate_scale: float = 1.0
    history: History = field(default_factory=History)
    best: np.ndarray | None = None

    def check(self, network: LayerStack, settings: Settings) -> None:
        """Raise InputError if a run of this network with these settings cannot begin here."""
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
