"""Find out whether CuPy and a GPU are available, before the CuPy backend and Numba are loaded."""

from __future__ import annotations

from typing import Any

from bpcore.errors import InputError, MissingExtraError


def load_cupy() -> Any:
    """Import CuPy and check that it has a GPU; MissingExtraError or InputError says why not."""
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
    """The error that names the extras to install, which bring CuPy and numba-cuda."""
    return MissingExtraError(f"the CuPy backend (NVIDIA GPUs, CUDA 12 or 13){why}", "cuda12", "cuda13")


def first_line(error: Exception) -> str:
    """The first line of an error's message; CuPy frames its messages with lines of equal signs, which are skipped."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip(" =-")]
    return lines[0] if lines else type(error).__name__
