"""PyTorch with torch.compile: gather, forward, loss and their backward compiled, the optimizer's step fused.

On a GPU with mode="max-autotune", which also replays CUDA graphs.
"""

from __future__ import annotations

import torch

from bpcore.bench.cells import Cell
from bpcore.bench.contenders.torch_eager import TorchEager
from bpcore.bench.data import Data


class TorchCompile(TorchEager):
    """The same step; what computes the loss is compiled."""

    def __init__(self, cell: Cell, data: Data) -> None:
        super().__init__(cell, data)
        torch.compiler.reset()
        mode = "max-autotune" if self.device.type == "cuda" else "default"
        self._compiled = torch.compile(super().loss_of, mode=mode, dynamic=False)

    def loss_of(self, rows: torch.Tensor) -> torch.Tensor:
        """Gather, forward, loss, compiled."""
        return self._compiled(rows)

    def step(self) -> None:
        """One mini-batch. What the last replay returned may be overwritten by this one: the loss is copied."""
        torch.compiler.cudagraph_mark_step_begin()
        super().step()
        self.latest = self.latest.clone()
