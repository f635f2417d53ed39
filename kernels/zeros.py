"""Zeros among the numbers of a that a product multiplies: where a tile has nothing else at a k, that k is left out.

An image's background, words that a text does not have, units that are off for neighbouring samples: such zeros come in
stretches, and a sum is the same to the last bit without them (so long as b is finite). Which k are left is listed once
for the rows of a tile, and holds for every strip of columns; a loop that asked at each k would mostly guess wrong.
"""

from __future__ import annotations

from typing import Any

import numpy as np

# The holes.
bits_at: Any  # the number at an address, as an integer
write: Any
ROWS: int  # of a tile
MAGNITUDE: int  # all bits of a number but its sign: zero may have one

SAMPLES = 32
"""How many places are looked at before lists are made."""

ENTRY = 4
"""The bytes of an entry of a list, an int32."""


def few_are_busy(a: int, a_row: int, a_k: int, m: int, k: int) -> bool:
    """Whether lists are worth their cost: at a quarter of the places looked at, or more, a tile has only zeros."""
    tiles = m // ROWS
    idle = 0
    for sample in range(SAMPLES):
        number = sample * 13 % SAMPLES * k // SAMPLES  # all over k, in another order than that of the tiles
        place = a + sample * tiles // SAMPLES * ROWS * a_row + number * a_k
        bits = 0
        for i in range(ROWS):
            bits |= bits_at(place + i * a_row)
        idle += (bits & MAGNITUDE) == 0
    return 4 * idle >= SAMPLES


def list_busy(a: int, a_row: int, a_k: int, m: int, k: int, lists: int, step: int) -> None:
    """For each tile of the m rows at a list, `step` bytes apart: how many k there are, and which."""
    for tile in range(m // ROWS):
        count = 0
        for number in range(k):
            place = a + tile * ROWS * a_row + number * a_k
            bits = 0
            for i in range(ROWS):
                bits |= bits_at(place + i * a_row)
            write(lists + (1 + count) * ENTRY, np.int32(number))
            count += (bits & MAGNITUDE) != 0
        write(lists, np.int32(count))
        lists += step
    if m % ROWS:  # the last tile, of fewer rows, takes every k
        for number in range(k):
            write(lists + (1 + number) * ENTRY, np.int32(number))
        write(lists, np.int32(k))
