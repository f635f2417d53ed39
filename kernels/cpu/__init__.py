"""The fused loops for the CPU: plain loops over arrays, compiled by Numba from the tables' scalar functions.

A template is an ordinary function over NumPy arrays that returns nothing and never raises: its caller has checked the
arguments, which signatures.py lists. The templates stand in a file for each stage of the step; their twins for the GPU
stand in the file of the same name in kernels/cuda. `compiled` fills their holes (`f`, `derivative`, `row`, ...).
"""

from . import batch, layer, loss, predictions, update
from .compiling import TEMPLATES, Kernel, compiled

__all__ = ["TEMPLATES", "Kernel", "batch", "compiled", "layer", "loss", "predictions", "update"]
