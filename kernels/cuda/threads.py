"""Device functions for the threads of a block: the element of a thread, and sums and maxima over threads.

The sums and maxima have barriers, so every thread of the block must call them; one without work calls with a zero.
"""

from __future__ import annotations

from collections.abc import Callable

from numba import cuda

# Holes.
LANES: int
THREADS: int
real: Callable[[float], float]


def own_element() -> tuple[int, int]:
    """Return the row and column of this thread's element; the grid's x counts rows, since it may be longer than y."""
    return (
        cuda.blockIdx.x * cuda.blockDim.y + cuda.threadIdx.y,
        cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x,
    )


def sum_down(value: float) -> float:
    """Return to each thread the sum of `value` over the threads with its x; blockDim.y must be a power of two."""
    slots = cuda.shared.array(THREADS, real)
    width = cuda.blockDim.x
    slot = cuda.threadIdx.y * width + cuda.threadIdx.x
    slots[slot] = value
    half = cuda.blockDim.y // 2
    while half > 0:
        cuda.syncthreads()
        if cuda.threadIdx.y < half:
            slots[slot] += slots[slot + half * width]
        half //= 2
    cuda.syncthreads()
    total: float = slots[cuda.threadIdx.x]
    cuda.syncthreads()  # after this the slots may be written again
    return total


def all_sum(value: float, lane: int) -> float:
    """Return to each thread the sum of `value` over the LANES threads that share its row."""
    if LANES == 1:
        return value
    slots = cuda.shared.array(THREADS, real)
    first = cuda.threadIdx.y * LANES
    slots[first + cuda.threadIdx.x] = value
    cuda.syncthreads()
    total: float = slots[first]
    for k in range(
        1, cuda.blockDim.x
    ):  # this is LANES, but a constant would make the compiler unroll the loop, in more registers
        total += slots[first + k]
    cuda.syncthreads()
    return total


def all_max(value: float, lane: int) -> float:
    """Return to each thread the largest `value` of the LANES threads that share its row."""
    if LANES == 1:
        return value
    slots = cuda.shared.array(THREADS, real)
    first = cuda.threadIdx.y * LANES
    slots[first + cuda.threadIdx.x] = value
    cuda.syncthreads()
    highest: float = slots[first]
    for k in range(1, cuda.blockDim.x):
        highest = max(highest, slots[first + k])
    cuda.syncthreads()
    return highest
