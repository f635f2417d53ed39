"""NumPy's names, with the keywords and results that the Python array API standard adds.

From 2.1 on NumPy conforms to the standard except for a few keywords and results, which array-api-compat provides. The
functions made here take both NumPy's arguments and the standard's; nearly all other names are NumPy's own objects.
"""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

VERSION = "2025.12"
"""The version of the standard: https://data-apis.org/array-api/2025.12/."""

ADDED = {"": ("__array_api_version__", "__array_namespace_info__")}
"""Public names that are missing from numpy.__all__, at least in some versions."""

KEYWORDS: dict[str, dict[str, tuple[str, ...]]] = {
    "": {"sort": ("descending",), "argsort": ("descending",)},
    "fft": {"fftfreq": ("dtype", "device"), "rfftfreq": ("dtype", "device")},
}
"""Keywords of the standard that NumPy's function lacks, at least in some versions."""

INSTEAD = {"linalg": ("eig", "eigvals")}
"""Functions whose results follow the standard instead of NumPy: eigenvalues are always complex, as in CuPy."""


def numpy_module(path: str) -> ModuleType:
    """numpy itself if the path is "", else numpy.<path>."""
    return importlib.import_module(f"numpy.{path}" if path else "numpy")


def compat_module(path: str) -> ModuleType:
    """The array-api-compat version of that module; loaded only when needed, because it loads all of NumPy."""
    return importlib.import_module(f"array_api_compat.numpy.{path}" if path else "array_api_compat.numpy")


def names(path: str) -> list[str]:
    """Every public name of a NumPy module and of the standard."""
    module = numpy_module(path)
    public = getattr(module, "__all__", None) or [name for name in dir(module) if not name.startswith("_")]
    return sorted({*public, *ADDED.get(path, ())})


def find(path: str, name: str) -> Any:
    """NumPy's object of that name, extended by the standard's keywords if it lacks them."""
    if not path and name in _OWN:
        return _OWN[name]
    if not path and name == "__array_namespace_info__":
        return compat_module(path).__array_namespace_info__
    own = getattr(numpy_module(path), name)
    if name in INSTEAD.get(path, ()):
        return _with_keywords(own, getattr(compat_module(path), name), [], always=True)
    if not path and name == "argsort":
        own = _stable(own)
    wanted = KEYWORDS.get(path, {}).get(name, ())
    lacking = [keyword for keyword in wanted if keyword not in inspect.signature(own).parameters]
    return _with_keywords(own, getattr(compat_module(path), name), lacking) if lacking else own


@functools.cache
def signature(function: Any) -> inspect.Signature | None:
    """A function's signature; None if it has none, as for some functions written in C."""
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def _with_keywords(
    own: Callable[..., Any], standard: Callable[..., Any], keywords: list[str], *, always: bool = False
) -> Callable[..., Any]:
    """NumPy's function with added keywords; if one of them is given, or `always`, the standard's function is called."""
    known, theirs = inspect.signature(own), inspect.signature(standard).parameters
    extra = [theirs[keyword].replace(kind=inspect.Parameter.KEYWORD_ONLY) for keyword in keywords]

    @functools.wraps(own)
    def function(*args: Any, **kwargs: Any) -> Any:
        given = {keyword: kwargs.pop(keyword) for keyword in keywords if keyword in kwargs}
        if not given and not always:
            return own(*args, **kwargs)
        named = known.bind(*args, **kwargs).arguments
        operand = named.pop(next(iter(named)))
        return standard(operand, **named, **given)

    function.__signature__ = known.replace(parameters=[*known.parameters.values(), *extra])  # type: ignore[attr-defined]
    function.__module__ = "bpcore.numpy"
    return function


def _stable(argsort: Callable[..., Any]) -> Callable[..., Any]:
    """numpy.argsort, but stable unless an argument says how to sort, as the standard requires and CuPy does."""

    @functools.wraps(argsort)
    def function(*args: Any, **kwargs: Any) -> Any:
        if len(args) < 3 and not {"kind", "order", "stable"} & {*kwargs}:
            kwargs["stable"] = True
        return argsort(*args, **kwargs)

    function.__module__ = "bpcore.numpy"
    return function


NOTHING: Any = inspect.signature(np.clip).parameters["a_min"].default
"""NumPy's default for an argument that was not given."""


def clip_by(function: Callable[..., Any]) -> Callable[..., Any]:
    """numpy.clip on top of a function of (a, a_min, a_max); bounds may have NumPy's names or the standard's."""

    def clip(
        a: Any,
        min: Any = NOTHING,
        max: Any = NOTHING,
        out: Any = None,
        *,
        a_min: Any = NOTHING,
        a_max: Any = NOTHING,
        **kwargs: Any,
    ) -> Any:
        return function(a, *_bounds(min, max, a_min, a_max), out=out, **kwargs)

    clip.__doc__, clip.__module__, clip.__qualname__ = np.clip.__doc__, "bpcore.numpy", "clip"
    return clip


def _bounds(low: Any, high: Any, a_min: Any, a_max: Any) -> tuple[Any, Any]:
    """The lower and upper bound, each from whichever of its two names was given; None if neither was."""
    if (low is not NOTHING and a_min is not NOTHING) or (high is not NOTHING and a_max is not NOTHING):
        raise ValueError("clip() got a bound by both of its names, min and a_min or max and a_max")
    low, high = (a_min if low is NOTHING else low), (a_max if high is NOTHING else high)
    return (None if low is NOTHING else low), (None if high is NOTHING else high)


class _OfArrays(type):
    """Lets NumPy's finfo and iinfo also take an array, for its dtype; isinstance checks against NumPy's class."""

    def __call__(cls, dtype: Any) -> Any:
        is_array = not isinstance(dtype, type) and hasattr(dtype, "dtype")
        return cls.__base__(dtype.dtype if is_array else dtype)  # type: ignore[misc]

    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, cls.__base__)  # type: ignore[arg-type]


class finfo(np.finfo, metaclass=_OfArrays):  # noqa: N801
    """numpy.finfo of a dtype or an array."""


class iinfo(np.iinfo, metaclass=_OfArrays):  # noqa: N801
    """numpy.iinfo of a dtype or an array."""


_OWN = {"clip": clip_by(np.clip), "finfo": finfo, "iinfo": iinfo, "__array_api_version__": VERSION}
