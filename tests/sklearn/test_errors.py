"""Unusable arguments and targets of the estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bpcore import EarlyStopping, OneCycle
from bpcore.errors import InputError
from bpcore.sklearn import MLPClassifier, MLPRegressor
from support.estimators import CPU, classes

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


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
def test_bad_arguments_get_one_line(settings: dict[str, Any], message: str, rng: np.random.Generator) -> None:
    x, y = classes(rng)
    with pytest.raises((ValueError, TypeError), match=message):
        MLPClassifier(**{**CPU, **settings}).fit(x, y)


def test_bad_targets_get_one_line(rng: np.random.Generator) -> None:
    x, y = classes(rng)
    with pytest.raises(InputError, match="all samples have weight zero"):
        MLPClassifier(class_weight={0: 0.0, 1: 0.0, 2: 0.0}, **CPU).fit(x, y)
    with pytest.raises(InputError, match="zero or more for the Poisson loss"):
        MLPRegressor("poisson", **CPU).fit(x, x[:, 0])
    with pytest.raises(ValueError, match="Unknown label type"):
        MLPClassifier(**CPU).fit(x, x[:, 0])
    with pytest.raises(InputError, match="multiclass-multioutput"):
        MLPClassifier(**CPU).fit(x, np.stack([y, y], axis=1))
    with pytest.warns(UserWarning, match="batch_size=70 exceeds the 50 samples"):
        MLPClassifier(batch_size=70, max_iter=1, **CPU).fit(x, y)
