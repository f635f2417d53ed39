"""bpcore.numpy.random on a device."""

from __future__ import annotations

import pickle

import numpy
import pytest

import bpcore.numpy as np
from support.numpy_scripts import on_host, run, same
from support.stand_in import StandInArray
from support.stand_in_numpy import NumpyDevice

DRAWS = """
normal(1.0, 2.0, (2, 3))
standard_normal(5)
uniform(-1, 1, 4)
choice(5, 3, replace=False)
permutation(6)
poisson(3.0, 4)
exponential(size=3)
multivariate_normal([0.0, 1.0], [[1.0, 0.0], [0.0, 1.0]], 2)
""".strip().splitlines()


@pytest.mark.parametrize("draw", DRAWS)
def test_a_seed_gives_the_same_numbers_on_every_device(draw: str, device: NumpyDevice) -> None:
    for make in ("random.default_rng(7)", "random.RandomState(7)", "random.Generator(np.random.PCG64(7))"):
        code = f"rng = np.{make}; [rng.{draw}, rng.{draw}]"
        found = run(code, np)
        assert all(isinstance(array, StandInArray) for array in found)
        same(on_host(found), run(code, numpy))
    legacy = f"np.random.seed(7); [np.random.{draw}, np.random.{draw}]"
    same(on_host(run(legacy, np)), run(legacy, numpy))
    assert {transfer.why for transfer in np.transfers()} <= {"random", "asked for", "creation"}


def test_generators_on_a_device(device: NumpyDevice) -> None:
    rng, theirs = np.random.default_rng(5), numpy.random.default_rng(5)
    assert isinstance(rng, np.random.Generator)
    assert isinstance(rng, numpy.random.Generator)
    assert np.random.default_rng(rng) is rng
    x, y = np.arange(6), numpy.arange(6)
    rng.shuffle(x)
    theirs.shuffle(y)
    same(on_host(x), y)
    same(on_host(rng.permutation(x)), theirs.permutation(y))
    same(on_host(rng.normal(x)), theirs.normal(y))
    out, expected = np.zeros(4), numpy.zeros(4)
    assert rng.random(out=out) is out
    same(on_host(out), theirs.random(out=expected))
    assert rng.random() == theirs.random()
    assert rng.bytes(4) == theirs.bytes(4)
    same([on_host(child.normal(size=2)) for child in rng.spawn(2)], [child.normal(size=2) for child in theirs.spawn(2)])
    copied = pickle.loads(pickle.dumps(rng))
    assert isinstance(copied, np.random.Generator)
    same(on_host(copied.normal(size=3)), theirs.normal(size=3))
    rows = [np.ones(1), np.zeros(1), np.ones(1)]
    np.random.default_rng(0).shuffle(rows)
    assert all(isinstance(row, StandInArray) for row in rows)


def test_legacy_generators_keep_their_state(device: NumpyDevice) -> None:
    ours, theirs = np.random.RandomState(3), numpy.random.RandomState(3)
    same(on_host(ours.normal(size=3)), theirs.normal(size=3))
    copied = pickle.loads(pickle.dumps(ours))  # with the second of a pair of normal numbers, which is kept
    same(on_host(copied.normal(size=3)), theirs.normal(size=3))
    state = ours.get_state()
    assert type(state[1]) is numpy.ndarray
    first = on_host(ours.normal(size=3))
    ours.set_state(state)
    same(on_host(ours.normal(size=3)), first)
    ours.seed(4)
    same(on_host(ours.rand(2)), numpy.random.RandomState(4).rand(2))
    kept = np.random.get_state()
    np.random.seed(1)
    same(on_host(np.random.rand(2)), numpy.random.RandomState(1).rand(2))
    np.random.set_state(kept)
