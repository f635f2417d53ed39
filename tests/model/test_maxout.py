"""Maxout layers; test_recording.py and test_graphs.py test recording them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bpcore
from bpcore import Adam, Dense, Dropout, Maxout
from bpcore.backends import get_backend
from support.networks import data, network


@pytest.mark.parametrize("pieces", [2, 3, 5])
def test_maxout_is_the_largest_of_its_maps(pieces: int, rng: np.random.Generator) -> None:
    x, _ = data(rng)
    net = network(Maxout(4, pieces, bias=0.5), inputs=5)
    p = net.parameters_by_name()
    assert (p["0.W"].shape, p["0.b"].shape) == ((5, 4 * pieces), (4 * pieces,))
    net.set_parameters({"0.b": rng.standard_normal(4 * pieces)})
    p = net.parameters_by_name()
    maps = [x @ p["0.W"][:, 4 * k : 4 * k + 4] + p["0.b"][4 * k : 4 * k + 4] for k in range(pieces)]
    np.testing.assert_allclose(net.output(x, batch_size=7), np.max(maps, axis=0), rtol=1e-12)


@given(rows=st.integers(1, 9), columns=st.integers(1, 20), pieces=st.integers(2, 6), seed=st.integers(0, 99))
def test_pieces_of_any_shape(rows: int, columns: int, pieces: int, seed: int) -> None:
    """Forward and backward with many ties, of which the first wins."""
    rng = np.random.default_rng(seed)
    backend = get_backend("numpy")
    z = rng.integers(-2, 3, (rows, pieces * columns)).astype(np.float32)
    bias, delta = (rng.integers(-1, 2, shape).astype(np.float32) for shape in ((pieces * columns,), (rows, columns)))
    out, winner = backend.empty((rows, columns), np.float32), backend.empty((rows, columns), np.int32)
    backend.max_pieces(z, bias, out, winner)
    maps = (z + bias).reshape(rows, pieces, columns)
    np.testing.assert_array_equal(out, maps.max(axis=1))
    np.testing.assert_array_equal(winner, maps.argmax(axis=1))
    backend.max_pieces_backward(delta, winner, z, bias)
    won = np.arange(pieces)[None, :, None] == maps.argmax(axis=1)[:, None]
    expected = np.where(won, delta[:, None], 0).reshape(rows, -1)
    np.testing.assert_array_equal(z, expected)
    np.testing.assert_array_equal(bias, expected.sum(axis=0))


@pytest.mark.parametrize(
    "make",
    [
        lambda: [Maxout(3, 2)],
        lambda: [Maxout(6, 3, bias=0.1), Dense(3)],
        lambda: [Dense(6, "tanh"), Dropout(0.3), Maxout(4, 4, bias=False), Maxout(3)],
    ],
)
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "hinge"])
def test_maxout_has_the_right_gradients(make: Any, loss: str, rng: np.random.Generator) -> None:
    x, y = data(rng)
    check = bpcore.gradcheck(network(*make()), x, y, loss=loss)
    assert check.ok, str(check)


def test_maxout_learns_a_circle(rng: np.random.Generator) -> None:
    """Its decision boundary is piecewise linear, without any other activation."""
    x = rng.uniform(-1, 1, (400, 2))
    y = ((x**2).sum(axis=1) < 0.6).astype(int)
    net = network(Maxout(12, 3), Dense(2), precision="float32")
    net.fit(x, y, optimizer=Adam(learning_rate=0.03), epochs=60, batch_size=50)
    assert net.evaluate(x, y).accuracy > 0.97
