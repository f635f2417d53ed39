"""A backend for bpcore in NumPy and plain Python: the whole contract, and as little beside it as can be.

Read backend.py, which brings arrays and performs operations, then kernels.py, where they are computed. It is slow: the
scalar functions of bpcore's tables run as Python. A backend that is to be fast compiles them.
"""

from __future__ import annotations

from toy_backend.backend import ToyArray, ToyBackend

__all__ = ["ToyArray", "ToyBackend"]
