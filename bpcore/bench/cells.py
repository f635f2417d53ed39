"""What is measured: the cells (network x batch x device), and what one training step of each costs at least."""

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
"""As many as MNIST has; a batch cannot be larger."""

SCALING_NETWORKS = ((784, 128, 10), (784, 512, 512, 10))
SCALING_BATCHES = tuple(2**power for power in range(15))
SCALING_WIDTHS = tuple(sorted({*(2**power for power in range(4, 14)), *(3 * 2**power for power in range(3, 12))}))
SCALING_BATCH = 128

NUMBER = 4
"""Bytes of a float32."""

PRECISIONS = {"float32": NUMBER, "tf32": NUMBER, "bfloat16": 2}
"""Bytes of a number that flows between layers, and of the factors of products."""


@dataclass(frozen=True)
class Product:
    """One matrix product of a step: (m, k) @ (k, n), with the operand that BLAS is told is transposed, if any.

    operand, out: the bytes of a number of either factor, and of the result
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
        """A multiplication and an addition for each of the m k n pairs."""
        return 2 * self.m * self.k * self.n

    @property
    def bytes(self) -> int:
        """Both operands read, the result written."""
        return self.operand * (self.m * self.k + self.k * self.n) + self.out * self.m * self.n


@dataclass(frozen=True)
class Cell:
    """One training job. network: the sizes of the layers, inputs first; device: the name of a backend."""

    network: tuple[int, ...]
    batch: int
    activation: str = "relu"
    optimizer: str = "sgd"
    device: str = "numpy"
    precision: str = "float32"

    @property
    def name(self) -> str:
        """As a report calls it."""
        return f"{network_name(self.network)} batch {self.batch}"

    @property
    def layers(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each layer."""
        return list(zip(self.network, self.network[1:], strict=False))

    @property
    def parameters(self) -> int:
        """Weights and biases."""
        return sum((inputs + 1) * outputs for inputs, outputs in self.layers)

    @property
    def states(self) -> int:
        """How many numbers the optimizer keeps for each parameter."""
        return UPDATE_RULES[OPTIMIZERS[self.optimizer].rule_name].states

    @property
    def between(self) -> int:
        """The bytes of a number that flows between layers."""
        return PRECISIONS[self.precision]

    @property
    def rounded_copy(self) -> int:
        """The bytes of the copy of the weights that products read, where they read another than that which learns."""
        weights = sum(inputs * outputs for inputs, outputs in self.layers)
        return 0 if self.between == NUMBER else self.between * weights

    @property
    def steps_per_epoch(self) -> int:
        """Full batches alone: nobody is measured on the short last one."""
        return SAMPLES // self.batch

    @property
    def operations(self) -> int:
        """Floating-point operations of the products; all else is a few for each number."""
        return sum(product.operations for product in self.products())

    def products(self) -> list[Product]:
        """The step's matrix products: forward, weight gradients, input deltas of all layers but the first."""
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
        """What a step has to move, each array once in each pass that needs it, everything that can be fused fused.

        The gathered batch, the operands and results of the products (the update of plain SGD and of momentum can be
        part of the weights' product: their gradients need no array, but the weights are read and written), the head's
        logits and delta, the optimizer's state, and the weights once more where products read a copy.
        """
        gather = self.batch * self.network[0] * (1 + self.between)
        products = sum(product.bytes for product in self.products())
        weights_read_by_update = NUMBER * self.parameters
        head = (NUMBER + self.between) * self.batch * self.network[-1]
        state = 2 * NUMBER * self.states * self.parameters
        return gather + products + weights_read_by_update + head + state + self.rounded_copy

    @property
    def working_set(self) -> int:
        """Bytes that a step touches at all: parameters, the optimizer's state, the batch and the activations."""
        learned = NUMBER * self.parameters * (1 + self.states) + self.rounded_copy
        return learned + self.batch * (self.between * sum(self.network) + self.network[0])

    def key(self) -> dict[str, Any]:
        """What tells one cell from another, as JSON values."""
        return asdict(self) | {"network": list(self.network)}


def cell_from(key: dict[str, Any]) -> Cell:
    """The cell of a key."""
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
    """How many steps a contender that compiles many into one call takes at a time: some 50 ms of them, at most 200.

    They divide an epoch into equal calls, with little left over.
    """
    operations_per_second = 5e10 if cell.device == "numpy" else 1e13
    wanted = max(1, min(200, math.ceil(0.05 * operations_per_second / cell.operations)))
    return max(1, cell.steps_per_epoch // math.ceil(cell.steps_per_epoch / wanted))


def network_name(network: Sequence[int]) -> str:
    """784-128-10."""
    return "-".join(map(str, network))


def parse_networks(text: str) -> list[tuple[int, ...]]:
    """The sizes of "784-30-10,784-128-10"."""
    found = []
    for part in text.split(","):
        sizes = part.strip().split("-")
        if len(sizes) < 2 or not all(re.fullmatch(r"0*[1-9]\d{0,6}", size) for size in sizes) or int(sizes[-1]) < 2:
            raise InputError(
                f"network {part.strip()!r} cannot be used; accepted: sizes of all layers from the inputs to two or "
                f"more outputs, such as 784-128-10, several with commas between"
            )
        found.append(tuple(map(int, sizes)))
    return list(dict.fromkeys(found))


def parse_batches(text: str) -> list[int]:
    """The sizes of "10,128"."""
    found = []
    for part in text.split(","):
        if not re.fullmatch(r"0*[1-9]\d{0,8}", part.strip()) or int(part) > SAMPLES:
            raise InputError(
                f"batch size {part.strip()!r} cannot be used; accepted: 1 to {SAMPLES}, several with commas between"
            )
        found.append(int(part))
    return list(dict.fromkeys(found))
