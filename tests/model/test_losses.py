"""Every loss of the table: training, evaluation, prediction and saving follow what its entry declares."""

from __future__ import annotations

import copy
import pickle
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bpcore
from bpcore import Adam, Dense, Loss, Network
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.cli.gradcheck import random_targets
from bpcore.errors import InputError, InputTypeError
from bpcore.kernels.losses import ANY_NUMBERS, LOSSES, Setting
from bpcore.model import losses
from bpcore.testing import references
from bpcore.testing.common import settings_to_try
from support.stand_in import Device

CLASSES = {kind.name: kind for kind in vars(losses).values() if isinstance(kind, type) and hasattr(kind, "name")}
LINKS = {"identity": lambda z: z, "exp": np.exp, "softmax": references.softmax, "sigmoid": references.sigmoid}


@pytest.fixture(params=["numpy", "cupy"])
def backend(request: pytest.FixtureRequest) -> Any:
    """The CPU's backend, and the GPU's on the stand-in device."""
    device = Device()
    return "numpy" if request.param == "numpy" else CupyBackend(device, device.launch)


def trained(loss: Loss, backend: Any = "numpy", outputs: int = 3, **options: Any) -> tuple[Network, Any, Any, Any]:
    """A network trained on targets of the kind that the loss predicts; x, y and the history."""
    rng = np.random.default_rng(7)
    x, y = rng.standard_normal((40, 5)), random_targets(loss, rng, 40, outputs)
    network = Network([Dense(6, "tanh"), Dense(outputs)], backend=backend, precision="float64", seed=1)
    fit: dict[str, Any] = {"optimizer": Adam(learning_rate=0.01), "epochs": 6, "batch_size": 16, **options}
    return network, x, y, network.fit(x, y, loss=loss, validation=(x, y), **fit)


@pytest.mark.filterwarnings("ignore:.*cuBLASLt")
@pytest.mark.parametrize("name", LOSSES)
def test_training_and_evaluation(name: str, backend: Any) -> None:
    rule = LOSSES[name]
    for settings in settings_to_try(rule):
        network, x, y, history = trained(Loss(name, **settings), backend)
        assert history["loss"][-1] < history["loss"][0]
        assert ("val_accuracy" in history) == network.classifies == rule.classifies
        z = network.output(x)
        targets = np.eye(3)[y] if y.ndim == 1 else y
        expected, _ = references.loss_and_delta(name, z, targets, np.ones(40), **settings)
        evaluation = network.evaluate(x, y)
        assert evaluation.loss == pytest.approx(expected, rel=1e-10) == pytest.approx(history["val_loss"][-1])
        if rule.predicts == "yes_or_no":
            assert evaluation.accuracy == ((z > 0) == y).all(axis=1).mean()
        elif rule.classifies:
            assert evaluation.accuracy == (z.argmax(axis=1) == y).mean()


@pytest.mark.filterwarnings("ignore:.*cuBLASLt")
@pytest.mark.parametrize("name", LOSSES)
def test_predictions(name: str, backend: Any) -> None:
    rule = LOSSES[name]
    network, x, y, _ = trained(Loss(name), backend)
    z, predictions = network.output(x), network.predict(x)
    if rule.predicts == "label":
        np.testing.assert_array_equal(predictions, z.argmax(axis=1))
        assert network.confusion_matrix(x, y).trace() == (predictions == y).sum()
    elif rule.predicts == "yes_or_no":
        np.testing.assert_array_equal(predictions, z > 0)
        assert predictions.dtype == np.int64
    else:
        np.testing.assert_allclose(predictions, LINKS[rule.link](z), rtol=1e-14)
        assert predictions.shape == y.shape
    if rule.predicts != "label":
        with pytest.raises(InputError, match="confusion matrix"):
            network.confusion_matrix(x, y)
    if rule.gives_probabilities:
        np.testing.assert_allclose(network.predict_proba(x), LINKS[rule.link](z), rtol=1e-12)
    else:
        with pytest.raises(InputError, match=f"trained with {name} gives no probabilities"):
            network.predict_proba(x)


