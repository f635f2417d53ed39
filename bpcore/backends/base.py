"""The backend contract: the base class of every backend, and the types its methods take.

A backend implements arrays (`empty`, `asarray`, `to_numpy`, ...) and `execute`, which performs one operation: a matrix
product or a kernel (operations.py). The operations that layers and users call are written once, in contract/: each
checks its arguments and reduces to products and kernels. They take and return device arrays, write into `out` where it
is given, and never touch the host.

Shapes: B batch, N inputs, M outputs, P parameters; row-major, batch first.
"""

from __future__ import annotations

from bpcore.backends.arrays import Array, DTypeLike
from bpcore.backends.contract.batch import BatchOperations
from bpcore.backends.contract.layer import LayerOperations
from bpcore.backends.contract.loss import LossOperations
from bpcore.backends.contract.predictions import PredictionOperations
from bpcore.backends.contract.update import UpdateOperations
from bpcore.backends.control import Control
from bpcore.backends.precision import PRECISIONS
from bpcore.backends.samples import Batch, Samples

__all__ = ["PRECISIONS", "Array", "Backend", "Batch", "Control", "DTypeLike", "Samples"]


class Backend(BatchOperations, LayerOperations, LossOperations, UpdateOperations, PredictionOperations):
    """Arrays and operations on one device.

    Subclass it to add a backend; docs/guides/add-a-backend.md explains how. The methods that a subclass must implement,
    and those that it may override, are in contract/device_arrays.py and contract/device.py.
    """
