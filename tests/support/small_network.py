"""A small network."""

from __future__ import annotations

from typing import Any

import bpcore
from bpcore import Dense, Network


def network(*layers: bpcore.Layer, **options: Any) -> Network:
    return Network(list(layers) or [Dense(8, "relu"), Dense(3)], backend="numpy", **options)
