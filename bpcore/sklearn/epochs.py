"""End an epoch as scikit-learn does: record the loss and score, keep the best weights, decide when to stop."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from bpcore.training.callbacks import Callback
from bpcore.training.run import Run

Score = Callable[[], float]
"""Returns the score of the network's current weights on the validation data."""

SMALLEST_RATE = 1e-6
"""Training stops once an adaptive learning rate has fallen to this value."""

HAS_STOPPED = "no improvement"
"""The first words of the reason when early stopping ended a run."""


class Epochs(Callback):
    """Callback that updates the estimator's fitted attributes after each epoch and stops the run.

    estimator      receives n_iter_, loss_, loss_curve_, t_, best_loss_, validation_scores_ and similar attributes
    score          the validation score; None without validation data
    restores       whether to restore the best weights at the end
    loss_share     factor from bpcore's loss to scikit-learn's, which takes the mean over outputs
    """

    def __init__(self, estimator: Any, score: Score | None, *, restores: bool, loss_share: float) -> None:
        self.estimator, self.score, self.loss_share = estimator, score, loss_share
        self.keeps_best = restores
        self.improved = False

    def on_begin(self, run: Run) -> None:
        """Tell the run whether to restore the best weights."""
        run.restore_best = self.keeps_best

    def on_epoch_end(self, run: Run) -> None:
        """Record the epoch's loss and score, keep the weights if they are the best, and stop without improvement."""
        estimator = self.estimator
        estimator.n_iter_ += 1
        estimator.t_ += run.samples.x.shape[0]
        estimator.loss_ = self._loss(run)
        estimator.loss_curve_.append(estimator.loss_)
        self._say(f"epoch {estimator.n_iter_}, loss {estimator.loss_:.8f}")
        by_score = self._note_score() if self.score else None
        by_loss = self._note_loss()
        got_better, is_best = by_score if by_score and estimator.early_stopping else by_loss
        estimator._no_improvement_count = 0 if got_better else estimator._no_improvement_count + 1
        self.improved = by_score[1] if by_score else is_best
        if self.improved and self.keeps_best:
            run.keep_best()
        if estimator._no_improvement_count > estimator.n_iter_no_change:
            self._stop(run)

    def _loss(self, run: Run) -> float:
        """The mean over samples of the batch losses, penalty included."""
        losses, penalties = (run.backend.to_numpy(slots) for slots in (run.control.losses, run.control.penalties))
        sizes = run.batches.sizes()
        return float(np.average(losses.astype(float) * self.loss_share + penalties, weights=sizes))

    def _note_score(self) -> tuple[bool, bool]:
        """Whether the score rose by tol, and whether it is the best so far. A NaN counts as an improvement."""
        estimator, best = self.estimator, self.estimator.best_validation_score_
        assert self.score is not None
        score = self.score()
        estimator.validation_scores_.append(score)
        self._say(f"validation score {score:.6f}")
        if score > best:
            estimator.best_validation_score_ = score
        return not score < best + estimator.tol, score > best

    def _note_loss(self) -> tuple[bool, bool]:
        """Whether the loss fell by tol, and whether it is the lowest so far."""
        estimator = self.estimator
        best = math.inf if estimator.best_loss_ is None else estimator.best_loss_
        if not estimator.early_stopping:
            estimator.best_loss_ = min(best, estimator.loss_)
        return not estimator.loss_ > best - estimator.tol, estimator.loss_ < best

    def _stop(self, run: Run) -> None:
        """Stop the run; an adaptive learning rate is divided by 5 instead, until it reaches SMALLEST_RATE."""
        estimator = self.estimator
        watched = "validation score" if self.score and estimator.early_stopping else "training loss"
        reason = f"{HAS_STOPPED} of the {watched} by more than {estimator.tol:g} in {estimator.n_iter_no_change} epochs"
        adaptive = estimator.learning_rate == "adaptive" and estimator.solver == "sgd"
        if adaptive and estimator.learning_rate_init * run.learning_rate_scale > SMALLEST_RATE:
            run.scale_learning_rate(run.learning_rate_scale / 5.0)
            estimator._no_improvement_count = 0
            self._say(f"{reason}; learning rate {estimator.learning_rate_init * run.learning_rate_scale:g}")
        else:
            run.stop(reason)
            self._say(reason)

    def _say(self, words: str) -> None:
        if self.estimator.verbose:
            print(words)
