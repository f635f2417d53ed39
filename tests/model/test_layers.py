"""Layers and stacks that are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bpcore import Activation, Dense, Maxout, Residual
from bpcore.errors import InputError, InputTypeError
from support.networks import network


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dense(3, freeze="biases"), "freeze='biases'; accepted: True, False, 'weights', 'bias', 'slope'"),
        (lambda: Maxout(3, freeze=2), "freeze=2"),
        (lambda: Activation("prelu", freeze="p"), "freeze='p'"),
        (lambda: Maxout(3, 1), "pieces of a Maxout layer must be an integer of 2 or more, not 1"),
        (lambda: Maxout(3, 2.5), r"must be an integer of 2 or more, not 2\.5"),
        (lambda: Maxout(0), "outputs of a Maxout layer must be a positive integer, not 0"),
        (lambda: Residual([]), "a Residual block needs at least one layer"),
        (lambda: Residual(Dense(3)), "a Residual block takes a list of layers"),
        (lambda: Residual([Dense(3), "relu"]), "'relu' is not a layer"),
        (lambda: Residual([Dense(3)] * 2), "stands twice in a Residual block"),
        (lambda: network(Residual([Dense(6)]), inputs=5), "adds its 5 inputs to the 6 outputs .* projection=True"),
        (lambda: network(Dense(3)).freeze(0), "no weights yet"),
        (lambda: network(Dense(3), inputs=2).freeze(1), "no parameter 1 to freeze .* number \\(0 to 0\\)"),
        (lambda: network(Dense(3), inputs=2).unfreeze("0.w"), "no parameter '0.w'"),
        (lambda: network(Dense(3, freeze=True)).fit(np.ones((2, 2)), [0, 1]), "every parameter is frozen"),
        (lambda: network(Activation("tanh")).fit(np.ones((2, 2)), [0, 1]), "no layer has parameters"),
    ],
)
def test_bad_input_gets_one_line(make: Any, message: str) -> None:
    with pytest.raises((InputError, InputTypeError), match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_a_layer_used_twice_is_refused_also_in_blocks() -> None:
    shared = Dense(4)
    with pytest.raises(InputError, match="stands twice in a network"):
        network(shared, Residual([Dense(4), shared]))