@pytest.mark.parametrize("name", LOSSES)
def test_class_labels_make_a_classifier(name: str, rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((40, 5)), rng.integers(0, 3, 40)
    network = Network([Dense(6, "tanh"), Dense(3)], backend="numpy", seed=1)
    network.fit(x, y, loss=name, epochs=2)
    assert network.classifies
    assert network.predict(x).dtype == np.int64


@pytest.mark.parametrize("name", [name for name, rule in LOSSES.items() if rule.predicts != "label"])
def test_one_output(name: str) -> None:
    network, x, y, _ = trained(Loss(name), outputs=1)
    assert network.predict(x).shape == (x.shape[:1] if LOSSES[name].predicts == "yes_or_no" else y.shape)


@pytest.mark.parametrize("name", LOSSES)
def test_targets_of_another_kind_are_refused(name: str, rng: np.random.Generator) -> None:
    rule = LOSSES[name]
    network = Network([Dense(3)], backend="numpy")
    if rule.targets is not ANY_NUMBERS:
        with pytest.raises(InputError, match=r"^y must ") as refused:
            network.fit(np.ones((4, 2)), np.full((4, 3), -0.5), loss=name)
        assert str(refused.value) == f"y must {rule.targets.must}"
    if rule.several:
        with pytest.raises(InputError, match=f"{name} of one output is always zero"):
            Network([Dense(1)], backend="numpy").fit(np.ones((4, 2)), np.ones(4), loss=name)


@pytest.mark.parametrize("name", LOSSES)
def test_a_saved_model_keeps_its_loss(name: str, tmp_path: Path) -> None:
    for settings in settings_to_try(LOSSES[name]):
        network, x, _, _ = trained(Loss(name, **settings), epochs=1)
        network.save(tmp_path / "model")
        again = Network.load(tmp_path / "model")
        assert again.loss == network.loss == copy.deepcopy(network.loss) == pickle.loads(pickle.dumps(network.loss))
        assert hash(again.loss) == hash(network.loss)
        np.testing.assert_array_equal(again.predict(x), network.predict(x))


def test_a_model_that_an_earlier_version_saved() -> None:
    """Its file gives each loss a label smoothing."""
    assert Loss(**{"name": "hinge", "label_smoothing": 0.0}) == bpcore.Hinge()
    assert Loss(**{"name": "softmax_cross_entropy", "label_smoothing": 0.1}) == bpcore.SoftmaxCrossEntropy(0.1)


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_has_a_class_with_its_settings(name: str) -> None:
    kind, rule = CLASSES[name], LOSSES[name]
    assert getattr(bpcore, kind.__name__) is kind
    assert {field.name: field.default for field in fields(kind)} == {one.name: one.default for one in rule.settings}
    for settings in settings_to_try(rule):
        assert kind(**settings) == Loss(name, **settings) == Loss(**kind(**settings).config())
        assert kind(**settings).settings == tuple(settings.values())
        assert repr(kind(**settings)) == f"{kind.__name__}({', '.join(f'{k}={v!r}' for k, v in settings.items())})"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Loss("huber", threshold=0.0), "threshold=0.0; accepted: 0 < threshold"),
        (lambda: bpcore.Huber(float("nan")), "threshold=nan; accepted: 0 < threshold"),
        (lambda: bpcore.Huber("1"), "threshold='1'; accepted: 0 < threshold"),
        (
            lambda: Loss("huber", 0.1),
            "label_smoothing is for softmax_cross_entropy, binary_cross_entropy, not for huber",
        ),
        (lambda: Loss("huber", treshold=1.0), r"unknown setting of huber 'treshold' \(did you mean 'threshold'"),
        (lambda: Loss("hinge", margin=1.0), "hinge has no settings, but margin was given"),
        (lambda: Loss("hinge", threshold=1.0), "threshold is for huber, not for hinge"),
    ],
)
def test_bad_settings_get_one_line(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_loss_is_not_changed() -> None:
    """The device has the settings already, in recorded steps."""
    for loss in (Loss("huber"), bpcore.Huber(), bpcore.Hinge()):
        with pytest.raises(AttributeError):
            loss.threshold = 2.0  # type: ignore[misc]
    assert Loss("huber") != Loss("huber", threshold=2.0) != bpcore.Hinge() != "hinge"
    assert repr(Loss("huber")) == "Loss(name='huber', threshold=1.0)"
    with pytest.raises(InputTypeError, match="loss 3 cannot be used"):
        losses.get_loss(3)  # type: ignore[arg-type]


def test_the_range_of_a_setting_in_words() -> None:
    assert Setting("a", 1.0).accepted == "a finite number"
    assert Setting("a", 1.0, at_least=0.5).accepted == "0.5 <= a"
    assert Setting("a", 1.0, above=0.0, below=2.0).accepted == "0 < a < 2"
    assert [Setting("a", 1.0, above=0.0, below=2.0).accepts(value) for value in (0.0, 1.0, 2.0)] == [False, True, False]
    assert not Setting("a", 1.0).accepts(float("inf"))


def test_outliers_pull_less_on_a_line_that_huber_fits(rng: np.random.Generator) -> None:
    x = np.linspace(-1, 1, 60)[:, None]
    y = 2 * x
    y[::10] += 30.0
    slopes = {}
    for name in ("squared_error", "huber"):
        network = Network([Dense(1)], backend="numpy", precision="float64")
        network.fit(x, y, loss=name, optimizer=Adam(learning_rate=0.05), epochs=200, batch_size=60)
        slopes[name] = float(abs(network.predict(x) - 2 * x).mean())
    assert slopes["huber"] < 0.2 * slopes["squared_error"]
