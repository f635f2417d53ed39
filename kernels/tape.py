"""A tape: a sequence of compiled calls that several threads replay without Python between the calls.

Each entry of a tape is one call, divided into one part per thread. A part is an address to jump to and a block of
64-bit words with its arguments: addresses and shapes of arrays, and scalars. The arrays of a part are slices of the
call's arrays, cut in advance, so nothing is computed when the tape runs.

Every thread walks the whole tape and does its own part of each entry. Before an entry that needs what other threads
have written, all threads wait for each other: each increments a counter in memory and then watches it.
"""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba import types

from . import build, cpu
from .memory import WORD, intrinsic
from .spec import Spec

GIVEN_UP = 2**62  # the counter's value when a thread could not be started, so that the others do not wait for it
SPINS = 4000  # reads of the counter before the thread yields its core


# --- what Numba lacks: calling an address, and a counter that threads share ---------------------------------


@intrinsic
def _call(context: Any, address: Any, block: Any) -> Any:
    """Call the function void(int64) at an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = builder.inttoptr(arguments[0], ir.FunctionType(ir.VoidType(), [WORD]).as_pointer())
        builder.call(function, [arguments[1]])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic
def _arrive(context: Any, address: Any) -> Any:
    """Atomically add one to the counter at an address; returns its earlier value."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        counter = builder.inttoptr(arguments[0], WORD.as_pointer())
        return builder.atomic_rmw("add", counter, WORD(1), "acq_rel")

    return types.int64(types.int64), generate


@intrinsic
def _look(context: Any, address: Any) -> Any:
    """Read the counter at an address; what other threads wrote before they incremented it is then visible."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load_atomic(builder.inttoptr(arguments[0], WORD.as_pointer()), "acquire", 8)

    return types.int64(types.int64), generate


@intrinsic
def _yield_core(context: Any, address: Any) -> Any:
    """Call sched_yield: another thread needs this core, perhaps the one that this thread waits for."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = builder.inttoptr(arguments[0], ir.FunctionType(ir.IntType(32), []).as_pointer())
        builder.call(function, [])
        return context.get_dummy_value()

    return types.void(types.int64), generate


def _wait_for_all(counter: int, parts: int, sched_yield: int) -> None:
    """Wait until all threads have arrived, which is when the counter reaches the next multiple of `parts`."""
    ticket = _arrive(counter)
    if ticket >= GIVEN_UP:
        return
    target = (ticket // parts + 1) * parts
    spins = 0
    while _look(counter) < target:
        spins += 1
        if spins == SPINS:
            _yield_core(sched_yield)
            spins = 0


def walk(
    addresses: Any, blocks: Any, waits: Any, steps: int, part: int, parts: int, counter: int, sched_yield: int
) -> None:
    """Replay a tape `steps` times, as thread `part`. addresses, blocks: int64 (parts, entries)."""
    for _ in range(steps):
        for entry in range(waits.shape[0]):
            if waits[entry] != 0:
                wait_for_all(counter, parts, sched_yield)
            if addresses[part, entry] != 0:
                _call(addresses[part, entry], blocks[part, entry])


wait_for_all: Any  # hole of `walk`


@functools.cache
def _walker() -> Any:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    bound = build.bind(
        walk,
        np.dtype(np.float64),
        {"wait_for_all": _wait_for_all},
        compile_callee=numba.njit(forceinline=True, **options),
    )
    kernel, cacheable = build.cached(bound, "tape")
    return numba.njit(cache=cacheable, **options)(kernel)


def run_once(address: int, words: np.ndarray) -> None:
    """Run one part of one entry immediately."""
    _caller()(address, words.ctypes.data)


def _one_call(address: int, block: int) -> None:
    _call(address, block)


@functools.cache
def _caller() -> Any:
    bound = build.bind(_one_call, np.dtype(np.float64), compile_callee=lambda callee: callee)
    function, cacheable = build.cached(bound, "one call")
    return numba.njit(types.void(types.int64, types.int64), nogil=True, cache=cacheable)(function)


# --- adapters from a block of words to the arguments of a kernel --------------------------------------------


def _unpacker(kinds: tuple[Any, ...]) -> Any:
    """An intrinsic that reads a tuple of arrays, scalars and tuples of these Numba types from a block of words."""
    kind_of_all: Any = types.Tuple(kinds)  # type: ignore[no-untyped-call]

    @intrinsic
    def unpack(context: Any, block: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            words = builder.inttoptr(arguments[0], WORD.as_pointer())
            place = iter(range(10**6))

            def word() -> Any:
                return builder.load(builder.gep(words, [WORD(next(place))]))

            values = [_unpack_one(context, builder, kind, word) for kind in kinds]
            return context.make_tuple(builder, kind_of_all, values)

        return kind_of_all(types.int64), generate

    return unpack


def _unpack_one(context: Any, builder: Any, kind: Any, word: Any) -> Any:
    if isinstance(kind, types.BaseTuple):
        parts: Any = kind  # mypy does not know that Numba's tuple types can be iterated
        return context.make_tuple(builder, kind, [_unpack_one(context, builder, part, word) for part in parts])
    if not isinstance(kind, types.Array):
        bits = word()
        if isinstance(kind, types.Integer):
            return bits
        width = ir.IntType(kind.bitwidth)
        bits = builder.trunc(bits, width) if kind.bitwidth < 64 else bits
        return builder.bitcast(bits, context.get_value_type(kind))
    array = context.make_array(kind)(context, builder)
    address = word()
    shape = [word() for _ in range(kind.ndim)]
    itemsize = WORD(context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    strides = [itemsize]
    for extent in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], extent))
    array.data = builder.inttoptr(address, array.data.type)
    array.shape = ir.Constant(array.shape.type, ir.Undefined)
    items = functools.reduce(builder.mul, shape, WORD(1))
    for name, values in (("shape", shape), ("strides", strides)):
        pack = ir.Constant(getattr(array, name).type, ir.Undefined)
        for number, value in enumerate(values):
            pack = builder.insert_value(pack, value, number)
        setattr(array, name, pack)
    array.nitems = items
    array.itemsize = itemsize
    array.meminfo = ir.Constant(array.meminfo.type, None)
    array.parent = ir.Constant(array.parent.type, None)
    return array._getvalue()


