"""What bpcore.ops refuses: dtypes, shapes, labels and `out`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bpcore import ops
from bpcore.backends.base import Backend
from bpcore.errors import InputError, InputTypeError
from support.ops_arrays import Foreign, Subclass


def test_dtypes(backend: Backend) -> None:
    narrow, wide = backend.full((2, 2), 1.0, np.float32), backend.full((2, 2), 1.0, np.float64)
    whole = backend.asarray(np.ones((2, 2), np.int64))
    with pytest.raises(InputTypeError, match=r"add: a has dtype float32, but b has float64; all arrays"):
        ops.add(narrow, wide)
    with pytest.raises(InputTypeError, match="hadamard: a has dtype int64; accepted: float32, float64"):
        ops.hadamard(whole, whole)
    with pytest.raises(InputTypeError, match=r"loss: targets has shape .* accepted: integer labels"):
        ops.loss(narrow, narrow.reshape(-1)[:2], "squared_error")
    with pytest.raises(InputTypeError, match="loss: z has dtype float32, but weights has float64"):
        ops.loss(narrow, whole.reshape(-1)[:2], "squared_error", weights=wide.reshape(-1)[:2])
    with pytest.raises(InputTypeError, match=r"one_hot: dtype=.*float16"):
        ops.one_hot(whole.reshape(-1), 2, dtype=np.float16)


def test_shapes(backend: Backend) -> None:
    a, b = backend.full((2, 3), 1.0, np.float32), backend.full((3,), 1.0, np.float32)
    cube = a.reshape(1, 2, 3)
    labels = backend.asarray(np.zeros(2, np.int64))
    refused: list[tuple[str, Callable[[], Any]]] = [
        (r"add: b has shape \(3,\), but \(2, 3\) is needed beside a", lambda: ops.add(a, b)),
        (r"add: a has shape \(1, 2, 3\); accepted: a matrix", lambda: ops.add(cube, cube)),
        (r"matmul: \(2, 3\) @ \(2, 3\) do not fit", lambda: ops.matmul(a, a)),
        (r"matmul: a has shape \(3,\); accepted: a matrix", lambda: ops.matmul(b, a)),
        (r"matmul: beta=1.0 adds to what is in out", lambda: ops.matmul(a, a, transpose_b=True, beta=1)),
        (r"matmul: alpha=nan; accepted: a finite", lambda: ops.matmul(a, a, transpose_b=True, alpha=np.nan)),
        (r"linear: b has shape \(3,\), but \(2,\) is needed beside W", lambda: ops.linear(a, a.T, b)),
        (r"activate: bias has shape \(2,\)", lambda: ops.activate(a, "relu", b[:2])),
        (r"activate: parameter has shape \(2,\)", lambda: ops.activate(a, "prelu", parameter=b[:2])),
        (r"activate: parameter=inf", lambda: ops.activate(a, "prelu", parameter=np.inf)),
        (r"unknown activation 'rely' \(did you mean 'relu'", lambda: ops.activate(a, "rely")),
        (r"delta: saved has shape", lambda: ops.delta(a, a.T, "relu")),
        (r"delta: relu has no learned parameter", lambda: ops.delta(a, a, "relu", parameter_grad=b)),
        (r"softmax: z has shape \(2, 0\); a row without", lambda: ops.softmax(backend.empty((2, 0), np.float32))),
        (r"argmax: z has shape \(2, 0\)", lambda: ops.argmax(backend.empty((2, 0), np.float32))),
        (r"loss: z has shape \(0, 3\); a mean needs", lambda: ops.loss(a[:0], labels[:0], "hinge")),
        (r"loss: targets has shape \(1,\)", lambda: ops.loss(a, labels[:1], "hinge")),
        (r"loss: z has one column; give targets as a matrix", lambda: ops.loss(a[:, :1], labels, "squared_error")),
        (r"loss: weights has shape \(3,\)", lambda: ops.loss(a, labels, "hinge", weights=b)),
        (r"unknown loss", lambda: ops.loss(a, labels, "hing")),
        (r"accuracy: labels has shape \(1,\)", lambda: ops.accuracy(a, labels[:1])),
        (r"dropout: rate=1", lambda: ops.dropout(a, 1, seed=0)),
        (r"dropout: seed=-1; accepted: an integer from 0", lambda: ops.dropout(a, 0.5, seed=-1)),
        (r"dropout: layer=4294967295", lambda: ops.dropout(a, 0.5, seed=0, layer=2**32 - 1)),
        (r"one_hot: classes=-1", lambda: ops.one_hot(labels, -1)),
        (r"update: grads has shape \(3,\)", lambda: ops.update(a, b, a, "sgd", step=0)),
        (r"update: state has shape \(2, 3\), but \(2, 2, 3\)", lambda: ops.update(a, a, a, "adam", step=0)),
        (r"update: step=-1", lambda: ops.update(a, a, a, "adam", step=-1)),
        (r"unknown optimizer 'adem'", lambda: ops.optimizer_state(a, "adem")),
    ]
    for words, call in refused:
        with pytest.raises(InputError, match=words):
            call()


def test_labels_on_the_cpu_are_checked() -> None:
    with pytest.raises(InputError, match="targets holds the label 3; accepted: 0 to 2"):
        ops.loss(np.ones((2, 3)), np.array([0, 3]), "hinge")


def test_outs(backend: Backend) -> None:
    """An unusable `out` is refused before anything is written."""
    a, square = backend.full((3, 4), 1.0, np.float64), backend.full((4, 4), 2.0, np.float64)
    line, wide = backend.full((4,), 1.0, np.float64), backend.full((4, 4), 1.0, np.float64)
    out = backend.full((3, 4), 5.0, np.float64)
    refused: list[tuple[type[Exception], str, Callable[[], Any]]] = [
        (InputError, r"add: out has shape \(4, 4\), but the result has \(3, 4\)", lambda: ops.add(a, a, out=square)),
        (InputTypeError, "out has dtype float32", lambda: ops.add(a, a, out=backend.empty((3, 4), np.float32))),
        (InputTypeError, "out is of type builtins.list", lambda: ops.add(a, a, out=[])),
        (InputTypeError, "matmul: a is of type builtins.NoneType", lambda: ops.matmul(None, a)),
        (InputTypeError, "softmax: z is of type builtins.NoneType", lambda: ops.softmax(None)),
        (InputTypeError, "update: state is of type", lambda: ops.update(a, a, None, "sgd", step=0)),
        (InputTypeError, r"out is of type [\w.]+\.Foreign", lambda: ops.add(a, a, out=Foreign(np.ones((3, 4))))),
        (InputError, "add: out overlaps a in memory; it may be a itself",
         lambda: ops.add(square[1:], square[1:], out=square[:3])),
        (InputError, "matmul: out overlaps a in memory$", lambda: ops.matmul(a, square, out=a)),
        (InputError, "matmul: out has rows that are not contiguous",
         lambda: ops.matmul(a, square, out=backend.empty((4, 3), np.float64).T)),
        (InputError, "linear: out overlaps b", lambda: ops.linear(a[:1], wide, square.reshape(-1)[:4],
                                                                  out=square[:1])),
        (InputError, "delta: out overlaps saved", lambda: ops.delta(a, out, "relu", out=out)),
        (InputError, "delta: bias_grad overlaps out", lambda: ops.delta(a, a, "tanh", out=out,
                                                                        bias_grad=out.reshape(-1)[:4])),
        (InputError, "delta: parameter_grad overlaps bias_grad",
         lambda: ops.delta(a, a, "prelu", bias_grad=line, parameter_grad=line)),
        (InputTypeError, "argmax: out has dtype float64, but the result has int64",
         lambda: ops.argmax(a, out=line[:3])),
        (InputError, "update: params is changed in place and must be contiguous",
         lambda: ops.update(a[:, :2], a[:, 2:], backend.full((0, 3, 2), 0.0, np.float64), "sgd", step=0)),
        (InputError, "update: params overlaps grads",
         lambda: ops.update(a, a, backend.full((0, 3, 4), 0.0, np.float64), "sgd", step=0)),
    ]  # fmt: skip
    for kind, words, call in refused:
        with pytest.raises(kind, match=words):
            call()
    for array, value in ((a, 1), (square, 2), (line, 1), (out, 5)):
        assert (backend.to_numpy(array) == value).all()


def test_outs_of_numpy() -> None:
    x, fixed = np.ones((2, 3)), np.ones((2, 3))
    fixed.flags.writeable = False
    with pytest.raises(InputError, match="out is read-only"):
        ops.add(x, x, out=fixed)
    with pytest.raises(InputError, match="params is read-only"):
        ops.update(fixed, x, np.zeros((0, 2, 3)), "sgd", step=0)
    with pytest.raises(InputTypeError, match=r"params is of type support\.ops_arrays\.Foreign"):
        ops.update(Foreign(fixed), x, np.zeros((0, 2, 3)), "sgd", step=0)
    shared = np.lib.stride_tricks.as_strided(np.ones(3), (2, 3), (0, 8))
    with pytest.raises(InputError, match="several elements of out share memory"):
        ops.add(x, x, out=shared)
    with pytest.raises(InputError, match="out is not aligned"):
        ops.add(x, x, out=np.frombuffer(bytearray(49), np.float64, offset=1).reshape(2, 3))
    with pytest.raises(InputTypeError, match=r"out is of type support.ops_arrays.Subclass"):
        ops.add(x, x, out=np.ones((2, 3)).view(Subclass))
    assert (fixed == 1).all()
    side_by_side = np.zeros((2, 6))
    side_by_side[:, :3] = x
    ops.add(side_by_side[:, :3], x, out=side_by_side[:, 3:])  # one memory, no element in common
    assert (side_by_side[:, 3:] == 2).all()
