"""bpcore itself, driven as its training loop does. Only this module of the benchmark uses Run."""

from __future__ import annotations

from typing import Any

from bpcore.backends import get_backend
from bpcore.backends.samples import Samples
from bpcore.bench.cells import PRECISIONS, Cell
from bpcore.bench.contenders.base import MOMENTUM, Contender, first_weights, learning_rate
from bpcore.bench.data import Data
from bpcore.model.layers import Dense
from bpcore.model.losses import SoftmaxCrossEntropy
from bpcore.network import Network
from bpcore.training.optimizers import OPTIMIZERS, get_optimizer
from bpcore.training.run import Run
from bpcore.training.samples import to_device
from bpcore.training.schedules import Constant
from bpcore.training.settings import Settings

EPOCHS = 64
"""After this many epochs, their orders are used again."""


class Bpcore(Contender):
    """Trains with Run.begin_epoch and Run.run_steps."""

    optimizers = tuple(OPTIMIZERS)
    precisions = tuple(PRECISIONS)

    def __init__(self, cell: Cell, data: Data) -> None:
        inputs, *hidden, outputs = cell.network
        layers = [*(Dense(width, cell.activation) for width in hidden), Dense(outputs)]
        network = Network(layers, inputs=inputs, backend=get_backend(cell.device), precision=cell.precision)
        network.set_parameters({f"{number}.W": W for number, W in enumerate(first_weights(cell))})
        settings: dict[str, Any] = {"momentum": MOMENTUM} if cell.optimizer == "momentum" else {}
        optimizer = get_optimizer(cell.optimizer, learning_rate=learning_rate(cell.optimizer), **settings)
        samples = to_device(network.backend, Samples(data.x, data.y, scale=1 / 255))
        self._run = Run(
            network, samples, Settings(SoftmaxCrossEntropy(), optimizer, Constant(), EPOCHS, cell.batch, seed=0)
        )
        self._steps_per_epoch = cell.steps_per_epoch
        self._epoch = 0
        self._run.begin_epoch(0)

    def run(self, steps: int) -> None:
        """Run steps over as many epochs as needed, without the short last batches."""
        run = self._run
        while steps > 0:
            if run.batch >= self._steps_per_epoch:
                self._epoch = (self._epoch + 1) % EPOCHS
                run.begin_epoch(self._epoch)
            steps -= run.run_steps(min(steps, self._steps_per_epoch - run.batch))
        run.backend.synchronize()

    def loss(self) -> float:
        """The mean loss of the epoch so far."""
        return self._run.running().loss

    @classmethod
    def about(cls, device: str) -> dict[str, str]:
        """The backend's description."""
        return get_backend(device).describe()
