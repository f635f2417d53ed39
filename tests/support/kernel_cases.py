"""Every kernel with arguments, for the tests of the CUDA kernels.

A kernel that needs no particular numbers has its arguments from the table of kernels/signatures.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpcore.kernels import bfloat16, counter, spec
from bpcore.kernels.activations import ACTIVATIONS
from bpcore.kernels.losses import LOSSES
from bpcore.kernels.optimizers import UPDATE_RULES
from bpcore.kernels.signatures import SIGNATURES, Argument, Elements, Role
from bpcore.testing.common import settings_to_try

ON_THE_GPU = {name for name, signature in SIGNATURES.items() if signature.division}
SUMMED = {"column_tiles", "row_groups", "one_block"}  # divisions that sum in another order than the CPU


@dataclass(frozen=True)
class Case:
    """A kernel and its arguments. exact: whether two devices must agree bit for bit."""

    name: str
    spec: spec.Spec
    arguments: tuple[Any, ...]
    exact: bool = False


def every_case(dtype: Any, rows: int, columns: int) -> Iterator[Case]:
    """A case for each kernel over matrices (rows, columns)."""
    make = _Maker(np.dtype(dtype), rows, columns)
    parts = (make.activations, make.losses, make.updates, make.gathers, make.answers, make.plain)
    cases = [case for part in parts for case in part()]
    others = ON_THE_GPU - {case.spec.template for case in cases}
    for case in (*cases, *map(make.from_the_table, sorted(others))):
        yield Case(f"{case.name} {make.dtype} {rows}x{columns}", case.spec, case.arguments, case.exact)


def bfloat16_cases(rows: int, columns: int) -> Iterator[Case]:
    """The float32 cases with all arguments bfloat16 that may be, and with each such argument alone in bfloat16."""
    seen = set()
    for case in every_case(np.float32, rows, columns):
        places = SIGNATURES[case.spec.template].flowing
        alone = [(place,) for place in places] if len(places) > 1 and case.spec.template not in seen else []
        seen.add(case.spec.template)
        for which in filter(None, [places, *alone]):
            arguments = [
                bfloat16.rounded(value) if place in which else value for place, value in enumerate(case.arguments)
            ]
            words = "".join(f" {place}" for place in which)
            yield Case(f"{case.name} bfloat16{words}", case.spec, tuple(arguments), case.exact)


class _Maker:
    def __init__(self, dtype: np.dtype[Any], rows: int, columns: int) -> None:
        self.dtype, self.rows, self.columns = dtype, rows, columns
        self.rng = np.random.default_rng(7)

    def numbers(self, *shape: int) -> np.ndarray:
        return self.rng.standard_normal(shape).astype(self.dtype)

    def matrix(self) -> np.ndarray:
        return self.numbers(self.rows, self.columns)

    def line(self) -> np.ndarray:
        return self.numbers(self.columns)

    def counters(self, **values: int) -> np.ndarray:
        """Counters with a step, epoch and seed of more than 32 bits, at the second batch."""
        result = np.zeros(counter.COUNTERS, np.int64)
        result[counter.STEP] = values.get("step", 2**33 + 1)
        result[counter.EPOCH], result[counter.SEED] = 2**34 + 3, 2**50 + 9
        result[counter.BATCH], result[counter.BATCH_SIZE] = 1, self.rows
        result[counter.SHUFFLE] = values.get("shuffle", 0)
        result[counter.FIRST_BAD] = -1
        result[counter.FIRST_BATCH] = values.get("first_batch", 0)
        return result

    def from_the_table(self, template: str) -> Case:
        """A kernel without holes, with random numbers of the shapes and dtypes that the table says."""
        signature = SIGNATURES[template]
        assert signature.division is not None
        arguments = tuple(map(self.argument, signature.arguments.values()))
        exact = signature.division.way not in SUMMED
        return Case(template, spec.plain(template, self.dtype), arguments, exact)

    def argument(self, argument: Argument) -> Any:
        if argument.role is Role.NUMBER:
            return self.dtype.type(0.75)
        if not argument.shape:
            return 0
        sizes = {"B": self.rows, "M": self.columns, "P": self.rows * self.columns}
        shape = tuple(int(size) if size.isdigit() else sizes.get(size, 3) for size in argument.shapes[-1])
        if argument.elements in (Elements.INT64, Elements.INT32):
            return self.rng.integers(0, 3, shape).astype(argument.elements.value)
        return self.numbers(*shape)

    def activations(self) -> Iterator[Case]:
        for name, entry in ACTIVATIONS.items():
            arguments: tuple[Any, ...] = (2 * self.matrix(), self.line(), 1 + 0.1 * self.line(), self.matrix())
            yield Case(f"activate {name}", spec.activate(entry, self.dtype), arguments)
            arguments = (self.matrix(), self.matrix(), 1 + 0.1 * self.line(), self.line(), self.line())
            yield Case(f"delta {name}", spec.delta(entry, self.dtype), arguments)

    def losses(self) -> Iterator[Case]:
        labels = self.rng.integers(0, self.columns, self.rows)
        for name, loss in LOSSES.items():
            for targets in (labels, np.eye(self.columns, dtype=self.dtype)[labels]):
                for weighted in (False, True):
                    weights = self.rng.random(self.rows).astype(self.dtype) + 1
                    arguments = (
                        2 * self.matrix(), self.line(), targets, weights, np.append(weights, weights),
                        self.matrix(), self.line(), self.numbers(3), self.numbers(3), np.zeros(3, np.int64),
                        self.counters(), tuple(map(self.dtype.type, settings_to_try(loss)[-1].values())),
                    )  # fmt: skip
                    kernel = spec.loss_head(loss, self.dtype, labels=targets is labels, weighted=weighted)
                    words = f"loss_head {name} {'labels' if targets is labels else 'dense'}"
                    yield Case(f"{words}{' weighted' if weighted else ''}", kernel, arguments)
        z, *rest = arguments
        z = np.where(np.arange(self.rows)[:, None] == self.rows - 1, np.nan, z).astype(self.dtype)
        yield Case("loss_head not finite", kernel, (z, *rest))

    def updates(self) -> Iterator[Case]:
        size = self.rows * self.columns + 3  # two segments with a gap between them and another at the end
        middle = size // 2
        segments = np.array([[0, middle, 1], [middle + 1, size - 1, 0]], np.int64)
        for name, rule in UPDATE_RULES.items():
            for longest in (0.0, 0.5):
                settings = np.array([0.1, 0.2, longest, 0, 0.9, 0.99, 1e-3, 0], self.dtype)
                arguments = (
                    self.numbers(size), self.numbers(size), abs(self.numbers(rule.states, size)), segments, settings,
                    np.array([[9, 9, 9], [0.1, 1.5, 2.5]], self.dtype), np.array([0.5], self.dtype),
                    np.array([2.0], self.dtype), self.counters(step=1), 0,
                )  # fmt: skip
                yield Case(f"update {name}{' clipped' if longest else ''}", spec.update(rule, self.dtype), arguments)
            panel = (arguments[0], arguments[1][1:], arguments[2], segments + np.array([[2, 0, 0], [0, 0, 0]]))
            yield Case(f"update {name} of a panel", spec.update(rule, self.dtype), (*panel, *arguments[4:-1], 1))

    def gathers(self) -> Iterator[Case]:
        samples = 2 * self.rows + 3
        labels, weights = self.rng.integers(0, 9, samples), self.rng.random(samples).astype(self.dtype)
        for x in (self.rng.integers(0, 256, (samples, self.columns), np.uint8), self.numbers(samples, self.columns)):
            for shuffle in (0, 1):
                for targets in (labels, self.numbers(samples, 5)):
                    for weighted in (False, True):
                        arguments = (
                            x, targets, weights, self.dtype.type(0.25), self.dtype.type(-0.5), self.matrix(),
                            np.zeros((self.rows, *targets.shape[1:]), targets.dtype), self.numbers(self.rows),
                            2, self.counters(shuffle=shuffle),
                        )  # fmt: skip
                        kernel = spec.gather(self.dtype, labels=targets is labels, weighted=weighted)
                        words = [f"gather {x.dtype}", "labels" if targets is labels else "dense"]
                        words += ["weighted"] * weighted + ["shuffled"] * shuffle
                        # With a power of two as scale the product is exact, whether contracted with the sum or not.
                        yield Case(" ".join(words), kernel, arguments, exact=True)
        yield Case("gather of a chunk", kernel, (*arguments[:-1], self.counters(first_batch=1)), exact=True)

    def answers(self) -> Iterator[Case]:
        """Kernels of prediction, for rows with ties, NaN and infinities, and for invalid labels."""
        rows, columns = self.rows, self.columns
        z = np.round(self.matrix())  # gives ties
        z[1::4] = 1.0
        z[2::4, columns // 2 :] = np.nan
        z[3::4] = -np.inf
        labels = self.rng.integers(0, 9, rows)
        predicted, targets = self.rng.integers(-1, columns + 1, (2, rows))
        counts = self.rng.integers(0, 5, (columns, columns))
        yield Case("argmax", spec.plain("argmax", self.dtype), (z, labels), exact=True)
        yield Case("argmax of numbers", spec.plain("argmax", self.dtype), (self.matrix(), labels), exact=True)
        yield Case("above_zero", spec.plain("above_zero", self.dtype), (z, counts[:1].repeat(rows, 0)), exact=True)
        yield Case("confusion", spec.plain("confusion", self.dtype), (predicted, targets, counts), exact=True)
        for samples in (3 * rows, 2 * rows):  # the second ends before the batch does
            for batch in (self.matrix(), labels):
                arguments = (batch, np.zeros((samples, *batch.shape[1:]), batch.dtype), 1, self.counters())
                kernel = spec.scatter(self.dtype, labels=batch is labels)
                yield Case(f"scatter {batch.dtype.kind} into {samples}", kernel, arguments, exact=True)
        chunk = (batch, np.zeros(rows, np.int64), 0, self.counters(first_batch=1))
        yield Case("scatter of a chunk", kernel, chunk, exact=True)

    def plain(self) -> Iterator[Case]:
        rows, columns, pieces = self.rows, self.columns, 3
        winner = np.empty((rows, columns), np.int32)
        won = self.rng.integers(0, pieces, (rows, columns)).astype(np.int32)
        table, scale, settings = (
            np.array(values, self.dtype) for values in ([[9, 9, 9], [0.25, 1, 1]], [0.5], [0.125, *[0] * 7])
        )
        size = rows * columns
        segments = np.array([[0, size // 2, 1], [size // 2 + 1, size, 0]], np.int64)  # one gradient is in none

        def wide() -> np.ndarray:
            return self.numbers(rows, pieces * columns)

        wild = self.matrix()
        wild[0, :2], wild[-1, 2:4] = np.nan, np.inf
        limit = self.dtype.type(0.7 * math.sqrt(rows))
        unknown = np.where(self.rng.random((rows, pieces * columns)) < 0.3, np.nan, wide()).astype(self.dtype)
        cases: list[tuple[str, tuple[Any, ...], bool]] = [
            ("softmax", (3 * self.matrix(), self.matrix()), False),
            ("log_softmax", (3 * self.matrix(), self.matrix()), False),
            ("one_hot", (self.rng.integers(-1, columns + 1, rows), self.matrix()), True),
            (
                "dropout",
                (self.matrix(), self.matrix(), 3, round(0.4 * 2**32), self.dtype.type(1 / 0.6), 2, self.counters()),
                True,
            ),
            ("max_pieces", (wide(), self.numbers(pieces * columns), self.matrix(), winner), True),
            ("max_pieces of NaN", (unknown, self.numbers(pieces * columns), self.matrix(), winner), True),
            ("max_pieces_backward", (self.matrix(), won, wide(), self.numbers(pieces * columns)), False),
            ("global_norm", (self.numbers(size), segments, self.numbers(1)), False),
            ("limit_columns", (self.matrix(), limit, self.line(), 0), False),
            ("limit_columns of a part", (wide(), limit, self.line(), columns), False),
            ("limit_columns not finite", (wild, limit, self.line(), 0), False),
            ("limit_columns of short ones", (self.matrix(), 10 * limit, self.line(), 0), True),
            ("fold_factors", (table, scale, settings, self.counters(step=1), self.numbers(3)), True),
            ("penalize", (self.numbers(3, 3), *self.numbers(2, 3), settings[::-1].copy(), self.counters()), True),
            ("advance", (self.counters(),), True),
        ]
        for name, arguments, exact in cases:
            yield Case(name, spec.plain(name.partition(" ")[0], self.dtype), arguments, exact)
