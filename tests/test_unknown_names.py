"""Unknown names in the tables get a hint, and never a bare KeyError."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import pytest

from bpcore import Optimizer, register_activation
from bpcore.backends import ALIASES
from bpcore.backends.base import PRECISIONS
from bpcore.data import DATASETS
from bpcore.errors import CALLED, InputError, unknown_name
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.kernels.losses import LOSSES
from bpcore.kernels.optimizers import UPDATE_RULES
from bpcore.kernels.table import Table, UnknownNameError
from bpcore.model.initializers import INITIALIZERS
from bpcore.testing import references
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


@pytest.mark.parametrize(
    "kind", ["activation", "loss", "optimizer", "schedule", "initializer", "data set", "update rule"]
)
def test_an_unknown_key_is_an_error_that_names_the_accepted_ones(kind: str) -> None:
    table = {table.kind: table for table in (*TABLES.values(), DATASETS, UPDATE_RULES) if isinstance(table, Table)}[
        kind
    ]
    with pytest.raises(UnknownNameError) as caught:
        table["nothing"]
    assert str(caught.value) == f"unknown {kind} 'nothing'; accepted: {', '.join(table)}"
    assert table.get("nothing") is None
    assert "nothing" not in table


def test_a_missing_reference_says_what_to_do() -> None:
    for table in (references.ACTIVATIONS, references.LOSSES, references.OPTIMIZERS):
        with pytest.raises(
            AssertionError, match=f"no reference for 'nothing': write one; it has {next(iter(table))}, "
        ):
            table["nothing"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: register_activation("mine", abs, abs, initializer="he"), "unknown initializer 'he'"),
        (lambda: type("Mine", (Optimizer,), {}, name="mine", rule="sdg"), "unknown update rule 'sdg'; accepted: sgd, "),
        (lambda: LOSSES["hinge"].setting("margin"), "unknown setting of hinge 'margin'"),
    ],
)
def test_declarations_name_what_they_do_not_find(make: Callable[[], object], message: str) -> None:
    with pytest.raises((InputError, UnknownNameError), match=message):
        make()
    assert "mine" not in OPTIMIZERS


def test_a_name_unlike_any_other_gets_no_hint() -> None:
    assert str(unknown_name("loss", "quantile", ["hinge"])) == "unknown loss 'quantile'; accepted: hinge"


def test_hints_lead_to_existing_names() -> None:
    assert set(CALLED) <= {name for table in TABLES.values() for name in table}
    for table in TABLES.values():
        others = {other for name in table for other in CALLED.get(name, "").split()}
        assert not others & set(table)
