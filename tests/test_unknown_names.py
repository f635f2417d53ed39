"""Unknown names in the tables get a hint."""

from __future__ import annotations

from dataclasses import fields

import pytest

from bpcore.backends import ALIASES
from bpcore.backends.base import PRECISIONS
from bpcore.errors import CALLED, unknown_name
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.kernels.losses import LOSSES
from bpcore.model.initializers import INITIALIZERS
from bpcore.training.optimizers import OPTIMIZERS
from bpcore.training.schedules import SCHEDULES

TABLES = {
    "loss": LOSSES,
    "activation": ACTIVATIONS,
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "initializer": INITIALIZERS,
    "precision": PRECISIONS,
    "device": ALIASES,
    "setting": {setting.name for kind in OPTIMIZERS.values() for setting in fields(kind)},
}


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        ("loss", "mse", "here: 'squared_error'"),
        ("loss", "MSELoss", "here: 'squared_error'"),
        ("loss", "cross_entropy", "here: 'softmax_cross_entropy'"),
        ("loss", "CrossEntropyLoss", "here: 'softmax_cross_entropy'"),
        ("loss", "sparse_categorical_crossentropy", "here: 'softmax_cross_entropy'"),
        ("loss", "log_loss", "here: 'binary_cross_entropy' or 'softmax_cross_entropy'"),
        ("loss", "hing", "did you mean 'hinge'?"),
        ("activation", "logistic", "here: 'sigmoid'"),
        ("activation", "leaky", "here: 'leaky_relu'"),
        ("activation", "LeakyReLU", "did you mean 'leaky_relu'?"),
        ("optimizer", "Adam", "did you mean 'adam'?"),
        ("schedule", "CosineAnnealingLR", "here: 'cosine'"),
        ("initializer", "kaiming_normal_", "here: 'he_normal'"),
        ("precision", "bf16", "here: 'bfloat16'"),
        ("device", "cuda", "here: 'gpu'"),
        ("setting", "lr", "here: 'learning_rate'"),
    ],
)
def test_names_of_other_libraries_get_a_hint(kind: str, name: str, hint: str) -> None:
    accepted = sorted(TABLES[kind])
    assert (
        str(unknown_name(kind, name, accepted)) == f"unknown {kind} {name!r} ({hint}); accepted: {', '.join(accepted)}"
    )


def test_a_name_unlike_any_other_gets_no_hint() -> None:
    assert str(unknown_name("loss", "quantile", ["hinge"])) == "unknown loss 'quantile'; accepted: hinge"


def test_hints_lead_to_existing_names() -> None:
    assert set(CALLED) <= {name for table in TABLES.values() for name in table}
    for table in TABLES.values():
        others = {other for name in table for other in CALLED.get(name, "").split()}
        assert not others & set(table)
