"""The training loop: epochs of training steps, with callbacks, validation and Ctrl-C in between.

The step is in step.py. Steps are replayed for about 50 ms at a time; then the host reads the control block, and nothing
else, from the device.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from bpcore.kernels import counter
from bpcore.training.callbacks import Callback
from bpcore.training.history import History
from bpcore.training.interrupts import ctrl_c_asks
from bpcore.training.nonfinite import raise_non_finite
from bpcore.training.run import Run


def train(run: Run, callbacks: Sequence[Callback] = ()) -> History:
    """Train to the last epoch, or until a callback or Ctrl-C stops the run; returns the history."""
    # The control block notices a loss that is not finite; NumPy need not warn of it as well.
    with ctrl_c_asks(run.stop), np.errstate(all="ignore"):
        _tell(callbacks, "on_begin", run)
        run.keep_boundary()
        try:
            while run.epoch < run.settings.epochs and not run.stopped:
                if _train_epoch(run, callbacks):
                    _tell(callbacks, "on_epoch_end", run)
                    run.keep_boundary()
            if run.restore_best:
                run.bring_back_best()
        finally:
            run.feed.close()
            run.history.stopped = run.stopped
            _tell(callbacks, "on_end", run)
    return run.history


def _train_epoch(run: Run, callbacks: Sequence[Callback]) -> bool:
    """Train and measure the next epoch; returns False if the run was stopped before its end."""
    began = time.perf_counter()
    run.begin_epoch(run.epoch)
    while run.batch < run.steps_per_epoch:
        if run.stopped:
            return False
        replay_began = time.perf_counter()
        steps = run.run_steps(min(run.pace.steps, _steps_until_asked(run, callbacks)))
        if run.counters()[counter.FIRST_BAD] >= 0:
            raise_non_finite(run)
        run.pace.note(steps, time.perf_counter() - replay_began)
        _tell(callbacks, "on_progress", run)
    run.history.append(_measures(run, time.perf_counter() - began))
    run.epoch += 1
    return True


def _measures(run: Run, seconds: float) -> dict[str, float]:
    """Return the measures of the epoch that has just been trained in this time."""
    training = run.running()
    measures = {
        "loss": training.loss,
        "accuracy": training.accuracy,
        "learning_rate": run.learning_rate_at(run.epoch * run.steps_per_epoch + run.batch - 1),
        "seconds": seconds,
        "samples_per_second": run.batches.samples / seconds,
    }
    if run.evaluator is not None:
        measures["val_loss"], measures["val_accuracy"] = run.evaluator.evaluate()
    if not run.settings.classifies:
        measures = {name: value for name, value in measures.items() if not name.endswith("accuracy")}
    return measures


def _steps_until_asked(run: Run, callbacks: Sequence[Callback]) -> int:
    """Return the number of steps until a callback's `every` is due."""
    done = run.epoch * run.steps_per_epoch + run.batch
    asked = [callback.every - done % callback.every for callback in callbacks if callback.every]
    return min(asked, default=run.steps_per_epoch)


def _tell(callbacks: Sequence[Callback], event: str, run: Run) -> None:
    for callback in callbacks:
        getattr(callback, event)(run)
