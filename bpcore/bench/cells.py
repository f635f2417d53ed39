"""The cells of the benchmark (network x batch size x device), and the least work of one training step of each."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bpcore.errors import InputError
from bpcore.kernels.optimizers import UPDATE_RULES
from bpcore.training.optimizers import OPTIMIZERS

NETWORKS = ((784, 30, 10), (784, 128, 10), (784, 256, 128, 10), (784, 512, 512, 10), (784, 2048, 2048, 10))
BATCHES = (10, 32, 128, 512, 2048)
QUICK_NETWORKS = ((784, 30, 10), (784, 128, 10), (784, 512, 512, 10))
QUICK_BATCHES = (32, 512)

SAMPLES = 60_000
"""The number of samples, which is MNIST's; a batch cannot be larger."""

SCALING_NETWORKS = ((784, 128, 10), (784, 512, 512, 10))
SCALING_BATCHES = tuple(2**power for power in range(15))
SCALING_WIDTHS = tuple(sorted({*(2**power for power in range(4, 14)), *(3 * 2**power for power in range(3, 12))}))
SCALING_BATCH = 128

NUMBER = 4
"""Bytes of a float32."""

PRECISIONS = {"float32": NUMBER, "tf32": NUMBER, "bfloat16": 2}
"""Bytes of a number in the activations and deltas between layers, and in the operands of products."""


@dataclass(frozen=True)
class Product:
    """One matrix product of a step: (m, k) @ (k, n).

    transposed      the operand that is a transposed view: "a", "b" or ""
    operand, out    bytes of a number in the operands and in the result
    """

    kind: str
    m: int
    k: int
    n: int
    transposed: str = ""
    operand: int = NUMBER
    out: int = NUMBER

    @property
    def operations(self) -> int:
        """Floating-point operations: a multiplication and an addition for each of the m k n pairs."""
        return 2 * self.m * self.k * self.n

    @property
    def bytes(self) -> int:
        """Bytes moved: both operands read, the result written."""
        return self.operand * (self.m * self.k + self.k * self.n) + self.out * self.m * self.n


@dataclass(frozen=True)
class Cell:
    """One training job to measure.

    network    the sizes of the layers, starting with the inputs
    device     the name of a backend
    """

    network: tuple[int, ...]
    batch: int
    activation: str = "relu"
    optimizer: str = "sgd"
    device: str = "numpy"
    precision: str = "float32"

    @property
    def name(self) -> str:
        """The cell's name in reports."""
        return f"{network_name(self.network)} batch {self.batch}"

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each layer."""
        return list(zip(self.network, self.network[1:], strict=False))

    @property
    def parameters(self) -> int:
        """The number of weights and biases."""
        return sum((inputs + 1) * outputs for inputs, outputs in self.layers)

    @property
    def states(self) -> int:
        """The number of values that the optimizer keeps for each parameter."""
        return UPDATE_RULES[OPTIMIZERS[self.optimizer].rule_name].states

    @property
    def between(self) -> int:
        """Bytes of a number in the activations and deltas between layers."""
        return PRECISIONS[self.precision]

    @property
    def rounded_copy(self) -> int:
        """Bytes of the low-precision copy of the weights that products read; 0 if they read the weights themselves."""
        weights = sum(inputs * outputs for inputs, outputs in self.layers)
        return 0 if self.between == NUMBER else self.between * weights

    @property
    def steps_per_epoch(self) -> int:
        """The number of full batches in an epoch; the short last batch is not measured."""
        return SAMPLES // self.batch

    @property
    def operations(self) -> int:
        """Floating-point operations of the step's products; the rest, a few for each number, is not counted."""
        return sum(product.operations for product in self.products())

    def products(self) -> list[Product]:
        """The step's matrix products: forward, weight gradients, and input deltas of all layers but the first."""
        size, last = self.between, len(self.layers) - 1
        found = [
            Product("forward", self.batch, *layer, "", size, NUMBER if number == last else size)
            for number, layer in enumerate(self.layers)
        ]
        for number, (inputs, outputs) in reversed(list(enumerate(self.layers))):
            found.append(Product("weights", inputs, self.batch, outputs, "a", size))
            if number > 0:
                found.append(Product("delta", self.batch, outputs, inputs, "b", size, size))
        return found

    @property
    def bytes(self) -> int:
        """The least number of bytes that a step moves if everything that can be fused is fused.

        It counts the gathered batch, the operands and results of the products, the head's logits and delta, the
        optimizer's state, and the weights once more if products read a copy. Plain SGD and momentum can update inside
        the weights' product: then no gradient is stored, but the weights are read and written.
        """
        gather = self.batch * self.network[0] * (1 + self.between)
        products = sum(product.bytes for product in self.products())
        weights_read_by_update = NUMBER * self.parameters
        head = (NUMBER + self.between) * self.batch * self.network[-1]
        state = 2 * NUMBER * self.states * self.parameters
        return gather + products + weights_read_by_update + head + state + self.rounded_copy

    @property
    def working_set(self) -> int:
        """Bytes of all arrays that a step touches: parameters, the optimizer's state, the batch and the activations."""
        learned = NUMBER * self.parameters * (1 + self.states) + self.rounded_copy
        return learned + self.batch * (self.between * sum(self.network) + self.network[0])

    def key(self) -> dict[str, Any]:
        """The fields that identify the cell, as JSON values."""
        return asdict(self) | {"network": list(self.network)}


