"""Training methods and additional parameters of the estimators: partial_fit, sparse rows, callbacks, and more."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from sklearn.base import clone
from sklearn.datasets import load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bpcore import Callback, EarlyStopping, Loss, OneCycle
from bpcore.errors import InputError
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.kernels.losses import LOSSES
from bpcore.sklearn import MLPClassifier, MLPRegressor, inputs, lbfgs
from bpcore.testing import references
from bpcore.testing.common import settings_to_try
from bpcore.training.run import Run
from support.estimators import CPU, TARGETS, classes, pair

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


PARTIAL: list[dict[str, Any]] = [
    {"dropout": 0.3, "batch_size": 16},
    {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 1, "batch_size": 16},
    {"early_stopping": True, "validation_fraction": 0.3, "tol": 0.0, "n_iter_no_change": 1, "batch_size": 16},
    {"learning_rate": "one_cycle", "activation": ["prelu", "gelu"], "batch_size": 16},
    {"solver": "sgd", "learning_rate": OneCycle(), "restore_best": True, "precision": "float32", "batch_size": 16},
]


@pytest.mark.parametrize("settings", PARTIAL, ids=str)
@pytest.mark.parametrize("kind", ["classes", "labels", "number"])
def test_partial_fits_equal_one_fit_bit_for_bit(kind: str, settings: dict[str, Any], rng: np.random.Generator) -> None:
    x = rng.standard_normal((50, 4))
    y = TARGETS[kind](x)
    whole, parts = (pair(kind, hidden_layer_sizes=(7, 5), max_iter=8, **settings)[0] for _ in range(2))
    whole.fit(x, y)
    options = {"classes": [0, 1, 2]} if kind == "classes" else {}
    for call in range(8):
        parts.partial_fit(x, y, **options)
        if call == 3:
            parts = pickle.loads(pickle.dumps(parts))
        options = {}
    assert whole.loss_curve_ == parts.loss_curve_
    assert whole.validation_scores_ == parts.validation_scores_
    if not settings.get("early_stopping"):
        assert whole.n_iter_ == 8
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(whole, name), getattr(parts, name), strict=True):
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(whole.predict(x), parts.predict(x))


def test_partial_fit_accepts_changing_data(rng: np.random.Generator) -> None:
    """Changing numbers of samples, classes that appear late, and a warning after early stopping."""
    x, y = classes(rng)
    model = MLPClassifier(batch_size=16, **CPU)
    with pytest.raises(ValueError, match="classes must be passed"):
        model.partial_fit(x, y)
    model.partial_fit(x[:20], np.zeros(20, int), classes=[0, 1, 2]).partial_fit(x, y)
    assert (model._state.epoch, model._state.step, model.t_) == (2, 6, 70)
    with pytest.raises(InputError, match="not the same as before"):
        model.partial_fit(x, y, classes=[0, 1])
    with pytest.raises(InputError, match="classes not in"):
        model.partial_fit(x, y + 1)
    stopping = MLPRegressor(early_stopping=True, n_iter_no_change=1, tol=10.0, **CPU)
    for _ in range(3):
        stopping.partial_fit(x, x[:, 0])
    with pytest.warns(ConvergenceWarning, match="nothing was trained"):
        stopping.partial_fit(x, x[:, 0])
    assert len(stopping.loss_curve_) == 3
    assert not hasattr(MLPRegressor(solver="lbfgs"), "partial_fit")
    begun = MLPClassifier(solver="lbfgs", max_iter=2, **CPU).fit(x, y).set_params(solver="sgd").partial_fit(x, y)
    assert len(begun.loss_curve_) == begun.n_iter_ == 1


def test_warm_start_continues(rng: np.random.Generator) -> None:
    x, y = classes(rng)
    model = MLPClassifier(max_iter=2, warm_start=True, **CPU).fit(x, y)
    first = model.coefs_[0]
    model.fit(x, y)
    assert len(model.loss_curve_) == 4
    assert model.loss_curve_[2] < model.loss_curve_[0]
    assert (model.coefs_[0] != first).any()
    with pytest.raises(InputError, match="classes not in"):
        model.fit(x, y + 5)
    with pytest.raises(InputError, match="layer 1 has shape"):
        model.set_params(hidden_layer_sizes=(3,)).fit(x, y)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_sparse_rows_are_made_dense_by_batch(
    solver: str, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never all rows at once, and the trained weights have the same bits as from a dense matrix."""
    x = rng.standard_normal((50, 4)) * (rng.random((50, 4)) > 0.5)
    y, weights = np.arange(50) % 3, rng.random(50) + 0.5
    monkeypatch.setattr(inputs, "CHUNK_BYTES", 2 * 16 * 48)
    monkeypatch.setattr(lbfgs, "ROWS_AT_A_TIME", 16)
    tallest = []
    made = scipy.sparse.csr_array.toarray
    monkeypatch.setattr(
        scipy.sparse.csr_array, "toarray", lambda rows, *a, **o: (tallest.append(rows.shape[0]), made(rows, *a, **o))[1]
    )
    settings: dict[str, Any] = {"solver": solver, "batch_size": 16, "max_iter": 3, "dropout": 0.3 * (solver == "adam")}
    dense, sparse = (
        MLPClassifier((7,), **CPU, **settings).fit(features, y, weights) for features in (x, scipy.sparse.csr_array(x))
    )
    for a, b in zip(dense.coefs_, sparse.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(dense.predict_proba(x), sparse.predict_proba(scipy.sparse.csc_array(x)))
    assert 0 < max(tallest[:-1]) <= 32


def test_dtypes_are_kept(rng: np.random.Generator) -> None:
    x, y = classes(rng)
    small = (8 * np.abs(x)).astype(np.uint8)
    for features, precision, expected in (
        (x, "auto", "float64"),
        (x.astype(np.float32), "auto", "float32"),
        (small, "auto", "float64"),
        (small, "float32", "float32"),
        (x, "float32", "float32"),
    ):
        model = MLPClassifier(max_iter=1, precision=precision, **CPU).fit(features, y)
        assert model.coefs_[0].dtype == model.predict_proba(features).dtype == expected
    whole = MLPClassifier(max_iter=3, precision="float32", **CPU).fit(small, y)
    given = MLPClassifier(max_iter=3, precision="float32", **CPU).fit(small.astype(np.float32), y)
    np.testing.assert_array_equal(whole.coefs_[0], given.coefs_[0])


def test_validation_data_callbacks_and_the_best_weights(rng: np.random.Generator) -> None:
    x, y = classes(rng)
    x_val, y_val = rng.standard_normal((20, 4)), rng.integers(0, 3, 20)

    class Watch(Callback):
        def on_epoch_end(self, run: Run) -> None:
            losses.append(run.history["val_loss"][-1])

    losses: list[float] = []
    settings: dict[str, Any] = {"max_iter": 12, "learning_rate_init": 0.05, "n_iter_no_change": 100}
    model = MLPClassifier(callbacks=[Watch()], restore_best=True, **settings, **CPU)
    model.fit(x, y, X_val=x_val, y_val=y_val)
    assert len(losses) == len(model.validation_scores_) == 12
    assert model.score(x_val, y_val) == model.best_validation_score_ == max(model.validation_scores_)
    best = 1 + int(np.argmax(model.validation_scores_))
    again = MLPClassifier(**{**settings, "max_iter": best}, **CPU).fit(x, y)
    np.testing.assert_array_equal(model.coefs_[0], again.coefs_[0])
    stopped = MLPClassifier(callbacks=[EarlyStopping(patience=1)], **settings, **CPU).fit(x, y, None, x_val, y_val)
    assert stopped.n_iter_ < 12
    by_loss = MLPRegressor(restore_best=True, learning_rate_init=0.5, max_iter=10, **CPU).fit(x, x[:, 0])
    assert by_loss.validation_scores_ is None
    with pytest.raises(InputError, match="go together"):
        model.fit(x, y, X_val=x_val)


def test_verbose_output(rng: np.random.Generator, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = classes(rng)
    adaptive = MLPClassifier(solver="sgd", learning_rate="adaptive", tol=9.0, n_iter_no_change=1, verbose=True, **CPU)
    adaptive.set_params(early_stopping=True, validation_fraction=0.3).fit(x, y)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("epoch 1, loss ")
    assert lines[1].startswith("validation score ")
    assert lines[6] == "no improvement of the validation score by more than 9 in 1 epochs; learning rate 0.0002"
    assert lines[-1] == "no improvement of the validation score by more than 9 in 1 epochs"
    assert [line.rpartition(" ")[2] for line in lines if "learning rate" in line][-1] == "3.2e-07"
    MLPClassifier(solver="lbfgs", max_iter=2, verbose=True, **CPU).fit(x, y)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_two_threads_may_predict_at_once(rng: np.random.Generator) -> None:
    x, y = classes(rng)
    model = MLPClassifier(max_iter=2, **CPU).fit(x, y)
    expected = model.predict_proba(x)
    with ThreadPoolExecutor(4) as threads:
        for found in threads.map(lambda _: model.predict_proba(x), range(20)):
            np.testing.assert_array_equal(found, expected)


def test_class_weights_are_sample_weights(rng: np.random.Generator) -> None:
    x, y = classes(rng)
    names = np.array(["a", "b", "c"])[y]
    given = MLPClassifier(max_iter=3, class_weight={"a": 1.0, "b": 3.0, "c": 0.5}, **CPU).fit(x, names)
    by_hand = MLPClassifier(max_iter=3, **CPU).fit(x, names, sample_weight=np.array([1.0, 3.0, 0.5])[y])
    np.testing.assert_array_equal(given.coefs_[0], by_hand.coefs_[0])


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_hidden_units_have_bounded_weights(solver: str, rng: np.random.Generator) -> None:
    """One step equals the textbook's projection; over many epochs, also by partial_fit, the bound holds."""
    x, y = classes(rng)
    settings = {"hidden_layer_sizes": (12, 8), "solver": solver, "learning_rate_init": 0.1, **CPU}
    free = MLPClassifier(**settings).partial_fit(x, y, classes=[0, 1, 2])
    bound = MLPClassifier(max_weight_norm=[0.7, None], **settings).partial_fit(x, y, classes=[0, 1, 2])
    assert (np.linalg.norm(free.coefs_[0], axis=0) > 0.7).any()
    np.testing.assert_allclose(bound.coefs_[0], references.limited_columns(free.coefs_[0], 0.7), rtol=1e-6)
    for one, other in zip(bound.coefs_[1:], free.coefs_[1:], strict=True):
        np.testing.assert_array_equal(one, other)
    model = clone(bound).set_params(max_weight_norm=0.5, max_iter=10).fit(x, y)
    assert all((np.linalg.norm(weights, axis=0) <= 0.5 * (1 + 1e-6)).all() for weights in model.coefs_[:-1])
    assert (np.linalg.norm(model.coefs_[-1], axis=0) > 0.5).any(), "the output layer has no bound"
    parts = clone(model)
    for _ in range(10):
        parts.partial_fit(x, y, classes=[0, 1, 2])
    np.testing.assert_array_equal(parts.coefs_[0], model.coefs_[0])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(x), model.predict_proba(x))


def test_pipelines_clones_and_grid_searches(rng: np.random.Generator) -> None:
    x, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    pipeline = make_pipeline(StandardScaler(), MLPClassifier((8,), max_iter=40, learning_rate_init=0.02, **CPU))
    grid = {"mlpclassifier__activation": ["tanh", "gelu"], "mlpclassifier__dropout": [0.0]}
    search = GridSearchCV(pipeline, grid, cv=2, n_jobs=2).fit(x, names)
    assert search.best_score_ > 0.9
    assert set(search.predict(x)) == set(names)
    again = clone(search.best_estimator_).fit(x, names)
    np.testing.assert_array_equal(again.predict_proba(x), search.predict_proba(x))
    labels, several = make_multilabel_classification(60, 4, n_classes=3, random_state=0)
    assert MLPClassifier((8,), max_iter=2, **CPU).fit(labels, several).predict(labels).shape == (60, 3)


# --- the losses of the table --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, rule in LOSSES.items() if not rule.classifies])
def test_a_regressor_takes_every_loss_of_numbers(name: str, rng: np.random.Generator) -> None:
    """By its name or with settings; predict applies the link, and the loss curve is the mean over the outputs."""
    x = rng.standard_normal((50, 4))
    y = TARGETS["counts" if LOSSES[name].predicts == "count" else "numbers"](x)
    for loss in (name, Loss(name, **settings_to_try(LOSSES[name])[-1])):
        model = clone(MLPRegressor(loss, (6,), max_iter=1, alpha=0.0, shuffle=False, batch_size=50, **CPU)).fit(x, y)
        again = MLPRegressor(loss, (6,), max_iter=30, learning_rate_init=0.01, **CPU).fit(x, y)
        assert again.loss_curve_[-1] < again.loss_curve_[0]
        output = again._engine.predict(again._parameters(), x, "identity")
        expected = np.exp(output) if LOSSES[name].link == "exp" else output
        np.testing.assert_allclose(again.predict(x).reshape(output.shape), expected)
        assert again.out_activation_ == LOSSES[name].link
        assert np.isfinite(model.loss_)


def test_a_regressor_refuses_a_loss_of_classes(rng: np.random.Generator) -> None:
    x = rng.standard_normal((50, 4))
    with pytest.raises(InputError, match=r"hinge is a loss for classes; accepted: squared_error, .*, poisson"):
        MLPRegressor("hinge", **CPU).fit(x, x[:, 0])
    with pytest.raises(InputError, match=r"unknown loss 'mse' .*here: 'squared_error'"):
        MLPRegressor("mse", **CPU).fit(x, x[:, 0])


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation: str, rng: np.random.Generator) -> None:
    x, y = classes(rng)
    model = MLPClassifier((6,), activation=activation, max_iter=20, learning_rate_init=0.01, **CPU).fit(x, y)
    assert model.loss_curve_[-1] < model.loss_curve_[0]
