"""Tiles: small pieces of a matrix product that stay in vector registers while a loop runs along k.

LLVM does not keep a piece of the result in registers by itself, so these loops are written as LLVM vector
instructions. The processor determines the length and the number of vectors.

_columns_tile   a few rows by a few vectors of columns: for each k, loads the vectors of b's row, multiplies them by
                one number of a for each row of the tile, and adds
_dots_tile      a few rows of a by a few columns of b, all contiguous along k: multiplies and adds vectors along k, and
                sums each vector at the end; for a transposed b, such as W^T in BP2
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import llvmlite.binding
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from .memory import WORD, intrinsic, types_of

INDEX = ir.IntType(32)
ENTRY = 4
"""Bytes per entry, an int32, of a list of k (zeros.py)."""


@dataclass(frozen=True)
class Registers:
    """A processor's vector registers: bytes per register, and the number that a tile may hold."""

    size: int
    held: int


@functools.cache
def registers() -> Registers:
    """The vector registers of the processor that Numba compiles for."""
    config: Any = numba.config
    features = config.CPU_FEATURES
    if features is None:
        features = "" if config.CPU_NAME else llvmlite.binding.get_host_cpu_features().flatten()
    known = set(features.split(","))
    if "+avx512f" in known:
        return Registers(64, 24)
    if "+avx" in known:
        return Registers(32, 12)
    return Registers(16, 24 if "+neon" in known else 12)


def lanes(dtype: np.dtype[Any]) -> int:
    """The number of elements in a vector."""
    return registers().size // dtype.itemsize


