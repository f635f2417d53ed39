"""The backend contract: every operation of a training step, with shapes and what it may overwrite.

A backend brings arrays (`empty`, `asarray`, `to_numpy`, ...) and a way to perform an operation: a matrix product or a
kernel (operations.py). What users and layers call is written once, in contract/: it checks its arguments, and comes
down to one operation. All take and return device arrays, write where they are told, and never touch the host.

Shapes: B batch, N inputs, M outputs, P parameters; row-major, batch first.
"""

from __future__ import annotations

from bpcore.backends.arrays import Array, DTypeLike
from bpcore.backends.contract.batches import BatchOperations
from bpcore.backends.contract.layers import LayerOperations
from bpcore.backends.contract.learning import LearningOperations
from bpcore.backends.contract.outputs import OutputOperations
from bpcore.backends.control import Control
from bpcore.backends.precision import PRECISIONS
from bpcore.backends.samples import Batch, Samples

__all__ = ["PRECISIONS", "Array", "Backend", "Batch", "Control", "DTypeLike", "Samples"]


class Backend(LayerOperations, LearningOperations, OutputOperations, BatchOperations):
    """Arrays, products and kernels on one device."""
