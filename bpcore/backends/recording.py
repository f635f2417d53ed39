"""Recording a training step on the CPU: the step runs once in Python, and from then on as a tape.

While a step is recorded, each operation is cut into parts, one for each thread, runs part by part, and goes onto the
tape. How an operation is cut stands in `CUTS`: a letter for each argument of its kernel.

r  rows: the part's rows of a matrix (or entries of a vector) with a row for each sample
w  whole: every part sees all of it
O  own: the part writes into a row of its own, and the rows are added up afterwards, always in the same order
L  likewise, and of the slots of a control block only that of the batch at hand is added up
s  segments: the part's share of the parameters (Backend.update)
f  the number of the part's first row
-  a scalar, or an array that is not looked at

A capital letter marks what is written. An operation that is not in the table runs on one thread. The threads wait for
one another before an entry only where it touches what another thread has written since the last wait, or the
reverse; a forward pass whose products are cut by rows needs no wait at all.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np

from bpcore.kernels import blas, spec, tape

CUTS = {
    "activate": "rwwR",
    "activate_keeping_input": "RwwR",
    "delta": "RrwO-",
    "delta_learned": "RrwOO",
    "loss_head": "RwrrwROLWLw-",
    "gather": "www--RRRfw",
    "dropout": "rR---fw",
    "hadamard": "rrR",
    "add": "rrR",
    "softmax": "rR",
    "argmax": "rR",
    "above_zero": "rR",
    "scatter": "rWfw",
    "max_pieces": "rRR",
    "max_pieces_backward": "rrR",
    "update": "WwWswwwww",
}

ROWS_WORTH_CUTTING = 16
"""A product with fewer rows a part is cut by columns: each part then reads a share of the weights, not all of them."""

OPERATIONS_WORTH_A_THREAD = 750_000
"""A step runs on at most n threads where it has n^2 times so many floating-point operations: in a small step waiting
would take what more threads save, and a product cut too small is slow. Measured on two cores alone."""

Range = tuple[int, int]


@dataclass
class Part:
    """One thread's part of an entry: a compiled function's address, its words, and the memory it touches."""

    address: int
    words: np.ndarray
    reads: list[Range] = field(default_factory=list)
    writes: list[Range] = field(default_factory=list)


class NotRecordableError(Exception):
    """An operation that cannot stand on a tape; the message says why."""


def threads() -> int:
    """How many threads a tape may use: $BPCORE_NUM_THREADS, or what limits BLAS, else all cores of this process."""
    for name in ("BPCORE_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        chosen = os.environ.get(name, "")
        if chosen.isdigit() and int(chosen) > 0:
            return int(chosen)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _container_limit("/sys/fs/cgroup/cpu.max")))


def _container_limit(path: str) -> int:
    """How many cores a container may keep busy: its quota over its period; no limit where there is none."""
    try:
        with open(path, encoding="ascii") as file:
            quota, period = file.read().split()
        return int(quota) // int(period)
    except (OSError, ValueError):  # no such file, or the quota is "max"
        return sys.maxsize


class Recorder:
    """Runs operations part by part and remembers them."""

    def __init__(self, library: blas.Blas, parts: int) -> None:
        self.library = library
        self.parts = parts
        self.entries: list[list[Part | None]] = []
        self.operations = 0
        """Floating-point operations of the products."""
        self.written: dict[Range, np.ndarray] = {}
        self._keep: list[object] = []
        self._own: list[np.ndarray] = []

    # --- operations ---------------------------------------------------------------------------------------

    def kernel(self, which: spec.Spec, arguments: Sequence[Any]) -> None:
        """Cut, run and remember one kernel."""
        cut = CUTS.get(which.template)
        if cut is None or self.parts == 1:
            self._one_thread(which, arguments, cut)
            return
        rows = next((len(a) for letter, a in zip(cut, arguments, strict=True) if letter in "rR"), 0)
        own = {
            place: np.zeros((self.parts, *arguments[place].shape), arguments[place].dtype)
            for place, letter in enumerate(cut)
            if letter in "OL"
        }
        self._add([self._kernel_part(which, arguments, cut, part, rows, own) for part in range(self.parts)])
        self._own += own.values()
        for place, rows_of_parts in own.items():
            counters = arguments[-2] if cut[place] == "L" else None
            self._add_up(which.dtype, rows_of_parts, arguments[place], counters)

    def product(self, a: np.ndarray, b: np.ndarray, out: np.ndarray, alpha: Any, beta: Any) -> None:
        """Cut, run and remember out <- alpha a @ b + beta out."""
        if not (isinstance(alpha, float) and isinstance(beta, float)):
            raise NotRecordableError("a product has alpha or beta on the device")
        m, n = out.shape
        self.operations += 2 * m * n * a.shape[1]
        by_rows = m >= self.parts * ROWS_WORTH_CUTTING or m >= n
        adapter = tape.gemm_adapter(out.dtype)
        self._keep += [adapter, a, b, out]
        found: list[Part | None] = []
        for part in range(self.parts):
            first, stop = self._share(m if by_rows else n, part)
            if first == stop:
                found.append(None)
                continue
            a_part, b_part = (a[first:stop], b) if by_rows else (a, b[:, first:stop])
            out_part = out[first:stop] if by_rows else out[:, first:stop]
            words = tape.gemm_words(self.library, a_part, b_part, out_part, alpha, beta)
            # A cut by columns touches every row: for the waits it counts as all of `out`.
            found.append(self._part(adapter.address, words, [a_part, b_part], [out_part if by_rows else out]))
        self._add(found)
        self.written[_range(out)] = out

    def _one_thread(self, which: spec.Spec, arguments: Sequence[Any], cut: str | None) -> None:
        arguments = [
            0 if letter == "f" else a for letter, a in zip(cut or "?" * len(arguments), arguments, strict=True)
        ]
        adapter, words = self._block(which, arguments)
        arrays = [a for a in arguments if isinstance(a, np.ndarray)]
        self.written |= {_range(array): array for array in arrays if not self._is_own(array)}
        self._add([self._part(adapter.address, words, [], arrays), *[None] * (self.parts - 1)])

    def _kernel_part(
        self,
        which: spec.Spec,
        arguments: Sequence[Any],
        cut: str,
        part: int,
        rows: int,
        own: dict[int, np.ndarray],
    ) -> Part | None:
        first, stop = self._share(rows, part)
        if rows and first == stop:
            return None
        given: list[Any] = []
        reads, writes = [], []
        for place, (letter, argument) in enumerate(zip(cut, arguments, strict=True)):
            if letter in "rR":
                given.append(argument[first:stop])
            elif letter in "OL":
                given.append(own[place][part])
            elif letter == "s":
                given.append(self._segments(argument, part))
            elif letter == "f":
                given.append(first)
            else:
                given.append(argument)
            if letter in "RWOL":
                writes.append(given[-1])
                if letter in "RW":
                    self.written[_range(argument)] = argument
            elif letter in "rws":
                reads.append(given[-1])
        adapter, words = self._block(which, given)
        return self._part(adapter.address, words, reads, writes)

    def _add_up(self, dtype: Any, rows_of_parts: np.ndarray, out: np.ndarray, slot_of: np.ndarray | None) -> None:
        """The sum of the parts' rows: all columns, or the slot of the batch that the counters `slot_of` name."""
        if slot_of is None:
            self._one_thread(spec.plain("column_sums", dtype), [rows_of_parts, out], None)
        else:
            self._one_thread(spec.plain("add_slots", dtype), [rows_of_parts, out, slot_of], None)

    # --- parts --------------------------------------------------------------------------------------------

    def _is_own(self, array: np.ndarray) -> bool:
        """Whether the recorder made this array, for the rows of the parts."""
        return any(array is own for own in self._own)

    def _share(self, count: int, part: int) -> Range:
        return part * count // self.parts, (part + 1) * count // self.parts

    def _segments(self, segments: np.ndarray, part: int) -> np.ndarray:
        """A part's share of each segment, cut at multiples of a cache line."""
        rows = []
        for first, stop, decayed in segments.tolist():
            low, high = (16 * share for share in self._share(-(-(stop - first) // 16), part))
            if low < high:
                rows.append((first + low, min(first + high, stop), decayed))
        return np.array(rows, np.int64).reshape(-1, 3)

    def _block(self, which: spec.Spec, arguments: Sequence[Any]) -> tuple[Any, list[int]]:
        for argument in arguments:
            if isinstance(argument, np.ndarray) and not argument.flags.c_contiguous:
                raise NotRecordableError(f"{which.template} has an array that is not contiguous")
        kinds = tuple(numba.typeof(argument) for argument in arguments)  # type: ignore[no-untyped-call]
        adapter = tape.adapter(which, kinds)
        self._keep += [adapter, *arguments]
        return adapter, tape.words_of(kinds, arguments)

    def _part(self, address: int, words: list[int], reads: list[np.ndarray], writes: list[np.ndarray]) -> Part:
        return Part(address, np.array(words, np.int64), [_range(a) for a in reads], [_range(a) for a in writes])

    def _add(self, parts: list[Part | None]) -> None:
        for part in parts:
            if part is not None:
                tape.run_once(part.address, part.words)
        self.entries.append(parts)

    # --- the end ------------------------------------------------------------------------------------------

    def finish(self) -> tape.Tape:
        """The tape of all that was recorded."""
        entries = [[None if p is None else (p.address, p.words) for p in entry] for entry in self.entries]
        return tape.Tape(entries, self._waits(), self._keep)

    def _waits(self) -> list[bool]:
        """Before which entries the threads wait for one another; the first waits for the step before."""
        waits: list[bool] = []
        since: list[list[Part | None]] = []
        for entry in self.entries:
            wait = not waits or any(_clash(earlier, entry) for earlier in since)
            waits.append(wait)
            since = [entry] if wait else [*since, entry]
        return waits


def _range(array: np.ndarray) -> Range:
    """First and last byte of an array's memory."""
    address = array.ctypes.data
    extent = sum((n - 1) * abs(stride) for n, stride in zip(array.shape, array.strides, strict=True))
    return address, address + (extent + array.itemsize if array.size else 0)


def _clash(earlier: list[Part | None], later: list[Part | None]) -> bool:
    """Whether a part of one touches what a part of another thread in the other writes."""
    for p, before in enumerate(earlier):
        for q, after in enumerate(later):
            if p == q or before is None or after is None:
                continue
            if _meet(before.writes, after.reads + after.writes) or _meet(before.reads, after.writes):
                return True
    return False


def _meet(some: list[Range], others: list[Range]) -> bool:
    return any(a < d and c < b for a, b in some for c, d in others)


class Recording:
    """A step that is recorded when it first runs, checked when it runs again, and replayed from then on."""

    def __init__(self, backend: Any, step: Callable[[], None], library: blas.Blas) -> None:
        self._backend, self._step, self._library = backend, step, library
        self._parts = threads()
        self._tape: tape.Tape | None = None
        self._written: list[np.ndarray] = []
        self._spare: list[list[np.ndarray]] = []
        self._trusted = False
        self._refused = False

    def __call__(self, times: int) -> None:
        """Run the step so many times."""
        while times and self._tape is None and not self._refused:
            self._record()
            times -= 1
        if times and self._tape is not None and not self._trusted:
            times -= self._check(min(times, 2))
        if self._trusted and self._tape is not None:
            with _one_blas_thread(self._library):
                self._tape.replay(times)
        else:
            for _ in range(times):
                self._step()

    def _record(self) -> None:
        """Run the step by parts; keep the tape, unless the step turns out to be too small for so many threads."""
        recorder = Recorder(self._library, self._parts)
        try:
            with self._by_parts(recorder):
                self._step()
        except NotRecordableError as error:
            self._refuse(str(error))
            self._step()
            return
        worth = max(1, math.isqrt(recorder.operations // OPERATIONS_WORTH_A_THREAD))
        if worth < self._parts:
            self._parts = worth
            return
        self._tape = recorder.finish()
        self._written = list(recorder.written.values())
        # Made now, so that a check in the second epoch (a short last batch comes once an epoch) allocates nothing.
        self._spare = [[np.empty_like(array) for array in self._written] for _ in range(2)]

    def _check(self, times: int) -> int:
        """Replayed steps must equal plain ones bit for bit: what a layer does past the backend would be lost.

        The replay goes first: what such a layer left in its own arrays is then that of an earlier step, and wrong.
        """
        assert self._tape is not None
        before, replayed = self._spare
        _copy(self._written, before)
        with _one_blas_thread(self._library):
            self._tape.replay(times)
        _copy(self._written, replayed)
        _copy(before, self._written)
        with self._by_parts(Recorder(self._library, self._parts)):
            for _ in range(times):
                self._step()
        self._trusted = all(_same_bits(a, b) for a, b in zip(replayed, self._written, strict=True))
        self._spare = []
        if not self._trusted:
            self._refuse("a replayed step differs from a plain one: a layer computes past the backend's operations")
        return times

    def _refuse(self, reason: str) -> None:
        self._refused = True
        self._tape = None
        warnings.warn(f"the training step cannot be recorded and runs step by step: {reason}", stacklevel=4)

    @contextmanager
    def _by_parts(self, recorder: Recorder) -> Iterator[None]:
        self._backend.recorder = recorder
        try:
            with _one_blas_thread(self._library):
                yield
        finally:
            self._backend.recorder = None


def _copy(source: Sequence[np.ndarray], target: Sequence[np.ndarray]) -> None:
    for array, other in zip(source, target, strict=True):
        other[...] = array


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Compare piece by piece: no temporary of an array's size."""
    x, y = (array.reshape(-1).view(np.uint8) for array in (a, b))
    return all((x[first : first + 4096] == y[first : first + 4096]).all() for first in range(0, x.size, 4096))


_blas_lock = threading.Lock()
_blas_users: list[int] = []


@contextmanager
def _one_blas_thread(library: blas.Blas) -> Iterator[None]:
    """The tape's threads are the only ones: each calls BLAS for its own part. Several runs may be under way."""
    with _blas_lock:
        if not _blas_users:
            _blas_users.append(library.get_threads())
            library.set_threads(1)
        _blas_users.append(0)
    try:
        yield
    finally:
        with _blas_lock:
            _blas_users.pop()
            if len(_blas_users) == 1:
                library.set_threads(_blas_users.pop())