class Emitter:
    """Emits the instructions of one tile. Vectors have `self.lanes` numbers unless stated otherwise."""

    def __init__(self, builder: Any, dtype: np.dtype[Any]) -> None:
        self.builder = builder
        self.size = dtype.itemsize
        self.lanes = lanes(dtype)
        self.scalar = types_of(dtype)[1]
        self.vector = ir.VectorType(self.scalar, self.lanes)
        self.zero = ir.Constant(self.vector, None)

    def call(self, name: str, result: Any, *arguments: Any) -> Any:
        """Call an LLVM intrinsic."""
        kind = ir.FunctionType(result, [argument.type for argument in arguments])
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)  # type: ignore[no-untyped-call]
        return self.builder.call(function, arguments)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """a b + c, in one instruction if the processor has it."""
        return self.call(f"llvm.fmuladd.{self._suffix(c.type)}", c.type, a, b, c)

    def splat(self, number: Any, lanes: int = 0) -> Any:
        """A vector with the same number in every lane."""
        lanes = lanes or self.lanes
        undefined = ir.Constant(ir.VectorType(number.type, lanes), ir.Undefined)
        first = self.builder.insert_element(undefined, number, INDEX(0))
        everywhere = ir.Constant(ir.VectorType(INDEX, lanes), None)
        return self.builder.shuffle_vector(first, undefined, everywhere)

    def first_lanes(self, count: Any, lanes: int = 0) -> Any:
        """A mask that sets the first `count` of `lanes` lanes."""
        lanes = lanes or self.lanes
        numbers = ir.Constant(ir.VectorType(WORD, lanes), list(range(lanes)))
        return self.builder.icmp_signed("<", numbers, self.splat(count, lanes))

    def vector_at(self, address: Any, mask: Any) -> _Place:
        """The place in memory of a vector, which is as long as its mask."""
        return _Place(lambda: self.load(address, mask), lambda value: self.store(value, address, mask))

    def number_at(self, address: Any) -> _Place:
        """The place of a number in memory."""
        return _Place(lambda: self.load_number(address), lambda value: self.store_number(value, address))

    def positive(self, number: Any) -> Any:
        """1 if the number is above zero, else 0."""
        return self.builder.zext(self.builder.icmp_signed(">", number, WORD(0)), WORD)

    def load_number(self, address: Any) -> Any:
        """Load one number."""
        return self.builder.load(self.builder.inttoptr(address, self.scalar.as_pointer()), align=self.size)

    def load_entry(self, address: Any) -> Any:
        """Load an entry of a list, widened to a word."""
        return self.builder.zext(self.builder.load(self.builder.inttoptr(address, INDEX.as_pointer())), WORD)

    def load(self, address: Any, mask: Any = None) -> Any:
        """Load a vector, which is as long as its mask; lanes that the mask leaves out are zero."""
        kind = self.vector if mask is None else ir.VectorType(self.scalar, mask.type.count)
        pointer = self.builder.inttoptr(address, kind.as_pointer())
        if mask is None:
            return self.builder.load(pointer, align=self.size)
        name = f"llvm.masked.load.{self._suffix(kind)}.p0"
        return self.call(name, kind, pointer, INDEX(self.size), mask, ir.Constant(kind, None))

    def store(self, value: Any, address: Any, mask: Any = None) -> None:
        """Store the lanes of a vector that the mask sets."""
        pointer = self.builder.inttoptr(address, value.type.as_pointer())
        if mask is None:
            self.builder.store(value, pointer, align=self.size)
        else:
            name = f"llvm.masked.store.{self._suffix(value.type)}.p0"
            self.call(name, ir.VoidType(), value, pointer, INDEX(self.size), mask)

    def _suffix(self, kind: Any) -> str:
        """LLVM's name for a vector type."""
        return f"v{kind.count}f{8 * self.size}"

    def store_number(self, value: Any, address: Any) -> None:
        """Store one number."""
        self.builder.store(value, self.builder.inttoptr(address, self.scalar.as_pointer()), align=self.size)

    def advance(self, address: Any, bytes_: int) -> Any:
        """Return the address plus `bytes_`."""
        return self.builder.add(address, WORD(bytes_)) if bytes_ else address

    def addresses(self, first: Any, stride: Any, count: int) -> list[Any]:
        """Return the addresses of `count` rows, the first at `first`, `stride` bytes apart."""
        found = [first]
        for _ in range(count - 1):
            found.append(self.builder.add(found[-1], stride))
        return found

    def finish(self, totals: Sequence[Any], alpha: Any, beta: Any, places: Sequence[_Place]) -> None:
        """Set each place to alpha total + beta place; the old value is read only if beta is not zero."""
        builder = self.builder
        is_zero = builder.fcmp_ordered("==", beta, ir.Constant(self.scalar, 0.0))

        def by(factor: Any, value: Any) -> Any:
            many = isinstance(value.type, ir.VectorType)
            return builder.fmul(value, self.splat(factor, value.type.count) if many else factor)

        scaled = [by(alpha, total) for total in totals]
        with builder.if_else(is_zero) as (fresh, added):
            with fresh:
                for value, place in zip(scaled, places, strict=True):
                    place.store(value)
            with added:
                # Read everything before writing anything: a masked vector extends into the next row's memory, and a
                # load from there would wait for the store.
                before = [by(beta, place.load()) for place in places]
                for value, earlier, place in zip(scaled, before, places, strict=True):
                    place.store(builder.fadd(earlier, value))

    def loop(self, count: Any, carried: Sequence[Any], body: Callable[[Sequence[Any]], Sequence[Any]]) -> list[Any]:
        """Run the body `count` times; it takes the values of one turn and returns those of the next."""
        builder = self.builder
        before = builder.block
        turn, after = builder.append_basic_block("turn"), builder.append_basic_block("after")
        builder.cbranch(builder.icmp_signed(">", count, WORD(0)), turn, after)
        builder.position_at_end(turn)
        left = builder.phi(WORD)
        values = [builder.phi(value.type) for value in carried]
        given = body(values)
        less = builder.sub(left, WORD(1))
        left.add_incoming(count, before)
        left.add_incoming(less, builder.block)
        for value, first, following in zip(values, carried, given, strict=True):
            value.add_incoming(first, before)
            value.add_incoming(following, builder.block)
        end = builder.block
        builder.cbranch(builder.icmp_signed(">", less, WORD(0)), turn, after)
        builder.position_at_end(after)
        results = [builder.phi(value.type) for value in carried]
        for result, first, following in zip(results, carried, given, strict=True):
            result.add_incoming(first, before)
            result.add_incoming(following, end)
        return results


@dataclass(frozen=True)
class _Place:
    """How to load and store a number or a vector of the result."""

    load: Callable[[], Any]
    store: Callable[[Any], None]


