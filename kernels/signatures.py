"""The arguments of every kernel, declared once: their names, shapes and dtypes, and how threads share them.

An entry of SIGNATURES lists a kernel's arguments in the order of its parameters. The rest is derived from it: the
checks before a kernel runs, what an operation of a recorded step reads and writes and how the CPU's threads divide it,
which arguments may be bfloat16, what the GPU's threads divide, and the list of kernels in the documentation. The
kernels themselves are in cpu/ and cuda/ under the same names; spec.py says which functions fill their holes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from types import ModuleType
from typing import Literal

SIZES = {
    "B": "samples of the batch, or those of one thread",
    "batch": "all samples of the batch",
    "N": "inputs",
    "M": "outputs, or units of a layer",
    "K": "columns of a matrix of which M are a part",
    "P": "parameters",
    "samples": "samples of the data set",
    "weights": "samples, or 0 where no sample weights are given",
    "out_weights": "B, or 0 where no sample weights are given",
    "states": "values that the optimizer keeps for each parameter",
    "segments": "ranges of parameters: first, stop, and 1 where L2 and weight decay apply",
    "slots": "batches of an epoch",
    "steps": "steps of the table of learning rates",
    "counters": "the places in kernels/counter.py",
    "pieces": "pieces that the weights are cut into",
    "parts": "threads",
}
"""What each size in a shape counts. A size has the same value throughout one call of a kernel."""


class Role(Enum):
    """Which part of an argument each CPU thread is given when several threads share a kernel."""

    ROWS = "the rows, or the entries, of its own samples"
    COLUMNS = "the entries of its own columns"
    WHOLE = "all of it"
    SUMS = "an array of its own for sums over its samples; they are added up afterwards"
    SLOT_SUMS = "as SUMS, but only the entry of the current batch counts"
    SEGMENTS = "a share of each range of parameters"
    PARAMETERS = "all of it, but it changes only the entries, or columns, of its segments"
    GRADIENTS = "all of it, but it reads only the entries of its segments; the first is that of parameter `first`"
    FIRST_PARAMETER = "the number of the parameter that the gradients begin with"
    FIRST = "the number of its first row or column"
    NUMBER = "a number"
    NUMBERS = "a tuple of numbers"
    UNUSED = "an array that the kernel does not look at"


class Elements(Enum):
    """The types that an array's elements may have."""

    REAL = "the kernel's dtype"
    FLOW = "the kernel's dtype, or bfloat16: what flows between layers"
    ANY = "any real dtype"
    TARGETS = "int64 labels, or a matrix of the kernel's dtype"
    INT64 = "int64"
    INT32 = "int32"


@dataclass(frozen=True)
class Argument:
    """One argument. shape: its sizes; a bar separates the shapes for labels and for a matrix of targets."""

    role: Role
    shape: str = ""
    elements: Elements = Elements.REAL
    written: bool = False

    @property
    def shapes(self) -> list[tuple[str, ...]]:
        """The sizes of each shape that it may have, in order; empty for a number."""
        return [tuple(shape.split()) for shape in self.shape.split("|") if shape]


@dataclass(frozen=True)
class Division:
    """How the GPU's threads divide a kernel (cuda/plans.py): the way, the most threads in a block, the sizes."""

    way: Literal[
        "elements", "quarter_rows", "column_tiles", "row_groups", "wide_row_groups", "one_block", "single_thread"
    ]
    threads: int
    sizes: str = ""


@dataclass(frozen=True, eq=False)
class Signature:
    """A kernel's arguments by name, in order, and how it is compiled.

    division       how the GPU divides it; None for a kernel that exists only for the CPU
    vector_sums    whether the CPU may compute sums in vectors: not in the order of the source, but always in the same
                   order
    """

    division: Division | None
    arguments: dict[str, Argument]
    vector_sums: bool = False

    @cached_property
    def places(self) -> dict[str, int]:
        """The position of each argument, by name."""
        return {name: place for place, name in enumerate(self.arguments)}

    @cached_property
    def flowing(self) -> tuple[int, ...]:
        """The positions of the arguments that may be bfloat16, independently of one another."""
        return tuple(self.places[name] for name, one in self.arguments.items() if one.elements is Elements.FLOW)

    def place_of(self, size: str) -> tuple[int, int]:
        """Return where to read a size: the position of the first argument that has it, and the axis."""
        return next(
            (place, shape.index(size))
            for place, argument in enumerate(self.arguments.values())
            for shape in argument.shapes
            if size in shape
        )


def _kernel(division: Division | None = None, /, **arguments: Argument) -> Signature:
    return Signature(division, arguments)


def _summing(division: Division, /, **arguments: Argument) -> Signature:
    return Signature(division, arguments, vector_sums=True)


