"""Memory is measured before it is asked for: what fits beside the rest stays on the device, what does not is streamed.

On a device that does not say how much it has free (the CPU: data is in host memory anyway) nothing is measured, and all
data stays where it is.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpcore.backends.base import Backend, Samples
from bpcore.backends.feeding import Feed, row_bytes
from bpcore.backends.memory import require, usable_bytes
from bpcore.training.samples import to_device

CHUNK_BYTES = 128 * 2**20
"""How much is streamed at a time, where that much is free: large beside what a chunk costs apart from its copy, and
small enough that nobody misses the pinned memory. A guess until it is measured (benchmarks/streaming.py)."""


@dataclass(frozen=True)
class Wish:
    """A data set that is to be fed to a run.

    samples        on the host; on the device already, they stay there
    batch_size     how many are taken at a time
    resident       whether they must lie on the device as a whole (True) or be streamed (False); None: where they fit
    answer_bytes   what is kept on the device of each sample that is there
    """

    name: str
    samples: Samples
    batch_size: int
    resident: bool | None = None
    answer_bytes: int = 0

    def whole(self) -> int:
        """The bytes that it takes to lie on the device."""
        samples = self.samples
        arrays = (samples.x, samples.targets, *([] if samples.weights is None else [samples.weights]))
        data: int = sum(array.size * array.dtype.itemsize for array in arrays)
        return data + int(samples.x.shape[0]) * self.answer_bytes

    def of_a_batch(self, dtype: np.dtype[Any]) -> int:
        """The bytes for each batch of a chunk: streaming takes two chunks, and the answers of one."""
        return self.batch_size * (2 * row_bytes(self.samples, dtype) + self.answer_bytes)


def feeds(
    backend: Backend, dtype: np.dtype[Any], wishes: Sequence[Wish], needs: Callable[[], Mapping[str, int]]
) -> list[Feed]:
    """A feed for each data set; the first ones are kept on the device before the others.

    needs: what a run asks for apart from its data sets, in words and in bytes. InputError where not even the smallest
    chunks fit beside that.
    """
    asked = [wish for wish in wishes if not backend.owns(wish.samples.x) and not _brings_feed(wish)]
    if not asked or backend.free_bytes() is None:
        return [_whole_or_own(backend, dtype, wish) for wish in wishes]
    others = needs()
    if sum(others.values()) + sum(wish.whole() for wish in asked) > usable_bytes(backend):
        gc.collect()  # an earlier run's arrays may hang together in a circle
    least = {wish.name: _least(wish, dtype) for wish in asked}
    require(backend, dtype, {**others, **least}, _how_to_mend(wishes))
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
        else _whole_or_own(backend, dtype, wish)
        for wish in wishes
    ]


def _least(wish: Wish, dtype: np.dtype[Any]) -> int:
    """What a data set takes at least: all of it where it must be or where that is less, else chunks of one batch."""
    if wish.resident is True:
        return wish.whole()
    in_chunks = wish.of_a_batch(dtype)
    return in_chunks if wish.resident is False else min(in_chunks, wish.whole())


def _how_to_mend(wishes: Sequence[Wish]) -> str:
    sizes = " or ".join(str(size) for size in sorted({wish.batch_size for wish in wishes}))
    stream = "resident=None, which streams what does not fit, " if any(wish.resident for wish in wishes) else ""
    return f"{stream}a smaller batch_size (now {sizes}), a smaller network"


def _brings_feed(wish: Wish) -> bool:
    """Whether the features are no array but something that brings a feed of its own, such as sparse rows."""
    return hasattr(wish.samples.x, "feed")


def _whole_or_own(backend: Backend, dtype: np.dtype[Any], wish: Wish) -> Feed:
    samples = wish.samples
    if _brings_feed(wish):
        own: Feed = samples.x.feed(backend, samples, dtype, wish.batch_size)
        return own
    return Feed(backend, to_device(backend, samples), wish.batch_size)
