"""numpy.testing: comparisons of arrays of the device at hand, made on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpcore.numpy.namespace import Namespace

if TYPE_CHECKING:
    from numpy.testing import *  # noqa: F403
else:
    _namespace = Namespace("testing", globals())
    __getattr__ = _namespace.find
    __dir__ = _namespace.names
