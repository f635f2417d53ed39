"""bpcore as scikit-learn estimators: MLPClassifier and MLPRegressor, with scikit-learn's parameters and more.

from bpcore.sklearn import MLPClassifier

MLPClassifier((256, 128), activation="gelu", dropout=0.2, device="gpu").fit(x, y, X_val=x_val, y_val=y_val)

parameters.py   makes layers, first weights, optimizer and schedule from an estimator's parameters
inputs.py       arrays of any library, on the host or on a device; sparse rows, made dense batch by batch
engine.py       the network behind an estimator; parameters are copied to and from the host
increments.py   reuses the run of the previous partial_fit
epochs.py       the end of an epoch as in scikit-learn: scores, best weights, when to stop
lbfgs.py        the full-batch solver
estimator.py    the base of both estimators: parameters, checked data, predictions
perceptron.py   training of both estimators: fit and partial_fit
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
