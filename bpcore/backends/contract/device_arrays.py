"""The arrays of a device, and the transfers between the device and the host."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np

from bpcore.backends.arrays import Array, DTypeLike
from bpcore.errors import InputError, InputTypeError


class DeviceArrays(ABC):
    """Creates, copies and transfers the arrays of one device."""

    name: str
    """The name by which `get_backend` finds it."""
    allocations: int = 0
    """How many arrays the backend has allocated."""

    # --- every device implements these --------------------------------------------------------------------------

    @property
    @abstractmethod
    def array_type(self) -> type:
        """The type of this backend's arrays."""

    @abstractmethod
    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """Allocate an array; its content is undefined."""

    @abstractmethod
    def asarray(self, host: Any, dtype: DTypeLike = None) -> Array:
        """Copy an array from the host to the device, C-contiguous; return an array of the device unchanged if it fits.

        An array of the device is copied only if it is not C-contiguous or has another dtype.
        """

    @abstractmethod
    def to_numpy(self, array: Array) -> np.ndarray:
        """Copy an array to the host. No other method but `asarray` and `write` transfers data."""

    @abstractmethod
    def write(self, host: Any, out: Array) -> None:
        """Copy values from the host into an existing array, broadcast and converted to its dtype."""

    @abstractmethod
    def copy(self, source: Array, out: Array) -> None:
        """out <- source, on the device."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until the device has finished all work submitted so far."""

    # --- a device may override these ----------------------------------------------------------------------------

    def free_bytes(self) -> int | None:
        """The bytes that can still be allocated, or None for a device that uses host memory."""
        return None

    @property
    def array_module(self) -> Any:
        """The module with NumPy's functions for this backend's arrays (numpy, cupy, ...), used by bpcore.numpy."""
        raise InputError(f"the {self.name} backend has no module of array functions, which bpcore.numpy needs")

    dlpack_devices: tuple[int, ...] = ()
    """The DLPack device types (1: CPU, 2: CUDA) whose arrays `from_dlpack` accepts."""

    def from_dlpack(self, array: Any) -> Array:
        """Wrap an array of another library as one of this backend's, in the same memory.

        bpcore.ops calls it, for arrays on `dlpack_devices` only, and handles the errors that a DLPack import raises.
        """
        raise InputTypeError(f"the {self.name} backend accepts no arrays of other libraries")

    # --- built on the above -------------------------------------------------------------------------------------

    def full(self, shape: tuple[int, ...], value: float, dtype: DTypeLike) -> Array:
        """Allocate an array filled with one value."""
        return self.asarray(np.full(shape, value, dtype))

    def same_bits(self, a: Array, b: Array) -> bool:
        """Whether two C-contiguous arrays hold the same bits; compared on the host, in pieces."""
        x, y = (self.to_numpy(array).reshape(-1).view(np.uint8) for array in (a, b))
        return all((x[first : first + 4096] == y[first : first + 4096]).all() for first in range(0, x.size, 4096))

    def owns(self, array: object) -> bool:
        """Whether an array belongs to this backend."""
        return isinstance(array, self.array_type)

    def require(self, *arrays: object) -> None:
        """Raise InputTypeError for an array of another backend."""
        for array in arrays:
            if not self.owns(array):
                module = type(array).__module__.partition(".")[0]
                raise InputTypeError(
                    f"the {self.name} backend was given an array of {module} ({type(array).__qualname__}); all "
                    f"arrays of one call must be {self.array_type.__module__}.{self.array_type.__qualname__}: "
                    f"bring it over with backend.asarray(...)"
                )

    def __deepcopy__(self, memo: object) -> Self:
        """Return the backend itself: a copied network stays on its device."""
        return self
