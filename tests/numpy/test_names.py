"""bpcore.numpy: its names, their signatures, and the choice of the device."""

from __future__ import annotations

import importlib
import inspect
import os
import subprocess
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import array_api_strict
import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hypothesis_numpy

import bpcore.numpy as np
from bpcore.backends import get_backend
from bpcore.backends.base import Backend
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.errors import InputError, InputTypeError
from support.repository import start_up_cost
from support.stand_in_numpy import NumpyDevice

PATHS = ["", "linalg", "fft"]
OF_STRICT_ALONE = {
    "ArrayAPIStrictFlags",
    "Device",
    "get_array_api_strict_flags",
    "reset_array_api_strict_flags",
    "set_array_api_strict_flags",
}
ADAPTED = {
    "": {"argsort", "clip", "fft", "finfo", "iinfo", "linalg", "random", "sort", "testing"},
    "linalg": {"eig", "eigvals"},
    "fft": {"fftfreq", "rfftfreq"},
    "random": set(),
    "testing": set(),
}
"""Names that are not NumPy's own objects on the CPU, by module."""


@pytest.fixture(params=["numpy", "device"])
def either(request: pytest.FixtureRequest) -> Iterator[None]:
    """The CPU, then the stand-in device."""
    device = NumpyDevice()
    np.use("numpy" if request.param == "numpy" else CupyBackend(device, device.launch), fallback="ignore")
    yield
    np.use("numpy")


@pytest.fixture(autouse=True)
def cpu() -> Iterator[None]:
    np.use("numpy")
    yield
    np.use("numpy")


def module(path: str) -> tuple[ModuleType, ModuleType]:
    """bpcore.numpy.<path> and numpy.<path>."""
    suffix = f".{path}" if path else ""
    return importlib.import_module(f"bpcore.numpy{suffix}"), importlib.import_module(f"numpy{suffix}")


def standard_names(path: str) -> list[str]:
    with array_api_strict.ArrayAPIStrictFlags(api_version="2025.12"):
        space = getattr(array_api_strict, path) if path else array_api_strict
        return sorted({*space.__all__} - OF_STRICT_ALONE)


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.usefixtures("either")
def test_all_names_of_the_standard_and_numpy_exist(path: str) -> None:
    ours, theirs = module(path)
    names = {*standard_names(path), *theirs.__all__}
    assert len(names) > {"": 480, "linalg": 30, "fft": 17}[path]
    assert [name for name in sorted(names) if not hasattr(ours, name)] == []
    assert names <= set(dir(ours))
    assert {*theirs.__all__} <= {*ours.__all__}


@pytest.mark.parametrize("path", [*PATHS, "random", "testing"])
def test_names_on_the_cpu_are_numpys_objects(path: str) -> None:
    ours, theirs = module(path)
    other = {name for name in theirs.__all__ if getattr(ours, name) is not getattr(theirs, name)}
    assert other - {"__array_namespace_info__"} <= ADAPTED[path]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.usefixtures("either")
def test_signatures_are_numpys_with_the_standards_keywords(path: str) -> None:
    ours, theirs = module(path)
    looked_at = 0
    for name in sorted({*theirs.__all__, *standard_names(path)}):
        own, function = getattr(theirs, name, None), getattr(ours, name)
        if not callable(own) or isinstance(own, type) or inspect.ismodule(own):
            continue
        signature = signature_of(function)
        if signature is None:
            continue
        looked_at += 1
        if (known := signature_of(own)) is not None:
            has_all_of(name, signature, known)
        if name in standard_names(path):
            takes_keywords_of(
                name, signature, getattr(getattr(array_api_strict, path) if path else array_api_strict, name)
            )
    assert looked_at > {"": 200, "linalg": 30, "fft": 17}[path]


def signature_of(function: Any) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        return None


def has_all_of(name: str, signature: inspect.Signature, known: inspect.Signature) -> None:
    """Arguments can be passed by position and by name as in NumPy; added parameters are keywords after them."""
    kept = [parameter for parameter in signature.parameters.values() if parameter.name in known.parameters]
    if name == "clip":  # its bounds have two names each, and may be passed by position
        places = [
            parameter.name
            for parameter in signature.parameters.values()
            if parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        ]
        assert places == ["a", "min", "max", "out"]
        assert {*known.parameters} <= {*signature.parameters}
        return
    assert kept == list(known.parameters.values()), name
    for parameter in signature.parameters.values():
        assert parameter.name in known.parameters or parameter.kind is parameter.KEYWORD_ONLY, name


