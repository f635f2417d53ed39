"""A callback that records the counts of a stand-in device."""

from __future__ import annotations

import gc

from bpcore import Callback
from bpcore.training.run import Run
from support.stand_in import Device


class Counts(Callback):
    """Records the device's counts at the end of each epoch."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.rows: list[dict[str, int]] = []

    def on_epoch_end(self, run: Run) -> None:
        device = self.device
        gc.collect()
        self.rows.append(
            {
                "allocations": device.allocations,
                "kernels": len(device.launches),
                "products": device.products,
                "graphs": len(device.graphs),
                "nodes": sum(device.graph_launches),
                "to_device": device.to_device,
            }
        )

    def of_an_epoch(self) -> dict[str, int]:
        """The counts of the last epoch alone."""
        before, after = self.rows[-2:]
        return {name: after[name] - before[name] for name in after}
