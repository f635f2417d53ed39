"""PyTorch with torch.compile: forward, loss and backward are compiled; the optimizer is the fused one.

On a GPU with mode="max-autotune", which also replays CUDA graphs. The gather is not compiled: a replay copies its
inputs to a fixed address, and that must be the batch, not the whole data set.
"""

from __future__ import annotations

from typing import Any

import torch

from bpcore.bench.cells import Cell
from bpcore.bench.contenders.torch_eager import TorchEager
from bpcore.bench.data import Data


class TorchCompile(TorchEager):
    """TorchEager with the loss of a batch compiled."""

    def __init__(self, cell: Cell, data: Data) -> None:
        super().__init__(cell, data)
        torch.compiler.reset()
        mode = "max-autotune" if self.device.type == "cuda" else "default"
        self._compiled = torch.compile(self._loss_of_batch, mode=mode, dynamic=False)

    def _loss_of_batch(self, x: Any, y: Any) -> Any:
        return self.cross_entropy(self.model(x), y)

    def loss_of(self, rows: Any) -> Any:
        """Gather the rows, then compute forward pass and loss, compiled."""
        return self._compiled(self.x.index_select(0, rows), self.y.index_select(0, rows))

    def step(self) -> None:
        """Train on one mini-batch. The loss is copied, since the next replay overwrites it."""
        torch.compiler.cudagraph_mark_step_begin()
        super().step()
        self.latest = self.latest.clone()