def cell_from(key: dict[str, Any]) -> Cell:
    """The cell with a given key."""
    return Cell(
        tuple(key["network"]), key["batch"], key["activation"], key["optimizer"], key["device"], key["precision"]
    )


def grid(
    networks: Iterable[tuple[int, ...]],
    batches: Sequence[int],
    devices: Sequence[str],
    activation: str,
    optimizer: str,
    precision: str = "float32",
) -> list[Cell]:
    """Every network at every batch size on every device."""
    return [
        Cell(network, batch, activation, optimizer, device, precision)
        for device in devices
        for network in networks
        for batch in batches
    ]


def scaling(devices: Sequence[str], activation: str, optimizer: str, precision: str = "float32") -> list[Cell]:
    """Two networks over all batch sizes, and one batch size over all widths."""
    found: Iterator[Cell] = (
        Cell(network, batch, activation, optimizer, device, precision)
        for device in devices
        for network, batch in (
            *((network, batch) for network in SCALING_NETWORKS for batch in SCALING_BATCHES),
            *(((784, width, width, 10), SCALING_BATCH) for width in SCALING_WIDTHS),
        )
    )
    return list(dict.fromkeys(found))


def steps_at_a_time(cell: Cell) -> int:
    """The number of steps in one call of a contender that compiles many into one: about 50 ms of them, at most 200.

    It divides an epoch into equal calls with few steps left over.
    """
    operations_per_second = 5e10 if cell.device == "numpy" else 1e13
    wanted = max(1, min(200, math.ceil(0.05 * operations_per_second / cell.operations)))
    return max(1, cell.steps_per_epoch // math.ceil(cell.steps_per_epoch / wanted))


def network_name(network: Sequence[int]) -> str:
    """The name of a network: 784-128-10."""
    return "-".join(map(str, network))


def parse_networks(text: str) -> list[tuple[int, ...]]:
    """Parse a list of networks such as "784-30-10,784-128-10"; InputError for anything else."""
    found = []
    for part in text.split(","):
        sizes = part.strip().split("-")
        if len(sizes) < 2 or not all(re.fullmatch(r"0*[1-9]\d{0,6}", size) for size in sizes) or int(sizes[-1]) < 2:
            raise InputError(
                f"network {part.strip()!r} cannot be used; accepted: sizes of all layers from the inputs to two or "
                f"more outputs, such as 784-128-10; several separated by commas"
            )
        found.append(tuple(map(int, sizes)))
    return list(dict.fromkeys(found))


def parse_batches(text: str) -> list[int]:
    """Parse a list of batch sizes such as "10,128"; InputError for anything else."""
    found = []
    for part in text.split(","):
        if not re.fullmatch(r"0*[1-9]\d{0,8}", part.strip()) or int(part) > SAMPLES:
            raise InputError(
                f"batch size {part.strip()!r} cannot be used; accepted: 1 to {SAMPLES}, several separated by commas"
            )
        found.append(int(part))
    return list(dict.fromkeys(found))
