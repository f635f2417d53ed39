"""What a device brings besides its arrays: a way to perform an operation, and what it may do better than that."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, Self

import numpy as np

from bpcore.backends.contract.device_arrays import DeviceArrays
from bpcore.backends.control import Control
from bpcore.backends.feeding import Feed
from bpcore.backends.operations import Operation
from bpcore.backends.precision import PRECISIONS
from bpcore.backends.samples import Samples
from bpcore.errors import InputError, unknown_name


class Device(DeviceArrays):
    """A device, as a backend brings it."""

    reason: str = "asked for"
    """Why this backend was chosen, in words."""

    # --- what each device brings --------------------------------------------------------------------------------

    @abstractmethod
    def execute(self, operation: Operation) -> None:
        """Perform one product or kernel now; both are described in operations.py, and their arguments are checked."""

    @abstractmethod
    def describe(self) -> dict[str, str]:
        """The device, its libraries and their versions, for `bpcore info`."""

    # --- what a device may bring ------------------------------------------------------------------------------

    def at_precision(self, name: str) -> tuple[Self, np.dtype[Any]]:
        """The backend and the dtype for a network of this precision; InputError where the device has it not."""
        if name not in PRECISIONS:
            raise unknown_name("precision", name, PRECISIONS)
        if name in ("tf32", "bfloat16"):
            raise InputError(f"precision {name!r} needs a GPU; the {self.name} backend accepts float32 and float64")
        return self, np.dtype(name)

    def between_layers(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """What inputs, activations and deltas are kept in where the parameters have this dtype: the same, mostly.

        A backend at precision "bfloat16" has BFLOAT16 (bpcore.kernels.bfloat16) there.
        """
        return dtype

    def stream(self, samples: Samples, dtype: np.dtype[Any], batch_size: int, chunk_batches: int) -> Feed:
        """A feed of samples that stay on the host, in chunks of so many batches (streaming.py).

        dtype: of the network. Of the device's memory it takes two chunks.
        """
        raise InputError(f"the {self.name} backend has no way to stream data: it takes data sets that fit its memory")

    def record(
        self,
        step: Callable[[], None],
        *,
        control: Control | None = None,
        keeps_gradients: bool = False,
    ) -> Callable[[int], None]:
        """A function that runs the step many times; a backend may record it and replay the recording.

        control           the control block that the step reads, so that a recording can be tried on other samples
                          before it is trusted; all that this changes is put back
        keeps_gradients   a recording may fuse operations: unless this is set, weight gradients that nothing but the
                          update reads may be added to the weights without ever being written down
        """

        def replay(times: int) -> None:
            for _ in range(times):
                step()

        return replay
