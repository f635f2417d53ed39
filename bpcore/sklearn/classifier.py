"""MLPClassifier: one class per sample (binary or multiclass), or any number of labels per sample (multilabel)."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import check_is_fitted

from bpcore.backends.base import Backend
from bpcore.errors import InputError
from bpcore.model.losses import Answer, Loss
from bpcore.sklearn import inputs
from bpcore.sklearn.perceptron import Perceptron


class MLPClassifier(ClassifierMixin, Perceptron):
    """Multilayer perceptron classifier trained with the cross-entropy loss.

    Parameters and fitted attributes have the same meaning as in sklearn.neural_network.MLPClassifier. In addition:

    activation       any of bpcore's activations, or a list with one for each hidden layer
    learning_rate    also a name or an object of bpcore.training.schedules, over max_iter epochs, for both adam and sgd
    device           "auto", "cpu", "gpu", a backend's name, or a backend object (which cannot be pickled)
    precision        "auto" (the precision of X), "float32", "float64", and on a GPU "tf32" or "bfloat16"
    dropout          the fraction of each hidden layer's outputs to drop in training, or a list of fractions
    max_weight_norm  upper bound on the norm of each hidden unit's incoming weights (max-norm, as in bpcore.Dense), or a
                     list with one for each hidden layer; None for no bound
    class_weight     {class: weight} or "balanced", multiplied with the sample weights
    restore_best     whether to restore the best weights at the end, judged by the validation score, or by the loss if
                     there is none; None: only with early_stopping
    callbacks        bpcore.Callback objects; with X_val and y_val they find val_loss in the run's history

    coefs_ and intercepts_ are host arrays, and assigning to them changes predictions; slopes_ holds the learned
    activation parameters of hidden layers (None for most). momentum must be below 1. partial_fit continues from the end
    of the last epoch, with its shuffle and optimizer state: N calls equal one fit of N epochs. With early_stopping,
    calls after the stop do not train.
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **Perceptron._parameter_constraints,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
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
        class_weight: Any = None,
        restore_best: bool | None = None,
        callbacks: Any = None,
    ) -> None:
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
        self.class_weight = class_weight
        self.restore_best = restore_best
        self.callbacks = callbacks

    @available_if(lambda estimator: estimator._has_epochs())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        classes: Any = None,
        X_val: Any = None,
        y_val: Any = None,
    ) -> Self:
        """Train one epoch on the given data, continuing with the optimizer state of the last epoch.

        classes   all classes that any call will pass; required at the first call, unless y is multilabel
        """
        known = None if classes is None else unique_labels(inputs.to_host(classes))
        if hasattr(self, "coefs_"):
            if known is not None and not np.array_equal(self.classes_, known):
                raise InputError(f"classes={classes!r} is not the same as before, {self.classes_}")
        elif known is None and type_of_target(inputs.to_host(y)) != "multilabel-indicator":
            raise InputError("classes must be passed on the first call to partial_fit.")
        return self._fit(X, y, sample_weight, (X_val, y_val), incremental=True, classes=known)

    def _encode(self, y: Any, *, fresh: bool, classes: Any = None) -> np.ndarray:
        if getattr(y, "ndim", 1) == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        kind = type_of_target(y, input_name="y")
        if kind not in ("binary", "multiclass", "multilabel-indicator"):
            check_classification_targets(y)
        if kind.endswith("multioutput"):
            raise InputError(f"y is {kind}; accepted: one class per sample, or a matrix of zeros and ones")
        several = kind == "multilabel-indicator"
        found = unique_labels(y)
        if fresh:
            self.classes_, self._several = found if classes is None else classes, several
        elif several != self._several:
            raise InputError("y had one class per sample in one call and several labels in another; use one of the two")
        self._require_known(found, all_of_them=several)
        count = len(self.classes_)
        self.n_outputs_ = count if several or count > 2 else 1
        if several:
            return np.asarray(y.toarray() if hasattr(y, "toarray") else y, float)
        numbers: np.ndarray = np.searchsorted(self.classes_, y).astype(np.int64)
        return numbers if count > 2 else numbers[:, None].astype(float)

    def _require_known(self, found: np.ndarray, *, all_of_them: bool) -> None:
        """Raise InputError for unknown classes, and for multilabel targets with another number of columns."""
        if len(np.setdiff1d(found, self.classes_)) or (all_of_them and len(found) != len(self.classes_)):
            raise InputError(f"`y` has classes not in `self.classes_`: y has {found}, known are {self.classes_}")

    def _weights(self, sample_weight: Any, y: Any, samples: int) -> np.ndarray | None:
        weights = super()._weights(sample_weight, y, samples)
        if self.class_weight is None:
            return weights
        of_classes = np.asarray(compute_sample_weight(self.class_weight, y))
        return of_classes if weights is None else weights * of_classes

    def _loss(self) -> Loss:
        yes_or_no = self._several or self.n_outputs_ == 1
        return Loss("binary_cross_entropy" if yes_or_no else "softmax_cross_entropy")

    def _score_answer(self) -> Answer:
        return self._loss().answer(classifies=True)

    def _score_of(self, answers: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> float:
        return float(accuracy_score(targets.astype(np.int64), answers, sample_weight=weights))

    def predict(self, X: Any) -> Any:
        """Predict the class of each sample (samples,), or 0 or 1 for each label (samples, labels)."""
        check_is_fitted(self)
        answers, x = self._answer(X, self._score_answer(), "predict")
        if not self._several:
            answers = self.classes_[np.minimum(answers.reshape(len(answers)), len(self.classes_) - 1)]
        return inputs.to_place_of(answers, x)

    def predict_proba(self, X: Any) -> Any:
        """Predict probabilities (samples, classes) in the order of classes_; multilabel: one for each label."""
        check_is_fitted(self)
        probabilities, x = self._probabilities(X, "predict_proba")
        return inputs.to_place_of(probabilities, x)

    def predict_log_proba(self, X: Any) -> Any:
        """The logarithms of predict_proba."""
        check_is_fitted(self)
        probabilities, x = self._probabilities(X, "predict_log_proba")
        with np.errstate(divide="ignore"):
            return inputs.to_place_of(np.log(probabilities), x)

    def _probabilities(self, X: Any, method: str) -> tuple[np.ndarray, Any]:
        found, x = self._answer(X, self._link(), method)
        return np.hstack([1 - found, found]) if found.shape[1] == 1 and not self._several else found, x

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
