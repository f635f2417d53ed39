"""The benchmark without a clock: a cell's cost, turns, medians, the roofline, runs over cells, and who takes part."""

from __future__ import annotations

import itertools
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpcore.bench import cells, measure, suite
from bpcore.bench.cells import Cell
from bpcore.bench.contenders import CONTENDERS, PEERS
from bpcore.bench.data import make
from bpcore.bench.measure import Plan, as_results, measure_cell
from bpcore.bench.process import environment
from bpcore.bench.roofline import from_json
from bpcore.errors import InputError
from bpcore.training.optimizers import OPTIMIZERS
from support.fake_contenders import LIMITS, Pretender, job_of, measured, pretenders

NETWORKS = st.lists(st.integers(1, 3000), min_size=2, max_size=6).map(tuple)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "PAUSE", 0.0)


# --- cells ------------------------------------------------------------------------------------------------------------


def test_operations_of_a_known_step() -> None:
    """784-30-10 at batch 10: forward pass and weight gradients of both layers, and one input delta."""
    cell = Cell((784, 30, 10), 10)
    assert cell.operations == 2 * 10 * (2 * 784 * 30 + 3 * 30 * 10)
    assert [(p.kind, p.m, p.k, p.n, p.transposed) for p in cell.products()] == [
        ("forward", 10, 784, 30, ""),
        ("forward", 10, 30, 10, ""),
        ("weights", 30, 10, 10, "a"),
        ("delta", 10, 10, 30, "b"),
        ("weights", 784, 10, 30, "a"),
    ]
    assert cell.parameters == 785 * 30 + 31 * 10


@given(network=NETWORKS, batch=st.integers(1, 5000))
def test_operations_are_those_of_the_products(network: tuple[int, ...], batch: int) -> None:
    cell = Cell(network, batch)
    pairs = [a * b for a, b in itertools.pairwise(network)]
    assert cell.operations == 2 * batch * (3 * sum(pairs) - pairs[0])
    assert len(cell.products()) == 3 * len(pairs) - 1


@given(network=NETWORKS, batch=st.integers(1, 2000), optimizer=st.sampled_from(sorted(OPTIMIZERS)))
def test_bytes_grow_with_everything(network: tuple[int, ...], batch: int, optimizer: str) -> None:
    cell = Cell(network, batch, optimizer=optimizer)
    assert cell.bytes > Cell(network, batch).bytes or cell.states == 0
    assert Cell(network, batch + 1, optimizer=optimizer).bytes > cell.bytes
    assert Cell((*network, 10), batch, optimizer=optimizer).bytes > cell.bytes
    assert 4 * cell.parameters < cell.working_set <= cell.bytes
    assert cells.cell_from(json.loads(json.dumps(cell.key()))) == cell


@given(network=NETWORKS, batch=st.integers(1, cells.SAMPLES), device=st.sampled_from(["numpy", "cupy"]))
def test_steps_at_a_time_fill_an_epoch(network: tuple[int, ...], batch: int, device: str) -> None:
    cell = Cell(network, batch, device=device)
    steps = cells.steps_at_a_time(cell)
    assert 1 <= steps <= min(200, cell.steps_per_epoch)
    left = cell.steps_per_epoch % steps
    assert left < cell.steps_per_epoch / steps  # fewer than there are calls: nothing worth a name is left out


def test_the_grid() -> None:
    grid = cells.grid(cells.NETWORKS, cells.BATCHES, ["numpy", "cupy"], "relu", "sgd")
    assert len(grid) == len(set(grid)) == 50
    assert {cell.device for cell in grid} == {"numpy", "cupy"}
    scaling = cells.scaling(["numpy"], "tanh", "adam")
    assert len(scaling) == len(set(scaling))
    assert max(cell.batch for cell in scaling) == 16384
    assert max(max(cell.network) for cell in scaling) == 8192


@given(networks=st.lists(NETWORKS.filter(lambda network: network[-1] > 1), min_size=1, max_size=4))
def test_networks_as_they_are_written(networks: list[tuple[int, ...]]) -> None:
    text = ", ".join(map(cells.network_name, networks))
    assert cells.parse_networks(text) == list(dict.fromkeys(networks))


def test_data_looks_like_mnist() -> None:
    data = make("random", Cell((784, 8, 10), 10))
    assert (data.x.shape, data.x.dtype, data.y.shape) == ((60000, 784), np.uint8, (60000,))
    assert 0.18 < (data.x > 0).mean() < 0.25
    assert set(np.unique(data.y)) == set(range(10))
    again = make("random", Cell((784, 64, 10), 32))
    np.testing.assert_array_equal(data.x, again.x)


