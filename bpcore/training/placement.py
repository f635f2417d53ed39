"""Decides where a run's data sets go: to the device if they fit next to everything else; else they are streamed.

Memory is measured before it is allocated. A device that does not report its free memory (the CPU, where data is in host
memory anyway) keeps every data set where it is.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpcore.backends.base import Backend
from bpcore.backends.feeding import Feed, row_bytes
from bpcore.backends.memory import require, usable_bytes
from bpcore.backends.samples import Samples
from bpcore.training.samples import to_device

CHUNK_BYTES = 128 * 2**20
"""How much is streamed at a time, if that much is free: large enough to make the fixed cost of a chunk small, and small
enough for pinned memory. This is a guess until it is measured (benchmarks/streaming.py)."""


@dataclass(frozen=True)
class Wish:
    """A data set that a run needs.

    samples        on the host; samples that are already on the device stay there
    batch_size     the number of samples used at a time
    resident       True: all must be on the device; False: they must be streamed; None: on the device if they fit
    answer_bytes   the bytes that a pass keeps on the device for each sample there
    """

    name: str
    samples: Samples
    batch_size: int
    resident: bool | None = None
    answer_bytes: int = 0

    def whole(self) -> int:
        """The bytes that the whole data set takes on the device."""
        samples = self.samples
        arrays = (samples.x, samples.targets, *([] if samples.weights is None else [samples.weights]))
        data: int = sum(array.size * array.dtype.itemsize for array in arrays)
        return data + int(samples.x.shape[0]) * self.answer_bytes

    def of_a_batch(self, dtype: np.dtype[Any]) -> int:
        """The bytes that each batch of a chunk needs: streaming needs two chunks, and the answers for one."""
        return self.batch_size * (2 * row_bytes(self.samples, dtype) + self.answer_bytes)


def feeds(
    backend: Backend, dtype: np.dtype[Any], wishes: Sequence[Wish], needs: Callable[[], Mapping[str, int]]
) -> list[Feed]:
    """Make a feed for each data set; if not all of them fit on the device, the first ones go there first.

    needs: the bytes that the run needs besides its data sets, by purpose. Raises InputError if not even the smallest
    chunks fit as well.
    """
    asked = [wish for wish in wishes if not backend.owns(wish.samples.x) and not _brings_feed(wish)]
    if not asked or backend.free_bytes() is None:
        return [_whole(backend, dtype, wish) for wish in wishes]
    others = needs()
    if sum(others.values()) + sum(wish.whole() for wish in asked) > usable_bytes(backend):
        gc.collect()  # an earlier run's arrays may be held by a reference cycle
    least = {wish.name: _least(wish, dtype) for wish in asked}
    require(backend, dtype, {**others, **least}, _suggestion(wishes))
    room = usable_bytes(backend) - sum(others.values()) - sum(least.values())
    streamed = []
    for wish in asked:
        more = wish.whole() - least[wish.name]
        if wish.resident is not False and more <= room:
            room -= more
        else:
            streamed.append(wish)
    chunks = {}
    for wish in streamed:
        share = min(least[wish.name] + room // len(streamed), 2 * CHUNK_BYTES)
        chunks[wish.name] = max(1, share // wish.of_a_batch(dtype))
    return [
        backend.stream(wish.samples, dtype, wish.batch_size, chunks[wish.name])
        if wish.name in chunks
        else _whole(backend, dtype, wish)
        for wish in wishes
    ]


def _least(wish: Wish, dtype: np.dtype[Any]) -> int:
    """The fewest bytes a data set needs: two chunks of one batch, or all of it if it must be resident or is smaller."""
    if wish.resident is True:
        return wish.whole()
    in_chunks = wish.of_a_batch(dtype)
    return in_chunks if wish.resident is False else min(in_chunks, wish.whole())


def _suggestion(wishes: Sequence[Wish]) -> str:
    sizes = " or ".join(str(size) for size in sorted({wish.batch_size for wish in wishes}))
    stream = "resident=None, which streams what does not fit, " if any(wish.resident for wish in wishes) else ""
    return f"{stream}a smaller batch_size (now {sizes}), a smaller network"


def _brings_feed(wish: Wish) -> bool:
    """Whether the features are not an array but have their own feed, like sparse rows."""
    return hasattr(wish.samples.x, "feed")


def _whole(backend: Backend, dtype: np.dtype[Any], wish: Wish) -> Feed:
    """The feed of a data set that is not streamed."""
    samples = wish.samples
    if _brings_feed(wish):
        own: Feed = samples.x.feed(backend, samples, dtype, wish.batch_size)
        return own
    return Feed(backend, to_device(backend, samples), wish.batch_size)
