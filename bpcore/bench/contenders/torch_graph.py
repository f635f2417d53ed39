"""PyTorch with the whole step in a CUDA graph: gather, forward, loss, backward and the fused update.

The position in the epoch is on the device and the graph advances it, so a step is one launch from the host.
"""

from __future__ import annotations

import torch

from bpcore.bench.cells import Cell
from bpcore.bench.contenders.torch_eager import TorchEager
from bpcore.bench.data import Data

WARM_UP = 3
"""Steps on a side stream before the capture, as PyTorch's notes on CUDA graphs require."""


class TorchGraph(TorchEager):
    """Replays a graph of one step."""

    def __init__(self, cell: Cell, data: Data) -> None:
        super().__init__(cell, data)
        self._position = torch.zeros((), dtype=torch.int64, device=self.device)
        self._ramp = torch.arange(self.batch, device=self.device)
        self._loss = torch.zeros((), device=self.device)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self._whole_step()
        torch.cuda.current_stream().wait_stream(side)
        self._position.zero_()
        self.optimizer.zero_grad(set_to_none=True)  # so that backward allocates the gradients in the graph's memory
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._whole_step()
        self.latest = self._loss

    def _whole_step(self) -> None:
        rows = self.order[self._position * self.batch + self._ramp]
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss_of(rows)
        loss.backward()
        self.optimizer.step()
        self._loss.copy_(loss.detach())
        self._position += 1

    def run(self, steps: int) -> None:
        """Replay the graph once per step; after each epoch, overwrite the order with a new one."""
        for _ in range(steps):
            if self.position == self.steps_per_epoch:
                self.order.copy_(self.new_order())
                self._position.zero_()
                self.position = 0
            self._graph.replay()
            self.position += 1
        self.wait()
