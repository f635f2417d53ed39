"""Compile kernels for the GPU, and launch them."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numba import cuda

from .. import build
from ..signatures import templates_in
from ..spec import Spec
from . import batch, layer, loss, predictions, update
from .environment import IN_SIMULATOR, NUMBA_CUDA
from .plans import PLANS, Launch
from .threads import all_max, all_sum

TEMPLATES = templates_in(batch, layer, loss, update, predictions)

# In the simulator kernels are plain Python, whose math functions raise where a GPU gives inf or NaN.
SIMULATED: dict[Any, object] = {
    math.exp: np.exp,
    math.expm1: np.expm1,
    math.log: np.log,
    math.log1p: np.log1p,
    math.tanh: np.tanh,
    math.sqrt: np.sqrt,
}

# Without link-time optimisation the GPU runs what the tests read in the PTX.
OPTIONS: dict[str, Any] = {} if IN_SIMULATOR else {"lto": False}


@functools.cache
def compiled(spec: Spec, lanes: int = 1) -> Any:
    """Return a spec's numba-cuda kernel for this number of lanes; call it as kernel[grid, block, stream](*arguments).

    Numba compiles it for the layouts of its first arguments.
    """
    plan = PLANS[spec.template]
    holes = {
        "real": spec.dtype.type,
        "LANES": lanes,
        "THREADS": plan.threads,
        "all_sum": all_sum,
        "all_max": all_max,
        **dict(spec.holes),
    }
    bound = build.bind(
        TEMPLATES[spec.template],
        spec.dtype,
        holes,
        replace=SIMULATED if IN_SIMULATOR else {},
        compile_callee=cuda.jit(device=True, **OPTIONS),
    )
    # Given the most threads of a block, and one block at a time per multiprocessor, the compiler may use all registers
    # that these threads can have, instead of spilling some to slow memory.
    options = OPTIONS if IN_SIMULATOR else {**OPTIONS, "launch_bounds": (plan.threads, 1)}
    kernel, cacheable = build.cached(bound, ("cuda", NUMBA_CUDA, sorted(options.items())))
    return build.keep_apart(cuda.jit(cache=cacheable, **options)(kernel))


def compiler_problem() -> str:
    """Return the reason why kernels cannot be compiled here; empty if they can. This needs no GPU."""
    try:
        cuda.cudadrv.nvvm.NVVM()
        cuda.cudadrv.runtime.get_version()
        if not Path(cuda.cudadrv.libs.get_libdevice() or "").is_file():
            return "libdevice, NVIDIA's library of functions, cannot be found; it is looked for in CUDA_HOME too"
    except Exception as error:  # its type depends on what is missing
        return str(error).strip().partition("\n")[0] or type(error).__name__
    return ""


def launch(spec: Spec, arguments: Sequence[Any], stream: int = 0) -> None:
    """Launch a kernel and return at once. Arrays are CuPy's or Numba's; stream is the address of a CUDA stream."""
    plan = PLANS[spec.template].launch(arguments)
    _configured(spec, plan, stream)(*[_argument(argument) for argument in arguments])


@functools.lru_cache(maxsize=4096)
def _configured(spec: Spec, plan: Launch, stream: int) -> Any:
    """The kernel with its grid and block, without Numba's warning of a small grid, which a small batch needs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compiled(spec, plan.lanes)[plan.grid, plan.block, cuda.external_stream(stream) if stream else 0]


def _argument(value: Any) -> Any:
    """A CuPy array as a Numba array; anything else unchanged."""
    pointer = getattr(getattr(value, "data", None), "ptr", None)
    return value if pointer is None else _view(pointer, value.shape, value.strides, value.dtype)


@functools.lru_cache(maxsize=4096)
def _view(pointer: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Device memory as a Numba array. Making one takes longer than a launch, so recent ones are cached.

    It does not own the memory, so another array at the same place can share it. It names no stream, because Numba
    would wait for that stream at every launch.
    """
    description = {
        "data": (pointer, False),
        "shape": shape,
        "strides": strides,
        "typestr": dtype.str,
        "version": 3,
    }
    return cuda.from_cuda_array_interface(description, sync=False)
