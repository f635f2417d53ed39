"""The arrays of a device, and the doors between them and the host."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np

from bpcore.backends.arrays import Array, DTypeLike
from bpcore.errors import InputError, InputTypeError


class DeviceArrays(ABC):
    """The arrays of one device."""

    name: str
    allocations: int = 0
    """How many arrays this backend has made."""

    # --- what each device brings --------------------------------------------------------------------------------

    @property
    @abstractmethod
    def array_type(self) -> type:
        """The type of this backend's arrays."""

    @abstractmethod
    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A new array of undefined content."""

    @abstractmethod
    def asarray(self, host: Any, dtype: DTypeLike = None) -> Array:
        """Bring an array from the host (or keep one that is here already), C-contiguous."""

    @abstractmethod
    def to_numpy(self, array: Array) -> np.ndarray:
        """Bring an array to the host. With `asarray` and `write`, the only doors between the two."""

    @abstractmethod
    def write(self, host: Any, out: Array) -> None:
        """Bring values from the host into an array that exists."""

    @abstractmethod
    def copy(self, source: Array, out: Array) -> None:
        """out <- source, on the device."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until all work that was asked for is done."""

    # --- what a device may bring ------------------------------------------------------------------------------

    def free_bytes(self) -> int | None:
        """How many bytes of arrays it may still be asked for; None where nobody needs to ask: host memory."""
        return None

    @property
    def array_module(self) -> Any:
        """The module with NumPy's functions for this backend's arrays, for bpcore.numpy: numpy, cupy, ..."""
        raise InputError(f"the {self.name} backend brings no module of array functions, which bpcore.numpy needs")

    dlpack_devices: tuple[int, ...] = ()
    """The kinds of memory, by DLPack's numbers (1: the CPU, 2: CUDA), that `from_dlpack` takes arrays from."""

    def from_dlpack(self, array: Any) -> Array:
        """The array of another library in the same memory, as one of this backend's; whatever DLPack's import raises.

        For the functions of bpcore.ops; asked for arrays in memory of `dlpack_devices` alone.
        """
        raise InputTypeError(f"the {self.name} backend takes no arrays of other libraries")

    # --- what follows from that ---------------------------------------------------------------------------------

    def full(self, shape: tuple[int, ...], value: float, dtype: DTypeLike) -> Array:
        """A new array filled with one value."""
        return self.asarray(np.full(shape, value, dtype))

    def same_bits(self, a: Array, b: Array) -> bool:
        """Whether two C-contiguous arrays hold the same bits; compared on the host, piece by piece."""
        x, y = (self.to_numpy(array).reshape(-1).view(np.uint8) for array in (a, b))
        return all((x[first : first + 4096] == y[first : first + 4096]).all() for first in range(0, x.size, 4096))

    def owns(self, array: object) -> bool:
        """Whether an array is one of this backend's."""
        return isinstance(array, self.array_type)

    def require(self, *arrays: object) -> None:
        """Refuse arrays of another backend."""
        for array in arrays:
            if not self.owns(array):
                module = type(array).__module__.partition(".")[0]
                raise InputTypeError(
                    f"the {self.name} backend was given an array of {module} ({type(array).__qualname__}); all "
                    f"arrays of one call must be {self.array_type.__module__}.{self.array_type.__qualname__}: "
                    f"bring it over with backend.asarray(...)"
                )

    def __deepcopy__(self, memo: object) -> Self:
        """The backend itself: there is one device."""
        return self