kernel: Any  # holes of `_adapter`
unpack: Any


def _adapter(block: int) -> None:
    kernel(*unpack(block))


@functools.cache
def adapter(spec: Spec, kinds: tuple[Any, ...]) -> Any:
    """Compile void(block), which calls the kernel of a spec; keep the result alive while its address is used."""
    holes = {"kernel": cpu.compiled(spec), "unpack": _unpacker(kinds)}
    bound = build.bind(_adapter, spec.dtype, holes, compile_callee=lambda callee: callee)
    function, cacheable = build.cached(bound, ("adapter", str(kinds)))
    return build.callback(function, cacheable)


def words_of(kinds: Sequence[Any], arguments: Sequence[Any]) -> list[int]:
    """Return the words of a block that holds these arguments."""
    words: list[int] = []
    for kind, value in zip(kinds, arguments, strict=True):
        if isinstance(kind, types.BaseTuple):
            parts: Any = kind
            words += words_of(list(parts), value)
        elif isinstance(kind, types.Array):
            words += [value.ctypes.data, *value.shape]
        elif isinstance(kind, types.Integer):
            words.append(int(value))
        else:
            words.append(build.bits(value))
    return words


# --- the threads --------------------------------------------------------------------------------------------


class Tape:
    """A finished tape.

    entries   for each entry, one part per thread: (address, words int64), or None for no work
    waits     for each entry, whether the threads wait for each other before it
    keep      whatever must stay alive as long as the tape
    """

    def __init__(
        self, entries: Sequence[Sequence[tuple[int, np.ndarray] | None]], waits: Sequence[bool], keep: object
    ) -> None:
        self.parts = len(entries[0])
        self._keep = keep
        self._entries = entries
        self._addresses = np.array([[part[0] if part else 0 for part in entry] for entry in entries], np.int64).T.copy()
        self._words = np.array(
            [[part[1].ctypes.data if part else 0 for part in entry] for entry in entries], np.int64
        ).T.copy()
        self._waits = np.array(waits, np.int64)
        self._counter = np.zeros(16, np.int64)
        self._sched_yield = _sched_yield()

    def replay(self, steps: int) -> None:
        """Run the tape `steps` times on all its threads."""
        self._counter[:] = 0
        threads = [threading.Thread(target=self._walk, args=(part, steps)) for part in range(1, self.parts)]
        started: list[threading.Thread] = []
        try:
            for thread in threads:
                thread.start()
                started.append(thread)
            self._walk(0, steps)
        finally:
            if len(started) < len(threads):  # a thread could not be started; the others must not wait for it forever
                self._counter[0] = GIVEN_UP
            for thread in started:
                thread.join()

    def _walk(self, part: int, steps: int) -> None:
        _walker()(
            self._addresses,
            self._words,
            self._waits,
            steps,
            part,
            self.parts,
            self._counter.ctypes.data,
            self._sched_yield,
        )


def _sched_yield() -> int:
    function = ctypes.CDLL(None).sched_yield
    address = ctypes.cast(function, ctypes.c_void_p).value
    assert address is not None
    return address
