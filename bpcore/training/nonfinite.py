"""The error for an infinite or NaN loss, and the search for the step and the layer that caused it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

import numpy as np

from bpcore.backends.arrays import Array
from bpcore.backends.control import Control
from bpcore.errors import BpcoreError
from bpcore.kernels import counter
from bpcore.model.layer_stack import LayerStack
from bpcore.model.layers import Layer
from bpcore.training.run import Run


class NonFiniteLossError(BpcoreError, ArithmeticError):
    """The loss became infinite or NaN; the network holds the last weights that gave a finite loss."""


def raise_non_finite(run: Run) -> NoReturn:
    """Find the step and the layer, restore the last weights that gave a finite loss, and raise NonFiniteLossError."""
    earlier = run.timetable.extra_steps
    bad = int(run.counters()[counter.FIRST_BAD]) - earlier
    epoch, batch = divmod(bad, run.steps_per_epoch)
    run.rewind(bad)
    layer = _layer_of_next_batch(run)
    run.rewind(max(bad - 1, run.timetable.first_step - earlier))
    raise NonFiniteLossError(
        f"the loss is not finite at epoch {epoch + 1}, step {batch + 1} of {run.steps_per_epoch}, first in "
        f"{layer}, with learning rate {run.learning_rate_at(bad):.6g}; the network "
        f"keeps the last good weights; try a smaller learning rate, or clip the gradient (max_norm=1)"
    )


def _layer_of_next_batch(run: Run) -> str:
    """Describe the first layer whose output for the run's next batch is not finite."""
    batch = run.buffers.full if run.batch < run.batches.full_steps else run.buffers.short
    run.feed.ready(run.batch)
    run.backend.gather(run.feed.samples, run.control, batch)
    return first_non_finite_layer(run.network, batch.x, run.control)


def first_non_finite_layer(network: LayerStack, x: Array, control: Control) -> str:
    """Describe the first layer whose output for x (B, N) is not finite; "the loss" if there is none."""
    network.parameters.round_weights()
    return _first(network, [network.layers], x, control) or "the loss"


def _first(network: LayerStack, paths: Sequence[Sequence[Layer]], x: Array, control: Control) -> str:
    """Describe the first such layer on these paths from x; for a block, also the first one inside it."""
    place = 0
    for path in paths:
        above = x
        for layer in path:
            place += 1
            below, above = above, layer.forward(above, control)
            if not np.isfinite(network.backend.to_numpy(above)).all():
                inside = _first(network, layer.paths, below, control)
                return f"layer {place} ({layer.describe()})" + (f", in it {inside}" if inside else "")
    return ""
