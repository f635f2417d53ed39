"""Whether there is CuPy, and a GPU for it: asked by "auto" before the CuPy backend and Numba are loaded."""

from __future__ import annotations

from typing import Any

from bpcore.errors import InputError, MissingExtraError


def load_cupy() -> Any:
    """CuPy with a GPU that it can use; MissingExtraError or InputError says why not."""
    try:
        import cupy
    except ModuleNotFoundError as error:
        if error.name != "cupy":
            raise InputError(f"CuPy is installed but cannot be loaded: {first_line(error)}") from error
        raise missing() from error
    except ImportError as error:
        raise InputError(f"CuPy is installed but cannot be loaded: {first_line(error)}") from error
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise InputError(f"CuPy finds no CUDA GPU that it can use: {first_line(error)}") from error
    if count == 0:
        raise InputError("CuPy finds no CUDA GPU that it can use: there are 0 devices")
    return cupy


def missing(why: str = "") -> MissingExtraError:
    """The error that names the extras with CuPy and numba-cuda."""
    return MissingExtraError(f"the CuPy backend (NVIDIA GPUs, CUDA 12 or 13){why}", "cuda12", "cuda13")


def first_line(error: Exception) -> str:
    """What an import or a driver says, without its frames of equal signs."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" =-")]
    return lines[0] if lines else type(error).__name__
