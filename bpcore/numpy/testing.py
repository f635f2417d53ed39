"""numpy.testing for arrays of the current device; comparisons run on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpcore.numpy.namespace import Namespace

if TYPE_CHECKING:
    from numpy.testing import *  # noqa: F403
else:
    _namespace = Namespace("testing", globals())
    __getattr__ = _namespace.find
    __dir__ = _namespace.names
