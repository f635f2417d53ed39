"""Compare training on streamed data with training on resident data, and with the bandwidth of the copy to the GPU.

    python benchmarks/streaming.py [--gib 4] [--features 784] [--hidden 512] [--batch 1024] [--epochs 4]

Both runs use the same data set, network and order of samples. The first epoch (recording, compiling) is left out; the
median of the others is printed. The goal of streaming is 95 % of the resident run's samples/s, or 90 % of the samples/s
that the copy alone could deliver, whichever is lower. Without a GPU, the program ends with a message.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from bpcore import Dense, Network, get_backend
from bpcore.backends.cpu_threads import threads
from bpcore.errors import BpcoreError
from bpcore.training.placement import CHUNK_BYTES

OF_RESIDENT, OF_COPY = 0.95, 0.90


@dataclass(frozen=True)
class Rates:
    """Samples/s of the two runs, and those that the copy alone could deliver."""

    resident: float
    streamed: float
    copied: float

    @property
    def wanted(self) -> float:
        """The samples/s that streaming should reach."""
        return min(OF_RESIDENT * self.resident, OF_COPY * self.copied)


def measure(backend: Any, xp: Any, rows: int, features: int, hidden: int, batch: int, epochs: int) -> Rates:
    """Train twice on the same random bytes, and measure copies of a chunk's size."""
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (rows, features), np.uint8), rng.integers(0, 10, rows)

    def samples_per_second(resident: bool) -> float:
        network = Network([Dense(hidden, "relu"), Dense(10)], backend=backend)
        history = network.fit(x, y, epochs=epochs, batch_size=batch, resident=resident)
        return statistics.median(history["samples_per_second"][1:])

    row_bytes = features + y.itemsize
    streamed, resident = samples_per_second(False), samples_per_second(True)
    return Rates(resident, streamed, copy_bandwidth(xp, min(CHUNK_BYTES, rows * row_bytes)) / row_bytes)


def copy_bandwidth(xp: Any, size: int, copies: int = 20) -> float:
    """Bytes/s of consecutive copies from pinned memory to the device on a separate stream: the best of five."""
    host = np.frombuffer(xp.cuda.alloc_pinned_memory(size), np.uint8, size)
    host[:] = 1
    out, stream = xp.empty((size,), np.uint8), xp.cuda.Stream(non_blocking=True)
    xp.cuda.get_current_stream().synchronize()
    seconds = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(copies):
            out.set(host, stream=stream)
        stream.synchronize()
        seconds.append(time.perf_counter() - began)
    return size * copies / min(seconds)


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("gib", 4.0), ("features", 784), ("hidden", 512), ("batch", 1024), ("epochs", 4)):
        options.add_argument(f"--{name}", type=type(default), default=default)
    chosen = options.parse_args()
    try:
        backend = get_backend("cupy")
    except BpcoreError as error:
        print(f"there is nothing to measure without a GPU: {error}", file=sys.stderr)
        return 2
    import cupy

    rows = int(chosen.gib * 2**30 / (chosen.features + 8)) // chosen.batch * chosen.batch
    rates = measure(backend, cupy, rows, chosen.features, chosen.hidden, chosen.batch, chosen.epochs)
    device = backend.describe()
    print(f"{device['device']}; {device['driver']}, CuPy {device['cupy']}; {os.cpu_count()} cores, {threads()} threads")
    print(f"{rows:,} samples of {chosen.features} bytes, {chosen.features}-{chosen.hidden}-10, batch {chosen.batch}")
    for name in ("resident", "streamed", "copied"):
        rate = getattr(rates, name)
        print(f"{name:<9}{rate:>15,.0f} samples/s  {rate * (chosen.features + 8) / 1e9:8.2f} GB/s")
    reached = rates.streamed >= rates.wanted
    print(f"streaming reaches {rates.streamed / rates.wanted:.2f} of its goal: {'yes' if reached else 'NO'}")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
