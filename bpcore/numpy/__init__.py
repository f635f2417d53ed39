"""NumPy on the device at hand: a script that changes one line runs on a GPU.

    import bpcore.numpy as np

    x = np.ones((1000, 1000), np.float32)
    print(np.linalg.norm(x @ x))

The arrays are real ones, numpy.ndarray or cupy.ndarray, and on the CPU the functions are NumPy's own. The names are those
of the Python array API standard 2025.12 and all others that NumPy has; a function takes NumPy's arguments and the
standard's. The device is $BPCORE_BACKEND, or the one given to `use`, else a GPU where one can be used.

What CuPy lacks is computed on the host, with one warning for each name, and what random numbers a seed gives is the same
on both devices, because NumPy draws them. `transfers()` lists what crossed between host and device, and where.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpcore.numpy import fft, linalg, random, testing
from bpcore.numpy.choice import backend_name, to_numpy, transfers, use
from bpcore.numpy.namespace import Namespace
from bpcore.numpy.transfers import FallbackWarning, Transfer

if TYPE_CHECKING:
    from numpy import *  # noqa: F403  what checkers and editors are shown: the names, types and signatures of NumPy

_OWN = ("FallbackWarning", "Transfer", "backend_name", "fft", "linalg", "random", "testing", "to_numpy", "transfers", "use")
_namespace = Namespace("", globals(), _OWN)
__getattr__ = _namespace.find
__dir__ = _namespace.names
