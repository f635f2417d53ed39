"""Random integers without state: Philox, shuffles, dropout masks, and gathering by them."""

from __future__ import annotations

from collections import Counter

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpcore.kernels import counter, cpu, spec
from bpcore.testing import references

WORDS = st.integers(0, 2**32 - 1)


def test_philox_gives_the_published_numbers() -> None:
    """The known answers that its authors published for philox4x32-10."""
    ones = 0xFFFFFFFF
    assert [hex(word) for word in counter.philox(0, 0, 0, 0, 0, 0)] == [
        "0x6627e8d5", "0xe169c58d", "0xbc57ac4c", "0x9b00dbd8",
    ]  # fmt: skip
    assert [hex(word) for word in counter.philox(ones, ones, ones, ones, ones, ones)] == [
        "0x408f276d", "0x41c83b0e", "0xa20bc7c6", "0x6d5451fd",
    ]  # fmt: skip
    assert [
        hex(word) for word in counter.philox(0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0)
    ] == ["0xd16cfe09", "0x94fdcceb", "0x5001e420", "0x24126ea1"]


@given(st.lists(WORDS, min_size=6, max_size=6))
@settings(max_examples=50)
def test_compiled_philox_gives_the_same_numbers(words: list[int]) -> None:
    assert list(numba.njit(counter.philox)(*words)) == references.philox4x32(words[:4], words[4:])


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
@pytest.mark.parametrize("shuffle", [False, True])
def test_rows_are_gathered_in_stored_order(shuffle: bool, dtype: type, rng: np.random.Generator) -> None:
    """The third batch of 50 and later rows, in two parts; wider numbers than the kernel's are converted."""
    epoch, seed, samples = 2**35 + 3, 2**50 + 9, 400
    x = rng.integers(0, 100, (samples, 7)).astype(dtype) if dtype != np.float64 else rng.standard_normal((samples, 7))
    x.flags.writeable = False  # as a mapped file may be
    targets, weights = rng.standard_normal((samples, 2)).astype(np.float32), rng.random(samples).astype(np.float32)
    counters = np.zeros(counter.COUNTERS, np.int64)
    counters[counter.EPOCH], counters[counter.SEED], counters[counter.SHUFFLE] = epoch, seed, shuffle
    counters[counter.BATCH], counters[counter.BATCH_SIZE] = 2, 50
    kind = np.float32 if dtype == np.float64 else dtype
    out = np.zeros((200, 7), kind), np.zeros((200, 2), np.float32), np.zeros(200, np.float32)
    kernel = cpu.compiled(spec.gather_rows(np.dtype(np.float32), labels=False, weighted=True))
    for rows in (slice(0, 70), slice(70, 200)):
        kernel(x, targets, weights, *(array[rows] for array in out), rows.start, counters)
    order = references.epoch_order(samples, epoch, seed) if shuffle else list(range(samples))
    for found, source in zip(out, (x, targets, weights), strict=True):
        np.testing.assert_array_equal(found, source[order[100:300]].astype(found.dtype))


@given(st.integers(1, 300), st.integers(0, 2**40), st.integers(0, 2**63 - 1))
@settings(max_examples=60)
def test_every_shuffle_is_a_permutation(samples: int, epoch: int, seed: int) -> None:
    bits, keys = counter.bits_for(samples), counter.shuffle_keys(epoch, seed)
    order = [counter.shuffled(position, samples, bits, keys) for position in range(samples)]
    assert sorted(order) == list(range(samples))
    assert order == references.epoch_order(samples, epoch, seed)


def test_shuffles_look_random() -> None:
    """Over many epochs each row is at each position about equally often (chi-square), and each order is new."""
    samples, epochs = 20, 2000
    counts = np.zeros((samples, samples))
    orders = set()
    for epoch in range(epochs):
        keys = counter.shuffle_keys(epoch, 7)
        order = [counter.shuffled(p, samples, counter.bits_for(samples), keys) for p in range(samples)]
        counts[np.arange(samples), order] += 1
        orders.add(tuple(order))
    chi_square = ((counts - epochs / samples) ** 2 / (epochs / samples)).sum()
    assert 250 < chi_square < 500  # 19^2 = 361 degrees of freedom: mean 361, deviation 27
    assert len(orders) == epochs


def test_dropout_words_are_spread_evenly() -> None:
    words = [word for block in range(5000) for word in counter.dropout_words(block, 1, 2, 3)]
    assert abs(np.mean(np.array(words) >= 0.3 * 2**32) - 0.7) < 0.01
    assert max(Counter(words).values()) <= 2