def _read(role: Role, shape: str, elements: Elements = Elements.REAL) -> Argument:
    return Argument(role, shape, elements)


def _written(role: Role, shape: str, elements: Elements = Elements.REAL) -> Argument:
    return Argument(role, shape, elements, written=True)


def _each_element(**arguments: Argument) -> Signature:
    return Signature(Division("elements", 256, "B M"), arguments)


# Arguments that several kernels share.
_NUMBER = Argument(Role.NUMBER)
_FIRST = Argument(Role.FIRST)
_ROWS = _read(Role.ROWS, "B M")
_ROWS_WRITTEN = _written(Role.ROWS, "B M")
_FLOW = _read(Role.ROWS, "B M", Elements.FLOW)
_FLOW_WRITTEN = _written(Role.ROWS, "B M", Elements.FLOW)
_UNITS = _read(Role.WHOLE, "M")
_UNIT_SUMS = _written(Role.SUMS, "M")
_LABELS = _read(Role.WHOLE, "B", Elements.INT64)
_SLOTS = _read(Role.WHOLE, "slots")
_SEGMENTS = _read(Role.WHOLE, "segments 3", Elements.INT64)
_SETTINGS = _read(Role.WHOLE, "8")
_TABLE = _read(Role.WHOLE, "steps 3")
_SCALE = _read(Role.WHOLE, "1")
_COUNTERS = _read(Role.WHOLE, "counters", Elements.INT64)

