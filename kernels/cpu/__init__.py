"""The fused kernels for the CPU: plain loops over arrays, which Numba compiles with the tables' scalar functions.

A template is an ordinary function over NumPy arrays that returns nothing and never raises: its caller has checked the
arguments, which signatures.py lists. There is one file of templates for each stage of the step; kernels/cuda has the
same templates for the GPU in files of the same names. `compiled` fills their holes (`f`, `derivative`, `row`, ...).
"""

from . import batch, layer, loss, predictions, update
from .compiling import TEMPLATES, Kernel, compiled

__all__ = ["TEMPLATES", "Kernel", "batch", "compiled", "layer", "loss", "predictions", "update"]
