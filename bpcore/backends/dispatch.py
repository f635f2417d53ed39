"""Find the backend that computes with the arrays of a call.

NumPy's arrays belong to the NumPy backend, CuPy's to the CuPy backend. Other arrays may belong to a backend of another
package (`Backend.owns`); otherwise they are imported without a copy by DLPack, if a backend accepts their kind of
memory.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from bpcore.backends import BUILT_IN, backend_names, get_backend
from bpcore.backends.arrays import Array, view_at
from bpcore.backends.base import Backend
from bpcore.errors import BpcoreError, InputTypeError

MADE: dict[str, Backend] = {}
"""The backends in use so far by their names, each made once."""

DEVICES = {
    1: "the CPU", 2: "a CUDA GPU", 3: "pinned memory of CUDA", 4: "an OpenCL device", 7: "a Vulkan device",
    8: "a Metal device", 10: "a ROCm GPU", 13: "managed memory of CUDA", 14: "a oneAPI device",
}  # fmt: skip
"""The names of DLPack's device types, for messages."""

ACCEPTED = "NumPy or CuPy arrays, those of an installed backend, or arrays of any library that supports DLPack"


def bring_in(call: str, arrays: Mapping[str, object]) -> tuple[Backend, dict[str, Array]]:
    """Find the backend of these arrays, given by their names, and make each an array of it, without a copy.

    InputTypeError, beginning with `call`, if one is not an array, or if two are on different devices.
    """
    homes = {name: home(f"{call}: {name}", array) for name, array in arrays.items()}
    first, backend = next(iter(homes.items()))
    for name, other in homes.items():
        if other is not backend:
            raise InputTypeError(
                f"{call}: {first} is an array of the {backend.name} backend ({_kind(arrays[first])}), {name} one of "
                f"the {other.name} backend ({_kind(arrays[name])}); all arrays of one call must be on one device"
            )
    return backend, {name: taken(f"{call}: {name}", backend, array) for name, array in arrays.items()}


def home(what: str, array: object) -> Backend:
    """The backend that computes with an array; `what` names the array in errors."""
    if type(array) is np.ndarray:
        return _made("numpy")
    for backend in (*MADE.values(), *_others()):
        if backend.owns(array):
            return backend
    if isinstance(array, np.ndarray):
        return _made("numpy")
    if type(array).__module__.partition(".")[0] == "cupy":
        return _made("cupy")
    if not (hasattr(array, "__dlpack__") and hasattr(array, "__dlpack_device__")):
        raise InputTypeError(f"{what} is of type {_kind(array)}; accepted: {ACCEPTED}")
    device = int(array.__dlpack_device__()[0])
    for backend in (_made("numpy"), *_others()):
        if device in backend.dlpack_devices:
            return backend
    if device in (2, 13):
        return _made("cupy")
    raise InputTypeError(
        f"{what} ({_kind(array)}) is on {DEVICES.get(device, f'a device of kind {device}')}, for which there is no "
        f"backend; accepted: {ACCEPTED}, on the CPU or a CUDA GPU"
    )


def taken(what: str, backend: Backend, array: Any) -> Array:
    """The array as one of this backend's, in the same memory."""
    if not backend.owns(array):
        try:
            array = backend.from_dlpack(array)
        except (BufferError, RuntimeError, TypeError, ValueError) as error:
            raise InputTypeError(f"{what} ({_kind(array)}) cannot be imported by DLPack: {error}") from error
    if isinstance(array, np.ndarray):
        return _plain(what, array)
    return array


def _plain(what: str, array: np.ndarray) -> np.ndarray:
    """A NumPy array in the form that kernels accept: real numbers, aligned, in native byte order, writable.

    Kernels are compiled for writable arrays, so an array that is read-only is passed as a writable view; a kernel never
    writes to an argument that it only reads.
    """
    if isinstance(array, np.ma.MaskedArray):
        raise InputTypeError(f"{what} is a masked array, whose mask would be lost; give array.filled(value)")
    if array.dtype.kind not in "fiub":
        raise InputTypeError(f"{what} has dtype {array.dtype}; accepted: real numbers")
    if not (array.dtype.isnative and array.flags.aligned):  # as in some files; kernels cannot read it
        return np.require(array, array.dtype.newbyteorder("="), ["A"])
    return np.asarray(array) if array.flags.writeable else view_at(array)


def _made(name: str) -> Backend:
    if name not in MADE:
        MADE[name] = get_backend(name)
    return MADE[name]


@functools.cache
def _others() -> tuple[Backend, ...]:
    """The backends of other packages that can be used on this machine."""
    found = []
    for name in backend_names():
        if name not in BUILT_IN:
            with contextlib.suppress(BpcoreError):
                found.append(_made(name))
    return tuple(found)


def _kind(array: object) -> str:
    return f"{type(array).__module__.partition('.')[0]}.{type(array).__qualname__}"
