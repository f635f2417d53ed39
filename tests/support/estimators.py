"""Estimators, solvers and targets for tests of bpcore.sklearn."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import neural_network as theirs

from bpcore.sklearn import MLPClassifier, MLPRegressor

CPU: dict[str, Any] = {"device": "cpu", "random_state": 3}


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
    """Our estimator, and scikit-learn's with the settings that it has."""
    own = {"dropout", "restore_best", "precision"}
    shared = {name: value for name, value in settings.items() if name not in own}
    if kind in ("number", "numbers", "counts"):
        loss = "poisson" if kind == "counts" else "squared_error"
        return MLPRegressor(loss, **CPU, **settings), theirs.MLPRegressor(loss, random_state=3, **shared)
    return MLPClassifier(**CPU, **settings), theirs.MLPClassifier(random_state=3, **shared)
