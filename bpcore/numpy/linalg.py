"""numpy.linalg and the array API's `linalg` extension on the current device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpcore.numpy.namespace import Namespace

if TYPE_CHECKING:
    from numpy.linalg import *  # noqa: F403
else:
    _namespace = Namespace("linalg", globals())
    __getattr__ = _namespace.find
    __dir__ = _namespace.names
