"""numpy.random on the current device: a seed gives the same numbers on every device (see random_numbers.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpcore.numpy.namespace import Namespace

if TYPE_CHECKING:
    from numpy.random import *  # noqa: F403
else:
    _namespace = Namespace("random", globals())
    __getattr__ = _namespace.find
    __dir__ = _namespace.names
