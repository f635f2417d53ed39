"""Stateless random numbers: functions of a seed and a position, in integer arithmetic only.

Plain Python, compiled CPU kernels and CUDA kernels give the same integers, so a shuffle or a dropout mask is the same
on every device, and any part of it can be recomputed at any time.

All values are int64 that hold unsigned 32-bit words. Every product is masked to its low words, so that int64, which
wraps in compiled code, and Python's unbounded integers agree.

Philox4x32-10 is the counter-based generator of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy
as 1, 2, 3" (2011).
"""

from __future__ import annotations

Words = tuple[int, int, int, int]

# Indices of the integers in the control block on the device (bpcore.backends.control.Control).
STEP = 0  # steps since the run began
EPOCH = 1
BATCH = 2  # steps since the epoch began; also the slot for this batch's loss
BATCH_SIZE = 3
SEED = 4
SHUFFLE = 5  # 1: rows in the epoch's order; 0: rows in stored order
FIRST_BAD = 6  # the first step with a non-finite loss; -1: none
FIRST_BATCH = 7  # the first batch of the samples on the device; 0 if all samples are there
FIRST_STEP = 8  # the first step of the table of learning rates: that of the run's first epoch
COUNTERS = 9


def counters(
    *, batch_size: int = 0, step: int = 0, first_step: int = 0, epoch: int = 0, seed: int = 0, shuffle: bool = False
) -> list[int]:
    """Return the counters for the beginning of an epoch, in the order above, with no bad step yet."""
    values = [0] * COUNTERS
    values[STEP], values[FIRST_STEP], values[EPOCH] = step, first_step, epoch
    values[BATCH_SIZE], values[SEED], values[SHUFFLE] = batch_size, seed, int(shuffle)
    values[FIRST_BAD] = -1
    return values


# The second word of a Philox counter says what it is used for, so that no two uses share a counter.
SHUFFLE_STREAM = 0xFFFFFFFF

MASK = 0xFFFFFFFF


def philox(c0: int, c1: int, c2: int, c3: int, key0: int, key1: int) -> Words:
    """Philox4x32-10: four random words from a counter of four words and a key of two."""
    for _ in range(10):
        product0 = 0xD2511F53 * c0
        product1 = 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (
            ((product1 >> 32) & MASK) ^ c1 ^ key0,
            product1 & MASK,
            ((product0 >> 32) & MASK) ^ c3 ^ key1,
            product0 & MASK,
        )
        key0 = (key0 + 0x9E3779B9) & MASK
        key1 = (key1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def dropout_words(block: int, layer: int, step: int, seed: int) -> Words:
    """The random words for four elements of one layer's dropout mask at one step.

    A row of M elements has Q = ceil(M / 4) blocks: element j of row i takes word j // Q of block i Q + j % Q.
    """
    return philox(block & MASK, layer, step & MASK, (step >> 32) & MASK, seed & MASK, (seed >> 32) & MASK)


def shuffle_keys(epoch: int, seed: int) -> tuple[Words, Words]:
    """The round keys of an epoch's permutation."""
    low, high = seed & MASK, (seed >> 32) & MASK
    return (
        philox(0, SHUFFLE_STREAM, epoch & MASK, (epoch >> 32) & MASK, low, high),
        philox(1, SHUFFLE_STREAM, epoch & MASK, (epoch >> 32) & MASK, low, high),
    )


def bits_for(samples: int) -> int:
    """The number of bits needed for every index below `samples`."""
    bits = 0
    while (1 << bits) < samples:
        bits += 1
    return bits


def shuffled(position: int, samples: int, bits: int, keys: tuple[Words, Words]) -> int:
    """The row at `position` in the epoch's order: a keyed permutation of 0 .. samples - 1.

    A Feistel network permutes 0 .. 2^bits - 1. An index past the end is permuted again until it is in range, which
    takes fewer than two passes on average and keeps the map one-to-one.
    """
    first, second = keys
    index = position
    while True:
        index = _round(index, bits, first[0], first[1])
        index = _round(index, bits, first[2], first[3])
        index = _round(index, bits, second[0], second[1])
        index = _round(index, bits, second[2], second[3])
        if index < samples:
            return index


def _round(index: int, bits: int, key0: int, key1: int) -> int:
    """Two rounds of the Feistel network: each half is changed by a hash of the other."""
    low_bits = bits // 2
    low_mask = (1 << low_bits) - 1
    high_mask = (1 << (bits - low_bits)) - 1
    low = index & low_mask
    high = index >> low_bits
    high = high ^ (_hash(low ^ key0) & high_mask)
    low = low ^ (_hash(high ^ key1) & low_mask)
    return (high << low_bits) | low


def _hash(word: int) -> int:
    """Mix the bits of a 32-bit word by odd multipliers and shifts, as common integer finalisers do."""
    word = (word * 0x9E3779B1) & MASK
    word = word ^ (word >> 15)
    word = (word * 0x85EBCA77) & MASK
    word = word ^ (word >> 13)
    word = (word * 0xC2B2AE3D) & MASK
    return word ^ (word >> 16)
