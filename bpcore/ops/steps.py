"""Build the control block of a single step from a function's arguments.

A training run keeps its control block on the device for all its steps. A function makes one step, so its control block
is sent with the call: the integers in one transfer, the other numbers in a second one.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from bpcore.backends.arrays import Array
from bpcore.backends.control import Control
from bpcore.kernels import counter
from bpcore.ops.arguments import Call

ONES = (1.0, 1.0, 1.0)


def control_of(
    call: Call,
    *,
    seed: int = 0,
    step: int = 0,
    rates: Iterable[float] = ONES,
    integers: Iterable[int] = (),
    numbers: Iterable[float] = (),
) -> tuple[Control, Array, Array]:
    """Make a control block with one slot; return it with `integers` and `numbers` as device arrays, sent with it.

    rates   the learning rate and the optimizer's two factors for this step
    """
    counters = counter.counters(seed=seed, step=step)
    whole = call.backend.asarray(np.array([*counters, 0, *integers], np.int64))
    real = call.backend.asarray(np.array([0.0, 0.0, 0.0, *rates, 1.0, 0.0, *numbers]), call.dtype)
    stop = counter.COUNTERS
    control = Control(
        counters=whole[:stop],
        losses=real[0:1],
        totals=real[1:2],
        correct=whole[stop : stop + 1],
        penalties=real[2:3],
        table=real[3:6].reshape(1, 3),
        scale=real[6:7],
        norm=real[7:8],
    )
    return control, whole[stop + 1 :], real[8:]
