"""The estimators beside scikit-learn's own: the same numbers where both can do it, and what only these can."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from sklearn import neural_network as theirs
from sklearn.base import clone
from sklearn.datasets import load_iris, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from bpcore import Callback, EarlyStopping, OneCycle
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.errors import BpcoreError, InputError
from bpcore.sklearn import MLPClassifier, MLPRegressor, engine, increments, inputs, lbfgs
from bpcore.testing import references
from bpcore.training.run import Run
from support import stand_in_cublas
from support.stand_in import Device

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CPU: dict[str, Any] = {"device": "cpu", "random_state": 3}


@parametrize_with_checks([MLPClassifier(max_iter=20, device="cpu"), MLPRegressor(max_iter=20, device="cpu")])
def test_scikit_learn_s_own_checks(estimator: Any, check: Any) -> None:
    check(estimator)


# --- the same as scikit-learn -----------------------------------------------------------------------------------


def classes(rng: np.random.Generator, count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    return rng.standard_normal((50, 4)), np.arange(50) % count


TARGETS = {
    "classes": lambda x: np.arange(50) % 3,
    "yes or no": lambda x: np.where(x[:, 0] > 0, "yes", "no"),
    "labels": lambda x: (x[:, :3] > 0).astype(int),
    "number": lambda x: x[:, 0] - x[:, 1] ** 2,
    "numbers": lambda x: np.stack([x[:, 0] - x[:, 1], 3 * x[:, 2]], axis=1),
    "counts": lambda x: np.round(np.exp(x[:, 0])),
}
SOLVERS: list[dict[str, Any]] = [
    {"solver": "adam", "alpha": 0.7},
    {"solver": "sgd", "alpha": 0.0, "learning_rate_init": 0.01},
    {"solver": "sgd", "nesterovs_momentum": False, "learning_rate": "invscaling", "learning_rate_init": 0.05},
    {"solver": "sgd", "momentum": 0.0, "learning_rate": "adaptive", "tol": 1.0, "n_iter_no_change": 1},
]


def pair(kind: str, **settings: Any) -> tuple[Any, Any]:
    """Ours, and theirs with the same settings, as far as it has them."""
    own = {"dropout", "restore_best", "precision"}
    shared = {name: value for name, value in settings.items() if name not in own}
    if kind in ("number", "numbers", "counts"):
        loss = "poisson" if kind == "counts" else "squared_error"
        return MLPRegressor(loss, **CPU, **settings), theirs.MLPRegressor(loss, random_state=3, **shared)
    return MLPClassifier(**CPU, **settings), theirs.MLPClassifier(random_state=3, **shared)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("settings", SOLVERS, ids=str)
@pytest.mark.parametrize("kind", TARGETS)
def test_training_is_scikit_learn_s(
    kind: str, settings: dict[str, Any], weighted: bool, rng: np.random.Generator
) -> None:
    """The same first weights, losses, learning rates and weights, epoch by epoch, with a short last batch."""
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
def test_weights_of_scikit_learn_predict_the_same(kind: str, rng: np.random.Generator) -> None:
    x = rng.standard_normal((50, 4))
    ours, other = pair(kind, hidden_layer_sizes=(7, 5), activation="tanh", max_iter=1, alpha=2.0)
    other.set_params(random_state=7).fit(x, TARGETS[kind](x))
    ours.fit(x, TARGETS[kind](x))
    ours.coefs_, ours.intercepts_ = other.coefs_, other.intercepts_
    if isinstance(ours, MLPClassifier):
        np.testing.assert_allclose(ours.predict_proba(x), other.predict_proba(x), rtol=1e-10)
    else:
        np.testing.assert_allclose(ours.predict(x), other.predict(x), rtol=1e-10)
    for estimator in (ours, other):  # one batch: the loss is that of the weights as they were
        estimator.set_params(warm_start=True).fit(x, TARGETS[kind](x))
    assert ours.loss_ == pytest.approx(other.loss_, rel=1e-10)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", TARGETS)
def test_lbfgs_has_scikit_learn_s_loss_and_gradient(
    kind: str, weighted: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the samples come in several batches, the last one short."""
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
        if kind != "numbers":  # of several numbers scikit-learn's gradient is not that of its loss
            assert loss == pytest.approx(expected, rel=1e-10)
        for name, wanted in zip(names, [*of_coefs, *of_intercepts], strict=True):
            found = gradient[views[name].first : views[name].first + views[name].size]
            np.testing.assert_allclose(found, wanted.ravel(), rtol=1e-8, atol=1e-12)
    values = np.concatenate([array.ravel() for array in ours.coefs_ + ours.intercepts_])
    other._unpack(values)
    expected, *_ = other._backprop(x, targets, weights, [x, None, None], [None, None], *empty)
    assert ours.loss_ == pytest.approx(expected, rel=1e-8)
    assert ours.n_iter_ == 4