def takes_keywords_of(name: str, signature: inspect.Signature, standard: Any) -> None:
    wanted = inspect.signature(standard).parameters.values()
    first = [
        1
        for parameter in wanted
        if parameter.kind is parameter.POSITIONAL_ONLY and parameter.default is parameter.empty
    ]
    for parameter in wanted:
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            required = {
                other.name: 1
                for other in wanted
                if other.kind is other.POSITIONAL_OR_KEYWORD and other.default is other.empty
            }
            try:
                signature.bind(*first, **{**required, parameter.name: 1})
            except TypeError as error:
                pytest.fail(f"{name} does not take {parameter.name}= of the standard: {error}")


@pytest.mark.usefixtures("either")
def test_the_version_of_the_standard() -> None:
    assert np.__array_api_version__ == "2025.12"
    assert np.__array_namespace_info__().capabilities()["boolean indexing"]
    assert np.__version__ == numpy.__version__


@pytest.mark.usefixtures("either")
def test_unknown_names_are_attribute_errors() -> None:
    for name in ("no_such_name", "__no_such_name__"):
        with pytest.raises(AttributeError, match=name):
            getattr(np, name)
    with pytest.raises(AttributeError, match="no_such_name"):
        getattr(np.linalg, "no_such_name")  # noqa: B009
    with pytest.raises(ImportError):
        exec("from bpcore.numpy import no_such_name")


@pytest.mark.usefixtures("either")
def test_names_can_be_imported_singly_and_by_star() -> None:
    names: dict[str, Any] = {}
    exec("from bpcore.numpy import *\nfrom bpcore.numpy.linalg import norm\nimport bpcore.numpy.random as r", names)
    assert {*numpy.__all__} - {"__array_namespace_info__"} <= set(names)
    assert float(names["norm"](names["array"]([3.0, 4.0]))) == 5.0
    assert names["r"] is np.random
    assert {"use", "transfers", "linalg", "std", "concat"} <= set(dir(np))


# --- what NumPy lacks of the standard -------------------------------------------------------------------------------


@given(hypothesis_numpy.arrays(numpy.int16, hypothesis_numpy.array_shapes(max_dims=3)), st.booleans())
@settings(max_examples=30)
def test_sorting_in_descending_order(x: numpy.ndarray, stable: bool) -> None:
    expected = numpy.flip(numpy.sort(x, 0), 0)
    numpy.testing.assert_array_equal(np.sort(x, 0, descending=True), expected)
    numpy.testing.assert_array_equal(np.sort(x, axis=0, descending=True, stable=stable), expected)
    order = np.argsort(x, 0, descending=True, stable=stable)
    numpy.testing.assert_array_equal(np.take_along_axis(x, order, axis=0), expected)
    numpy.testing.assert_array_equal(np.sort(x, 0, stable=True, descending=False), numpy.sort(x, 0))


@pytest.mark.usefixtures("either")
def test_argsort_is_stable() -> None:
    """So that both devices give the same order, which NumPy's default does not guarantee."""
    keys = np.asarray(numpy.arange(1000) % 3)
    order = np.to_numpy(np.argsort(keys))
    numpy.testing.assert_array_equal(order, numpy.argsort(numpy.arange(1000) % 3, kind="stable"))
    assert np.argsort(keys, kind="quicksort").shape == np.argsort(keys, -1, None).shape == (1000,)


def test_bounds_by_either_name() -> None:
    x = np.arange(6)
    for bounds in [{"a_min": 1, "a_max": 3}, {"min": 1, "max": 3}, {"a_min": 1, "max": 3}]:
        assert np.clip(x, **bounds).tolist() == [1, 1, 2, 3, 3, 3]
    assert np.clip(x, 1, max=3).tolist() == np.clip(x, 1, 3, out=x).tolist() == [1, 1, 2, 3, 3, 3]
    assert np.clip(x, max=2).tolist() == [1, 1, 2, 2, 2, 2]
    with pytest.raises(ValueError, match="both of its names"):
        np.clip(x, 1, a_min=1)


