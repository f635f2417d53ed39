"""Resume a run of `bpcore train`: save its state beside the model, and continue from it with --resume.

The state is saved as it was between two epochs: weights, the optimizer's state, the position in the learning-rate
schedule, the options. Shuffles and dropout masks are functions of the seed, the epoch and the step, so a resumed run on
the same device with the same number of threads equals the uninterrupted run bit for bit.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from bpcore import checkpoint
from bpcore.cli.model_file import FILE as MODEL
from bpcore.cli.options import Options
from bpcore.data.files import as_path
from bpcore.errors import InputError
from bpcore.training.batches import BatchPlan
from bpcore.training.callbacks import Callback
from bpcore.training.history import History
from bpcore.training.run import Run
from bpcore.training.schedules import get_schedule
from bpcore.training.settings import TrainingState

FILE = "training.safetensors"

SECONDS = 30.0
"""The time between two saves of a long run: a run that is killed loses at most this, and the current epoch."""

MAY_DIFFER = ("epochs", "stop_at_loss", "device", "data_dir", "output", "diagnose", "diagnose_every", "report")
"""The options that may change when a run is resumed, since they do not affect how the network learns."""


@dataclass(frozen=True)
class Start:
    """The state that a run starts or resumes from; data is the fingerprint of its training data (see `mark`)."""

    options: Options
    data: str
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    state: TrainingState = field(default_factory=TrainingState)

    def resumed_options(self, named: Mapping[str, Any], folder: Path) -> Options:
        """The options of the resumed run, with the given ones (name -> value) applied.

        InputError for an option with which the resumed run would differ from the uninterrupted one.
        """
        # Without patience from the start, no best weights have been kept.
        free = MAY_DIFFER if self.options.patience is None else (*MAY_DIFFER, "patience")
        for name, value in named.items():
            before = getattr(self.options, name)
            if name not in free and value != before:
                started = "without it" if before is None else f"with {before}"
                accepted = ", ".join(f"--{one.replace('_', '-')}" for one in (*free, "json", "quiet"))
                raise InputError(
                    f"{name.replace('_', '-')} {value} was given, but the run in {folder} was started {started}, and a "
                    f"resumed run keeps its settings; accepted with --resume: {accepted}"
                )
        allowed = {name: value for name, value in named.items() if name in free}
        options = replace(self.options, **{"output": str(folder), **allowed})
        if self.state.epoch >= (options.epochs or 0):
            hint = "raise --epochs" if self._is_open_ended() else f"{options.schedule} ends there"
            raise InputError(
                f"the run in {folder} has completed {self.state.epoch} epochs, with --epochs {options.epochs}: there "
                f"is nothing to resume; {hint}"
            )
        return options

    def _is_open_ended(self) -> bool:
        """Whether the schedule does not depend on the number of epochs, judged by 100 and 101."""
        schedule = get_schedule(self.options.schedule)
        return np.array_equal(schedule.factors(100, 1), schedule.factors(101, 1)[:100])

    def check(self, options: Options, data: str, samples: int) -> None:
        """InputError if the training data has changed, or if other epochs would have changed past learning rates."""
        if data != self.data:
            raise InputError(f"the run was started with other training data ({self.data}; now it is {data})")
        steps = BatchPlan(samples, options.batch_size).steps
        schedule = get_schedule(options.schedule)
        before, now = (
            schedule.factors((of.epochs or 0) * steps, steps)[: self.state.epoch * steps]
            for of in (self.options, options)
        )
        if not np.array_equal(before, now):
            raise InputError(
                f"{options.schedule} planned its learning rates for {self.options.epochs} epochs; for {options.epochs} "
                f"those of the first {self.state.epoch} would have been different; start a new run (with --schedule "
                f"constant or step, a run can be extended)"
            )


def read(run: str) -> tuple[Start, Path]:
    """Read a run's saved state; return it with the run's folder. run: the folder, or a file in it."""
    path = as_path(run)
    folder = path if path.is_dir() else path.parent
    if not (folder / FILE).is_file():
        found = f"only a model ({MODEL})" if (folder / MODEL).is_file() else "no run"
        raise InputError(f"{run} cannot be resumed: there is {found}, without {FILE}")
    arrays, kept = checkpoint.read(folder / FILE, holds="training")
    try:
        optimizer, best = arrays.pop("optimizer"), arrays.pop("best", None)
        history = History(kept["history"])
        state = TrainingState(kept["epoch"], kept["step"], optimizer, kept["learning_rate_scale"], history, best)
        return Start(Options(**kept["options"]), kept["data"], arrays, state), folder
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder / FILE} was written by another version of bpcore") from error


def mark(x: np.ndarray, y: np.ndarray) -> str:
    """A fingerprint of training data (n, inputs) and its labels or targets: sizes, and a checksum over some rows."""
    every = max(1, len(x) // 1024)
    sums = zlib.crc32(np.ascontiguousarray(y[::every]).data, zlib.crc32(np.ascontiguousarray(x[::every]).data))
    return f"{len(x)} samples of {x[0].size} {x.dtype.name}, sum {sums:08x}"


class Keep(Callback):
    """Saves a run's state as of its last complete epoch: about every 30 seconds, at the end, and if the run fails.

    start: the run's options and data, and its state at the start.
    """

    def __init__(self, path: Path, start: Start, tell: Callable[[str], None]) -> None:
        self._path, self._start, self._tell = path, start, tell

    def on_begin(self, run: Run) -> None:
        """Start the clock."""
        self._wrote = time.monotonic()

    def on_progress(self, run: Run) -> None:
        """Save the state if it is due."""
        if time.monotonic() - self._wrote > SECONDS:
            self._write(run)

    def on_end(self, run: Run) -> None:
        """Save the state."""
        self._write(run)

    def _write(self, run: Run) -> None:
        weights, state = run.last_boundary()
        assert state.optimizer is not None
        arrays = {"optimizer": state.optimizer} | ({} if state.best is None else {"best": state.best})
        kept = {
            "options": asdict(self._start.options),
            "data": self._start.data,
            "history": state.history.measures,
            "epoch": state.epoch,
            "step": state.step,
            "learning_rate_scale": state.learning_rate_scale,
        }
        try:
            checkpoint.write(self._path, weights | arrays, kept, holds="training")
        except InputError as error:  # the training itself goes on
            self._tell(f"note: this run cannot be resumed: {error}")
        self._wrote = time.monotonic()