# --- turns and medians ------------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(
    speeds=st.lists(st.floats(1.0, 1e5), min_size=1, max_size=5),
    rounds=st.integers(1, 6),
    chunk=st.integers(1, 50),
)
def test_each_round_times_every_contender_once(speeds: list[float], rounds: int, chunk: int) -> None:
    log: list[tuple[str, int]] = []
    contenders = {f"c{n}": Pretender(f"c{n}", us, log, chunk) for n, us in enumerate(speeds)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "PAUSE", 0.0)
        found = measure_cell(Cell((4, 3, 2), 5), contenders, Plan(rounds=rounds, seconds=0.01))
    assert {len(one.seconds) for one in found.values()} == {rounds}
    timed = [(name, steps) for name, steps in log if steps == found[name].steps][-rounds * len(speeds) :]
    names = list(contenders)
    for number in range(rounds):
        turn = [name for name, _ in timed[number * len(names) : (number + 1) * len(names)]]
        first = number % len(names)
        assert turn == [*names[first:], *names[:first]]
    for one, us in zip(found.values(), speeds, strict=True):
        assert one.steps % chunk == 0
        assert one.steps == chunk or 0.4 <= one.steps * us * 1e-6 / 0.01 <= 1.7 or chunk * us * 1e-6 > 0.002


def test_medians_quartiles_and_shares() -> None:
    cell = Cell((784, 30, 10), 10)
    log: list[tuple[str, int]] = []
    contenders = {name: Pretender(name, us, log) for name, us in (("bpcore", 40.0), ("products", 20.0))}
    found = measure_cell(cell, contenders, Plan(rounds=5, seconds=0.01))
    result = as_results(cell, found, LIMITS)
    own = result["results"]["bpcore"]
    assert own["us_per_step"] == statistics.median(own["rounds_us"])
    assert min(own["rounds_us"]) <= own["quartiles_us"][0] <= own["us_per_step"] <= own["quartiles_us"][1]
    assert own["samples_per_second"] == pytest.approx(10 / own["us_per_step"] * 1e6)
    assert own["gflops"] == pytest.approx(cell.operations / own["us_per_step"] / 1e3)
    assert own["share_of_products"] == pytest.approx(result["results"]["products"]["us_per_step"] / own["us_per_step"])
    assert own["share_of_roofline"] == pytest.approx(1e6 * LIMITS.seconds(cell) / own["us_per_step"])
    assert own["prepare_seconds"] == 2.5
    assert own["loss"] == 0.5
    assert result["operations"] == cell.operations
    json.dumps(result, allow_nan=False)


@pytest.mark.parametrize("where", ["prepare", "time", "loss"])
def test_a_failing_contender_is_dropped_and_named(where: str) -> None:
    log: list[tuple[str, int]] = []
    contenders = {"bpcore": Pretender("bpcore", 40, log), "torch": Pretender("torch", 50, log, fails=where)}
    result = as_results(Cell((4, 3, 2), 5), measure_cell(Cell((4, 3, 2), 5), contenders, Plan(2, 0.01)), None)
    assert result["results"]["torch"] == {"error": "no memory"}
    assert result["results"]["bpcore"]["us_per_step"] > 0


def test_a_non_finite_loss_is_not_a_result() -> None:
    found = measure_cell(Cell((4, 3, 2), 5), {"diverged": Pretender("diverged", 9, [])}, Plan(1, 0.001))
    assert "the loss is not finite" in found["diverged"].error


# --- the roofline -----------------------------------------------------------------------------------------------------


def test_the_roofline_is_the_larger_of_the_two() -> None:
    small, large = Cell((784, 30, 10), 1), Cell((2048, 2048, 2048, 10), 2048)
    assert LIMITS.seconds(large) == pytest.approx(large.operations / 100e9)
    assert LIMITS.seconds(small) == pytest.approx(small.bytes / 80e9)
    assert LIMITS.gigabytes_per_second(2**23) == pytest.approx(50.0)  # half way in the logarithm
    assert LIMITS.gigabytes_per_second(2**40) == 20.0
    assert from_json(json.loads(json.dumps(LIMITS.as_json()))) == LIMITS


# --- cell after cell --------------------------------------------------------------------------------------------------


def test_results_are_saved_after_each_cell_and_resumed() -> None:
    job = job_of("784-30-10,784-128-10", "10,32")
    results, stopped, saves = measured(job, pretenders())
    assert (stopped, saves, len(results["cells"])) == ("", 4, 4)

    wider = job_of("784-30-10,784-128-10", "10,32,128")
    again = pretenders()
    resumed, stopped, saves = measured(wider, again, json.loads(json.dumps(results)))
    assert (stopped, saves, len(resumed["cells"])) == ("", 2, 6)
    assert [cell.batch for cell in again["bpcore"].asked] == [128, 128]
    assert resumed["cells"][:4] == results["cells"]


def test_a_cell_that_lacks_a_contender_is_measured_again() -> None:
    job = job_of("784-30-10", "10,32")
    without, _, _ = measured(job, pretenders(torch=False))
    resumed, _, saves = measured(job, pretenders(), without)
    assert saves == len(resumed["cells"]) == 2
    assert all("torch" in cell["results"] for cell in resumed["cells"])
    _, _, saves = measured(job, pretenders(torch=False), resumed)
    assert saves == 0


