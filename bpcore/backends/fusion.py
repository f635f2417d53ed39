"""Rewriting a step that was written down: the same results up to rounding, in fewer passes over memory.

**Folding.** Plain gradient descent adds -rate dW to W, and dW is a product, so the product can add it itself:

    W <- (1 - rate l2) W - rate x^T @ delta

and the gradient is never written down, nor read again by the update. The factors change from step to step: a small
kernel computes them on the device at the step's beginning. The product moves to the step's end, since W is still needed
for BP2.

**Epilogues.** A GPU's product can end with ReLU and its bias, or with ReLU's derivative and the sums that make the bias
gradient: what follows a product in its layer, or in the layer below on the way back, is then no kernel of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from bpcore.backends.operations import Kernel, Operation, Product, Relu, ReluBackward, address, span, touch
from bpcore.kernels import spec
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.kernels.cublas import mask_bytes
from bpcore.kernels.optimizers import UPDATE_RULES

if TYPE_CHECKING:
    from bpcore.backends.base import Backend

Array = Any


@dataclass(frozen=True)
class _Update:
    """The arguments of the update kernel that matter here; its segments on the host."""

    params: Array
    grads: Array
    segments: np.ndarray
    settings: Array
    table: Array
    scale: Array
    counters: Array


def fold_updates(backend: Backend, operations: Sequence[Operation], smallest: int = 0) -> Sequence[Operation]:
    """The step with its weight gradients folded into the weights, where that gives the same.

    That is so for an update by plain gradient descent, and for each gradient that nothing but this update reads, so
    long as what it is made of is still there at the step's end. smallest: arrays of fewer bytes are left as they are.
    """
    places = [place for place, operation in enumerate(operations) if _descends(operation)]
    if len(places) != 1:
        return operations
    place = places[0]
    kernel = operations[place]
    assert isinstance(kernel, Kernel)
    update = _update_of(backend, kernel)
    before, after = list(operations[:place]), list(operations[place + 1 :])
    if any(touch([update.settings], operation.writes) for operation in before):
        return operations  # the factors would be made too early
    folded = [
        product
        for number, product in enumerate(before)
        if isinstance(product, Product)
        and product.out.size * product.out.dtype.itemsize >= smallest
        and _may_fold(product, before[:number], before[number + 1 :], update)
    ]
    if not folded:
        return operations
    now = backend.empty((3,), update.params.dtype)
    factors = Kernel(
        spec.plain("fold_factors", update.params.dtype),
        (update.table, update.scale, update.settings, update.counters, now),
    )
    left = _segments_without([_range_of(product, update) for product in folded], update.segments)
    rest = (*kernel.arguments[:3], backend.asarray(left), *kernel.arguments[4:])
    return [
        factors,
        *(operation for operation in before if operation not in folded),
        *(_onto_weights(product, update, now) for product in folded),
        *([Kernel(kernel.spec, rest)] if len(left) else []),
        *after,
    ]


def _descends(operation: Operation) -> bool:
    """Whether an operation is the update of plain gradient descent."""
    return (
        isinstance(operation, Kernel)
        and operation.spec.template == "update"
        and operation.spec.holes[0] == ("element", UPDATE_RULES["sgd"].element)
    )


def _update_of(backend: Backend, kernel: Kernel) -> _Update:
    params, grads, _, segments, settings, table, scale, _, counters = kernel.arguments
    return _Update(params, grads, np.array(backend.to_numpy(segments)), settings, table, scale, counters)


def _range_of(product: Product, update: _Update) -> tuple[int, int]:
    """The places of a product's result among the gradients, and so of its weights among the parameters."""
    first = (address(product.out) - address(update.grads)) // product.out.dtype.itemsize
    return first, first + product.out.size


def _may_fold(product: Product, earlier: list[Operation], later: list[Operation], update: _Update) -> bool:
    first, stop = _range_of(product, update)
    if product.scaled or not product.out.flags.c_contiguous or not 0 <= first < stop <= update.grads.size:
        return False
    if not any(low <= first and stop <= high for low, high, _ in update.segments.tolist()):
        return False
    read_elsewhere = any(touch([product.out], other.reads + other.writes) for other in [*earlier, *later])
    overwritten = any(touch(product.reads, other.writes) for other in later)
    return not read_elsewhere and not overwritten


def _onto_weights(product: Product, update: _Update, factors: Array) -> Product:
    first, stop = _range_of(product, update)
    weights = update.params[first:stop].reshape(product.out.shape)
    decayed = next(decayed for low, high, decayed in update.segments.tolist() if low <= first < high)
    return Product(product.a, product.b, weights, factors[0:1], factors[1:2] if decayed else factors[2:3])


def _segments_without(ranges: Sequence[tuple[int, int]], segments: np.ndarray) -> np.ndarray:
    """What is left of the segments when these ranges are taken out."""
    left: list[tuple[int, int, int]] = []
    for first, stop, decayed in segments.tolist():
        for low, high in sorted(ranges):
            if first <= low < stop:
                left.append((first, low, decayed))
                first = high
        left.append((first, stop, decayed))
    return np.array([row for row in left if row[0] < row[1]], np.int64).reshape(-1, 3)


# --- epilogues ------------------------------------------------------------------------------------------------


def fuse_epilogues(
    backend: Backend, operations: Sequence[Operation], possible: Callable[[Product], bool]
) -> Sequence[Operation]:
    """The step with ReLU and its derivative at the end of the products that they follow.

    possible: whether the device has such a product. The backward product needs a mask that the forward product leaves.
    """
    fused: dict[int, Product] = {}
    for forward, backward in _relus(operations).items():
        product, activate = operations[forward : forward + 2]
        assert isinstance(product, Product)
        assert isinstance(activate, Kernel)
        bias = activate.arguments[1]
        if backward is not None:
            above, delta = operations[backward : backward + 2]
            assert isinstance(above, Product)
            assert isinstance(delta, Kernel)
            mask = backend.empty((product.out.shape[0], mask_bytes(product.out.shape[1])), np.uint8)
            pair = (
                replace(product, epilogue=Relu(bias, mask)),
                replace(above, epilogue=ReluBackward(delta.arguments[3], mask)),
            )
            if all(map(possible, pair)):
                fused[forward], fused[backward] = pair
                continue
        alone = replace(product, epilogue=Relu(bias))
        if possible(alone):
            fused[forward] = alone
    if not fused:
        return operations
    swallowed = {place + 1 for place in fused}
    return [fused.get(place, one) for place, one in enumerate(operations) if place not in swallowed]


def _relus(operations: Sequence[Operation]) -> dict[int, int | None]:
    """The place of each product that ReLU follows, with that of the product that its derivative follows, if any."""
    relu = ACTIVATIONS["relu"]
    found: dict[int, int | None] = {}
    for place, (product, kernel) in enumerate(pairwise(operations)):
        if not isinstance(product, Product) or product.scaled or not isinstance(kernel, Kernel):
            continue
        holes, arguments = dict(kernel.spec.holes), kernel.arguments
        if holes.get("f") is relu.f and span(arguments[0]) == span(arguments[3]) == span(product.out):
            found[place] = None
        elif holes.get("derivative") is relu.derivative and span(arguments[0]) == span(product.out):
            for forward, output in ((number, operations[number].writes) for number in found):
                between = operations[forward + 2 : place]
                kept = not any(touch(output, other.writes) for other in between)
                if span(output[0]) == span(arguments[1]) and kept:
                    found[forward] = place
    return found