@dataclass(frozen=True)
class _Arguments:
    """The arguments of a strip of tiles: addresses, and the bytes from one row, column or k to the next.

    last: the number of columns in its last vector
    list, list_step: the list of the k that the tile takes (zeros.py), and the bytes to the next tile's list
    """

    a: Any
    a_row: Any
    a_k: Any
    b: Any
    b_k: Any
    b_column: Any
    c: Any
    c_row: Any
    m: Any
    k: Any
    last: Any
    alpha: Any
    beta: Any
    list: Any
    list_step: Any


def _columns_tile(emit: Emitter, at: _Arguments, rows: int, vectors: int, masked: int, listed: bool) -> None:
    """Emit a tile of some rows by some vectors of columns.

    masked: the lanes of the last vector if some may have no column, else 0; listed: loop over a list of k, not all k
    """
    builder, width = emit.builder, emit.lanes * emit.size
    masks = [None] * (vectors - 1) + [emit.first_lanes(at.last, masked) if masked else None]
    lanes = [emit.lanes] * (vectors - 1) + [masked or emit.lanes]
    pairs = [(i, j) for i in range(rows) for j in range(vectors)]

    def multiplied(a: Any, b: Any, totals: Sequence[Any]) -> list[Any]:
        row = [emit.load(emit.advance(b, width * j), masks[j]) for j in range(vectors)]
        numbers = [emit.load_number(one) for one in emit.addresses(a, at.a_row, rows)]
        splats = {(i, wide): emit.splat(number, wide) for i, number in enumerate(numbers) for wide in set(lanes)}
        return [
            emit.multiply_add(splats[i, lanes[j]], row[j], total) for (i, j), total in zip(pairs, totals, strict=True)
        ]

    def next_k(values: Sequence[Any]) -> Sequence[Any]:
        a, b, *totals = values
        return [builder.add(a, at.a_k), builder.add(b, at.b_k), *multiplied(a, b, totals)]

    def listed_k(values: Sequence[Any]) -> Sequence[Any]:
        entry, *totals = values
        k = emit.load_entry(entry)
        a, b = (builder.add(first, builder.mul(k, step)) for first, step in ((at.a, at.a_k), (at.b, at.b_k)))
        return [builder.add(entry, WORD(ENTRY)), *multiplied(a, b, totals)]

    zeros = [ir.Constant(ir.VectorType(emit.scalar, lanes[j]), None) for _, j in pairs]
    if listed:
        _, *totals = emit.loop(emit.load_entry(at.list), [builder.add(at.list, WORD(ENTRY)), *zeros], listed_k)
    else:
        _, _, *totals = emit.loop(at.k, [at.a, at.b, *zeros], next_k)
    rows_of_c = emit.addresses(at.c, at.c_row, rows)
    places = [emit.vector_at(emit.advance(rows_of_c[i], width * j), masks[j]) for i, j in pairs]
    emit.finish(totals, at.alpha, at.beta, places)


def _dots_tile(emit: Emitter, at: _Arguments, rows: int, columns: int) -> None:
    """Emit a tile in which each number is a sum along k; a and b are contiguous along k."""
    builder, lanes, width = emit.builder, WORD(emit.lanes), WORD(emit.lanes * emit.size)
    pairs = [(i, j) for i in range(rows) for j in range(columns)]

    def step(values: Sequence[Any], mask: Any = None) -> Sequence[Any]:
        a, b, *totals = values
        left = [emit.load(one, mask) for one in emit.addresses(a, at.a_row, rows)]
        right = [emit.load(one, mask) for one in emit.addresses(b, at.b_column, columns)]
        added = [emit.multiply_add(left[i], right[j], total) for (i, j), total in zip(pairs, totals, strict=True)]
        return [builder.add(a, width), builder.add(b, width), *added]

    values = emit.loop(builder.sdiv(at.k, lanes), [at.a, at.b, *[emit.zero] * len(pairs)], step)
    rest = builder.srem(at.k, lanes)
    mask = emit.first_lanes(rest)
    _, _, *totals = emit.loop(emit.positive(rest), values, lambda values: step(values, mask))
    rows_of_c = emit.addresses(at.c, at.c_row, rows)
    places = [emit.number_at(emit.advance(rows_of_c[i], emit.size * j)) for i, j in pairs]
    emit.finish(_sums(emit, totals), at.alpha, at.beta, places)


