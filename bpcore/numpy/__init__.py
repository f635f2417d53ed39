"""NumPy's names on the current device: change one line, and a NumPy script runs on a GPU.

    import bpcore.numpy as np

    x = np.ones((1000, 1000), np.float32)
    print(np.linalg.norm(x @ x))

Arrays are plain numpy.ndarray or cupy.ndarray, and on the CPU the functions are NumPy's own. All names of NumPy and of
the Python array API standard 2025.12 are here; functions take NumPy's arguments and the standard's. The device is the
one given to `use`, else $BPCORE_BACKEND, else a GPU if one can be used.

Functions that CuPy lacks are computed on the host, with one warning per name. A seed gives the same random numbers on
both devices, because NumPy draws them. `transfers()` lists the copies between host and device, with the line that
caused each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bpcore.numpy.device_choice import backend_name as backend_name
from bpcore.numpy.device_choice import to_numpy as to_numpy
from bpcore.numpy.device_choice import transfers as transfers
from bpcore.numpy.device_choice import use as use
from bpcore.numpy.namespace import Namespace
from bpcore.numpy.transfers import FallbackWarning as FallbackWarning
from bpcore.numpy.transfers import Transfer as Transfer

if TYPE_CHECKING:
    from numpy import *  # noqa: F403  type checkers and editors see NumPy's names and types
else:
    from bpcore.numpy import fft, linalg, random, testing  # noqa: F401

    _namespace = Namespace(
        "", globals(), ("FallbackWarning", "Transfer", "backend_name", "to_numpy", "transfers", "use")
    )
    __getattr__ = _namespace.find
    __dir__ = _namespace.names