def test_the_budget_ends_the_run_after_the_current_cell() -> None:
    job = job_of("784-30-10,784-128-10", "10,32", budget=1e-9)
    results: dict[str, Any] | None = None
    for number in range(1, 5):
        results, stopped, saves = measured(job, pretenders(), results)
        assert (saves, len(results["cells"])) == (1, number)
        assert ("stopped after" in stopped) == (number < 4)


def test_ctrl_c_keeps_the_cells_so_far(monkeypatch: pytest.MonkeyPatch) -> None:
    contenders = pretenders()
    calm = contenders["bpcore"].prepare

    def interrupted(cell: Cell, *data: Any) -> dict[str, Any]:
        if cell.batch == 128:
            raise KeyboardInterrupt
        return calm(cell, *data)

    monkeypatch.setattr(contenders["bpcore"], "prepare", interrupted)
    results, stopped, saves = measured(job_of("784-30-10", "10,128,512"), contenders)
    assert (stopped, saves, len(results["cells"])) == (suite.STOPPED_BY_CTRL_C, 1, 1)


def test_only_the_same_machine_and_data_are_resumed() -> None:
    job = job_of("784-30-10", "10")
    results, _, _ = measured(job, pretenders())
    other = json.loads(json.dumps(results))
    other["contenders"]["numpy"]["bpcore"]["threads"] = "64"
    with pytest.raises(InputError, match=r"with 64 threads; this is .* with 2 threads"):
        measured(job, pretenders(), other)
    with pytest.raises(InputError, match="measured with data mnist, not random"):
        measured(job, pretenders(), results | {"data": "mnist"})
    with pytest.raises(InputError, match="measured with precision tf32, not float32"):
        measured(job, pretenders(), results | {"precision": "tf32"})


def test_results_without_a_precision_are_resumed(tmp_path: Path) -> None:
    job = job_of("784-30-10", "10")
    results, _, _ = measured(job, pretenders())
    del results["precision"], results["cells"][0]["precision"]
    (tmp_path / "older.json").write_text(json.dumps(results), encoding="utf-8")
    _, _, saves = measured(job, pretenders(), suite.read_results(tmp_path / "older.json"))
    assert saves == 0


# --- who takes part ---------------------------------------------------------------------------------------------------


def test_peers_by_name_or_those_that_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert suite.chosen_peers("") == ()
    assert suite.chosen_peers("auto") == "auto"
    monkeypatch.setattr("bpcore.bench.contenders.find_spec", lambda package: None if package == "torch" else "here")
    assert suite.chosen_peers("sklearn, jax,jax") == ["sklearn", "jax"]
    with pytest.raises(InputError, match=r"^torch is not installed: pip install torch; --peers auto"):
        suite.chosen_peers("jax,torch")
    with pytest.raises(InputError, match="did you mean 'jax'"):
        suite.chosen_peers("jaxx")


def test_every_peer_names_its_extra() -> None:
    for entry in PEERS.values():
        assert entry.install.startswith("pip install ")
        assert entry.devices


def test_a_peer_that_cannot_run_is_refused_or_left_out() -> None:
    cell = Cell((784, 8, 10), 10, activation="gelu")  # scikit-learn has none
    said: list[str] = []
    with (
        pytest.raises(InputError, match="sklearn: no activation 'gelu'; it has identity"),
        suite.processes(suite.Job([cell], peers=["sklearn"]), said.append),
    ):
        pass
    assert said == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bpcore.bench.contenders.find_spec", lambda package: "here" if package == "sklearn" else None)
        with suite.processes(suite.Job([cell], peers="auto"), said.append) as (contenders, told):
            assert set(contenders["numpy"]) == set(told["numpy"]) == {"bpcore", "products"}
    (line,) = said
    assert line.startswith("note: without sklearn: ")


def test_a_peer_of_another_device_is_refused() -> None:
    with (
        pytest.raises(InputError, match="torch-graph does not run on numpy, but on cupy"),
        suite.processes(suite.Job([Cell((784, 8, 10), 10)], peers=["torch-graph"]), print),
    ):
        pass


def test_the_environment_of_a_worker() -> None:
    assert environment("torch", "numpy") == {}
    assert environment("torch", "cupy") == environment("bpcore", "cupy", "bfloat16") == {"NVIDIA_TF32_OVERRIDE": "0"}
    assert environment("bpcore", "cupy", "tf32") == {}, "it would be measured as what it is not"
    assert environment("jax", "numpy")["JAX_PLATFORMS"] == "cpu"
    assert environment("jax", "cupy") == {
        "NVIDIA_TF32_OVERRIDE": "0",
        "JAX_PLATFORMS": "cuda",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
    }


def test_the_table_of_contenders_is_right() -> None:
    folder = Path(suite.__file__).parent / "contenders"
    modules = {entry.target.partition(":")[0] for entry in CONTENDERS.values()}
    assert modules == {path.stem for path in folder.glob("*.py")} - {"__init__", "base"}
