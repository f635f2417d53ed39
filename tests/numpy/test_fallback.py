"""bpcore.numpy on a device: what runs on the host, warnings, and the count of transfers."""

from __future__ import annotations

import inspect
import warnings
from pathlib import Path
from typing import Any

import numpy
import pytest

import bpcore.numpy as np
from bpcore.errors import InputError
from support.numpy_scripts import ON_THE_DEVICE, again, on_host, run, same
from support.stand_in import StandInArray
from support.stand_in_numpy import NumpyDevice

THROUGH_THE_HOST = """
np.block([[x, y]])
np.geomspace(1, 8, 4)
np.insert(v, 1, 5.0)
np.nanpercentile(x, 50, axis=0)
np.block([[x], [y]])
np.linalg.multi_dot([m, m, m])
np.sum(x, where=x > 0)
np.take(v, [0, 9], mode="clip")
np.lexsort([v, [1, 2, 3, 4]], axis=0)
np.add.reduce(x, where=x > 0, initial=1.0)
np.subtract.accumulate(v)
np.multiply.at(v, [0, 0], 3.0); v
np.add.at(i, [0, 0, 1], 1); i
np.add(x, y, order="F", signature="dd->d")
np.minimum.reduceat(v, [0, 2])
np.spacing(v)
np.polydiv(v, [1.0, 2.0])
np.polyint(v), np.polyder(v)
np.cross(m, [1, 2, 3], axisa=1) + np.block([m])
np.block([[1.0, 2.0]])
out = np.zeros(4); np.sum(x, 0, None, out, where=x > 0); out + np.insert(out, 0, 0.0)[1:]
out = np.zeros((3, 4)); np.add(x, y, out[:, ::-1], order="F"); out + np.block([out])
a, b = np.zeros((3, 4)), np.zeros((3, 4)); np.divmod(x, y, out=(a, b), where=x > 0); a - b
out = np.empty((3, 8)); np.block([x, y]).copy(); np.concatenate([x, y], axis=1, out=out); np.insert(out, 0, 1.0, axis=1)
a = x.T; np.put_along_axis(a, np.argmax(a, axis=0, keepdims=True), 99.0, axis=0); np.nanquantile(x, 0.5)
""".strip().splitlines()


@pytest.mark.parametrize("code", THROUGH_THE_HOST)
def test_functions_the_device_lacks_run_on_the_host(code: str, device: NumpyDevice) -> None:
    np.use("numpy")
    expected = run(code, np)
    again(device, "warn")
    with pytest.warns(np.FallbackWarning, match=r"^bpcore\.numpy\.[a-z_.]+ is computed on the host, and its arrays"):
        found = run(code, np)
    assert any(transfer.why == "fallback" for transfer in np.transfers())
    arrays = found if isinstance(found, tuple) else [found]
    assert all(isinstance(array, StandInArray | numpy.generic) for array in arrays)  # single numbers are NumPy's
    same(on_host(found), expected)
    again(device, "raise")
    with pytest.raises(InputError, match=r"on the host.*; fallback='raise' forbids it$"):
        run(code, np)
    again(device, "ignore")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        same(on_host(run(code, np)), expected)


def test_each_name_warns_once_and_where_it_was_called(device: NumpyDevice) -> None:
    again(device, "warn")
    x = np.ones((2, 2))

    def twice_each() -> None:
        for _ in range(2):
            np.block([x, x])
            np.insert(x, 0, 1.0)

    with pytest.warns(np.FallbackWarning) as caught:
        twice_each()
    assert [str(warning.message).split()[0] for warning in caught] == ["bpcore.numpy.block", "bpcore.numpy.insert"]
    assert {warning.filename for warning in caught} == {__file__}
    assert caught[1].lineno == caught[0].lineno + 1
    assert "the cupy backend has no such function" in str(caught[0].message)
    again(device, "warn")
    with pytest.warns(np.FallbackWarning):
        np.block([x, x])


def test_transfers_list_function_line_and_bytes(device: NumpyDevice) -> None:
    x = np.asarray(numpy.ones((10, 10), numpy.float32))
    again(device, "ignore")
    for _ in range(2):
        np.block([x, x])
    line = inspect.currentframe().f_lineno - 1  # type: ignore[union-attr]
    place = f"{__file__}:{line}"
    assert np.transfers() == [
        np.Transfer(place, "block", "to device", "fallback", 2, 1600),
        np.Transfer(place, "block", "to host", "fallback", 2, 800),
    ]
    assert str(np.transfers()[0]) == f"{place}: block: 2 arrays, 1.6 KiB to device (fallback)"
    assert (device.to_host, device.to_device) == (2, 3)
    again(device, "ignore")
    assert np.transfers() == []
    assert np.to_numpy(x).sum() == 100
    assert type(np.to_numpy([1, 2])) is numpy.ndarray
    assert [transfer.why for transfer in np.transfers()] == ["asked for"]


