"""A stand-in for CuPy's NumPy interface: CuPy's names, signatures and refusals, computed by NumPy.

`cupy_names.txt` lists what CuPy has. Functions take device arrays and numbers; like CuPy they refuse lists and host
arrays with TypeError, and arrays refuse __array__ and every other implicit copy. What CuPy's arrays copy to the host on
request (float(), bool(), item(), printing) works here too, and is counted.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import array_api_compat
import numpy as np

from support.stand_in import Device, StandInArray

LINES = (Path(__file__).parent / "cupy_names.txt").read_text(encoding="utf-8").splitlines()
LISTED = dict(line.split(" ", 1) for line in LINES if line[0] != "#" and not line.startswith("ndarray:"))
METHODS = LINES[-1].removeprefix("ndarray: ").split()


def _numpy_has(name: str) -> bool:
    """Whether this NumPy has the name; each version drops some."""
    path, _, last = name.rpartition(".")
    return hasattr(getattr(np, path) if path else np, last)


NAMES = {name: text for name, text in LISTED.items() if _numpy_has(name)}

ARRAY_PARAMETERS = {"a", "ar", "ar1", "arr", "arr1", "arr2", "array", "b", "element", "m", "v", "x", "x1", "x2", "y"}
REDUCES = {"add", "multiply"}
SCATTERS = {"add", "subtract", "maximum", "minimum", "bitwise_and", "bitwise_or", "bitwise_xor"}
SCATTER_DTYPES = "efdFDiIQL"


def _allowed(value: Any) -> Any:
    """The value if functions accept it: a device array or a number; else TypeError."""
    if isinstance(value, StandInArray | bool | int | float | complex | np.generic) or value is None:
        return value
    raise TypeError(f"Unsupported type {type(value)}")


class NumpyArray(StandInArray):
    """cupy.ndarray: operators, indexing and methods on the device, and counted copies to the host."""

    itemsize = property(lambda self: self._content.itemsize)
    nbytes = property(lambda self: self._content.nbytes)
    device = property(lambda self: self._device)
    real = property(lambda self: self._device.wrap(self._content.real, self))
    imag = property(lambda self: self._device.wrap(self._content.imag, self))
    mT = property(lambda self: self._device.wrap(self._content.swapaxes(-1, -2), self))  # noqa: N815

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return self._device.standard

    def __getitem__(self, key: Any) -> Any:
        return self._device.wrap(np.asarray(self._content[self._index(key)]), self)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._content[self._index(key)] = self._device.content(_allowed(value))

    def _index(self, key: Any) -> Any:
        parts = key if isinstance(key, tuple) else (key,)
        for part in parts:
            if not isinstance(part, list | slice | type(...)):
                _allowed(part)
        return self._device.content(key)

    def __len__(self) -> int:
        return len(self._content)

    def __iter__(self) -> Iterator[Any]:
        return (self[row] for row in range(len(self)))

    def reshape(self, *shape: Any, **options: Any) -> Any:
        return self._device.wrap(self._content.reshape(*shape, **options), self)

    # Copies to the host on request.
    def _asked(name: str) -> Callable[..., Any]:  # noqa: N805
        def method(self: Any, *args: Any) -> Any:
            return getattr(self.get(), name)(*args)

        return method

    __bool__, __int__, __float__, __complex__ = map(_asked, ("__bool__", "__int__", "__float__", "__complex__"))
    __str__, __repr__, __format__ = map(_asked, ("__str__", "__repr__", "__format__"))
    item, tolist = map(_asked, ("item", "tolist"))


def _operator(name: str) -> Callable[..., Any]:
    def method(self: Any, *others: Any) -> Any:
        operands = [self._device.content(_allowed(other)) for other in others]
        return self._device.wrap(getattr(self._content, name)(*operands), self)

    return method


def _method(name: str) -> Callable[..., Any]:
    known = NAMES.get(name, "")
    signature = _signature(known) if known.startswith("(") and name != "round" else None

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        if signature is not None:
            signature.bind(self, *args, **kwargs)
        content = self._device.content
        result = getattr(self._content, name)(*content(args), **content(kwargs))
        return self._device.wrap(result, self, *args, *kwargs.values())

    return method


def _signature(text: str) -> inspect.Signature:
    return inspect.signature(eval(f"lambda {text[1:-1]}: None"))


_OPERATORS = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift"
for _word in _OPERATORS.split():
    for _side in ("", "r", "i"):
        if f"__{_side}{_word}__" in METHODS:
            setattr(NumpyArray, f"__{_side}{_word}__", _operator(f"__{_side}{_word}__"))
for _word in ["neg", "pos", "abs", "invert", "eq", "ne", "lt", "le", "gt", "ge"]:
    setattr(NumpyArray, f"__{_word}__", _operator(f"__{_word}__"))
NumpyArray.__hash__ = None  # type: ignore[assignment]
for _word in METHODS:
    if not _word.startswith("_") and _word not in vars(NumpyArray) and not hasattr(StandInArray, _word):
        setattr(NumpyArray, _word, _method(_word))


class StandInUfunc:
    """cupy.ufunc: out, dtype and casting; few of the methods."""

    def __init__(self, device: NumpyDevice, name: str) -> None:
        self._device, self._name, self._host = device, name, getattr(np, name)
        self.nin, self.nout = self._host.nin, self._host.nout

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        wrong = {key: value for key, value in kwargs.items() if key not in ("out", "dtype", "casting")}
        if wrong:
            raise TypeError(f"Wrong arguments {wrong}")
        out = kwargs.get("out")
        for one in out if isinstance(out, tuple) else [out]:
            _allowed(one)
        return self._run(self._host, *map(_allowed, args), **kwargs)

    def _run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        device = self._device
        with np.errstate(all="ignore"):  # a GPU does not tell
            result = function(*device.content(args), **device.content(kwargs))
        return device.wrap(result, *args, *kwargs.values())

    def reduce(self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        self._only(REDUCES, "reduce")
        return self._run(self._host.reduce, _allowed(array), axis=axis, dtype=dtype, out=out, keepdims=keepdims)

    def accumulate(self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None) -> Any:
        self._only(REDUCES, "accumulate")
        return self._run(self._host.accumulate, _allowed(array), axis=axis, dtype=dtype, out=out)

    def reduceat(self, array: Any, indices: Any, axis: Any = 0, dtype: Any = None, out: Any = None) -> Any:
        self._only({"add"}, "reduceat")
        return self._run(self._host.reduceat, _allowed(array), _allowed(indices), axis=axis, dtype=dtype, out=out)

    def outer(self, a: Any, b: Any, **kwargs: Any) -> Any:
        return self._run(self._host.outer, _allowed(a), _allowed(b), **kwargs)

    def at(self, a: Any, indices: Any, b: Any = None) -> None:
        self._only(SCATTERS, "at")
        if a.dtype.char not in SCATTER_DTYPES:
            raise TypeError(f"cupy.{self._name}.at only supports int32, float16, ..., as data type")
        self._host.at(*self._device.content((a, indices, b)))

    def _only(self, names: set[str], method: str) -> None:
        if self._name not in names:
            raise NotImplementedError(f"`cupy_{self._name}.{method}` is not supported yet")


class NumpyDevice(Device):
    """CuPy's module: `bpcore.numpy.use(CupyBackend(device, device.launch))`."""

    ndarray = NumpyArray
    __name__ = "stand_in"

    def __init__(self, memory: int = 2**34) -> None:
        super().__init__(memory)
        self.called: list[str] = []
        self.linalg, self.fft = self._space("linalg"), self._space("fft")
        self.linalg.LinAlgError = np.linalg.LinAlgError
        self.__all__ = [name for name in NAMES if "." not in name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in NAMES:
            raise AttributeError(f"module 'cupy' has no attribute {name!r}")
        value = self._named(name)
        setattr(self, name, value)
        return value

    def _space(self, path: str) -> SimpleNamespace:
        names = [name.removeprefix(f"{path}.") for name in NAMES if name.startswith(f"{path}.")]
        return SimpleNamespace(**{name: self._named(f"{path}.{name}") for name in names}, __all__=names)

    def _named(self, name: str) -> Any:
        path, _, last = name.rpartition(".")
        host = getattr(getattr(np, path) if path else np, last)
        text = NAMES[name]
        if text == "same":
            return host
        if text == "ufunc" and isinstance(host, np.ufunc):
            return StandInUfunc(self, name)
        if text in ("object", "class"):
            return SimpleNamespace(name=f"cupy.{name}")
        return self._function(name, host, _signature("(x, /, out=None)" if text == "ufunc" else text))

    def _function(self, name: str, host: Callable[..., Any], signature: inspect.Signature) -> Callable[..., Any]:
        def function(*args: Any, **kwargs: Any) -> Any:
            bound = signature.bind(*args, **kwargs)
            for parameter, value in bound.arguments.items():
                if parameter in ARRAY_PARAMETERS and name not in ("array", "asarray", "asanyarray", "full_like"):
                    _allowed(value)
                elif parameter == "tup" and not isinstance(value, StandInArray):
                    assert all(isinstance(one, StandInArray) for one in value), f"cupy.{name} takes arrays"
                elif isinstance(value, np.ndarray):
                    raise TypeError(f"Unsupported type {type(value)}")
            self.called.append(name)
            if name == "argsort":
                kwargs["kind"] = "stable"  # CuPy's only way
            result = host(*self.content(args), **self.content(kwargs))
            if name in ("linalg.eig", "linalg.eigvals"):  # complex in CuPy, whatever they are
                complex_ = lambda array: array.astype(np.result_type(array, 1j))  # noqa: E731
                result = tuple(map(complex_, result)) if isinstance(result, tuple) else complex_(result)
            if isinstance(result, bool):
                result = np.asarray(result)
            result = self.wrap(result, *args, *kwargs.values())
            return tuple(result) if isinstance(result, tuple) else result

        function.__name__ = name
        function.__signature__ = signature  # type: ignore[attr-defined]
        return function

    def has_arrays(self, value: Any) -> bool:
        return any(map(self.has_arrays, value)) if isinstance(value, list | tuple) else isinstance(value, StandInArray)

    def content(self, value: Any) -> Any:
        """Replace device arrays by NumPy's."""
        if isinstance(value, StandInArray):
            return value._content
        if isinstance(value, list | tuple):
            return type(value)(map(self.content, value))
        if isinstance(value, dict):
            return {key: self.content(one) for key, one in value.items()}
        return value

    def wrap(self, result: Any, *sources: Any) -> Any:
        """Replace NumPy arrays by device arrays: one of the arguments, a view of it, or a new one."""
        if isinstance(result, tuple | list):
            return (
                [self.wrap(one, *sources) for one in result]
                if isinstance(result, list)
                else tuple(self.wrap(one, *sources) for one in result)
            )
        if not isinstance(result, np.ndarray | np.generic):
            return result
        flat = [one for source in sources for one in (source if isinstance(source, list | tuple) else [source])]
        arrays = [source for source in flat if isinstance(source, StandInArray)]
        for source in arrays:
            if source._content is result:
                return source
        if isinstance(result, np.ndarray):
            for source in arrays:
                if np.may_share_memory(source._content, result):
                    return type(source)(self, result, source._use)
        return self._new(np.asarray(result))

    # Methods that the base class has only in the form that the backend needs.
    def empty(self, shape: Any, dtype: Any = float, order: str = "C") -> Any:
        return super().empty(shape, dtype)

    def array(self, obj: Any, dtype: Any = None, copy: bool | None = True, order: Any = "K", ndmin: int = 0) -> Any:
        if isinstance(obj, StandInArray) and not copy and dtype in (None, obj.dtype):
            return obj
        self.to_device += not self.has_arrays(obj)
        return self._new(np.array(self.content(obj), dtype, order=order, ndmin=ndmin))

    def asarray(self, obj: Any, dtype: Any = None, order: Any = None, *, copy: bool | None = None) -> Any:
        return self.array(obj, dtype, copy, order or "K")

    def copyto(self, dst: Any, src: Any, casting: str = "same_kind", where: Any = None) -> None:
        mask = True if where is None else self.content(_allowed(where))
        np.copyto(dst._content, self.content(_allowed(src)), casting=casting, where=mask)  # type: ignore[arg-type]

    def matmul(self, a: Any, b: Any, out: Any = None) -> Any:
        return super().matmul(_allowed(a), _allowed(b), out)

    @property
    def standard(self) -> Any:
        """array-api-compat's version of this module: its code for CuPy, applied to this stand-in."""
        cuda = SimpleNamespace(Device=SimpleNamespace, device=SimpleNamespace(Device=object), runtime=self.cuda.runtime)
        modules = {"cupy": self, "cupy.linalg": self.linalg, "cupy.fft": self.fft, "cupy.cuda": cuda}
        modules["cupy.cuda.device"] = cuda.device
        with mock.patch.dict(sys.modules, modules):
            for name in [name for name in sys.modules if name.startswith("array_api_compat.cupy")]:
                del sys.modules[name]
            compat = importlib.import_module("array_api_compat.cupy")
        del array_api_compat.cupy
        return compat
