"""Train MLPClassifier and MLPRegressor as scikit-learn does: fit, and the common part of partial_fit."""

from __future__ import annotations

import copy
import warnings
from dataclasses import replace
from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing, check_random_state

from bpcore.backends.samples import Samples
from bpcore.errors import InputError
from bpcore.sklearn import inputs, lbfgs
from bpcore.sklearn.engine import Engine
from bpcore.sklearn.epochs import HAS_STOPPED, Epochs, Score
from bpcore.sklearn.estimator import OPEN_ENDED, NetworkEstimator
from bpcore.sklearn.parameters import (
    Parameters,
    Shape,
    first_parameters,
    hidden_sizes,
    optimizer_of,
    schedule_of,
)
from bpcore.training.callbacks import asked_by, check_callbacks
from bpcore.training.history import History
from bpcore.training.interrupts import STOPPED_BY_CTRL_C
from bpcore.training.loop import train
from bpcore.training.passes import EVALUATION_BATCH
from bpcore.training.prediction import Predictor
from bpcore.training.run import Run
from bpcore.training.settings import Settings, TrainingState

CALLER = 6
"""The stacklevel of warnings: the line that called fit, above scikit-learn's wrapper and the methods here."""

AUTO_BATCH = 200
"""The batch size for batch_size="auto"."""


