"""The installed contenders, and the worker process that runs one."""

from __future__ import annotations

import io
import itertools
import json
from typing import Any

import numpy as np
import pytest

from bpcore.backends import get_backend
from bpcore.bench import data, roofline, suite
from bpcore.bench import process as process_module
from bpcore.bench.cells import Cell
from bpcore.bench.contenders import CONTENDERS, PEERS
from bpcore.bench.contenders.base import Contender, first_weights
from bpcore.bench.contenders.products import Products, all_ways, operand_sets
from bpcore.bench.data import Data
from bpcore.bench.process import ContenderError, Process
from bpcore.bench.worker import Worker, serve
from bpcore.errors import InputError

TRAINING = {name: entry for name, entry in CONTENDERS.items() if entry.on("numpy") and name != "products"}


@pytest.fixture(scope="module")
def samples() -> Data:
    return data.make("random", Cell((784, 12, 10), 100))


def contender(name: str, cell: Cell, samples: Data) -> Contender:
    if not CONTENDERS[name].installed:
        pytest.skip(f"{name} is not installed here")
    return CONTENDERS[name].load()(cell, samples)


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("name", TRAINING)
def test_training_reduces_the_loss_over_epochs(name: str, optimizer: str, samples: Data) -> None:
    cell = Cell((784, 12, 10), 6000, optimizer=optimizer)
    if CONTENDERS[name].installed and optimizer not in CONTENDERS[name].load().optimizers:
        pytest.skip(f"{name} has no {optimizer}")
    one = contender(name, cell, samples)
    one.run(one.chunk)
    first = one.loss()
    one.run(60 // one.chunk * one.chunk)  # six epochs of ten steps
    last = one.loss()
    assert first is not None
    assert last is not None
    assert np.isfinite(last)
    assert last < first - 0.01


@pytest.mark.parametrize(("activation", "optimizer"), [("relu", "sgd"), ("sigmoid", "momentum"), ("gelu", "adam")])
def test_all_do_the_same_arithmetic(activation: str, optimizer: str, samples: Data) -> None:
    """With the same weights and full-data batches the losses agree, whatever the order of the samples."""
    cell = Cell((784, 12, 10), 60000, activation=activation, optimizer=optimizer)
    losses = {}
    for name, entry in TRAINING.items():
        if not entry.installed or name == "sklearn":  # scikit-learn draws its own weights
            continue
        kind = entry.load()
        if activation in kind.activations and cell.optimizer in kind.optimizers:
            one = kind(cell, samples)
            one.run(4)
            losses[name] = one.loss()
    own = losses.pop("bpcore")
    assert own is not None
    for name, loss in losses.items():
        assert loss == pytest.approx(own, rel=1e-4), name


@pytest.mark.parametrize("name", [name for name, entry in PEERS.items() if entry.on("numpy")])
def test_a_network_without_hidden_layers(name: str, samples: Data) -> None:
    cell = Cell((784, 10), 500)
    if name == "sklearn":
        with pytest.raises(InputError, match="needs a hidden layer"):
            contender(name, cell, samples)
    else:
        one = contender(name, cell, samples)
        one.run(one.chunk)
        assert np.isfinite(one.loss() or 0.0)


def test_bpcore_leaves_the_short_batch_out(samples: Data) -> None:
    cell = Cell((784, 8, 10), 25000)  # two batches, and 10,000 samples left
    one: Any = contender("bpcore", cell, samples)
    batches = []
    calm = one._run.run_steps

    def run_steps(wanted: int) -> int:
        done: int = calm(wanted)
        batches.append((one._epoch, one._run.batch))
        return done

    one._run.run_steps = run_steps
    one.run(5)
    assert batches == [(0, 2), (1, 2), (2, 1)]


def test_the_first_weights_are_those_of_the_cell() -> None:
    weights = first_weights(Cell((784, 30, 10), 32))
    assert [w.shape for w in weights] == [(784, 30), (30, 10)]
    assert {w.dtype.name for w in weights} == {"float32"}
    np.testing.assert_array_equal(weights[0], first_weights(Cell((784, 30, 10), 512))[0])


# --- products ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", [(784, 30, 10), (5, 3, 7, 2), (9, 4)], ids=str)
def test_every_way_multiplies(network: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPCORE_NUM_THREADS", "2")
    ways = all_ways("numpy")
    assert len(ways) in (1, 4)
    for product, (name, way) in itertools.product(Cell(network, 11).products(), ways.items()):
        sets = operand_sets(Cell(network, 11), product)
        way(sets, len(sets))
        for a, b, out in sets:
            assert (a.shape, b.shape) == ((product.m, product.k), (product.k, product.n))
            np.testing.assert_allclose(out, a @ b, rtol=2e-4, atol=2e-4, err_msg=f"{name} {product}")


def test_operands_make_up_the_working_set() -> None:
    cell = Cell((784, 512, 512, 10), 10)
    for product in cell.products():
        sets = operand_sets(cell, product)
        assert len(sets) == 16 or len(sets) * product.bytes >= cell.working_set
        assert len({id(one[2]) for one in sets}) == len(sets)


def test_the_products_report_how_they_were_computed(samples: Data) -> None:
    one = Products(Cell((784, 30, 10), 32), samples)
    one.run(3)
    assert one.loss() is None
    assert len(one.notes()) == 5
    assert set(one.notes().values()) <= set(all_ways("numpy"))


def test_the_roofline_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(roofline.WIDTHS, "numpy", (64,))
    monkeypatch.setitem(roofline.SIZES, "numpy", [2**12, 2**16])
    monkeypatch.setitem(roofline.ROUND_BYTES, "numpy", 2**18)
    monkeypatch.setenv("BPCORE_NUM_THREADS", "2")
    found = roofline.measure("numpy")
    assert found.gflops > 0
    assert [size for size, _ in found.bandwidth] == [2**12, 2**16]
    assert all(rate > 0 for _, rate in found.bandwidth)


# --- the worker -------------------------------------------------------------------------------------------------------


def test_a_worker_answers_line_by_line() -> None:
    cell = Cell((784, 8, 10), 50)
    requests = [
        {"do": "hello", "activation": "relu", "optimizer": "sgd", "precision": "float32"},
        {"do": "time", "steps": 1},
        {"do": "prepare", "cell": cell.key(), "data": "random", "data_dir": None},
        {"do": "time", "steps": 5},
        {"do": "loss"},
        {"do": "hello", "activation": "relu", "optimizer": "none such", "precision": "float32"},
        {"do": "nothing"},
    ]
    replies = io.StringIO()
    serve(Worker("bpcore", "numpy"), io.StringIO("".join(json.dumps(one) + "\n" for one in requests)), replies)
    hello, early, prepared, timed, loss, refused, unknown = map(json.loads, replies.getvalue().splitlines())
    assert hello["about"] == get_backend("numpy").describe()
    assert early == {"error": "RuntimeError: prepare comes first", "refused": False}
    assert prepared["chunk"] == 1
    assert prepared["seconds"] > 0
    assert timed["seconds"] > 0
    assert 1 < loss["loss"] < 5
    assert refused["refused"]
    assert refused["error"].startswith("no optimizer 'none such'; it has sgd, ")
    assert not unknown["refused"]


def test_a_process_that_dies_is_reported_and_restarted() -> None:
    with Process("products", "no such device") as process:
        with pytest.raises(InputError, match="unknown backend 'no such device'"):
            process.hello("relu", "sgd", "float32")
        worker = process._worker
        assert worker is not None
        worker.kill()
        with pytest.raises(ContenderError, match="its process ended with code -9"):
            process.loss()
        with pytest.raises(InputError, match="unknown backend"):
            process.hello("relu", "sgd", "float32")
        assert process._worker is not None
        assert process._worker.pid != worker.pid


def test_a_process_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(process_module.PATIENCE, "no such device", 0.0)
    with Process("products", "no such device") as process:
        with pytest.raises(ContenderError, match=r"^no answer after 0 s$"):
            process.hello("relu", "sgd", "float32")
        monkeypatch.delitem(process_module.PATIENCE, "no such device")
        with pytest.raises(InputError, match="unknown backend"):
            process.hello("relu", "sgd", "float32")


def test_a_device_is_measured_without_its_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limits are measured once."""

    class Breaks(Process):
        def ask(self, what: str, **arguments: Any) -> dict[str, Any]:
            raise ContenderError("no memory")

    monkeypatch.setattr(suite, "Process", Breaks)
    results: dict[str, Any] = {"rooflines": {}}
    said: list[str] = []
    for _ in range(2):
        assert suite._roofline(results, "numpy", "float32", said.append, quick=True) is None
    assert said == ["note: the limits of numpy cannot be measured: no memory"]
