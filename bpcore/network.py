"""Network, the class for users: fit, evaluate, predict, save, load, summary."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from bpcore import checkpoint
from bpcore.backends.base import Backend
from bpcore.backends.samples import Samples
from bpcore.data.files import as_path
from bpcore.errors import BpcoreError, InputError, InputTypeError, counted
from bpcore.model.layer_stack import LayerStack, check_seed, number_in
from bpcore.model.layers import Layer, layer_from_config, walk
from bpcore.model.losses import Answer, Loss, get_loss
from bpcore.training import samples
from bpcore.training.callbacks import Callback, asked_by, check_callbacks
from bpcore.training.evaluation import Evaluator
from bpcore.training.history import Evaluation, History
from bpcore.training.loop import train
from bpcore.training.optimizers import Optimizer, get_optimizer
from bpcore.training.passes import EVALUATION_BATCH
from bpcore.training.prediction import ConfusionCounter, Predictor
from bpcore.training.run import Run
from bpcore.training.schedules import Constant, Schedule, get_schedule
from bpcore.training.settings import Settings, TrainingState

BUFFERS = ("parameters", "capacity", "_mark", "_lowest", "_delta", "_passed", "_alone")
"""Attributes that are not copied with a network; the copy makes its own."""

Data = tuple[Any, Any] | tuple[Any, Any, Any]


class Network(LayerStack):
    """A multilayer perceptron.

        network = Network([Dense(128, "relu"), Dense(10)])
        network.fit(x_train, y_train, epochs=10, validation=(x_test, y_test))
        network.predict(x_test)

    layers, inputs, backend, precision, seed: see LayerStack. `loss` is the loss of the last fit; `about` is a
    dictionary of JSON values, such as class names or the source of the data, that is saved with the network.

    A network makes one call at a time, in its own buffers: calls from several threads wait for one another. A copy
    (copy.deepcopy, pickle) is an independent network with the same weights.
    """

    def __init__(
        self,
        layers: Sequence[Layer],
        *,
        inputs: int | None = None,
        backend: str | Backend = "auto",
        precision: str = "float32",
        seed: int = 0,
    ) -> None:
        super().__init__(layers, inputs=inputs, backend=backend, precision=precision, seed=seed)
        self.loss: Loss | None = None
        self.classifies = False
        self.scale, self.shift = 1.0, 0.0
        self.about: dict[str, Any] = {}
        self._alone = threading.RLock()

    def __repr__(self) -> str:
        """A short description; `summary` has more."""
        size = "not built"
        if self.inputs:
            size = f"{self.inputs} inputs, {self.outputs} outputs, {self.parameters.count:,} parameters"
        return f"<Network of {len(self.layers)} layers, {size}, on {self.backend.name}>"

    def fit(
        self,
        x: Any,
        y: Any,
        *,
        loss: str | Loss | None = None,
        optimizer: str | Optimizer = "adam",
        schedule: str | Schedule | None = None,
        epochs: int = 10,
        batch_size: int = 128,
        sample_weight: Any = None,
        validation: Data | None = None,
        callbacks: Sequence[Callback] = (),
        seed: int = 0,
        shuffle: bool = True,
        scale: float | None = None,
        shift: float = 0.0,
        resident: bool | None = None,
        start: TrainingState | None = None,
    ) -> History:
        """Train on x (samples, N) and y, which are kept on the device for the whole run if they fit.

        x           uint8 or real numbers; images (samples, height, width) are flattened
        y           integer labels (samples,), or targets (samples, M): one-hot, soft, several labels, numbers
        loss        a name or a Loss; by default softmax_cross_entropy for labels and squared_error for numbers
        optimizer   a name, for its default settings, or an Optimizer
        schedule    a name or a Schedule; by default constant
        validation  (x, y) or (x, y, sample_weight), evaluated after each epoch
        callbacks   a list of Callback objects, called in this order between the steps
        seed        the seed of the shuffles and the dropout masks
        scale       the network sees x * scale + shift; by default 1/255 for uint8 and 1 otherwise
        resident    data larger than a GPU's memory stays in host memory, or in the file if x is memory-mapped, and is
                    streamed; True forbids streaming, False forces it. It has no effect on the CPU
        start       an earlier run's training_state(), taken by a callback: if the network has that run's weights,
                    training continues as if uninterrupted; epochs and the history include the earlier run

        Returns the history. A batch size above the number of samples means the whole data set. Raises InputError or
        InputTypeError for input that cannot be used, before training begins, and NonFiniteLossError if the loss
        becomes infinite or NaN; the network then keeps the last good weights.
        """
        callbacks = check_callbacks(callbacks)
        chosen = self._default_loss(y) if loss is None else get_loss(loss)
        data = samples.prepare(self, x, y, chosen, sample_weight, scale=scale, shift=shift)
        settings = Settings(
            loss=chosen,
            optimizer=get_optimizer(optimizer),
            schedule=Constant() if schedule is None else get_schedule(schedule),
            epochs=counted("epochs", epochs),
            batch_size=counted("batch_size", batch_size),
            seed=check_seed(seed),
            shuffle=_flag("shuffle", shuffle),
            classifies=chosen.classifies(labels=data.labels),
            resident=resident,
        )
        held_out = None if validation is None else self._held_out(validation, chosen, data)
        with self._alone:
            self.loss, self.classifies, self.scale, self.shift = chosen, settings.classifies, data.scale, data.shift
            run = Run(self, data, settings, held_out, asked_by(callbacks), start)
            return train(run, callbacks)

    def evaluate(self, x: Any, y: Any, *, sample_weight: Any = None, batch_size: int = EVALUATION_BATCH) -> Evaluation:
        """Return the mean loss and the share of correctly classified samples, for x (samples, N) and y as in fit."""
        loss = self._fitted_loss()
        data = samples.prepare(self, x, y, loss, sample_weight, scale=self.scale, shift=self.shift)
        with self._alone:
            return Evaluator(self, data, loss, counted("batch_size", batch_size)).evaluate()

    def confusion_matrix(self, x: Any, y: Any, *, batch_size: int = EVALUATION_BATCH) -> np.ndarray:
        """Count how many samples of each true class (row) were predicted as each class (column).

        x (samples, N); y class labels or one-hot rows as in fit. Returns int64 (M, M), or (2, 2) for a single output.
        """
        loss = self._fitted_loss()
        several = loss.rule.predicts == "yes_or_no" and self.outputs > 1
        if several or not self.classifies:
            what = "answers several questions with yes or no" if several else "gives numbers"
            raise InputError(f"a confusion matrix is of classes, but this network {what}; use evaluate or predict")
        data = samples.prepare(self, x, y, loss, scale=self.scale, shift=self.shift)
        if not data.labels:
            one_hot = data.targets
            labels = (one_hot[:, 0] > 0.5).astype(np.int64) if self.outputs == 1 else one_hot.argmax(axis=1)
            data = replace(data, targets=labels)
        with self._alone:
            return ConfusionCounter(self, data, counted("batch_size", batch_size)).count()

    def output(self, x: Any, *, batch_size: int = EVALUATION_BATCH) -> np.ndarray:
        """Return the output of the last layer (samples, M), which are logits if that layer has no activation."""
        self.require_built()
        return self._answers(x, "identity", batch_size)

    def predict_proba(self, x: Any, *, batch_size: int = EVALUATION_BATCH) -> np.ndarray:
        """Return probabilities (samples, M): the softmax or each output's sigmoid, depending on the loss."""
        loss = self._fitted_loss()
        if not loss.rule.gives_probabilities:
            raise InputError(f"a network trained with {loss.name} gives no probabilities; use predict or output")
        return self._answers(x, loss.rule.link, batch_size)

    def predict(self, x: Any, *, batch_size: int = EVALUATION_BATCH) -> np.ndarray:
        """Return the prediction for each sample, in a form that depends on the loss.

        Class labels (samples,) int64; 0 or 1 for each output (samples, M), or (samples,) for a single output; or
        numbers (samples, M).
        """
        loss = self._fitted_loss()
        answer = loss.answer(classifies=self.classifies)
        answers = self._answers(x, answer, batch_size)
        return answers[:, 0] if answer == "yes_or_no" and self.outputs == 1 else answers

    def summary(self) -> str:
        """Return a table of the layers with their sizes and numbers of parameters."""
        self.require_built()
        rows = [("layer", "inputs", "outputs", "parameters")]
        sizes: Counter[int] = Counter()
        for name, view in self.parameters.views.items():
            sizes[number_in(name)] += view.size
        for place, layer in walk(self.layers):
            count = "" if layer.inside else f"{sizes[layer.number]:,}"
            rows.append(("  " * place.count(".") + layer.describe(), str(layer.inputs), str(layer.outputs), count))
        frozen = sum(view.size for view in self.parameters.views.values() if not view.trainable)
        total = f"{self.parameters.count:,}"
        rows.append((f"total, {frozen:,} frozen" if frozen else "total", str(self.inputs), str(self.outputs), total))
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = ["  ".join([row[0].ljust(widths[0]), *(row[c].rjust(widths[c]) for c in range(1, 4))]) for row in rows]
        rule = "-" * len(lines[0])
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])

    # --- parameters, files and copies -----------------------------------------------------------------------

    def parameters_by_name(self) -> dict[str, np.ndarray]:
        """Return a copy of every parameter array on the host, by its name: "0.W", "0.b", ..."""
        self.require_built()
        return {name: np.array(self.backend.to_numpy(view.value)) for name, view in self.parameters.views.items()}

    def set_parameters(self, arrays: Mapping[str, Any]) -> None:
        """Write parameter arrays, given by name. If one cannot be used, none is written."""
        self.require_built()
        if not isinstance(arrays, Mapping):
            raise InputTypeError(f"{type(arrays).__name__} given; accepted: a dictionary from names to arrays")
        for name, array in arrays.items():
            if name not in self.parameters.views:
                raise InputError(f"there is no parameter {name!r}; there are {', '.join(self.parameters.views)}")
            shape = self.parameters.views[name].value.shape
            if np.shape(array) != shape:
                raise InputError(f"parameter {name!r} has shape {shape}, but {np.shape(array)} was given")
        for name, array in arrays.items():
            self.backend.write(np.asarray(array, self.dtype), self.parameters.views[name].value)

    def save(self, path: str | Path) -> None:
        """Write weights and architecture to a safetensors file; an old file is replaced as a whole or not at all."""
        self.require_built()
        checkpoint.write(as_path(path), self.parameters_by_name(), self._config())

    @classmethod
    def load(cls, path: str | Path, *, backend: str | Backend = "auto", precision: str | None = None) -> Self:
        """Load a network that `save` wrote, on any backend, at any precision that it supports.

        precision   as in Network; by default "float64" if the network had that, otherwise "float32", in which weights
                    trained at "tf32" or "bfloat16" are saved and which every device supports

        Raises InputError if the file is not a model file, or if the backend does not support the precision.
        """
        file = as_path(path)
        arrays, config = checkpoint.read(file)
        try:
            layers = checkpoint.layers_from(config, file)
            network = cls(layers, backend=backend, precision=config["precision"] if precision is None else precision)
            network._restore(arrays, config, file)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, BpcoreError):
                raise
            said = f"{type(error).__name__}: {error}"
            raise InputError(f"{file} is damaged, or was written by another version of bpcore: {said}") from error
        return network

    def _restore(self, arrays: dict[str, np.ndarray], config: dict[str, Any], file: Path) -> None:
        """Set the parameters, and the settings that `_config` wrote."""
        self.build(config["inputs"])
        for name in self.parameters.views:
            if name not in arrays:
                raise InputError(f"{file} lacks parameter {name!r}; it has {', '.join(arrays) or 'none'}")
        self.set_parameters(arrays)
        self._restore_frozen(config.get("frozen"))
        self.loss = Loss(**config["loss"]) if config["loss"] else None
        self.classifies, self.about = config["classifies"], config["about"]
        self.scale, self.shift = config["scale"], config["shift"]

    def __getstate__(self) -> dict[str, Any]:
        """Return the settings, the layers as not yet built, and the parameters by name.

        Buffers are left out: a copied buffer and its copied views would be independent arrays, so updates would
        change the one and layers would read the others.
        """
        kept = {name: value for name, value in vars(self).items() if name not in BUFFERS}
        kept["layers"] = [layer_from_config(layer.config()) for layer in self.layers]
        return kept | ({"arrays": self.parameters_by_name(), "frozen": self._frozen()} if self.inputs else {})

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Build the network in buffers of its own."""
        arrays, frozen = state.pop("arrays", None), state.pop("frozen", None)
        vars(self).update(state)
        self._alone = threading.RLock()
        inputs, self.inputs, self.capacity = self.inputs, 0, 0
        if inputs:
            self.build(inputs)
            self.set_parameters(arrays)
            self._restore_frozen(frozen)

    def _frozen(self) -> list[str]:
        return [name for name, view in self.parameters.views.items() if not view.trainable]

    def _restore_frozen(self, frozen: list[str] | None) -> None:
        """Freeze exactly the arrays with these names; None, from older files, keeps the layers' own settings."""
        if frozen is not None:
            self.parameters.set_trainable(self.parameters.views, True)
            self.parameters.set_trainable(frozen, False)

    def _config(self) -> dict[str, Any]:
        """Return all contents of a model file except the parameters."""
        return {
            "layers": [layer.config() for layer in self.layers],
            "inputs": self.inputs,
            "frozen": self._frozen(),
            "precision": self.dtype.name,
            "loss": self.loss.config() if self.loss else None,
            "classifies": self.classifies,
            "scale": self.scale,
            "shift": self.shift,
            "about": self.about,
        }

    # --- parts of the above ---------------------------------------------------------------------------------

    def _default_loss(self, y: Any) -> Loss:
        array = samples.as_array(y, "y")
        outputs = self.layers[-1].outputs
        labels = array.ndim == 1 and array.dtype.kind in "bui" and outputs != 1
        return Loss("softmax_cross_entropy" if labels else "squared_error")

    def _held_out(self, validation: Any, loss: Loss, training: Samples) -> Samples:
        """Check validation data; the network scales it like the training data."""
        if not isinstance(validation, tuple) or len(validation) not in (2, 3):
            raise InputTypeError("validation must be a tuple (x, y) or (x, y, sample_weight)")
        x, y, *weights = validation
        return samples.prepare(
            self, x, y, loss, *weights, scale=training.scale, shift=training.shift, which="validation "
        )

    def _answers(self, x: Any, answer: Answer, batch_size: int) -> np.ndarray:
        """Return the network's answer for each row of x, computed on the device."""
        data = samples.prepare(self, x, scale=self.scale, shift=self.shift)
        with self._alone:
            return Predictor(self, data, answer, counted("batch_size", batch_size)).predict()

    def _fitted_loss(self) -> Loss:
        self.require_built()
        if self.loss is None:
            raise InputError("the network has not been trained yet: call fit first, or set network.loss")
        return self.loss


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool | np.bool_):
        raise InputTypeError(f"{name}={value!r}; accepted: True or False")
    return bool(value)
