"""What MLPClassifier and MLPRegressor share: scikit-learn's parameters and meaning, with bpcore's training behind."""

from __future__ import annotations

import copy
import warnings
from abc import ABC, abstractmethod
from dataclasses import replace
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, _fit_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing, check_random_state
from sklearn.utils._array_api import check_same_namespace
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from bpcore.backends.base import PRECISIONS, Backend, Samples
from bpcore.errors import InputError
from bpcore.model.losses import Loss
from bpcore.sklearn import inputs, lbfgs
from bpcore.sklearn.engine import Engine, Plan
from bpcore.sklearn.epochs import HAS_STOPPED, Epochs, Score
from bpcore.sklearn.parameters import (
    Parameters,
    Shape,
    first_parameters,
    hidden_sizes,
    optimizer_of,
    schedule_of,
    shape_of,
)
from bpcore.training.callbacks import asked_by, check_callbacks
from bpcore.training.history import History
from bpcore.training.interrupts import STOPPED_BY_CTRL_C
from bpcore.training.loop import train
from bpcore.training.passes import EVALUATION_BATCH
from bpcore.training.prediction import Answer, Predictor
from bpcore.training.run import Run
from bpcore.training.schedules import SCHEDULES
from bpcore.training.settings import Settings, TrainingState

OPEN_ENDED = ("constant", "invscaling", "adaptive")
"""scikit-learn's learning rates, which know no last epoch; the schedules of bpcore are plans for max_iter epochs."""
CALLER = 6
"""The stacklevel of warnings: the line that called fit, above scikit-learn's wrapper and what stands here."""

AUTO_BATCH = 200
"""The batch size where the estimator may choose."""


