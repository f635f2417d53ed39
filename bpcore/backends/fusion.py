"""Rewrite the operations of a recorded step so that it makes fewer passes over memory.

The results are the same up to rounding.

**Folding.** Plain gradient descent adds -rate dW to W, and dW is a product, so the product can add it to W itself:

    W <- (1 - rate l2) W - rate x^T @ delta

The gradient is then neither written to memory nor read by the update. The factors change from step to step, so a small
kernel computes them on the device at the beginning of the step. The product moves to the step's end, since BP2 still
needs the old W.

**Panels.** Other optimizers keep a state for each weight, and update it and the weight from the gradient. Here the
product is computed a few rows at a time, and each of these panels is followed by its own part of the update, so that
the gradient never leaves the cache.

**Epilogues.** A GPU's product can end with the bias and ReLU, or with ReLU's derivative and the sums that make the bias
gradient. The operation after the product, in its layer or in the layer below on the way back, then needs no kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from bpcore.backends.arrays import Array, address, span, touch
from bpcore.backends.base import Backend
from bpcore.backends.operations import Kernel, Operation, Product, Relu, ReluBackward
from bpcore.kernels import spec
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.kernels.cublas import mask_bytes
from bpcore.kernels.optimizers import UPDATE_RULES


@dataclass(frozen=True)
class Panels:
    """The sizes for computing gradients in panels.

    smallest   gradients of fewer bytes are computed whole
    size       the largest size of a panel, in bytes
    """

    smallest: int
    size: int


@dataclass(frozen=True)
class _Update:
    """The update kernel with the arguments that matter here; the segments are copied to the host."""

    kernel: Kernel
    params: Array
    grads: Array
    segments: np.ndarray

    @classmethod
    def of(cls, kernel: Kernel, backend: Backend) -> _Update:
        """Extract these arguments from a kernel of the template `update`."""
        return cls(kernel, kernel["params"], kernel["grads"], np.array(backend.to_numpy(kernel["segments"])))

    @property
    def descends(self) -> bool:
        """Whether it is plain gradient descent."""
        return self.kernel.spec.holes[0] == ("element", UPDATE_RULES["sgd"].element)

    @property
    def settings(self) -> Array:
        """The eight numbers of Optimizer.settings, on the device."""
        return self.kernel["settings"]

    def on(self, segments: np.ndarray, backend: Backend, grads: Array = None, first: int = 0) -> Kernel:
        """The update of these segments only; grads: gradients that begin at the parameter `first`."""
        grads = self.grads if grads is None else grads
        return self.kernel.with_arguments(grads=grads, segments=backend.asarray(segments), first=first)


def fold_updates(
    backend: Backend, operations: Sequence[Operation], smallest: int = 0, panels: Panels | None = None
) -> Sequence[Operation]:
    """Fold weight gradients into the weights, where the result is the same.

    A gradient can be folded if only the update reads it, and the product's factors are unchanged until the step's end.
    smallest: gradients of fewer bytes are not folded. panels: the sizes for optimizers other than plain gradient
    descent; without them their steps are not rewritten.
    """
    places = [place for place, operation in enumerate(operations) if _is_update(operation)]
    if len(places) != 1:
        return operations
    before, kernel, after = operations[: places[0]], operations[places[0]], operations[places[0] + 1 :]
    assert isinstance(kernel, Kernel)
    update = _Update.of(kernel, backend)
    if update.descends:
        if any(touch([update.settings], operation.writes) for operation in before):
            return operations  # the factors would be computed too early
        folded = _foldable(before, after, update, smallest)
    else:
        folded = _foldable(before, after, update, panels.smallest) if panels else []
    if not folded:
        return operations
    kept = [operation for operation in before if operation not in folded]
    left = _segments_without([_range_of(product, update) for product in folded], update.segments)
    rest = [update.on(left, backend)] if len(left) else []
    if update.descends:
        factors = _factors(backend, update)
        return [factors, *kept, *(_onto_weights(one, update, factors.writes[0]) for one in folded), *rest, *after]
    assert panels is not None
    numbers = max(panels.size // update.params.dtype.itemsize, *(product.out.shape[1] for product in folded), 1)
    panel = backend.empty((numbers,), update.params.dtype)
    return [*kept, *(one for product in folded for one in _in_panels(backend, product, update, panel)), *rest, *after]


def _is_update(operation: Operation) -> bool:
    return isinstance(operation, Kernel) and operation.spec.template == "update"


def _foldable(
    operations: Sequence[Operation], after: Sequence[Operation], update: _Update, smallest: int
) -> list[Product]:
    """The products whose result is large enough, and is read by the update and by no other operation."""
    return [
        product
        for place, product in enumerate(operations)
        if isinstance(product, Product)
        and product.out.size * product.out.dtype.itemsize >= smallest
        and _may_fold(product, operations[:place], operations[place + 1 :], update)
        and not any(touch([product.out], other.reads) for other in after)
    ]


def _factors(backend: Backend, update: _Update) -> Kernel:
    """The kernel that computes the factors of plain gradient descent for this step."""
    which = spec.plain("fold_factors", update.params.dtype)
    given = {name: update.kernel[name] for name in ("table", "scale", "settings", "counters")}
    return Kernel.named(which, **given, factors=backend.empty((3,), which.dtype))


def _range_of(product: Product, update: _Update) -> tuple[int, int]:
    """The range of a product's result in the flat gradients, and so of its weights in the flat parameters."""
    first = (address(product.out) - address(update.grads)) // product.out.dtype.itemsize
    return first, first + product.out.size