class Perceptron(NetworkEstimator):
    """A NetworkEstimator with fit; subclasses add partial_fit, which calls _fit as well."""

    _state: TrainingState
    """The optimizer state and counts at the end of the last epoch."""
    _now: Parameters | None
    """The weights that partial_fit continues from, if they differ from those used for prediction."""

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, X_val: Any = None, y_val: Any = None) -> Self:
        """Train on X (samples, features), dense or sparse, and y.

        sample_weight   (samples,), not negative
        X_val, y_val    validation data: validation_scores_ gets its score after each epoch; early_stopping and
                        restore_best use it instead of a split of X

        ValueError or TypeError for unusable arguments; NonFiniteLossError if the loss becomes infinite or NaN.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val), incremental=False)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        held_out: tuple[Any, Any],
        *,
        incremental: bool,
        classes: Any = None,
    ) -> Self:
        fresh = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        sizes = hidden_sizes(self.hidden_layer_sizes)
        self._check_combinations(held_out)
        x, y = self._check_data(X, y, fresh=fresh)
        targets = self._encode(y, fresh=fresh, classes=classes)
        weights = self._weights(sample_weight, y, x.shape[0])
        if weights is not None and not weights.any():
            raise InputError("all samples have weight zero; at least one weight must be positive")
        shape = self._shape((x.shape[1], *sizes, self.n_outputs_))
        dtype = self._dtype_for(x) if fresh else self.coefs_[0].dtype
        engine = self._engine_for(shape, dtype, x)
        engine.example = inputs.example_of(x)
        data = engine.samples(x, targets, self._loss(), weights)
        random_state = check_random_state(self.random_state)
        if fresh:
            self._begin(shape, random_state, dtype)
        if self.solver == "lbfgs":
            return self._fit_lbfgs(engine, data)
        if fresh or not hasattr(self, "loss_curve_"):
            self._begin_epochs()
        if not incremental or not hasattr(self, "_state"):
            self._begin_training(random_state)
        return self._fit_epochs(engine, x, data, held_out, incremental=incremental)

    def _check_combinations(self, held_out: tuple[Any, Any]) -> None:
        """Raise InputError for invalid callbacks and for parameters that the solver would ignore."""
        check_callbacks(self.callbacks or ())
        if (held_out[0] is None) != (held_out[1] is None):
            raise InputError("X_val and y_val go together; give both or neither")
        if self.solver != "lbfgs":
            return
        asked = {
            "dropout": bool(np.any(self.dropout)),
            "max_weight_norm": self.max_weight_norm is not None,
            "callbacks": bool(self.callbacks),
            "X_val": held_out[0] is not None,
            "restore_best": bool(self.restore_best),
            "learning_rate": self.learning_rate not in OPEN_ENDED,
        }
        for name in (name for name, given in asked.items() if given):
            raise InputError(f"{name} is for the solvers adam and sgd, which train in epochs; lbfgs does not")

    def _begin(self, shape: Shape, random_state: np.random.RandomState, dtype: np.dtype[Any]) -> None:
        """Draw first weights and delete what an earlier fit left."""
        for name in ("loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_", "_state"):
            self.__dict__.pop(name, None)
        self.n_layers_, self.out_activation_ = len(shape.sizes), self._out_activation()
        self._keep(first_parameters(shape, random_state, dtype))
        self.n_iter_, self.t_ = 0, 0

    def _begin_epochs(self) -> None:
        """Reset the values that are kept from epoch to epoch, and across fits with warm_start."""
        self._no_improvement_count = 0
        self.loss_curve_: list[float] = []
        self.best_loss_ = None if self.early_stopping else np.inf
        self.validation_scores_: list[float] | None = None
        self.best_validation_score_: float | None = None

    def _begin_training(self, random_state: np.random.RandomState) -> None:
        """Reset the optimizer state, the shuffle and the validation split."""
        self._state, self._now, self._stopped = TrainingState(), None, ""
        self._split_state = copy.deepcopy(random_state)
        self._seed = int(random_state.randint(2**31 - 1))

    def _fit_lbfgs(self, engine: Engine, data: Samples) -> Self:
        engine.write(self._parameters())
        objective = lbfgs.Objective(engine.network, data, self._loss(), float(self.alpha))
        result = lbfgs.minimize(self, objective)
        self.n_iter_ = min(result.nit, self.max_iter)
        self.loss_ = float(result.fun)
        if self._loss_share() != 1.0:
            self.loss_ = self._loss_share() * objective.of_data(result.x)[0] + objective.penalty(result.x)
        self._keep(engine.read())
        self._require_finite()
        return self

    def _fit_epochs(
        self,
        engine: Engine,
        x: Any,
        training: Samples,
        held_out: tuple[Any, Any],
        *,
        incremental: bool,
    ) -> Self:
        """Train all epochs of fit, or the next epoch of partial_fit."""
        if incremental and self._has_stopped():
            return self
        validation = None
        if held_out[0] is not None:
            validation = engine.samples(*self._check_held_out(*held_out))
        elif self.early_stopping:
            training, validation = self._split(engine, x, training)
        score = None if validation is None else self._scorer(engine, validation, repeats=not incremental)
        restores = self.early_stopping if self.restore_best is None else self.restore_best
        epochs = Epochs(self, score, restores=restores and not incremental, loss_share=self._loss_share())
        engine.write(self._now or self._parameters())
        self.n_iter_ = 0
        first, samples = self._state.epoch, int(training.x.shape[0])
        settings = Settings(
            loss=self._loss(),
            optimizer=optimizer_of(self),
            schedule=schedule_of(self, first, samples),
            epochs=first + 1 if incremental else self.max_iter,
            batch_size=self._batch_size(samples),
            seed=self._seed,
            shuffle=self.shuffle,
            classifies=isinstance(self, ClassifierMixin),
        )
        callbacks = [epochs, *(self.callbacks or ())]
        asked = asked_by(callbacks)
        watched = validation if self.callbacks else None
        if incremental and watched is None:
            run = engine.increments.run(training, settings, asked, self._state)
        else:
            run = Run(engine.network, training, settings, watched, asked, self._state)
        try:
            train(run, callbacks)
        finally:
            self._after(engine, run, epochs, keeps_apart=bool(restores and incremental))
            self._stopped = run.stopped if incremental else ""
        self._require_finite()
        self._warn(run, incremental=incremental)
        return self

    def _after(self, engine: Engine, run: Run, epochs: Epochs, *, keeps_apart: bool) -> None:
        """Store weights and state. keeps_apart: predict uses the best weights of several partial fits, not the last."""
        now = engine.read()
        self._now = now if keeps_apart else None
        if epochs.improved or not keeps_apart:
            self._keep(now)
        # Across partial fits the estimator keeps the loss curve and the best weights, not the run.
        self._state = replace(run.training_state(), history=History(), best=None)

    def _has_stopped(self) -> bool:
        """Whether early stopping ended earlier partial fits; warns if so."""
        stopped = self.early_stopping and self._stopped.startswith(HAS_STOPPED)
        if stopped:
            message = f"nothing was trained: early stopping found {self._stopped}"
            warnings.warn(message, ConvergenceWarning, stacklevel=CALLER)
        return stopped

    def _warn(self, run: Run, *, incremental: bool) -> None:
        if run.stopped == STOPPED_BY_CTRL_C:
            warnings.warn(f"training was {STOPPED_BY_CTRL_C}", stacklevel=CALLER)
        elif not incremental and not run.stopped and self.learning_rate in OPEN_ENDED:
            warnings.warn(
                f"training has not converged in {self.max_iter} epochs; raise max_iter, or tol (now {self.tol:g})",
                ConvergenceWarning,
                stacklevel=CALLER,
            )

    def _require_finite(self) -> None:
        if not all(np.isfinite(array).all() for array in [*self.coefs_, *self.intercepts_]):
            raise InputError(f"{self.solver} ended with weights that are not finite; scale the features")

    def _check_held_out(self, X: Any, y: Any) -> tuple[Any, np.ndarray]:
        x, y = self._check_data(X, y, fresh=False)
        return x, self._encode(y, fresh=False)

    def _split(self, engine: Engine, x: Any, data: Samples) -> tuple[Samples, Samples]:
        """Split off validation samples; return those for training and those for validation. x: the features of all.

        The split stays the same until the next fit and equals scikit-learn's for the same random_state, which
        stratifies if there are two classes.
        """
        two_classes = isinstance(self, ClassifierMixin) and self.n_outputs_ == 1
        training, held_out = train_test_split(
            np.arange(x.shape[0]),
            random_state=copy.deepcopy(self._split_state),
            test_size=self.validation_fraction,
            stratify=data.targets if two_classes else None,
        )
        if len(held_out) < 2:
            raise InputError(
                f"the validation set has {len(held_out)} of {x.shape[0]} samples; at least 2 are needed: raise "
                f"validation_fraction (now {self.validation_fraction:g}), or give more data"
            )
        return self._share(engine, x, data, training), self._share(engine, x, data, held_out)

    def _share(self, engine: Engine, x: Any, data: Samples, rows: np.ndarray) -> Samples:
        features = inputs.for_samples(_safe_indexing(x, rows), engine.network.backend)
        weights = None if data.weights is None else data.weights[rows]
        return replace(data, x=features, targets=data.targets[rows], weights=weights)

    def _scorer(self, engine: Engine, validation: Samples, *, repeats: bool) -> Score:
        """A function that scores the network's current weights. repeats: whether it will be called more than once."""
        if self.validation_scores_ is None:
            self.validation_scores_, self.best_validation_score_ = [], -np.inf
        predictor = Predictor(engine.network, validation, self._score_answer(), EVALUATION_BATCH, repeats=repeats)
        return lambda: float(self._score_of(predictor.predict(), validation.targets, validation.weights))

    def _batch_size(self, samples: int) -> int:
        if self.batch_size == "auto":
            return min(AUTO_BATCH, samples)
        if self.batch_size > samples:
            message = f"batch_size={self.batch_size} exceeds the {samples} samples, so all of them form one batch"
            warnings.warn(message, stacklevel=CALLER)
        return min(int(self.batch_size), samples)

    def _has_epochs(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError("partial_fit is for the solvers adam and sgd; lbfgs needs all samples at once")
        return True
