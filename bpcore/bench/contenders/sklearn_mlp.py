"""scikit-learn's MLPClassifier with its own loop: partial_fit over as many rows as the steps need."""

from __future__ import annotations

import warnings

import sklearn
from sklearn.neural_network import MLPClassifier

from bpcore.bench.cells import Cell
from bpcore.bench.contenders.base import MOMENTUM, Contender, learning_rate
from bpcore.bench.data import Data
from bpcore.errors import InputError

ACTIVATIONS = {"identity": "identity", "sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}


class SklearnMlp(Contender):
    """Calls partial_fit, which shuffles the given rows and goes over them once. It draws its own initial weights."""

    activations = tuple(ACTIVATIONS)

    def __init__(self, cell: Cell, data: Data) -> None:
        if len(cell.network) == 2:
            raise InputError("scikit-learn's MLPClassifier needs a hidden layer")
        self._x, self._y = data.x.astype("float32") / 255, data.y
        self._classes = range(cell.network[-1])
        self._batch, self._steps_per_epoch = cell.batch, cell.steps_per_epoch
        self._model = MLPClassifier(
            hidden_layer_sizes=cell.network[1:-1],
            activation=ACTIVATIONS[cell.activation],
            solver="adam" if cell.optimizer == "adam" else "sgd",
            learning_rate_init=learning_rate(cell.optimizer),
            momentum=MOMENTUM if cell.optimizer == "momentum" else 0.0,
            nesterovs_momentum=False,
            alpha=0.0,
            batch_size=cell.batch,
            random_state=0,
        )

    def run(self, steps: int) -> None:
        """Run the steps an epoch at a time."""
        while steps > 0:
            now = min(steps, self._steps_per_epoch)
            rows = now * self._batch
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about a batch larger than the given rows
                self._model.partial_fit(self._x[:rows], self._y[:rows], classes=list(self._classes))
            steps -= now

    def loss(self) -> float:
        """The mean loss over the rows of the last call."""
        return float(self._model.loss_)

    @classmethod
    def about(cls, device: str) -> dict[str, str]:
        """scikit-learn's version."""
        return {"scikit-learn": sklearn.__version__}
