"""bpcore as a scikit-learn estimator: MLPClassifier and MLPRegressor with scikit-learn's own parameters, and more.

from bpcore.sklearn import MLPClassifier

MLPClassifier((256, 128), activation="gelu", dropout=0.2, device="gpu").fit(x, y, X_val=x_val, y_val=y_val)

parameters.py   from an estimator's parameters to layers, weights, optimizer and schedule
inputs.py       arrays of any kind, on the host or on a device; sparse rows, made dense batch by batch
engine.py       the network at work behind an estimator; what it knows crosses to the host by name
epochs.py       what scikit-learn does at the end of an epoch: scores, best weights, when to stop
lbfgs.py        the solver that sees all samples at once
estimator.py    what the two estimators share: parameters, checked data, predictions
perceptron.py   how they are trained: fit and partial_fit
classifier.py   MLPClassifier
regressor.py    MLPRegressor
"""

from __future__ import annotations

from bpcore.errors import MissingExtraError

try:
    import sklearn  # noqa: F401  scikit-learn itself
except ImportError as error:
    raise MissingExtraError("bpcore.sklearn", "sklearn") from error

from bpcore.sklearn.classifier import MLPClassifier
from bpcore.sklearn.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
