"""The fused loops for the CPU: plain loops over arrays, compiled by Numba from the tables' scalar functions.

A template is an ordinary function over NumPy arrays that returns nothing and never raises: its caller has checked the
arguments, which spec.py lists. The templates stand in a file for each stage of the step, with their twins for the GPU
in the file of the same name in kernels/cuda. Their holes (`f`, `derivative`, `row`, ...) are filled for each kernel by
`compiled`.
"""

from .compiling import TEMPLATES, Kernel, compiled

__all__ = ["TEMPLATES", "Kernel", "compiled"]
