"""An optimizer's step, which updates parameters and state in place."""

from __future__ import annotations

import math

import numpy as np

from bpcore.backends.arrays import Array
from bpcore.errors import InputError
from bpcore.ops.arguments import Call, is_contiguous, natural, number
from bpcore.ops.steps import control_of
from bpcore.training.optimizers import Optimizer, get_optimizer


def optimizer_state(params: Array, optimizer: str | Optimizer) -> Array:
    """The initial state for `update`: zeros (states, *shape), for parameters of any shape."""
    call = Call("optimizer_state", params=params)
    return call.backend.full((get_optimizer(optimizer).rule.states, *call["params"].shape), 0.0, call.dtype)


def update(
    params: Array,
    grads: Array,
    state: Array,
    optimizer: str | Optimizer,
    *,
    step: int,
    decayed: bool = True,
    learning_rate_factor: float = 1.0,
) -> Array:
    """Make one step of an optimizer: update params and state in one pass, and return params.

    params                  of any shape, contiguous; ideally all parameters of a network in one array, with views
    grads                   their gradients; not changed
    state                   as made by `optimizer_state`
    optimizer               the name of an optimizer (bpcore.training.optimizers.OPTIMIZERS), or one with settings:
                            bpcore.Adam(learning_rate=0.01, max_norm=1.0)
    step                    the number of steps before this one: 0 at the first
    decayed                 whether the optimizer's l2 and weight_decay apply to these parameters; False for biases
    learning_rate_factor    a schedule's factor on the learning rate

    The optimizer's max_norm applies to the norm of all these gradients together.
    """
    chosen = get_optimizer(optimizer)
    if chosen.penalty:
        raise InputError("update: a penalty is divided by a batch's sum of weights, which is unknown here; give l2")
    call = Call("update", params=params, grads=grads, state=state)
    step = natural("update", "step", step, 2**63 - 1)
    factor = number("update", "learning_rate_factor", learning_rate_factor)
    call.expect("grads", call["params"].shape, "params")
    call.expect("state", (chosen.rule.states, *call["params"].shape), "params")
    params, state = call.written("params"), call.written("state")
    size = math.prod(params.shape)
    grads = call["grads"]
    flat = (grads if is_contiguous(grads) else call.backend.asarray(grads)).reshape(size)
    control, segments, settings = control_of(
        call,
        rates=chosen.table(np.array([factor]), step)[0],
        integers=[0, size, int(decayed)],
        numbers=chosen.settings(),
    )
    segments = segments.reshape(1, 3)
    if chosen.max_norm is not None:
        call.backend.global_norm(flat, segments, control)
    call.backend.update(
        chosen.rule,
        params.reshape(size),
        flat,
        state.reshape(chosen.rule.states, size),
        segments,
        settings,
        control,
    )
    return params