class Perceptron(BaseEstimator, ABC):
    """What classifier and regressor share: the parameters, fit, partial_fit and the way to a prediction."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [str, "array-like"],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({*OPEN_ENDED, *SCHEDULES}), HasMethods("factors")],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "device": [str, Backend],
        "precision": [StrOptions({"auto", *PRECISIONS})],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "max_weight_norm": [Interval(Real, 0, None, closed="neither"), "array-like", None],
        "restore_best": ["boolean", None],
        "callbacks": [list, tuple, None],
    }

    n_outputs_: int
    _state: TrainingState
    """Where the last epoch left the optimizer and the counts."""
    _now: Parameters | None
    """The weights that partial_fit goes on with, where they are not those that predict."""

    # What the two classes bring.

    @abstractmethod
    def _encode(self, y: Any, *, fresh: bool, classes: Any = None) -> np.ndarray:
        """Checked y as class numbers int64 (samples,), or as a matrix (samples, M) of numbers; sets n_outputs_.

        fresh: nothing was learned before. classes: all that will come, where the first y may lack some.
        """

    @abstractmethod
    def _loss(self) -> Loss:
        """What is made small."""

    @abstractmethod
    def _score_answer(self) -> Answer:
        """What of the network's output the score is made of."""

    @abstractmethod
    def _score_of(self, answers: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> float:
        """The score of such answers."""

    @abstractmethod
    def _out_activation(self) -> str:
        """The name of what the outputs go through."""

    # --- fit ------------------------------------------------------------------------------------------------

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any, sample_weight: Any = None, X_val: Any = None, y_val: Any = None) -> Self:
        """Train on X (samples, features), dense or sparse, and y.

        sample_weight   (samples,), zero or more
        X_val, y_val    validation data: validation_scores_ has its score after each epoch, and early_stopping and
                        restore_best go by it, instead of by a share of X

        ValueError or TypeError for what cannot be used; NonFiniteLossError where the loss becomes infinite or NaN.
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
            raise InputError("all samples have weight zero; at least one must have more")
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

    def _shape(self, sizes: tuple[int, ...]) -> Shape:
        return shape_of(sizes, self.activation, self.dropout, self.max_weight_norm)

    def _check_combinations(self, held_out: tuple[Any, Any]) -> None:
        """Refuse callbacks that are none, and what the solver would have to ignore."""
        check_callbacks(self.callbacks or ())
        if (held_out[0] is None) != (held_out[1] is None):
            raise InputError("X_val and y_val go together; give both or none")
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
            raise InputError(f"{name} is for the solvers adam and sgd, which go by epochs; lbfgs does not")

    def _check_data(self, X: Any, y: Any, *, fresh: bool) -> tuple[Any, Any]:
        """X as an array of a known type where it is, y as it is on the host."""
        precision = self.precision if fresh or self.precision != "auto" else self.coefs_[0].dtype.name
        return validate_data(  # type: ignore[no-any-return]
            self,
            X,
            inputs.to_host(y),
            accept_sparse=["csr", "csc"],
            multi_output=True,
            dtype=inputs.float_dtypes(X, precision),
            reset=fresh,
            y_numeric=isinstance(self, RegressorMixin),
        )

    def _weights(self, sample_weight: Any, y: Any, samples: int) -> np.ndarray | None:
        """The weight of each sample, float64 (samples,); None where all are one."""
        if sample_weight is None:
            return None
        given = inputs.to_host(sample_weight)
        weights = _check_sample_weight(given, np.empty((samples, 1)), dtype=np.float64, ensure_non_negative=True)
        return np.asarray(weights)

    def _dtype_for(self, x: Any) -> np.dtype[Any]:
        """The dtype of the weights."""
        if self.precision == "auto":
            return np.dtype(np.float32 if "float32" in str(x.dtype) else np.float64)
        return np.dtype(np.float64 if self.precision == "float64" else np.float32)

    def _engine_for(self, shape: Shape, dtype: np.dtype[Any], x: Any) -> Engine:
        """The network of this shape, kept from one call to the next, on the device asked for or that of x."""
        device = self.device
        if device == "auto" and type(x).__module__.partition(".")[0] == "cupy":
            device = "gpu"
        of_products = self.precision in ("tf32", "bfloat16") and dtype == np.float32
        precision = self.precision if of_products else dtype.name
        plan = Plan(shape, device, precision)
        engine = getattr(self, "_engine", None)
        if engine is None or engine.plan != plan:
            engine = self._engine = Engine(plan)
        return engine

    def _begin(self, shape: Shape, random_state: np.random.RandomState, dtype: np.dtype[Any]) -> None:
        """First weights; nothing of an earlier fit is left."""
        for name in ("loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_", "_state"):
            self.__dict__.pop(name, None)
        self.n_layers_, self.out_activation_ = len(shape.sizes), self._out_activation()
        self._keep(first_parameters(shape, random_state, dtype))
        self.n_iter_, self.t_ = 0, 0

    def _begin_epochs(self) -> None:
        """What is kept from epoch to epoch, also over fits with warm_start."""
        self._no_improvement_count = 0
        self.loss_curve_: list[float] = []
        self.best_loss_ = None if self.early_stopping else np.inf
        self.validation_scores_: list[float] | None = None
        self.best_validation_score_: float | None = None

    def _begin_training(self, random_state: np.random.RandomState) -> None:
        """A new optimizer, a new order of the samples, and a new share of them for validation."""
        self._state, self._now, self._stopped = TrainingState(), None, ""
        self._split_state = copy.deepcopy(random_state)
        self._seed = int(random_state.randint(2**31 - 1))

    def _keep(self, parameters: Parameters) -> None:
        self.coefs_, self.intercepts_ = parameters.coefs, parameters.intercepts
        self.slopes_ = parameters.slopes

    def _parameters(self) -> Parameters:
        slopes = getattr(self, "slopes_", [None] * (len(self.coefs_) - 1))
        return Parameters(self.coefs_, self.intercepts_, slopes)

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
        """All epochs of a fit, or the next one of partial_fit. x: the features, as scikit-learn checked them."""
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
        """Keep what was learned. keeps_apart: what predicts is the best of several partial fits, and not the last."""
        now = engine.read()
        self._now = now if keeps_apart else None
        if epochs.improved or not keeps_apart:
            self._keep(now)
        # The loss curve and the best weights of several partial fits are the estimator's, not the run's.
        self._state = replace(run.training_state(), history=History(), best=None)

    def _has_stopped(self) -> bool:
        """Whether earlier partial fits have come to an early stop."""
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

    # --- parts of fit -----------------------------------------------------------------------------------------

    def _check_held_out(self, X: Any, y: Any) -> tuple[Any, np.ndarray]:
        x, y = self._check_data(X, y, fresh=False)
        return x, self._encode(y, fresh=False)

    def _split(self, engine: Engine, x: Any, data: Samples) -> tuple[Samples, Samples]:
        """Divide the samples into those for training and a share for validation; x: their features.

        The share is the same at each call between two fits. It is scikit-learn's for the same random_state, which has
        the classes in their proportions if there are two.
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
        """A function that scores the network as it is. repeats: whether it will be asked more than once."""
        if self.validation_scores_ is None:
            self.validation_scores_, self.best_validation_score_ = [], -np.inf
        predictor = Predictor(engine.network, validation, self._score_answer(), EVALUATION_BATCH, repeats=repeats)
        return lambda: float(self._score_of(predictor.predict(), validation.targets, validation.weights))

    def _batch_size(self, samples: int) -> int:
        if self.batch_size == "auto":
            return min(AUTO_BATCH, samples)
        if self.batch_size > samples:
            message = f"batch_size={self.batch_size} is more than the {samples} samples, and means all"
            warnings.warn(message, stacklevel=CALLER)
        return min(int(self.batch_size), samples)

    def _loss_share(self) -> float:
        """What scikit-learn's loss is of the core's."""
        return 1.0

    def _has_epochs(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError("partial_fit is for the solvers adam and sgd; lbfgs sees all samples at once")
        return True

    # --- predict ----------------------------------------------------------------------------------------------

    def _answer(self, X: Any, answer: Answer, method: str) -> tuple[np.ndarray, Any]:
        """What the network says of each row of X, on the host; and X as it was checked."""
        check_is_fitted(self)
        dtype = self.coefs_[0].dtype
        x = validate_data(self, X, accept_sparse=["csr", "csc"], dtype=inputs.float_dtypes(X, dtype.name), reset=False)
        sizes = (self.coefs_[0].shape[0], *(weights.shape[1] for weights in self.coefs_))
        engine = self._engine_for(self._shape(sizes), dtype, x)
        if engine.example is not None:
            check_same_namespace(x, self, attribute="_example", method=method)
        return engine.predict(self._parameters(), x, answer), x

    @property
    def _example(self) -> Any:
        return self._engine.example

    def __getstate__(self) -> dict[str, Any]:
        """All but the network at work: on another machine there may be another device."""
        return {name: value for name, value in super().__getstate__().items() if name != "_engine"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags
