"""Record a step on the CPU: cut each operation into parts, one for each thread, and put the parts onto a tape.

The roles of an operation's arguments (kernels/signatures.py) decide how it is cut: by rows of the batch if possible, a
product with few rows by columns; an operation whose roles allow no cut runs on one thread. The number of parts depends
on sizes and on the number of threads, never on timing.

The threads wait for one another before an entry only if it reads or writes what another thread has written since the
last wait, or writes what another has read. A forward pass whose products are cut by rows needs no wait at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np

from bpcore.backends.arrays import Span, is_array, meet, span
from bpcore.backends.base import Backend
from bpcore.backends.cpu_threads import threads
from bpcore.backends.fusion import Panels, fold_updates
from bpcore.backends.operations import Kernel, Operation, Product
from bpcore.backends.recording import NotRecordableError, Replay
from bpcore.kernels import memory, spec, tape
from bpcore.kernels import product as products
from bpcore.kernels.signatures import Role

_NO_SEGMENTS = np.zeros((0, 3), np.int64)

CUT = {Role.ROWS, Role.COLUMNS, Role.SUMS, Role.SLOT_SUMS, Role.SEGMENTS}
"""The roles of arguments that are cut; a kernel without any of them runs on one thread."""

PANELS = Panels(smallest=2**22, size=2**18)
"""Gradients several times as large as a core's cache are computed in panels that leave room in the cache; for smaller
gradients, panels would cost more than they save."""

ROWS_WORTH_CUTTING = 16
"""A product with fewer rows in each part is cut by columns, so that each part reads only its share of the weights."""

OPERATIONS_WORTH_A_THREAD = 750_000
"""A step runs on n threads only if it has at least n^2 times this many floating-point operations: in a small step the
waits cost as much as more threads save, and small parts of a product are slow. Measured on two cores only."""


class TapeMaker:
    """Turns operations into tapes (recording.Maker)."""

    def __init__(self, backend: Backend, *, folds: bool) -> None:
        self._backend, self._folds = backend, folds
        self.parts = threads()

    def fused(self, operations: Sequence[Operation]) -> Sequence[Operation]:
        """The step with updates folded into the products that make the weight gradients."""
        return fold_updates(self._backend, operations, panels=PANELS) if self._folds else operations

    def make(self, operations: Sequence[Operation]) -> Replay:
        """Make a tape, for as many threads as the amount of work justifies."""
        products = (operation for operation in operations if isinstance(operation, Product))
        flops = sum(2 * product.out.size * product.a.shape[1] for product in products)
        self.parts = min(self.parts, max(1, math.isqrt(flops // OPERATIONS_WORTH_A_THREAD)))
        cutter = Cutter(self.parts)
        return tape_of([entry for operation in operations for entry in cutter.entries(operation)]).replay

    def perform(self, operation: Operation) -> None:
        """Run an operation now, one part after the other."""
        for entry in Cutter(self.parts).entries(operation):
            for part in entry:
                if part is not None:
                    tape.run_once(part.address, part.words)


# --- cutting ------------------------------------------------------------------------------------------------


@dataclass
class Part:
    """One thread's part of an entry: the address of a compiled function, its arguments as words, the memory it uses.

    keep: the objects that must stay alive as long as the address and the words are used.
    """

    address: int
    words: np.ndarray
    keep: object
    reads: list[Span] = field(default_factory=list)
    writes: list[Span] = field(default_factory=list)


Entry = list[Part | None]


class Cutter:
    """Cuts operations into entries of a given number of parts."""

    def __init__(self, parts: int) -> None:
        self.parts = parts

    def entries(self, operation: Operation) -> Iterator[Entry]:
        """The entries of one operation: one for its parts, and one for each sum whose parts have to be added up."""
        if isinstance(operation, Product):
            yield self._product(operation)
        elif self.parts == 1 or not any(argument.role in CUT for argument, _ in operation.declared):
            yield self._one_thread(operation)
        else:
            yield from self._by_parts(operation)

    def _product(self, product: Product) -> Entry:
        a, b, out = product.a, product.b, product.out
        in_memory = is_array(product.alpha)
        if in_memory != is_array(product.beta):
            raise NotRecordableError("of a product's two factors one is a number and the other an array")
        if out.strides[1] != out.itemsize or not a.dtype == b.dtype == out.dtype or out.dtype.kind != "f":
            raise NotRecordableError("a product's result is not row-major, or its operands have different types")
        m, n = out.shape
        by_rows = m >= self.parts * ROWS_WORTH_CUTTING or m >= n
        found: Entry = []
        for part in range(self.parts):
            first, stop = self._share(m, part) if by_rows else self._share(n, part, memory.LINE // out.itemsize)
            if first == stop:
                found.append(None)
                continue
            a_part, b_part = (a[first:stop], b) if by_rows else (a, b[:, first:stop])
            out_part = out[first:stop] if by_rows else out[:, first:stop]
            plan = products.plan(a_part, b_part, out_part, factors_in_memory=in_memory)
            compiled = products.compiled(plan.shape)
            words, scratch = products.words(plan, a_part, b_part, out_part, product.alpha, product.beta)
            # A cut by columns writes to every row: for the waits it counts as all of `out`.
            writes = [out_part if by_rows else out]
            reads = [a_part, b_part, *(factor for factor in (product.alpha, product.beta) if is_array(factor))]
            found.append(_part(compiled, words, (product, compiled, scratch), reads, writes))
        return found

    def _one_thread(self, kernel: Kernel) -> Entry:
        arguments = [0 if argument.role is Role.FIRST else value for argument, value in kernel.declared]
        part = _kernel_part(kernel.spec, arguments, kernel.reads, kernel.writes)
        return [part, *[None] * (self.parts - 1)]

    def _by_parts(self, kernel: Kernel) -> Iterator[Entry]:
        own = {
            name: zeros((self.parts, *kernel[name].shape), kernel[name].dtype)
            for name, argument in kernel.signature.arguments.items()
            if argument.role in (Role.SUMS, Role.SLOT_SUMS)
        }
        yield [self._part_of(kernel, part, own) for part in range(self.parts)]
        for name, parts in own.items():
            if kernel.signature.arguments[name].role is Role.SUMS:
                add_up = Kernel.named(spec.plain("column_sums", kernel.spec.dtype), x=parts, out=kernel[name])
            else:
                which = spec.plain("add_slots", kernel.spec.dtype)
                add_up = Kernel.named(which, parts=parts, out=kernel[name], counters=kernel["counters"])
            yield self._one_thread(add_up)

    def _part_of(self, kernel: Kernel, part: int, own: dict[str, np.ndarray]) -> Part | None:
        count, unit = self._cut(kernel)
        first, stop = self._share(count, part, unit)
        if count and first == stop:
            return None
        given: list[Any] = []
        reads, writes = [], []
        segments, offset = self._places(kernel, part)
        for name, (argument, value) in zip(kernel.signature.arguments, kernel.declared, strict=True):
            role = argument.role
            if role in (Role.ROWS, Role.COLUMNS):
                value = value[first:stop]
            elif name in own:
                value = own[name][part]
            elif role is Role.SEGMENTS:
                value = segments
            elif role is Role.FIRST:
                value = first
            given.append(value)
            if role is Role.PARAMETERS:
                writes += [row[low:high] for low, high, _ in segments for row in np.atleast_2d(value)]
            elif role is Role.GRADIENTS:
                reads += [value[low - offset : high - offset] for low, high, _ in segments]
            elif argument.written:
                writes.append(value)
            elif is_array(value) and role is not Role.UNUSED:
                reads.append(value)
        return _kernel_part(kernel.spec, given, reads, writes)

    def _cut(self, kernel: Kernel) -> tuple[int, int]:
        """The number of rows or columns to distribute, and how many of them stay together."""
        for argument, value in kernel.declared:
            if argument.role is Role.ROWS:
                return len(value), 1
            if argument.role is Role.COLUMNS:
                return len(value), memory.LINE // kernel.spec.dtype.itemsize
        return 0, 1

    def _share(self, count: int, part: int, unit: int = 1) -> Span:
        """A part's share of `count` items, cut at multiples of the unit."""
        units = -(-count // unit)
        first, stop = (min(unit * (number * units // self.parts), count) for number in (part, part + 1))
        return first, stop

    def _places(self, kernel: Kernel, part: int) -> tuple[np.ndarray, int]:
        """A part's share of the kernel's segments, if it has any, and the number of the first gradient."""
        given = {argument.role: value for argument, value in kernel.declared}
        unit = memory.LINE // kernel.spec.dtype.itemsize
        return self._segments(given.get(Role.SEGMENTS, _NO_SEGMENTS), part, unit), given.get(Role.FIRST_PARAMETER, 0)

    def _segments(self, segments: np.ndarray, part: int, unit: int) -> np.ndarray:
        """A part's share of each segment, cut at multiples of a cache line."""
        rows = []
        for first, stop, decayed in segments.tolist():
            low, high = self._share(stop - first, part, unit)
            if low < high:
                rows.append((first + low, first + high, decayed))
        return np.array(rows, np.int64).reshape(-1, 3)


def zeros(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Allocate an array of zeros that is aligned to a cache line."""
    array = memory.aligned(shape, dtype)
    array.fill(0)
    return array


def _kernel_part(
    which: spec.Spec, arguments: Sequence[Any], reads: Sequence[np.ndarray], writes: Sequence[np.ndarray]
) -> Part:
    for argument in arguments:
        if isinstance(argument, np.ndarray) and not argument.flags.c_contiguous:
            raise NotRecordableError(f"{which.template} has an argument that is not contiguous")
    kinds = tuple(numba.typeof(argument) for argument in arguments)  # type: ignore[no-untyped-call]
    adapter = tape.adapter(which, kinds)
    return _part(adapter, tape.words_of(kinds, arguments), (adapter, arguments), reads, writes)


def _part(
    adapter: Any, words: list[int], keep: object, reads: Sequence[np.ndarray], writes: Sequence[np.ndarray]
) -> Part:
    return Part(adapter.address, np.array(words, np.int64), keep, list(map(span, reads)), list(map(span, writes)))


# --- the tape -----------------------------------------------------------------------------------------------


def tape_of(entries: Sequence[Entry]) -> tape.Tape:
    """Make the tape of these entries."""
    calls = [[None if part is None else (part.address, part.words) for part in entry] for entry in entries]
    return tape.Tape(calls, waits(entries), entries)


def waits(entries: Sequence[Entry]) -> list[bool]:
    """For each entry, whether the threads wait for one another before it; the first waits for the step before."""
    found: list[bool] = []
    since: list[Entry] = []
    for entry in entries:
        wait = not found or any(_clash(earlier, entry) for earlier in since)
        found.append(wait)
        since = [entry] if wait else [*since, entry]
    return found


def _clash(earlier: Entry, later: Entry) -> bool:
    """Whether one thread's part of either entry writes what another thread's part of the other entry uses."""
    for p, before in enumerate(earlier):
        for q, after in enumerate(later):
            if p == q or before is None or after is None:
                continue
            if meet(before.writes, after.reads + after.writes) or meet(before.reads, after.writes):
                return True
    return False
