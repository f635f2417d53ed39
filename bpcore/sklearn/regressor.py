"""MLPRegressor: one or several numbers per sample."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from bpcore.backends.base import Backend
from bpcore.errors import InputError
from bpcore.kernels.losses import LOSSES
from bpcore.model.losses import Answer, Loss, get_loss
from bpcore.sklearn import inputs
from bpcore.sklearn.perceptron import Perceptron


class MLPRegressor(RegressorMixin, Perceptron):
    """Multilayer perceptron regressor, by default trained with the squared error.

    Parameters and fitted attributes have the same meaning as in sklearn.neural_network.MLPRegressor; loss is
    "squared_error", "poisson" (counts; exp is applied to the outputs), or any other loss of numbers or counts, by its
    name or as a bpcore.Loss. See MLPClassifier for the additional parameters. Training minimizes the sum over several
    outputs; loss_ is their mean, as in scikit-learn.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **Perceptron._parameter_constraints,
        "loss": [str, Loss],
    }

    def __init__(
        self,
        loss: str | Loss = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool | int = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        device: str | Backend = "auto",
        precision: str = "auto",
        dropout: Any = 0.0,
        max_weight_norm: Any = None,
        restore_best: bool | None = None,
        callbacks: Any = None,
    ) -> None:
        self.loss = loss
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.device = device
        self.precision = precision
        self.dropout = dropout
        self.max_weight_norm = max_weight_norm
        self.restore_best = restore_best
        self.callbacks = callbacks

    @available_if(lambda estimator: estimator._has_epochs())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, X_val: Any = None, y_val: Any = None) -> Self:
        """Train one epoch on the given data, continuing with the optimizer state of the last epoch."""
        return self._fit(X, y, sample_weight, (X_val, y_val), incremental=True)

    def _encode(self, y: Any, *, fresh: bool, classes: Any = None) -> np.ndarray:
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        numbers: np.ndarray = np.asarray(y).reshape(len(y), -1)
        if not fresh and numbers.shape[1] != self.n_outputs_:
            raise InputError(f"y has {numbers.shape[1]} outputs, but the estimator was fitted with {self.n_outputs_}")
        self.n_outputs_ = numbers.shape[1]
        return numbers

    def _loss(self) -> Loss:
        loss = get_loss(self.loss)
        if loss.rule.classifies:
            regressions = ", ".join(name for name, rule in LOSSES.items() if not rule.classifies)
            raise InputError(f"{loss.name} is a loss for classes; accepted: {regressions}")
        return loss

    def _loss_share(self) -> float:
        return 1.0 / self.n_outputs_ if self._loss().rule.predicts == "number" else 1.0

    def _score_answer(self) -> Answer:
        return self._link()

    def _score_of(self, answers: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> float:
        return float(r2_score(targets, answers, sample_weight=weights))

    def predict(self, X: Any) -> Any:
        """Predict the outputs of each sample: (samples,) for one output, else (samples, outputs)."""
        check_is_fitted(self)
        numbers, x = self._answer(X, self._link(), "predict")
        return inputs.to_place_of(numbers.ravel() if numbers.shape[1] == 1 else numbers, x)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
