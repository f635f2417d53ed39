"""PyTorch in eager mode: resident float32 data, rows selected by a permutation tensor, no DataLoader."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bpcore.bench.cells import Cell
from bpcore.bench.contenders.base import MOMENTUM, Contender, first_weights, learning_rate
from bpcore.bench.data import Data
from bpcore.errors import InputError

DEVICES = {"numpy": "cpu", "cupy": "cuda"}

ACTIVATIONS: dict[str, Callable[[int], Any]] = {
    "identity": lambda width: nn.Identity(),
    "sigmoid": lambda width: nn.Sigmoid(),
    "tanh": lambda width: nn.Tanh(),
    "relu": lambda width: nn.ReLU(),
    "leaky_relu": lambda width: nn.LeakyReLU(0.01),
    "prelu": nn.PReLU,
    "elu": lambda width: nn.ELU(),
    "selu": lambda width: nn.SELU(),
    "softplus": lambda width: nn.Softplus(),
    "silu": lambda width: nn.SiLU(),
    "gelu": lambda width: nn.GELU(),
}


class TorchEager(Contender):
    """Makes each step by separate Python calls, with the fused optimizer."""

    activations = tuple(ACTIVATIONS)

    def __init__(self, cell: Cell, data: Data) -> None:
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.manual_seed(0)
        self.device = torch.device(DEVICES[cell.device])
        self.x = torch.from_numpy(data.x).to(self.device).float().div_(255)
        self.y = torch.from_numpy(data.y).to(self.device)
        self.batch, self.steps_per_epoch = cell.batch, cell.steps_per_epoch
        self.model = self._model(cell)
        self.optimizer = self._optimizer(cell.optimizer)
        self.cross_entropy = nn.CrossEntropyLoss()
        self.latest = torch.zeros(())
        self.order = self.new_order()
        self.position = 0

    def _model(self, cell: Cell) -> Any:
        layers: list[Any] = []
        for weights in first_weights(cell):
            linear = nn.Linear(*weights.shape)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(weights.T))
                linear.bias.zero_()
            layers += [linear, ACTIVATIONS[cell.activation](weights.shape[1])]
        return nn.Sequential(*layers[:-1]).to(self.device)

    def _optimizer(self, name: str) -> Any:
        parameters, rate = self.model.parameters(), learning_rate(name)
        if name == "adam":
            return torch.optim.Adam(parameters, lr=rate, fused=True, capturable=self.device.type == "cuda")
        return torch.optim.SGD(parameters, lr=rate, momentum=MOMENTUM if name == "momentum" else 0.0, fused=True)

    def new_order(self) -> Any:
        """A new random order of all samples."""
        return torch.randperm(len(self.x), device=self.device)

    def next_rows(self) -> Any:
        """The rows of the next mini-batch."""
        if self.position == self.steps_per_epoch:
            self.order, self.position = self.new_order(), 0
        first = self.position * self.batch
        self.position += 1
        return self.order[first : first + self.batch]

    def loss_of(self, rows: Any) -> Any:
        """Gather the rows, then compute forward pass and loss."""
        return self.cross_entropy(self.model(self.x.index_select(0, rows)), self.y.index_select(0, rows))

    def step(self) -> None:
        """Train on one mini-batch."""
        rows = self.next_rows()
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss_of(rows)
        loss.backward()
        self.optimizer.step()
        self.latest = loss.detach()

    def run(self, steps: int) -> None:
        """Run the steps one by one."""
        for _ in range(steps):
            self.step()
        self.wait()

    def wait(self) -> None:
        """Wait until the device has finished."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def loss(self) -> float:
        """The loss of the last mini-batch."""
        return float(self.latest)

    @classmethod
    def about(cls, device: str) -> dict[str, str]:
        """PyTorch's version, and its threads or GPU."""
        found = {"torch": torch.__version__}
        if DEVICES[device] == "cpu":
            return found | {"threads": str(torch.get_num_threads())}
        if not torch.cuda.is_available():
            raise InputError("PyTorch finds no CUDA GPU; install a CUDA build of PyTorch")
        return found | {"device": torch.cuda.get_device_name()}
