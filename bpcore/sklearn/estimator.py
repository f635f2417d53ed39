"""The base of both estimators: scikit-learn's parameters, checked data, weights on the host, and predictions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils._array_api import check_same_namespace
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from bpcore.backends.base import Backend
from bpcore.backends.precision import PRECISIONS
from bpcore.model.losses import Answer, Loss
from bpcore.sklearn import inputs
from bpcore.sklearn.engine import Engine, Plan
from bpcore.sklearn.parameters import OWN_NAMES, Parameters, Shape, shape_of
from bpcore.training.schedules import SCHEDULES

OPEN_ENDED = ("constant", "invscaling", "adaptive")
"""scikit-learn's learning rates, which do not depend on a last epoch; bpcore's schedules span max_iter epochs."""


class NetworkEstimator(BaseEstimator, ABC):
    """Base of MLPClassifier and MLPRegressor, without training (Perceptron adds that)."""

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

    @abstractmethod
    def _encode(self, y: Any, *, fresh: bool, classes: Any = None) -> np.ndarray:
        """Check y and return class numbers int64 (samples,) or a float matrix (samples, M); set n_outputs_.

        fresh: nothing was learned before. classes: all classes, in case the first y lacks some.
        """

    @abstractmethod
    def _loss(self) -> Loss:
        """The loss to minimize."""

    def _loss_share(self) -> float:
        """The factor from bpcore's loss to scikit-learn's."""
        return 1.0

    @abstractmethod
    def _score_answer(self) -> Answer:
        """The kind of answer from which the score is computed."""

    @abstractmethod
    def _score_of(self, answers: np.ndarray, targets: np.ndarray, weights: np.ndarray | None) -> float:
        """The score of the answers that _score_answer names."""

    def _out_activation(self) -> str:
        """The name of the loss's link, as scikit-learn calls it."""
        link = self._loss().rule.link
        return {own: name for name, own in OWN_NAMES.items()}.get(link, link)

    def _link(self) -> Answer:
        """The link of the fitted network, as bpcore calls it."""
        return OWN_NAMES.get(self.out_activation_, self.out_activation_)  # type: ignore[return-value]

    def _shape(self, sizes: tuple[int, ...]) -> Shape:
        return shape_of(sizes, self.activation, self.dropout, self.max_weight_norm)

    def _check_data(self, X: Any, y: Any, *, fresh: bool) -> tuple[Any, Any]:
        """Check X and y; X keeps its device and gets an accepted dtype, y is on the host."""
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
        """The weight of each sample, float64 (samples,); None if all are 1."""
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
        """The network of this shape, on the requested device or the device of x; reused while nothing changes."""
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

    def _keep(self, parameters: Parameters) -> None:
        self.coefs_, self.intercepts_ = parameters.coefs, parameters.intercepts
        self.slopes_ = parameters.slopes

    def _parameters(self) -> Parameters:
        slopes = getattr(self, "slopes_", [None] * (len(self.coefs_) - 1))
        return Parameters(self.coefs_, self.intercepts_, slopes)

    def _answer(self, X: Any, answer: Answer, method: str) -> tuple[np.ndarray, Any]:
        """The network's answer for each row of X, on the host, and the checked X."""
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
        """The state without the network: another machine may have another device."""
        return {name: value for name, value in super().__getstate__().items() if name != "_engine"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.array_api_support = True
        return tags
