"""The benchmark's GPU code without a GPU: on a stand-in device, and with a pretended CUDA graph."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bpcore.backends.cupy_backend import CupyBackend
from bpcore.bench import data, measure, report, roofline, suite
from bpcore.bench.cells import Cell
from bpcore.bench.contenders import own, products
from bpcore.bench.contenders.base import Contender, check
from bpcore.bench.data import Data
from bpcore.cli import app
from bpcore.errors import InputError
from support import stand_in_cublas
from support.fake_contenders import about, job_of, measured, pretenders
from support.repository import REPOSITORY
from support.stand_in import Device


@pytest.fixture(scope="module")
def samples() -> Data:
    return data.make("random", Cell((784, 12, 10), 100))


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    """A machine whose CuPy is the stand-in device."""
    device: Any = Device()
    device.add = lambda a, b, out: np.add(*map(device.operand, (a, b)), out=out._content)
    backend = CupyBackend(device, device.launch, stand_in_cublas.Cublas(device))
    for module in (own, products, roofline):
        monkeypatch.setattr(module, "get_backend", lambda name: backend)
    for module in (products, roofline):
        monkeypatch.setattr(module, "array_module", lambda name: device)
    return device


def test_bpcore_trains_with_no_transfer_between_the_steps(device: Device, samples: Data) -> None:
    one = own.Bpcore(Cell((784, 12, 10), 6000, device="cupy"), samples)
    one.run(2)
    first, before = one.loss(), (device.to_host, device.allocations)
    one.run(5)  # the first epoch has ten
    assert (device.to_host, device.allocations) == before
    one.run(40)
    assert first is not None
    assert one.loss() < first
    assert "GPU: Stand-in" in own.Bpcore.about("cupy")["device"]


def test_the_products_are_cupys(device: Device, samples: Data) -> None:
    one = products.Products(Cell((784, 12, 10), 32, device="cupy"), samples)
    before = device.products, device.allocations
    one.run(7)
    assert device.products - before[0] == 7 * 5
    assert device.allocations == before[1]  # into arrays that are there
    assert set(one.notes().values()) == {"cupy.matmul"}


def test_the_roofline_of_a_gpu(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(roofline.WIDTHS, "cupy", (32,))
    monkeypatch.setitem(roofline.SIZES, "cupy", [2**12])
    monkeypatch.setitem(roofline.ROUND_BYTES, "cupy", 2**14)
    found = roofline.measure("cupy")
    assert found.gflops > 0
    assert len(found.bandwidth) == 1


def test_the_benchmark_at_bfloat16(device: Device, samples: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    """bpcore, the products and the roofline; other contenders have only float32."""
    cell = Cell((784, 12, 10), 600, device="cupy", precision="bfloat16")
    one = own.Bpcore(cell, samples)
    one.run(2)
    first = one.loss()
    one.run(8)
    assert one.loss() < first
    alone = products.Products(cell, samples)
    assert set(alone.notes().values()) == {"cuBLASLt"}
    alone.run(1)  # cuBLASLt gets its workspace
    before = device.products, device.allocations
    alone.run(3)
    assert (device.products, device.allocations) == (before[0] + 3 * 5, before[1])
    monkeypatch.setitem(roofline.WIDTHS, "cupy", (32,))
    monkeypatch.setitem(roofline.SIZES, "cupy", [2**12])
    monkeypatch.setitem(roofline.ROUND_BYTES, "cupy", 2**14)
    assert roofline.measure("cupy", "bfloat16").gflops > 0
    for contender in (own.Bpcore, products.Products):
        check(contender, "relu", "sgd", "bfloat16")
    with pytest.raises(InputError, match=r"^no precision 'bfloat16'; it has float32$"):
        check(Contender, "relu", "sgd", "bfloat16")


def test_what_a_step_moves_at_bfloat16() -> None:
    """For 20-8-4, batch 16 and plain SGD, each array counted by hand; tf32 moves as much as float32."""
    cell = Cell((20, 8, 4), 16, precision="bfloat16")
    weights, biases = 20 * 8 + 8 * 4, 8 + 4
    gathered = 16 * 20 * (1 + 2)
    forward = 2 * (16 * 20 + 20 * 8 + 16 * 8) + 2 * (16 * 8 + 8 * 4) + 4 * 16 * 4
    gradients = 2 * (16 * 8 + 16 * 4) + 4 * 8 * 4 + 2 * (16 * 20 + 16 * 8) + 4 * 20 * 8
    delta = 2 * (16 * 4 + 8 * 4 + 16 * 8)
    head, update, copy = (4 + 2) * 16 * 4, 4 * (weights + biases), 2 * weights
    assert cell.bytes == gathered + forward + gradients + delta + head + update + copy
    assert cell.working_set == 4 * (weights + biases) + copy + 16 * (2 * (20 + 8 + 4) + 20)
    assert Cell((20, 8, 4), 16, precision="tf32").bytes == Cell((20, 8, 4), 16).bytes


def test_two_devices_make_two_tables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command with both devices and pretended contenders."""
    contenders = pretenders()
    told = about(contenders)
    told["cupy"] = told["numpy"] | {"bpcore": {"device": "GPU: one"}}

    @contextlib.contextmanager
    def processes(job: suite.Job, notify: Any) -> Iterator[Any]:
        yield {"numpy": contenders, "cupy": contenders}, told

    monkeypatch.setattr(measure, "PAUSE", 0.0)
    monkeypatch.setattr(suite, "processes", processes)
    monkeypatch.setattr(suite, "_roofline", lambda *_, **__: None)
    monkeypatch.setattr(
        "bpcore.cli.bench.available_backends", lambda: {"numpy": "available", "cupy": "available", "x": "broken"}
    )
    files = ["--json", str(tmp_path / "r.json"), "--markdown", str(tmp_path / "r.md")]
    assert app.main(["bench", "--networks", "784-30-10", "--batches", "10,32", *files]) == 0
    found = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert [cell["device"] for cell in found["cells"]] == ["numpy", "numpy", "cupy", "cupy"]
    assert {cell["results"]["bpcore"]["share_of_roofline"] for cell in found["cells"]} == {None}
    out = capsys.readouterr().out
    assert "GPU: one" in out
    assert "cupy: best peer / bpcore, geometric mean of 2 cells: " in out
    assert "## GPU: one" in (tmp_path / "r.md").read_text(encoding="utf-8")