@functools.cache
def strip(
    dtype: np.dtype[Any], *, dots: bool, rows: int, rest: int, columns: int, masked: int, listed: bool = False
) -> Any:
    """An intrinsic that computes tiles one below the other; its arguments are the fields of _Arguments.

    rows, rest   the rows of a tile, and of the last one if it has fewer, else 0
    columns      the columns of a tile of dots, or the vectors of a tile of columns
    masked       the lanes of the last vector if some may have no column, else 0
    listed       whether each tile takes the k of a list
    """
    real = types_of(dtype)[0]

    def tile(emit: Emitter, at: _Arguments, rows: int) -> None:
        if dots:
            _dots_tile(emit, at, rows, columns)
        else:
            _columns_tile(emit, at, rows, columns, masked, listed)

    @intrinsic
    def tiles(  # type: ignore[no-untyped-def]
        context, a, a_row, a_k, b, b_k, b_column, c, c_row, m, k, last, alpha, beta, list_, list_step
    ):
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            emit, at = Emitter(builder, dtype), _Arguments(*arguments)
            down = builder.mul(at.a_row, WORD(rows)), builder.mul(at.c_row, WORD(rows))

            def one(values: Sequence[Any], height: int = rows) -> Sequence[Any]:
                a, c, list_ = values
                tile(emit, replace(at, a=a, c=c, list=list_), height)
                return [builder.add(a, down[0]), builder.add(c, down[1]), builder.add(list_, at.list_step)]

            values = emit.loop(builder.sdiv(at.m, WORD(rows)), [at.a, at.c, at.list], one)
            if rest:
                left = emit.positive(builder.srem(at.m, WORD(rows)))
                emit.loop(left, values, lambda values: one(values, rest))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 11, real, real, types.int64, types.int64), generate

    return tiles


def _sums(emit: Emitter, vectors: Sequence[Any]) -> list[Any]:
    """Return the sum of each vector; as many vectors as a register has lanes are summed together.

    A round turns every two vectors into one: its first half adds the halves of the first vector, its second half adds
    the halves of the second. After log2(lanes) rounds one vector is left, in which each lane is a sum.
    """
    builder, lanes = emit.builder, emit.lanes
    kind, sums = ir.VectorType(INDEX, lanes), []
    for first in range(0, len(vectors), lanes):
        group = [*vectors[first : first + lanes]]
        count = len(group)
        group += [emit.zero] * (lanes - count)
        part = lanes  # the lanes that still belong to one vector
        while len(group) > 1:
            part //= 2
            low = [base + place for base in range(0, 2 * lanes, 2 * part) for place in range(part)]
            halves = ir.Constant(kind, low), ir.Constant(kind, [place + part for place in low])
            group = [
                builder.fadd(*(builder.shuffle_vector(u, v, chosen) for chosen in halves))
                for u, v in zip(group[::2], group[1::2], strict=True)
            ]
        sums += [builder.extract_element(group[0], INDEX(place)) for place in range(count)]
    return sums


@functools.cache
def copy_rows(dtype: np.dtype[Any], vectors: int, masked: bool, width: int) -> Any:
    """An intrinsic that copies rows of `vectors` vectors to places `width` numbers apart. Its arguments:

    source, step   the address of the first row, and the bytes to the next
    target         the address to copy to
    count, last    the number of rows, and the numbers in the last vector if it is masked
    """

    @intrinsic
    def copy(context: Any, source: Any, step: Any, target: Any, count: Any, last: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            source, step, target, count, last = arguments
            emit = Emitter(builder, dtype)
            masks = [None] * (vectors - 1) + [emit.first_lanes(last) if masked else None]

            def row(values: Sequence[Any]) -> Sequence[Any]:
                source, target = values
                for j, mask in enumerate(masks):
                    offset = j * emit.lanes * emit.size
                    emit.store(emit.load(emit.advance(source, offset), mask), emit.advance(target, offset), mask)
                return [builder.add(source, step), emit.advance(target, width * emit.size)]

            emit.loop(count, [source, target], row)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 5), generate

    return copy
