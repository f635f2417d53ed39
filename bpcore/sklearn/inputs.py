"""Handle input arrays of any library and device: copy them to the host and back, and make sparse rows dense in chunks.

Under scikit-learn's array API dispatch X may be an array of another library, on another device; results follow X.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.utils._array_api import get_namespace, get_namespace_and_device, move_to

from bpcore.backends.base import Backend
from bpcore.backends.control import Control
from bpcore.backends.feeding import Feed, row_bytes
from bpcore.backends.samples import Samples
from bpcore.kernels import counter, cpu, spec

CHUNK_BYTES = 2**23
"""The part of a sparse matrix that is dense at a time: small enough to stay in cache while it is copied."""


def float_dtypes(x: Any, precision: str) -> list[Any]:
    """The dtypes of X's namespace that X may keep; others are converted to the first one. uint8 is always kept."""
    xp, _ = get_namespace(x)
    names = {"auto": ("float64", "float32", "uint8"), "float64": ("float64", "uint8")}
    return [getattr(xp, name) for name in names.get(precision, ("float32", "uint8"))]


def to_host(array: Any) -> Any:
    """Under array API dispatch, copy an array of another library to NumPy; return anything else unchanged."""
    if array is None or not get_config()["array_api_dispatch"]:
        return array
    _, is_array = get_namespace(array)
    return move_to(array, xp=np, device="cpu") if is_array else array


def to_place_of(result: np.ndarray, x: Any) -> Any:
    """Move a result to the library and device of X; strings and objects stay NumPy arrays."""
    xp, is_array, device = get_namespace_and_device(x)
    if not is_array or result.dtype.kind in "OUS":
        return result
    return move_to(result, xp=xp, device=device)


def example_of(x: Any) -> Any:
    """One element of X on its device, to compare later arrays with; None for lists and sparse rows."""
    xp, is_array = get_namespace(x)
    return xp.asarray(x[:1, :1], copy=True) if is_array else None


def for_samples(x: Any, backend: Backend) -> Any:
    """Checked features for Samples: left on the backend's device if they are there, else on the host."""
    if backend.owns(x):
        return backend.asarray(x)
    if hasattr(x, "tocsr"):
        return SparseRows(x.tocsr())
    return np.require(to_host(x), requirements=["C", "A"])


class SparseRows:
    """Features (samples, N) as compressed sparse rows on the host; stands in for the array of Samples."""

    def __init__(self, rows: Any) -> None:
        self.rows, self.shape, self.dtype = rows, rows.shape, rows.dtype

    def feed(self, backend: Backend, samples: Samples, dtype: np.dtype[Any], batch_size: int) -> Feed:
        """The feed that copies these samples to the device."""
        return SparseFeed(backend, samples, dtype, batch_size)


class SparseFeed(Feed):
    """Feeds a run with sparse samples: makes the rows of a few batches dense at a time, in the epoch's order.

    As in backends/streaming.py, the step reads a chunk with the shuffle off; FIRST_BATCH is the chunk's first batch.
    """

    streamed = True

    def __init__(self, backend: Backend, samples: Samples, dtype: np.dtype[Any], batch_size: int) -> None:
        count, inputs = samples.x.shape
        self._host, self._batch_size = samples, batch_size
        self._chunk_batches = max(1, CHUNK_BYTES // (batch_size * row_bytes(samples, dtype)))
        rows = min(self._chunk_batches * batch_size, count)
        self._dense = np.zeros((rows, inputs), samples.x.dtype)
        targets = samples.targets
        chunk = Samples(
            backend.full((rows, inputs), 0.0, samples.x.dtype),
            backend.full((rows, *targets.shape[1:]), 0, targets.dtype),
            None if samples.weights is None else backend.full((rows,), 1.0, dtype),
        )
        super().__init__(backend, chunk, batch_size)
        self.batches = -(-count // batch_size)

    def begin(self, counters: np.ndarray, control: Control, *, another: bool = False) -> None:
        """As Feed.begin; computes the epoch's order on the host."""
        self._order = order_of(counters, self._host.x.shape[0])
        on_device = counters.copy()
        on_device[counter.SHUFFLE] = 0
        self.backend.write(on_device, control.counters)
        self._control, self._ends = control, 0

    def ready(self, batch: int) -> int:
        """As Feed.ready; fills the next chunk if the batch is not in the current one."""
        if batch >= self._ends:
            first = batch * self._batch_size
            self._take(self._order[first : first + self._chunk_batches * self._batch_size])
            counters = self._control.counters
            here, first_batch = (counters[place : place + 1] for place in (counter.BATCH, counter.FIRST_BATCH))
            self.backend.copy(here, first_batch)
            self._ends = min(batch + self._chunk_batches, self.batches)
        return self._ends - batch

    def describe(self) -> str:
        """A description of where the samples are."""
        return f"sparse in host memory, made dense {self._dense.shape[0]:,} samples at a time"

    def _take(self, rows: np.ndarray) -> None:
        host, chunk, count = self._host, self.samples, len(rows)
        dense = self._dense[:count]
        host.x.rows[rows].toarray(out=dense)
        pairs = [(dense, chunk.x), (host.targets[rows], chunk.targets)]
        if host.weights is not None:
            pairs.append((host.weights[rows], chunk.weights))
        for source, out in pairs:
            self.backend.write(source, out[:count])


def order_of(counters: np.ndarray, samples: int) -> np.ndarray:
    """The epoch's order of the samples, int64 (samples,), from the same gather kernel that the step uses."""
    first = counters.copy()
    first[counter.BATCH] = 0
    order = np.empty(samples, np.int64)
    nothing, no_weights = np.zeros((samples, 1), np.uint8), np.empty(0, np.float32)
    gather = cpu.compiled(spec.gather_rows(np.dtype(np.float32), labels=True, weighted=False))
    gather(
        x=nothing,
        targets=np.arange(samples),
        weights=no_weights,
        out_x=nothing,
        out_targets=order,
        out_weights=no_weights,
        first_row=0,
        counters=first,
    )
    return order
