"""The estimators against scikit-learn's own: checks, losses, weights, and predictions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn import neural_network as theirs
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.estimator_checks import parametrize_with_checks

from bpcore.sklearn import MLPClassifier, MLPRegressor, lbfgs
from support.estimators import CPU, SOLVERS, TARGETS, pair

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@parametrize_with_checks([MLPClassifier(max_iter=20, device="cpu"), MLPRegressor(max_iter=20, device="cpu")])
def test_scikit_learn_s_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("settings", SOLVERS, ids=str)
@pytest.mark.parametrize("kind", TARGETS)
def test_training_matches_scikit_learn(
    kind: str, settings: dict[str, Any], weighted: bool, rng: np.random.Generator
) -> None:
    """First weights, losses, learning rates and weights agree epoch by epoch, with a short last batch."""
    x = rng.standard_normal((50, 4))
    y = TARGETS[kind](x)
    weights = rng.random(50) + 0.1 if weighted else None
    activation = "logistic" if kind == "labels" else "relu"
    ours, other = pair(
        kind, hidden_layer_sizes=(7, 5), batch_size=16, max_iter=6, shuffle=False, activation=activation, **settings
    )
    for estimator in (ours, other):
        estimator.fit(x, y, sample_weight=weights)
    np.testing.assert_allclose(ours.loss_curve_, other.loss_curve_, rtol=1e-8)
    for mine, its in zip(ours.coefs_ + ours.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-6, atol=1e-9)
    for name in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(other, name), name
    assert ours.loss_ == ours.loss_curve_[-1]
    assert ours.best_loss_ == pytest.approx(other.best_loss_)
    assert ours.score(x, y, sample_weight=weights) == pytest.approx(other.score(x, y, sample_weight=weights))
    np.testing.assert_array_equal(ours.predict(x).shape, other.predict(x).shape)
    if isinstance(ours, MLPClassifier):
        np.testing.assert_array_equal(ours.classes_, other.classes_)
        np.testing.assert_array_equal(ours.predict(x), other.predict(x))
        np.testing.assert_allclose(ours.predict_log_proba(x), other.predict_log_proba(x), rtol=1e-6)


@pytest.mark.parametrize("kind", TARGETS)
def test_weights_from_scikit_learn_predict_the_same(kind: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal((50, 4))
    ours, other = pair(kind, hidden_layer_sizes=(7, 5), activation="tanh", max_iter=1, alpha=2.0)
    other.set_params(random_state=7).fit(x, TARGETS[kind](x))
    ours.fit(x, TARGETS[kind](x))
    ours.coefs_, ours.intercepts_ = other.coefs_, other.intercepts_
    if isinstance(ours, MLPClassifier):
        np.testing.assert_allclose(ours.predict_proba(x), other.predict_proba(x), rtol=1e-10)
    else:
        np.testing.assert_allclose(ours.predict(x), other.predict(x), rtol=1e-10)
    for estimator in (ours, other):  # one batch: the loss is that of the weights before the step
        estimator.set_params(warm_start=True).fit(x, TARGETS[kind](x))
    assert ours.loss_ == pytest.approx(other.loss_, rel=1e-10)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", TARGETS)
def test_lbfgs_matches_scikit_learn_s_loss_and_gradient(
    kind: str, weighted: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with several batches, the last one short."""
    monkeypatch.setattr(lbfgs, "ROWS_AT_A_TIME", 16)
    x = rng.standard_normal((50, 4))
    y = TARGETS[kind](x)
    weights = rng.random(50) + 0.1 if weighted else None
    calls = []

    class Watched(lbfgs.Objective):
        def __call__(self, flat: np.ndarray) -> tuple[float, np.ndarray]:
            result = super().__call__(flat)
            calls.append((flat.copy(), *result))
            return result

    monkeypatch.setattr(lbfgs, "Objective", Watched)
    ours, other = pair(kind, hidden_layer_sizes=(7,), solver="lbfgs", max_iter=4, alpha=0.5)
    ours.fit(x, y, sample_weight=weights)
    other.set_params(max_iter=1).fit(x, y, sample_weight=weights)
    views = ours._engine.network.parameters.views
    names = ["0.W", "1.W", "0.b", "1.b"]
    _, targets = other._validate_input(x, y, False, reset=False)
    targets = targets.reshape(50, -1)
    for flat, loss, gradient in calls:
        other._unpack(np.concatenate([flat[views[n].first : views[n].first + views[n].size] for n in names]))
        empty = [np.empty_like(w) for w in other.coefs_], [np.empty_like(b) for b in other.intercepts_]
        expected, of_coefs, of_intercepts = other._backprop(x, targets, weights, [x, None, None], [None, None], *empty)
        if kind != "numbers":  # with several outputs scikit-learn's gradient is not the gradient of its loss
            assert loss == pytest.approx(expected, rel=1e-10)
        for name, wanted in zip(names, [*of_coefs, *of_intercepts], strict=True):
            found = gradient[views[name].first : views[name].first + views[name].size]
            np.testing.assert_allclose(found, wanted.ravel(), rtol=1e-8, atol=1e-12)
    values = np.concatenate([array.ravel() for array in ours.coefs_ + ours.intercepts_])
    other._unpack(values)
    expected, *_ = other._backprop(x, targets, weights, [x, None, None], [None, None], *empty)
    assert ours.loss_ == pytest.approx(expected, rel=1e-8)
    assert ours.n_iter_ == 4


def test_lbfgs_finds_the_minimum_or_warns(rng: np.random.Generator) -> None:
    x, y = load_iris(return_X_y=True)
    model = MLPClassifier((), solver="lbfgs", alpha=1.0, max_iter=500, tol=1e-6, **CPU).fit(x, y)
    other = theirs.MLPClassifier((), solver="lbfgs", alpha=1.0, max_iter=500, tol=1e-6, random_state=5).fit(x, y)
    assert model.loss_ == pytest.approx(other.loss_, rel=1e-6)
    assert not hasattr(model, "loss_curve_")
    with pytest.warns(ConvergenceWarning, match="not converged in 3 iterations"):
        MLPClassifier(solver="lbfgs", max_iter=3, **CPU).fit(x, y)


@pytest.mark.parametrize("kind", ["yes or no", "classes", "labels", "number"])
def test_early_stopping_matches_scikit_learn(kind: str, rng: np.random.Generator) -> None:
    """The same split and the same best weights; with one batch the order of the samples does not matter."""
    x = rng.standard_normal((50, 4))
    y = TARGETS[kind](x)
    settings: dict[str, Any] = {"early_stopping": True, "validation_fraction": 0.3, "n_iter_no_change": 3}
    ours, other = pair(kind, max_iter=30, learning_rate_init=0.02, **settings)
    for estimator in (ours, other):
        estimator.fit(x, y)
    assert ours.n_iter_ == other.n_iter_
    np.testing.assert_allclose(ours.validation_scores_, other.validation_scores_)
    assert ours.best_validation_score_ == pytest.approx(other.best_validation_score_)
    assert ours.best_loss_ is other.best_loss_ is None
    np.testing.assert_allclose(ours.coefs_[0], other.coefs_[0], rtol=1e-6)
