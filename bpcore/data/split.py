"""Splitting a data set into a training part and a test part."""

from __future__ import annotations

from numbers import Real

import numpy as np
from numpy.typing import NDArray

from bpcore.errors import InputError


def split(
    samples: int, labels: NDArray[np.int64] | None, test_fraction: float, seed: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The row numbers of the training part and of the test part.

    labels          (samples,) to split each class in the same proportion; None for data without classes
    test_fraction   in [0, 1): round(test_fraction * samples) rows go to the test part
    seed            of the shuffle; None keeps the order, and test rows lie at equal distances within a class

    Each class (or the data, without classes) keeps at least one training row. The rows of both parts alternate between
    the classes (0, 1, 2, ... 0, 1, 2, ...), so that their leading rows are a balanced sample.
    """
    if not (isinstance(seed, (int, np.integer)) and seed >= 0) and seed is not None:
        raise InputError(f"seed={seed!r}; accepted: an integer, 0 or more")
    if not isinstance(test_fraction, Real) or not 0.0 <= test_fraction < 1.0:
        raise InputError(f"test_fraction={test_fraction!r}; accepted: 0 <= test_fraction < 1")
    if seed is None:
        order = np.arange(samples)
    else:
        keys = np.random.Generator(np.random.Philox(seed)).random(samples)
        order = np.argsort(keys, kind="stable")
    groups = np.zeros(samples, np.int64) if labels is None else labels[order]
    by_class = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[by_class], prepend=-1))
    rank = np.arange(samples) - np.repeat(starts, np.diff(starts, append=samples))
    # The first row of each class trains; of the others, class by class, rows at equal distances go to the test part.
    free = np.flatnonzero(rank > 0)
    tests = min(round(test_fraction * samples), len(free))
    chosen = np.zeros(samples, bool)
    chosen[free[((np.arange(tests) + 0.5) * len(free) / max(tests, 1)).astype(np.int64)]] = True
    rows = order[by_class]
    in_turn = np.argsort(rank, kind="stable")
    return rows[in_turn[~chosen[in_turn]]], rows[in_turn[chosen[in_turn]]]


def split_source(train: NDArray[np.int64], test: NDArray[np.int64], seed: int) -> str:
    """A phrase for the user that describes the split."""
    return f"{len(train)} rows to train, {len(test)} held out with seed {seed}"