def test_all_transfers_are_counted(device: NumpyDevice) -> None:
    """bpcore.numpy counts every transfer that the device counts."""
    for code in [*ON_THE_DEVICE[:60], *THROUGH_THE_HOST]:
        if any(road in code for road in ("float(", "np.allclose")):
            continue
        again(device, "ignore")
        before = device.to_host, device.to_device
        run(code, np)
        counted = {"to host": 0, "to device": 0}
        for transfer in np.transfers():
            counted[transfer.direction] += transfer.arrays
        assert (device.to_host - before[0], device.to_device - before[1]) == tuple(counted.values()), code


def test_host_arrays_as_arguments_warn(device: NumpyDevice) -> None:
    host, x = numpy.ones((2, 2)), np.ones((2, 2))
    with pytest.raises(InputError, match=r"^bpcore.numpy.dot was given an array on the host, and copies it to"):
        np.dot(host, x)
    again(device, "warn")
    with pytest.warns(np.FallbackWarning, match="was given an array on the host"):
        assert np.to_numpy(np.dot(host, x)).tolist() == [[2, 2], [2, 2]]
    with pytest.raises(TypeError):
        host @ x  # operators are CuPy's own


def test_host_arrays_can_be_written_to(device: NumpyDevice) -> None:
    again(device, "ignore")
    x = np.ones(3)
    for write in (
        lambda out: np.add(x, x, out=out),
        lambda out: np.add(x, x, out),
        lambda out: np.sum([x, x], axis=0, out=out),
        lambda out: np.copyto(out, 2 * x),
        lambda out: np.put(out, [0, 1, 2], 2 * x),
        lambda out: np.add.at(out, slice(None), 2 * x),
    ):
        out = numpy.zeros(3)
        result = write(out)
        assert result is None or result is out
        assert out.tolist() == [2.0, 2.0, 2.0]


def test_arrays_a_device_cannot_hold_stay_on_the_host(device: NumpyDevice) -> None:
    again(device, "ignore")
    words = np.array(["b", "a", "b"])
    assert type(words) is numpy.ndarray
    values, inverse = np.unique(words, return_inverse=True)
    assert values.tolist() == ["a", "b"]
    assert isinstance(inverse, StandInArray)
    assert np.array([1, None], dtype=object).dtype == object
    assert type(np.array([1.5], np.longdouble)) is numpy.ndarray
    assert np.isscalar(3.0)
    assert np.min_scalar_type(10) == np.uint8


def test_user_functions_get_numpy_on_the_host(device: NumpyDevice) -> None:
    again(device, "ignore")

    def f(x: Any) -> Any:
        return np.sqrt(x) + np.sum(np.ones(2)) + np.add.reduce([1.0])

    x = np.array([1.0, 4.0])
    found = np.vectorize(f)(x)
    assert isinstance(found, StandInArray)
    assert np.to_numpy(found).tolist() == [4.0, 5.0]
    assert np.to_numpy(np.fromfunction(np.sqrt, (2,))).tolist() == [0.0, 1.0]
    doubled = np.frompyfunc(lambda one: 2 * one, 1, 1)
    assert isinstance(doubled, np.ufunc)
    assert doubled(x).tolist() == [2.0, 8.0]  # objects: on the host
    assert [index for index, _ in np.ndenumerate(x)] == [(0,), (1,)]


def test_exceptions_match_numpy(device: NumpyDevice) -> None:
    x = np.ones((2, 3))
    with pytest.raises(ValueError, match="cannot reshape"):
        np.reshape(x, (4, 4))
    with pytest.raises(np.exceptions.AxisError):
        np.sum(x, axis=5)
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.inv(x)
    with pytest.raises(np.linalg.LinAlgError, match="Singular"):
        np.linalg.inv(np.zeros((2, 2)))
    with pytest.raises(TypeError, match="argument"):
        np.sum()
    with pytest.raises(TypeError, match="argument"):
        np.sum(x, no_such=1)
    again(device, "ignore")
    with pytest.raises(ValueError, match="must match exactly"):
        np.block([[x], [np.ones((2, 2))]])


def test_text_and_files_use_the_host_without_a_warning(device: NumpyDevice, tmp_path: Path) -> None:
    x = np.linspace(0, 1, 4)
    np.save(tmp_path / "x.npy", x)
    loaded = np.load(tmp_path / "x.npy")
    assert isinstance(loaded, StandInArray)
    np.savetxt(tmp_path / "x.txt", x)
    np.testing.assert_allclose(np.loadtxt(tmp_path / "x.txt"), x)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        np.testing.assert_allclose(x, 2 * x)
    np.testing.assert_array_equal(x, loaded)
    before = np.get_printoptions()
    try:
        np.set_printoptions(precision=2)
        assert np.array2string(x) == str(x) == "[0.   0.33 0.67 1.  ]"
        with np.printoptions(precision=1):
            assert np.array_repr(x) == repr(np.to_numpy(x))
    finally:
        np.set_printoptions(**{key: value for key, value in before.items() if key != "override_repr"})
    assert {transfer.why for transfer in np.transfers()} == {"by nature", "asked for"}
