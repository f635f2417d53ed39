"""What a device provides besides arrays: executing operations, and optionally precisions, streaming and recording."""

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
    """Executes operations on the arrays of one device."""

    reason: str = "asked for"
    """Why this backend was chosen, for people to read."""

    # --- every device implements these --------------------------------------------------------------------------

    @abstractmethod
    def execute(self, operation: Operation) -> None:
        """Execute one product or kernel (operations.py); its arguments have been checked."""

    @abstractmethod
    def describe(self) -> dict[str, str]:
        """The device, its libraries and their versions, as shown by `bpcore info`; the key "device" is required."""

    # --- a device may override these ----------------------------------------------------------------------------

    def at_precision(self, name: str) -> tuple[Self, np.dtype[Any]]:
        """The backend and the dtype for a network of this precision; InputError if the device lacks it."""
        if name not in PRECISIONS:
            raise unknown_name("precision", name, PRECISIONS)
        if name in ("tf32", "bfloat16"):
            raise InputError(f"precision {name!r} needs a GPU; the {self.name} backend accepts float32 and float64")
        return self, np.dtype(name)

    def between_layers(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """The dtype of inputs, activations and deltas for parameters of this dtype: the same one, by default.

        At precision "bfloat16" a backend returns BFLOAT16 (bpcore.kernels.bfloat16).
        """
        return dtype

    def stream(self, samples: Samples, dtype: np.dtype[Any], batch_size: int, chunk_batches: int) -> Feed:
        """Feed samples that stay on the host, `chunk_batches` batches at a time (streaming.py).

        The feed holds two chunks on the device. dtype: the network's.
        """
        raise InputError(f"the {self.name} backend cannot stream data: it takes data sets that fit its memory")

    def record(
        self,
        step: Callable[[], None],
        *,
        control: Control | None = None,
        keeps_gradients: bool = False,
    ) -> Callable[[int], None]:
        """Return a function that runs the step a given number of times; a backend may record the step and replay it.

        control           the control block that the step reads, for trying a recording on another batch before it is
                          trusted; whatever the trial changes is restored
        keeps_gradients   whether weight gradients must be written to memory; otherwise a recording may fuse a gradient
                          that only the update reads into the update of its weights
        """

        def replay(times: int) -> None:
            for _ in range(times):
                step()

        return replay
