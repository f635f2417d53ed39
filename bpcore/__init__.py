"""bpcore: train multilayer perceptrons by backpropagation, fast, on NumPy or CuPy.

Train a network on MNIST, and evaluate it:

    import bpcore

    data = bpcore.load_dataset("mnist")
    network = bpcore.Network([bpcore.Dense(128, "relu"), bpcore.Dense(10)])
    network.fit(data.x_train, data.y_train, epochs=10, validation=(data.x_test, data.y_test))
    print(network.evaluate(data.x_test, data.y_test))
"""

from __future__ import annotations

from bpcore.backends import available_backends, get_backend
from bpcore.data import load_dataset
from bpcore.errors import BpcoreError, InputError, InputTypeError, MissingExtraError
from bpcore.inspection.diagnostics import Diagnostics
from bpcore.inspection.gradcheck import gradcheck
from bpcore.model.activations import register_activation
from bpcore.model.layers import Activation, Dense, Dropout, Layer, Maxout, Residual
from bpcore.model.losses import (
    BinaryCrossEntropy,
    Hinge,
    Huber,
    Loss,
    Poisson,
    SoftmaxCrossEntropy,
    SquaredError,
    register_loss,
)
from bpcore.network import Network
from bpcore.training.callbacks import Callback, EarlyStopping, StopAtLoss
from bpcore.training.history import Evaluation, History
from bpcore.training.nonfinite import NonFiniteLossError
from bpcore.training.optimizers import SGD, Adam, AdamW, Lion, Momentum, Nesterov, Optimizer, RMSProp
from bpcore.training.progress import Progress
from bpcore.training.schedules import Constant, Cosine, OneCycle, Schedule, Step, WarmUp

__version__ = "0.1.0"

__all__ = [
    "SGD",
    "Activation",
    "Adam",
    "AdamW",
    "BinaryCrossEntropy",
    "BpcoreError",
    "Callback",
    "Constant",
    "Cosine",
    "Dense",
    "Diagnostics",
    "Dropout",
    "EarlyStopping",
    "Evaluation",
    "Hinge",
    "History",
    "Huber",
    "InputError",
    "InputTypeError",
    "Layer",
    "Lion",
    "Loss",
    "Maxout",
    "MissingExtraError",
    "Momentum",
    "Nesterov",
    "Network",
    "NonFiniteLossError",
    "OneCycle",
    "Optimizer",
    "Poisson",
    "Progress",
    "RMSProp",
    "Residual",
    "Schedule",
    "SoftmaxCrossEntropy",
    "SquaredError",
    "Step",
    "StopAtLoss",
    "WarmUp",
    "__version__",
    "available_backends",
    "get_backend",
    "gradcheck",
    "load_dataset",
    "register_activation",
    "register_loss",
]