def test_lbfgs_finds_the_minimum_and_says_when_it_does_not(rng: np.random.Generator) -> None:
    x, y = load_iris(return_X_y=True)
    model = MLPClassifier((), solver="lbfgs", alpha=1.0, max_iter=500, tol=1e-6, **CPU).fit(x, y)
    other = theirs.MLPClassifier((), solver="lbfgs", alpha=1.0, max_iter=500, tol=1e-6, random_state=5).fit(x, y)
    assert model.loss_ == pytest.approx(other.loss_, rel=1e-6)
    assert not hasattr(model, "loss_curve_")
    with pytest.warns(ConvergenceWarning, match="not converged in 3 iterations"):
        MLPClassifier(solver="lbfgs", max_iter=3, **CPU).fit(x, y)


@pytest.mark.parametrize("kind", ["yes or no", "classes", "labels", "number"])
def test_early_stopping_is_scikit_learn_s(kind: str, rng: np.random.Generator) -> None:
    """The same split, and the best weights in the end; the order of the samples has no part in one batch."""
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


# --- what only these do -----------------------------------------------------------------------------------------


PARTIAL: list[dict[str, Any]] = [
    {"dropout": 0.3, "batch_size": 16},
    {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.05, "n_iter_no_change": 1, "batch_size": 16},
    {"early_stopping": True, "validation_fraction": 0.3, "tol": 0.0, "n_iter_no_change": 1, "batch_size": 16},
    {"learning_rate": "one_cycle", "activation": ["prelu", "gelu"], "batch_size": 16},
    {"solver": "sgd", "learning_rate": OneCycle(), "restore_best": True, "precision": "float32", "batch_size": 16},
]


@pytest.mark.parametrize("settings", PARTIAL, ids=str)
@pytest.mark.parametrize("kind", ["classes", "labels", "number"])
def test_partial_fits_are_one_fit_bit_for_bit(kind: str, settings: dict[str, Any], rng: np.random.Generator) -> None:
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


def test_partial_fit_takes_what_comes(rng: np.random.Generator) -> None:
    """Other numbers of samples, classes that come late; once stopped, it says so."""
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


def test_warm_start_goes_on(rng: np.random.Generator) -> None:
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
    """Never all of them; and what is learned has the same bits as from a dense matrix."""
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


def test_types_are_kept(rng: np.random.Generator) -> None:
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


