"""Going on with a run of `bpcore train`: what it keeps for that beside its model, and what --resume makes of it.

What is kept is the run between two epochs: weights, the optimizer's state, where the learning rate stands, the options.
Shuffles and dropout masks are functions of the seed, the epoch and the step; so on the same device, with as many
threads, the run that goes on is bit for bit the run that was not interrupted.
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
"""How often a long run writes down where it stands: one that is killed loses so much, and the epoch at hand."""

MAY_DIFFER = ("epochs", "stop_at_loss", "device", "data_dir", "output", "diagnose", "diagnose_every", "report")
"""The options that say nothing of how a network learns."""


@dataclass(frozen=True)
class Begun:
    """A run as it was left between two epochs. data: the mark of what it learns from."""

    options: Options
    data: str
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    state: TrainingState = field(default_factory=TrainingState)

    def goes_on_with(self, named: Mapping[str, Any], folder: Path) -> Options:
        """The options to go on with; named: those that were given, by name. InputError where it could not be exact."""
        free = MAY_DIFFER if self.options.patience is None else (*MAY_DIFFER, "patience")  # else no best is kept
        for name, value in named.items():
            before = getattr(self.options, name)
            if name not in free and value != before:
                begun = "without it" if before is None else f"with {before}"
                accepted = ", ".join(f"--{one.replace('_', '-')}" for one in (*free, "json", "quiet"))
                raise InputError(
                    f"{name.replace('_', '-')} {value} was given, but the run in {folder} was begun {begun}, and a run "
                    f"that goes on keeps its settings; accepted beside --resume: {accepted}"
                )
        allowed = {name: value for name, value in named.items() if name in free}
        options = replace(self.options, **{"output": str(folder), **allowed})
        if self.state.epoch >= (options.epochs or 0):
            more = "--epochs names more" if self._has_no_end() else f"{options.schedule} ends there"
            raise InputError(
                f"the run in {folder} has made {self.state.epoch} epochs, and is to make {options.epochs}: there is "
                f"nothing to go on with; {more}"
            )
        return options

    def _has_no_end(self) -> bool:
        """Whether the schedule does not depend on how many epochs there are, as those of 100 and 101 show."""
        schedule = get_schedule(self.options.schedule)
        return np.array_equal(schedule.factors(100, 1), schedule.factors(101, 1)[:100])

    def check(self, options: Options, data: str, samples: int) -> None:
        """InputError where other data is there now, or where the epochs so far would have been others."""
        if data != self.data:
            raise InputError(f"the training data is not that which the run was begun with ({data}; it was {self.data})")
        steps = BatchPlan(samples, options.batch_size).steps
        schedule = get_schedule(options.schedule)
        before, now = (
            schedule.factors((of.epochs or 0) * steps, steps)[: self.state.epoch * steps]
            for of in (self.options, options)
        )
        if not np.array_equal(before, now):
            raise InputError(
                f"{options.schedule} has laid out its learning rates for {self.options.epochs} epochs; for "
                f"{options.epochs} those of the first {self.state.epoch} would have been others; begin anew (a run "
                f"whose end is open takes --schedule constant or step)"
            )


def read(run: str) -> tuple[Begun, Path]:
    """A run, and its folder, from what it keeps there; run: the folder, or a file in it."""
    path = as_path(run)
    folder = path if path.is_dir() else path.parent
    if not (folder / FILE).is_file():
        there = f"a model alone ({MODEL})" if (folder / MODEL).is_file() else "no run"
        raise InputError(f"{run} cannot be resumed: there is {there}, and no {FILE} beside it")
    arrays, kept = checkpoint.read(folder / FILE, holds="training")
    try:
        optimizer, best = arrays.pop("optimizer"), arrays.pop("best", None)
        history = History(kept["history"])
        state = TrainingState(kept["epoch"], kept["step"], optimizer, kept["learning_rate_scale"], history, best)
        return Begun(Options(**kept["options"]), kept["data"], arrays, state), folder
    except (KeyError, TypeError) as error:
        raise InputError(f"{folder / FILE} was written by another version of bpcore") from error


def mark(x: np.ndarray, y: np.ndarray) -> str:
    """What tells training data (n, inputs) and its labels or targets from others: sizes, and a sum over some rows."""
    every = max(1, len(x) // 1024)
    sums = zlib.crc32(np.ascontiguousarray(y[::every]).data, zlib.crc32(np.ascontiguousarray(x[::every]).data))
    return f"{len(x)} samples of {x[0].size} {x.dtype.name}, sum {sums:08x}"


class Keep(Callback):
    """Writes down where a run stood between its last two epochs: at its end, when it fails, and every 30 seconds or so.

    begun: the run before this one begins.
    """

    def __init__(self, path: Path, begun: Begun, tell: Callable[[str], None]) -> None:
        self._path, self._begun, self._tell = path, begun, tell

    def on_begin(self, run: Run) -> None:
        """The clock starts."""
        self._wrote = time.monotonic()

    def on_progress(self, run: Run) -> None:
        """Write where it is time."""
        if time.monotonic() - self._wrote > SECONDS:
            self._write(run)

    def on_end(self, run: Run) -> None:
        """Write."""
        self._write(run)

    def _write(self, run: Run) -> None:
        weights, state = run.last_boundary()
        assert state.optimizer is not None
        arrays = {"optimizer": state.optimizer} | ({} if state.best is None else {"best": state.best})
        kept = {
            "options": asdict(self._begun.options),
            "data": self._begun.data,
            "history": state.history.measures,
            "epoch": state.epoch,
            "step": state.step,
            "learning_rate_scale": state.learning_rate_scale,
        }
        try:
            checkpoint.write(self._path, weights | arrays, kept, holds="training")
        except InputError as error:  # no reason to lose what is being learned
            self._tell(f"note: this run cannot be resumed: {error}")
        self._wrote = time.monotonic()
