"""Compiling a kernel for the GPU, and starting it."""

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
from . import answers, batch, layer, loss, update
from .environment import IN_SIMULATOR, NUMBA_CUDA
from .plans import PLANS, Launch
from .threads import all_max, all_sum

TEMPLATES = templates_in(batch, layer, loss, update, answers)

# There the kernels are plain Python, whose math raises where a GPU gives inf or NaN.
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
    """The kernel of a spec for one number of lanes, as numba-cuda has it: kernel[grid, block, stream](*arguments).

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
    # The most threads of a block, and that a multiprocessor need not hold more than one block at a time: the compiler
    # then takes as many registers as that many threads can have, instead of moving some to slow memory.
    options = OPTIONS if IN_SIMULATOR else {**OPTIONS, "launch_bounds": (plan.threads, 1)}
    kernel, cacheable = build.cached(bound, ("cuda", NUMBA_CUDA, sorted(options.items())))
    return build.keep_apart(cuda.jit(cache=cacheable, **options)(kernel))


def compiler_problem() -> str:
    """Why kernels cannot be compiled here, in words; nothing where they can. It takes no GPU."""
    try:
        cuda.cudadrv.nvvm.NVVM()
        cuda.cudadrv.runtime.get_version()
        if not Path(cuda.cudadrv.libs.get_libdevice() or "").is_file():
            return "libdevice, NVIDIA's library of functions, cannot be found; it is looked for in CUDA_HOME too"
    except Exception as error:  # of several kinds, by what is missing
        return str(error).strip().partition("\n")[0] or type(error).__name__
    return ""


def launch(spec: Spec, arguments: Sequence[Any], stream: int = 0) -> None:
    """Start a kernel and return at once. Arrays: CuPy's or Numba's. stream: the address of a CUDA stream."""
    plan = PLANS[spec.template].launch(arguments)
    _configured(spec, plan, stream)(*[_argument(argument) for argument in arguments])


@functools.lru_cache(maxsize=4096)
def _configured(spec: Spec, plan: Launch, stream: int) -> Any:
    """The kernel with its grid and block. Numba warns of small grids, but a small batch has no other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return compiled(spec, plan.lanes)[plan.grid, plan.block, cuda.external_stream(stream) if stream else 0]


def _argument(value: Any) -> Any:
    """A CuPy array as one of Numba's; anything else as it is."""
    pointer = getattr(getattr(value, "data", None), "ptr", None)
    return value if pointer is None else _view(pointer, value.shape, value.strides, value.dtype)


@functools.lru_cache(maxsize=4096)
def _view(pointer: int, shape: tuple[int, ...], strides: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Device memory as Numba's array. Making one takes longer than a launch, so the last ones are kept.

    It owns nothing: it says where an array lies, and what lies there again looks the same. No stream is named in it,
    because with one Numba would wait for the stream at every launch.
    """
    description = {
        "data": (pointer, False),
        "shape": shape,
        "strides": strides,
        "typestr": dtype.str,
        "version": 3,
    }
    return cuda.from_cuda_array_interface(description, sync=False)