def test_limits_of_arrays() -> None:
    assert np.finfo(np.ones(2, np.float32)).eps == numpy.finfo(numpy.float32).eps == np.finfo(np.float32).eps
    assert np.iinfo(np.ones(2, np.int8)).max == np.iinfo("int8").max == 127
    assert isinstance(np.finfo(np.float32), np.finfo)
    assert isinstance(numpy.iinfo("i4"), np.iinfo)
    with pytest.raises(ValueError, match=r"not (inexact|compatible)"):
        np.finfo(np.int32)


def test_eigenvalues_are_complex() -> None:
    x = np.diag(np.array([1.0, 2.0]))
    assert np.linalg.eig(x).eigenvalues.dtype == np.linalg.eigvals(a=x).dtype == np.complex128


def test_frequencies_of_a_dtype() -> None:
    assert np.fft.fftfreq(4, 0.5).dtype == np.float64
    assert np.fft.rfftfreq(4, 0.5, dtype=np.float32).tolist() == [0.0, 0.5, 1.0]
    assert np.fft.fftfreq(4, dtype=np.float32).dtype == np.float32


def test_calls_that_array_api_compat_would_break() -> None:
    x = np.arange(6.0).reshape(2, 3)
    assert np.std(x, 0).tolist() == np.std(x, axis=0, ddof=0).tolist() == np.std(x, axis=0, correction=0).tolist()
    assert np.ones(3, np.float32).dtype == np.float32
    assert np.sum(x, 0, keepdims=True).shape == (1, 3)


# --- the choice of the device ---------------------------------------------------------------------------------------


def test_names_follow_the_device() -> None:
    device = NumpyDevice()
    assert np.sin is numpy.sin
    assert np.backend_name() == "numpy"
    assert np.transfers() == []
    np.use(CupyBackend(device, device.launch))
    assert np.backend_name() == "cupy"
    assert isinstance(np.ones(2), device.ndarray)
    assert np.ndarray is device.ndarray
    np.use(get_backend("numpy"))
    assert np.sin is numpy.sin
    assert np.ndarray is numpy.ndarray


def test_unusable_devices_are_reported() -> None:
    with pytest.raises(InputError, match="unknown backend 'cuda'"):
        np.use("cuda")
    with pytest.raises(InputError, match=r"unknown fallback 'warm' \(did you mean 'warn'\?\)"):
        np.use("numpy", fallback="warm")  # type: ignore[arg-type]
    with pytest.raises(InputTypeError, match="backend 3 was given"):
        np.use(3)  # type: ignore[arg-type]
    assert np.backend_name() == "numpy"


def test_a_backend_without_array_functions_is_reported() -> None:
    class Bare(CupyBackend):
        name = "bare"
        array_module = property(Backend.array_module.fget)  # type: ignore[attr-defined,assignment]

    device = NumpyDevice()
    with pytest.raises(InputError, match="the bare backend has no module of array functions"):
        np.use(Bare(device, device.launch))
    assert np.backend_name() == "numpy"


@pytest.mark.parametrize(("chosen", "expected"), [("numpy", "numpy"), ("nonsense", "unknown backend 'nonsense'")])
def test_the_environment_chooses(chosen: str, expected: str) -> None:
    program = "import bpcore.numpy as np\ntry: print(np.ones(1), np.backend_name())\nexcept Exception as e: print(e)"
    environment = os.environ | {"BPCORE_BACKEND": chosen}
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True)
    assert expected in run.stdout


def test_on_the_cpu_nothing_heavy_is_loaded() -> None:
    program = (
        "import sys, bpcore.numpy as np; np.linalg.norm(np.std(np.random.default_rng(0).normal(size=(3, 3)), 0)); "
        "assert np.backend_name() == 'numpy'; "
        "sys.exit(bool({'numba', 'scipy', 'array_api_compat.numpy', 'numpy.testing'} & set(sys.modules)))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "BPCORE_BACKEND"}
    if get_backend("auto").name != "numpy":
        environment["BPCORE_BACKEND"] = "numpy"
    assert subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 0


def test_import_is_quick() -> None:
    assert start_up_cost("-c", "import bpcore.numpy as np; np.ones(1)") < 6
