"""numpy.linalg and the array API's extension `linalg`, on the device at hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpcore.numpy.namespace import Namespace

if TYPE_CHECKING:
    from numpy.linalg import *  # noqa: F403
else:
    _namespace = Namespace("linalg", globals())
    __getattr__ = _namespace.find
    __dir__ = _namespace.names