def test_the_largest_network_of_make_gpu_is_accepted() -> None:
    found, _, _ = measured(job_of("784-4096-4096-4096-10", "16384"), pretenders())
    assert report.table(found, "numpy")[1][0][:2] == ["784-4096-4096-4096-10", "16384"]


def test_the_command_accepts_what_make_gpu_measures() -> None:
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert "--device gpu --peers $(PEERS) --budget $(BUDGET) --resume $(RESULTS)" in makefile
    assert "\nPEERS ?= auto\n" in makefile
    assert "--networks 784-4096-4096-4096-10 --batches 16384" in makefile


def test_a_step_in_a_cuda_graph(monkeypatch: pytest.MonkeyPatch, samples: Data) -> None:
    """PyTorch's graph contender on the CPU, where the graph is the step itself; each epoch has its own order."""
    torch = pytest.importorskip("torch")
    from bpcore.bench.contenders import torch_eager, torch_graph

    captured: list[Callable[[], None]] = []

    class Graph:
        def replay(self) -> None:
            captured[0]()

    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setitem(torch_eager.DEVICES, "cupy", "cpu")
    for name, value in {
        "Stream": lambda: stream,
        "current_stream": lambda: stream,
        "stream": lambda one: contextlib.nullcontext(),
        "graph": lambda one: contextlib.nullcontext(),
        "CUDAGraph": Graph,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    rows: list[Any] = []
    calm = torch_graph.TorchGraph.loss_of
    monkeypatch.setattr(
        torch_graph.TorchGraph, "loss_of", lambda self, now: rows.append(now.clone()) or calm(self, now)
    )
    one = torch_graph.TorchGraph(Cell((784, 12, 10), 20000, device="cupy"), samples)
    captured.append(one._whole_step)
    one._place.zero_()  # the capture has run a step here, as it does not on a GPU
    first = one.loss()
    rows.clear()
    one.run(9)
    epochs = [torch.cat(rows[number : number + 3]) for number in (0, 3, 6)]
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(60000))
    assert not torch.equal(epochs[0], epochs[1])
    assert one.loss() < first
