"""The options of `bpcore train` with their defaults, and functions that make the objects they describe."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, fields

from bpcore.backends.precision import PRECISIONS
from bpcore.data.dataset import Dataset
from bpcore.errors import InputError, unknown_name
from bpcore.inspection.diagnostics import Diagnostics
from bpcore.model.activations import get_activation
from bpcore.model.layers import Dense, Dropout, Layer
from bpcore.model.losses import Loss
from bpcore.training.batches import BatchPlan
from bpcore.training.callbacks import Callback, EarlyStopping, StopAtLoss
from bpcore.training.optimizers import Optimizer, get_optimizer
from bpcore.training.schedules import get_schedule

FEWEST_EPOCHS = 12
FEWEST_STEPS = 1000
"""By default there are at least 12 epochs and at least 1000 steps: on a few hundred rows, 12 epochs are too few."""

LEARNING_RATES = {"adam": 0.003, "adamw": 0.003}
"""The default rates: peaks for one_cycle, found on 10,000 held-out training images of MNIST. Other optimizers use their
own default."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of `bpcore train` with their defaults."""

    data: str | None = None
    data_dir: str | None = None
    target: str | None = None
    task: str = "auto"
    test_fraction: float = 0.2
    validation: float = 0.0

    network: str = "512"
    activation: str = "relu"
    dropout: float = 0.2
    max_weight_norm: float | None = None

    loss: str | None = None  # softmax_cross_entropy for classes, squared_error for numbers
    label_smoothing: float = 0.0
    optimizer: str = "adam"
    learning_rate: float | None = None  # None: from LEARNING_RATES, else the optimizer's own
    momentum: float | None = None
    weight_decay: float | None = None
    l2: float | None = None
    max_norm: float | None = None
    schedule: str = "one_cycle"
    epochs: int | None = None  # None: FEWEST_EPOCHS, or more to make at least FEWEST_STEPS steps
    batch_size: int = 128
    patience: int | None = None
    stop_at_loss: float | None = None
    seed: int = 0

    device: str = "auto"
    precision: str = "float32"
    output: str | None = None

    diagnose: bool = False
    diagnose_every: int | None = None  # in steps; None: once an epoch
    report: str | None = None


def hidden_sizes(text: str) -> list[int]:
    """Parse the sizes of the hidden layers: "512", "512,256" or "512-256"; "none" for no hidden layer."""
    if text.strip().lower() == "none":
        return []
    sizes = [part.strip() for part in re.split("[,-]", text)]
    if not all(re.fullmatch(r"0*[1-9]\d{0,8}", size) for size in sizes):
        raise InputError(
            f"network {text!r} cannot be used; accepted: sizes of the hidden layers, such as 512 or 512,256, or none"
        )
    return [int(size) for size in sizes]


def hidden_layers(options: Options) -> list[Layer]:
    """The hidden layers, each followed by its dropout."""
    get_activation(options.activation)
    dropout = Dropout(options.dropout)
    sizes = hidden_sizes(options.network)
    if options.max_weight_norm is not None and not sizes:
        raise InputError("--max-weight-norm bounds the weights of hidden units, and --network none has no hidden units")
    layers: list[Layer] = []
    for size in sizes:
        layers.append(Dense(size, options.activation, max_weight_norm=options.max_weight_norm))
        if dropout.rate > 0:
            layers.append(Dropout(options.dropout))
    return layers


def chosen_optimizer(options: Options) -> Optimizer:
    """The optimizer with the given settings; InputError for a setting that it does not have."""
    names = ("learning_rate", "momentum", "weight_decay", "l2", "max_norm")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if options.optimizer in LEARNING_RATES:
        given.setdefault("learning_rate", LEARNING_RATES[options.optimizer])
    return get_optimizer(options.optimizer, **given)


def check_names(options: Options) -> None:
    """Check, before the data is loaded, the options that the other functions here do not check."""
    if options.data is None and (options.target is not None or options.task != "auto"):
        raise InputError("--target and --task are for a file of your own: bpcore train FILE --target COLUMN")
    get_schedule(options.schedule)
    if options.loss is not None:
        Loss(options.loss, options.label_smoothing)
    if options.precision not in PRECISIONS:
        raise unknown_name("precision", options.precision, PRECISIONS)
    shares = {"validation": "a share of the training data", "test_fraction": "a share of the samples"}
    for name, meaning in shares.items():
        if not 0.0 <= (share := getattr(options, name)) < 1.0:
            raise InputError(f"{name}={share}; accepted: {meaning}, 0 <= share < 1")


def default_epochs(samples: int, batch_size: int) -> int:
    """The number of epochs if none is given."""
    return max(FEWEST_EPOCHS, -(-FEWEST_STEPS // BatchPlan(samples, batch_size).steps))


def diagnostics(options: Options) -> Diagnostics | None:
    """The callback that inspects the layers; None if it is not requested."""
    if not options.diagnose and options.diagnose_every is None:
        return None
    return Diagnostics(options.diagnose_every)


def command_line(options: Options, data: str) -> str:
    """The command that reproduces a run: the options that differ from the defaults, without those for output files."""
    words = ["bpcore", "train", data]
    for one in fields(Options):
        value = getattr(options, one.name)
        if one.name not in ("data", "output", "report") and value != one.default:
            words += [f"--{one.name.replace('_', '-')}", *([] if value is True else [str(value)])]
    return shlex.join(words)


def stopping(options: Options) -> list[Callback]:
    """The callbacks that may end the run early."""
    callbacks: list[Callback] = []
    if options.patience is not None:
        if options.validation == 0:
            raise InputError("--patience watches the loss on validation data: hold some out, with --validation 0.1 say")
        callbacks.append(EarlyStopping(patience=options.patience))
    if options.stop_at_loss is not None:
        callbacks.append(StopAtLoss(options.stop_at_loss))
    return callbacks


def chosen_loss(options: Options, dataset: Dataset) -> Loss:
    """The loss that was named, or the default for the kind of targets."""
    name = options.loss or ("squared_error" if dataset.classes is None else "softmax_cross_entropy")
    loss = Loss(name, options.label_smoothing)
    if dataset.classes is None and loss.rule.predicts == "count":
        raise InputError(
            f"{name} needs counts, but bpcore train standardises number targets; use squared_error, or train in Python"
        )
    if dataset.classes is None and loss.rule.classifies:
        raise InputError(f"{name} is for classes, but the target of {dataset.name} is a number; use squared_error")
    return loss