SIGNATURES: dict[str, Signature] = {
    # batch.py
    "gather": _kernel(
        Division("wide_row_groups", 256, "B N"),
        x=_read(Role.WHOLE, "samples N", Elements.ANY),
        targets=_read(Role.WHOLE, "samples | samples M", Elements.TARGETS),
        weights=_read(Role.WHOLE, "weights"),
        scale=_NUMBER,
        shift=_NUMBER,
        out_x=_written(Role.ROWS, "B N", Elements.FLOW),
        out_targets=_written(Role.ROWS, "B | B M", Elements.TARGETS),
        out_weights=_written(Role.ROWS, "out_weights"),
        first_row=_FIRST,
        counters=_COUNTERS,
    ),
    "gather_rows": _kernel(
        x=_read(Role.WHOLE, "samples N", Elements.ANY),
        targets=_read(Role.WHOLE, "samples | samples M", Elements.TARGETS),
        weights=_read(Role.WHOLE, "weights"),
        out_x=_written(Role.ROWS, "B N", Elements.ANY),
        out_targets=_written(Role.ROWS, "B | B M", Elements.TARGETS),
        out_weights=_written(Role.ROWS, "out_weights"),
        first_row=_FIRST,
        counters=_COUNTERS,
    ),
    "scatter": _kernel(
        Division("wide_row_groups", 256, "B M"),
        batch=_read(Role.ROWS, "B | B M", Elements.TARGETS),
        out=_written(Role.WHOLE, "samples | samples M", Elements.TARGETS),
        first_row=_FIRST,
        counters=_COUNTERS,
    ),
    "one_hot": _each_element(labels=_read(Role.ROWS, "B", Elements.INT64), out=_ROWS_WRITTEN),
    # layer.py
    "activate": _each_element(z=_FLOW, bias=_UNITS, parameter=_UNITS, out=_FLOW_WRITTEN),
    "activate_keeping_input": _each_element(z=_FLOW_WRITTEN, bias=_UNITS, parameter=_UNITS, out=_FLOW_WRITTEN),
    "delta": _kernel(
        Division("column_tiles", 1024, "B M"),
        delta=_FLOW_WRITTEN,
        saved=_FLOW,
        parameter=_UNITS,
        bias_grad=_UNIT_SUMS,
        parameter_grad=_read(Role.UNUSED, "M"),
    ),
    "delta_learned": _kernel(
        Division("column_tiles", 1024, "B M"),
        delta=_FLOW_WRITTEN,
        saved=_FLOW,
        parameter=_UNITS,
        bias_grad=_UNIT_SUMS,
        parameter_grad=_UNIT_SUMS,
    ),
    "max_pieces": _each_element(
        z=_read(Role.ROWS, "B K", Elements.FLOW),
        bias=_read(Role.WHOLE, "K"),
        out=_FLOW_WRITTEN,
        winner=_written(Role.ROWS, "B M", Elements.INT32),
    ),
    "max_pieces_backward": _kernel(
        Division("column_tiles", 1024, "B K"),
        delta=_FLOW,
        winner=_read(Role.ROWS, "B M", Elements.INT32),
        out=_written(Role.ROWS, "B K", Elements.FLOW),
        bias_grad=_written(Role.SUMS, "K"),
    ),
    "dropout": _kernel(
        Division("quarter_rows", 256, "B M"),
        x=_FLOW,
        out=_FLOW_WRITTEN,
        layer=_NUMBER,
        threshold=_NUMBER,
        scale=_NUMBER,
        first_row=_FIRST,
        counters=_COUNTERS,
    ),
    "hadamard": _each_element(a=_FLOW, b=_FLOW, out=_FLOW_WRITTEN),
    "add": _each_element(a=_FLOW, b=_FLOW, out=_FLOW_WRITTEN),
    "duplicate": _each_element(x=_FLOW, out=_FLOW_WRITTEN),
    # loss.py
    "loss_head": _summing(
        Division("one_block", 512, "B M"),
        z=_ROWS_WRITTEN,
        bias=_UNITS,
        targets=_read(Role.ROWS, "B | B M", Elements.TARGETS),
        weights=_read(Role.ROWS, "B"),
        all_weights=_read(Role.WHOLE, "batch"),
        delta=_ROWS_WRITTEN,
        bias_grad=_UNIT_SUMS,
        losses=_written(Role.SLOT_SUMS, "slots"),
        totals=_written(Role.WHOLE, "slots"),
        correct=_written(Role.SLOT_SUMS, "slots", Elements.INT64),
        counters=_COUNTERS,  # it also stores the first bad step there, which no other kernel reads
        settings=Argument(Role.NUMBERS),
    ),
    # update.py
    "update": _kernel(
        Division("elements", 256, "P"),
        params=_written(Role.PARAMETERS, "P"),
        grads=_read(Role.GRADIENTS, "P"),
        state=_written(Role.PARAMETERS, "states P"),
        segments=_read(Role.SEGMENTS, "segments 3", Elements.INT64),
        settings=_SETTINGS,
        table=_TABLE,
        scale=_SCALE,
        norm=_read(Role.WHOLE, "1"),
        counters=_COUNTERS,
        first=Argument(Role.FIRST_PARAMETER),
    ),
    "global_norm": _summing(
        Division("one_block", 1024, "P"),
        grads=_read(Role.WHOLE, "P"),
        segments=_SEGMENTS,
        norm=_written(Role.WHOLE, "1"),
    ),
    "fold_factors": _kernel(
        Division("single_thread", 1),
        table=_TABLE,
        scale=_SCALE,
        settings=_SETTINGS,
        counters=_COUNTERS,
        factors=_written(Role.WHOLE, "3"),
    ),
    "penalize": _kernel(
        Division("single_thread", 1),
        squares=_read(Role.WHOLE, "pieces pieces"),
        totals=_SLOTS,
        penalties=_written(Role.WHOLE, "slots"),
        settings=_written(Role.WHOLE, "8"),
        counters=_COUNTERS,
    ),
    "limit_columns": _kernel(
        Division("column_tiles", 1024, "N M"),
        weights=_written(Role.WHOLE, "N K"),  # a thread changes only its own columns
        limit=_NUMBER,
        factors=_written(Role.COLUMNS, "M"),
        first=_FIRST,
    ),
    "column_sums": _kernel(
        Division("column_tiles", 1024, "B M"),
        x=_read(Role.WHOLE, "B M", Elements.FLOW),
        out=_written(Role.WHOLE, "M"),
    ),
    "add_slots": _kernel(
        parts=_read(Role.WHOLE, "parts slots", Elements.ANY),
        out=_written(Role.WHOLE, "slots", Elements.ANY),
        counters=_COUNTERS,
    ),
    "advance": _kernel(
        Division("single_thread", 1),
        counters=_written(Role.WHOLE, "counters", Elements.INT64),
    ),
    # predictions.py
    "softmax": _summing(Division("row_groups", 256, "B M"), z=_ROWS, out=_ROWS_WRITTEN),
    "log_softmax": _summing(Division("row_groups", 256, "B M"), z=_ROWS, out=_ROWS_WRITTEN),
    "argmax": _kernel(
        Division("row_groups", 256, "B M"),
        z=_ROWS,
        out=_written(Role.ROWS, "B", Elements.INT64),
    ),
    "above_zero": _each_element(z=_ROWS, out=_written(Role.ROWS, "B M", Elements.INT64)),
    "confusion": _kernel(
        Division("elements", 256, "B"),
        predicted=_LABELS,
        targets=_LABELS,
        counts=_written(Role.WHOLE, "M M", Elements.INT64),
    ),
}
"""The signatures by kernel name, in the order of the files that define the kernels."""


def templates_in(*families: ModuleType) -> dict[str, Callable[..., None]]:
    """Return the kernel templates that these modules define, by name."""
    return {name: vars(family)[name] for family in families for name in SIGNATURES if name in vars(family)}