def test_it_says_what_it_does(rng: np.random.Generator, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_two_threads_may_ask_at_once(rng: np.random.Generator) -> None:
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
    """One step, then the textbook's projection; over many epochs, also in parts, no unit's weights are longer."""
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


# --- another device -----------------------------------------------------------------------------------------------


@pytest.fixture
def gpu_stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """device="gpu" is a stand-in, whose graphs refuse whatever needs the host, until the patch is undone."""
    device = Device()
    backend = CupyBackend(device, device.launch, stand_in_cublas.Cublas(device))
    made = engine.get_backend
    monkeypatch.setattr(engine, "get_backend", lambda name: backend if name == "gpu" else made(name))
    yield monkeypatch
    assert device.graphs or not device.launches


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("weighted", [False, True])
def test_partial_fits_of_a_stream_share_one_run(
    device: str, weighted: bool, rng: np.random.Generator, gpu_stand_in: pytest.MonkeyPatch
) -> None:
    """Other samples of the same kind at each call: bit for bit what estimators do that are made anew each time."""
    runs, begin = [], Run.__init__
    gpu_stand_in.setattr(Run, "__init__", lambda run, *given: (runs.append(run), begin(run, *given))[1])
    settings: dict[str, Any] = {"batch_size": 16, "hidden_layer_sizes": (7,), "dropout": 0.2, "device": device}
    kept, anew = (MLPClassifier(**CPU | settings) for _ in range(2))
    for call in range(6):
        x, y = rng.integers(0, 9, (40, 5)).astype(np.float32), rng.integers(0, 3, 40)
        given: dict[str, Any] = {"sample_weight": rng.random(40) + 0.5} if weighted else {}
        before = x.copy(), y.copy()
        if call == 3:
            for model in (kept, anew):
                model.set_params(learning_rate_init=0.01)
                model.coefs_[0][:2] *= 0.5
        made = len(runs)
        kept.partial_fit(x, y, classes=[0, 1, 2], **given)
        assert len(runs) - made == (call in (0, 3))
        anew = pickle.loads(pickle.dumps(anew)).partial_fit(x, y, classes=[0, 1, 2], **given)
        assert kept.loss_curve_ == anew.loss_curve_
        for mine, other in zip(kept.coefs_ + kept.intercepts_, anew.coefs_ + anew.intercepts_, strict=True):
            np.testing.assert_array_equal(mine, other)
        np.testing.assert_array_equal(kept.predict(x[:5]), anew.predict(x[:5]))
        np.testing.assert_array_equal(x, before[0])
        np.testing.assert_array_equal(y, before[1])


@pytest.mark.parametrize("large", [False, True])
def test_what_no_run_is_kept_for(large: bool, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sparse rows, and many samples: as before, bit for bit."""
    x, y = classes(rng)
    model, other = (MLPClassifier(batch_size=16, **CPU) for _ in range(2))
    with monkeypatch.context() as patch:
        if large:
            patch.setattr(increments, "KEPT_BYTES", 100)
        for _ in range(3):
            model.partial_fit(x if large else scipy.sparse.csr_array(x), y, classes=[0, 1, 2])
    for _ in range(3):
        other.partial_fit(x, y, classes=[0, 1, 2])
    assert model._engine.increments._last is None
    np.testing.assert_array_equal(model.coefs_[0], other.coefs_[0])


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("sparse", [False, True])
def test_what_a_gpu_has_learned_goes_to_a_machine_without_one(
    solver: str, sparse: bool, rng: np.random.Generator, gpu_stand_in: pytest.MonkeyPatch
) -> None:
    """Fitted on the stand-in: what the CPU learns, up to rounding. Unpickled where there is no GPU, it predicts."""
    x, y = classes(rng)
    features = scipy.sparse.csr_array(x) if sparse else x
    settings: dict[str, Any] = {"hidden_layer_sizes": (7,), "solver": solver, "batch_size": 16, "max_iter": 3}
    on_gpu = MLPClassifier(random_state=3, device="gpu", **settings).fit(features, y)
    on_cpu = MLPClassifier(**CPU, **settings).fit(features, y)
    np.testing.assert_allclose(on_gpu.coefs_[0], on_cpu.coefs_[0], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(on_gpu.predict_proba(features), on_cpu.predict_proba(features), rtol=1e-6)
    stored = pickle.dumps(on_gpu)
    gpu_stand_in.undo()
    there = pickle.loads(stored)
    with pytest.raises(BpcoreError, match=r"GPU|CUDA|bpcore\[cuda"):
        there.predict(x)
    np.testing.assert_allclose(there.set_params(device="auto").predict_proba(x), on_cpu.predict_proba(x), rtol=1e-6)
    if solver != "lbfgs":
        there.partial_fit(x, y)
        on_cpu.partial_fit(x, y)
        np.testing.assert_allclose(there.coefs_[0], on_cpu.coefs_[0], rtol=1e-6, atol=1e-9)


def test_arrays_of_the_device_stay_there(rng: np.random.Generator) -> None:
    device = Device()
    backend = CupyBackend(device, device.launch)
    x = backend.asarray(rng.standard_normal((5, 4)))
    assert inputs.for_samples(x, backend) is x
    assert clone(MLPClassifier(device=backend)).device is backend


# --- what cannot be used ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_layer_sizes": (3, 0)}, "hidden_layer_sizes must be > 0"),
        ({"activation": "rleu"}, "did you mean 'relu'"),
        ({"activation": ["relu", "tanh"]}, "2 entries, but there are 1 hidden layers"),
        ({"dropout": [0.1, 0.2]}, "2 entries, but there are 1 hidden layers"),
        ({"dropout": [1.5]}, "dropout rate 1.5 is out of range"),
        ({"dropout": 1.0}, "'dropout' parameter of MLPClassifier"),
        ({"learning_rate": "cosin"}, "'learning_rate' parameter of MLPClassifier"),
        ({"precision": "float16"}, "'precision' parameter of MLPClassifier"),
        ({"precision": "tf32"}, "needs a GPU"),
        ({"precision": "bfloat16"}, "needs a GPU"),
        ({"device": "cpuu"}, "unknown backend 'cpuu'"),
        ({"learning_rate": OneCycle}, "schedule <class .*OneCycle'> cannot be used"),
        ({"callbacks": [print]}, "is not a callback"),
        ({"callbacks": [EarlyStopping]}, "EarlyStopping in callbacks is a class"),
        ({"max_weight_norm": 0.0}, "'max_weight_norm' parameter of MLPClassifier"),
        ({"max_weight_norm": [3.0, None]}, "2 entries, but there are 1 hidden layers"),
        ({"max_weight_norm": [-1.0]}, "max_weight_norm=-1.0; accepted: a positive number"),
        ({"solver": "lbfgs", "max_weight_norm": 3.0}, "max_weight_norm is for the solvers adam and sgd"),
        ({"solver": "lbfgs", "dropout": 0.1}, "dropout is for the solvers adam and sgd"),
        ({"solver": "lbfgs", "learning_rate": "cosine"}, "learning_rate is for the solvers adam and sgd"),
        ({"early_stopping": True, "validation_fraction": 0.01}, "the validation set has 1 of 50 samples"),
    ],
    ids=str,
)
def test_one_line_for_what_cannot_be_used(settings: dict[str, Any], message: str, rng: np.random.Generator) -> None:
    x, y = classes(rng)
    with pytest.raises((ValueError, TypeError), match=message):
        MLPClassifier(**{**CPU, **settings}).fit(x, y)


def test_targets_that_cannot_be_used(rng: np.random.Generator) -> None:
    x, y = classes(rng)
    with pytest.raises(InputError, match="all samples have weight zero"):
        MLPClassifier(class_weight={0: 0.0, 1: 0.0, 2: 0.0}, **CPU).fit(x, y)
    with pytest.raises(InputError, match="zero or more for the Poisson loss"):
        MLPRegressor("poisson", **CPU).fit(x, x[:, 0])
    with pytest.raises(ValueError, match="Unknown label type"):
        MLPClassifier(**CPU).fit(x, x[:, 0])
    with pytest.raises(InputError, match="multiclass-multioutput"):
        MLPClassifier(**CPU).fit(x, np.stack([y, y], axis=1))
    with pytest.warns(UserWarning, match="batch_size=70 is more than the 50 samples"):
        MLPClassifier(batch_size=70, max_iter=1, **CPU).fit(x, y)
