"""A minimal but complete backend for bpcore, in NumPy and plain Python.

Read backend.py first (arrays, and the dispatch of operations), then kernels.py (the computations). It is slow, since
the scalar functions of bpcore's tables run as Python; a fast backend compiles them.
"""

from __future__ import annotations

from toy_backend.backend import ToyArray, ToyBackend

__all__ = ["ToyArray", "ToyBackend"]