def _may_fold(product: Product, earlier: Sequence[Operation], later: Sequence[Operation], update: _Update) -> bool:
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
    keep = factors[1:2] if _decayed(first, update) else factors[2:3]
    return Product(product.a, product.b, weights, factors[0:1], keep)


def _in_panels(backend: Backend, product: Product, update: _Update, panel: Array) -> Iterator[Operation]:
    """The product in panels of a few rows, each followed by its part of the update."""
    first, _ = _range_of(product, update)
    rows, columns = product.out.shape
    panels = -(-rows // (panel.size // columns))
    height = -(-rows // panels)
    for top in range(0, rows, height):
        bottom = min(top + height, rows)
        grads = panel[: (bottom - top) * columns]
        yield Product(product.a[top:bottom], product.b, grads.reshape(bottom - top, columns))
        low, high = first + top * columns, first + bottom * columns
        yield update.on(np.array([[low, high, _decayed(first, update)]]), backend, grads, low)


def _decayed(first: int, update: _Update) -> int:
    """1 if L2 and weight decay apply to the parameters that begin at `first`, else 0."""
    return next(int(decayed) for low, high, decayed in update.segments if low <= first < high)


def _segments_without(ranges: Sequence[tuple[int, int]], segments: np.ndarray) -> np.ndarray:
    """The segments without these ranges."""
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
    """Move ReLU and its derivative to the end of the products that they follow.

    possible: whether the device can compute a given product. The backward one needs a mask from the forward one.
    """
    fused: dict[int, Product] = {}
    for forward, backward in _relus(operations).items():
        product, activate = operations[forward : forward + 2]
        assert isinstance(product, Product)
        assert isinstance(activate, Kernel)
        bias = activate["bias"]
        if backward is not None:
            above, delta = operations[backward : backward + 2]
            assert isinstance(above, Product)
            assert isinstance(delta, Kernel)
            mask = backend.empty((product.out.shape[0], mask_bytes(product.out.shape[1])), np.uint8)
            pair = (
                replace(product, epilogue=Relu(bias, mask)),
                replace(above, epilogue=ReluBackward(delta["bias_grad"], mask)),
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
    """The place of each product followed by ReLU, with the place of the product followed by its derivative, if any."""
    relu = ACTIVATIONS["relu"]
    found: dict[int, int | None] = {}
    for place, (product, kernel) in enumerate(pairwise(operations)):
        if not isinstance(product, Product) or product.scaled or not isinstance(kernel, Kernel):
            continue
        holes = dict(kernel.spec.holes)
        if holes.get("f") is relu.f and span(kernel["z"]) == span(kernel["out"]) == span(product.out):
            found[place] = None
        elif holes.get("derivative") is relu.derivative and span(kernel["delta"]) == span(product.out):
            for forward, output in ((number, operations[number].writes) for number in found):
                between = operations[forward + 2 : place]
                kept = not any(touch(output, other.writes) for other in between)
                if span(output[0]) == span(kernel["saved"]) and kept:
                    found[forward] = place
    return found
