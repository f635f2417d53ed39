"""Max-norm (Srivastava et al. 2014): after each update the norm of a unit's incoming weights is within the bound."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bpcore
from bpcore import SGD, Adam, Dense, Layer, Maxout, Momentum, Nesterov, Network, Residual
from bpcore.backends import cpu_tape, cuda_graphs, fusion, get_backend, operations
from bpcore.backends.cpu_tape import Cutter
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.backends.fusion import Panels
from bpcore.errors import InputError, InputTypeError
from bpcore.kernels import bfloat16, spec
from bpcore.model.layers import walk
from bpcore.testing import references
from support import stand_in_cublas
from support.counts import Counts
from support.stand_in import Device

ROUNDING = 1e-5
"""The relative error that the norm of a scaled column may have."""


pytestmark = pytest.mark.usefixtures("every_thread_is_worth_it")


def layers() -> list[Layer]:
    return [
        Dense(37, "relu", max_weight_norm=0.5),
        Residual([Dense(20, "tanh"), Maxout(37, 2, max_weight_norm=0.4)]),
        Dense(4, bias=False, max_weight_norm=0.7),
    ]


def trained(recorded: bool = True, *, make: Any = layers, **options: Any) -> Network:
    rng = np.random.default_rng(5)
    x, y = 2 * rng.standard_normal((47, 9)), rng.integers(0, 4, 47)
    network = Network(make(), backend="numpy", precision=options.pop("precision", "float32"))
    if not recorded:
        network.backend.record = super(type(network.backend), network.backend).record  # type: ignore[method-assign]
    network.fit(x, y, **{"epochs": 3, "batch_size": 10, "optimizer": Nesterov(learning_rate=0.3), **options})
    return network


def norms(network: Network) -> dict[str, np.ndarray]:
    weights = {name: array for name, array in network.parameters_by_name().items() if name.endswith("W")}
    return {name: np.linalg.norm(array.astype(float), axis=0) for name, array in weights.items()}


LIMITS = {"0.W": 0.5, "3.W": 0.4, "4.W": 0.7}


@pytest.mark.parametrize("optimizer", [SGD(learning_rate=0.5), Nesterov(learning_rate=0.3), Adam(learning_rate=0.1)])
@pytest.mark.parametrize("panels", [False, True])
def test_after_training_no_column_is_too_long(optimizer: Any, panels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With folded updates, updates in panels, and plain updates; a layer without a bound is not limited."""
    monkeypatch.setattr(cpu_tape, "PANELS", Panels(smallest=0 if panels else 2**22, size=256))
    found = norms(trained(optimizer=optimizer))
    for name, limit in LIMITS.items():
        assert (found[name] <= limit * (1 + ROUNDING)).all(), name
        assert (found[name] > limit * (1 - ROUNDING)).any(), f"{name}: the bound was reached"
    assert (found["2.W"] > 1.2).any()


@pytest.mark.parametrize("optimizer", [SGD(learning_rate=0.5, l2=0.01), Momentum(learning_rate=0.3, max_norm=5.0)])
def test_each_step_is_an_update_and_a_projection(optimizer: Any) -> None:
    """Each step equals the step of an unbounded network from the same weights, followed by the projection."""

    def make(limit: float | None) -> list[Layer]:
        return [Dense(8, "tanh", max_weight_norm=limit), Dense(4)]

    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((12, 5)), rng.integers(0, 4, 12)
    free, bound = (
        Network(make(limit), inputs=5, backend="numpy", precision="float64", seed=3) for limit in (None, 0.8)
    )
    for network in (free, bound):
        network.fit(x, y, epochs=1, batch_size=12, optimizer=optimizer)
    expected = free.parameters_by_name()
    expected["0.W"] = references.limited_columns(expected["0.W"], 0.8)
    for name, array in bound.parameters_by_name().items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-12, err_msg=name)
    assert (np.linalg.norm(free.parameters_by_name()["0.W"], axis=0) > 0.8).any()


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("optimizer", [SGD(learning_rate=0.5), Nesterov(learning_rate=0.3)])
def test_recorded_steps_match_plain_steps(parts: int, optimizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare to rounding, because products sum in another order; the recording's own check is bit for bit."""
    monkeypatch.setenv("BPCORE_NUM_THREADS", str(parts))
    taped, plain = (trained(recorded, optimizer=optimizer, precision="float64") for recorded in (True, False))
    for name, array in plain.parameters_by_name().items():
        np.testing.assert_allclose(taped.parameters_by_name()[name], array, rtol=1e-9, atol=1e-11, err_msg=name)


@given(
    rows=st.integers(1, 20),
    columns=st.integers(1, 70),
    parts=st.integers(1, 5),
    share=st.floats(0.3, 2.0),
    dtype=st.sampled_from([np.float32, np.float64]),
)
@settings(max_examples=60)
def test_any_number_of_parts_gives_the_same_bits(rows: int, columns: int, parts: int, share: float, dtype: Any) -> None:
    """Each part has its own columns, in whole cache lines; together they cover all columns."""
    rng = np.random.default_rng(rows * 100 + columns)
    host = rng.standard_normal((rows, columns)).astype(dtype)
    limit = np.dtype(dtype).type(share * np.sqrt(rows))
    backend = get_backend("numpy")
    whole, factors = host.copy(), np.empty(columns, dtype)
    backend.limit_columns(whole, float(limit), factors)
    cut, factors_of_cut = host.copy(), np.full(columns, np.nan, dtype)
    kernel = operations.Kernel(spec.plain("limit_columns", np.dtype(dtype)), (cut, limit, factors_of_cut, 0))
    (entry,) = Cutter(parts).entries(kernel)
    for part in entry:
        if part is not None:
            cpu_tape.tape.run_once(part.address, part.words)
    np.testing.assert_array_equal(cut, whole)
    np.testing.assert_array_equal(factors_of_cut, factors)
    np.testing.assert_allclose(whole, references.limited_columns(host, float(limit)), rtol=2e-5, atol=1e-6)
    lines = -(-columns * host.itemsize // 64)
    assert sum(part is not None for part in entry) == min(parts, lines)


def test_the_tape_waits_once_for_all_bounds() -> None:
    """Other threads wrote a part's columns; the weights of two layers do not depend on each other."""
    backend = get_backend("numpy")
    step: list[Any] = []
    weights = [backend.full((40, 64), 1.0, np.float32) for _ in range(2)]
    ones = backend.full((40, 40), 1.0, np.float32)
    backend.watcher = step.append
    try:
        for w in weights:
            backend.matmul(ones, ones[:, :1] * np.ones((1, 64), np.float32), w)
        for w in weights:
            backend.limit_columns(w, 1.0)
        backend.matmul(ones, weights[0], backend.empty((40, 64), np.float32))
    finally:
        backend.watcher = None
    entries = [entry for one in step for entry in Cutter(2).entries(one)]
    assert cpu_tape.waits(entries) == [True, False, True, False, True]


def test_a_gradient_that_is_read_after_the_update_is_not_folded() -> None:
    step: list[Any] = []
    backend = get_backend("numpy")
    network = Network([Dense(8, "tanh", max_weight_norm=0.5), Dense(4)], inputs=5, backend=backend)

    class Watch(bpcore.Callback):
        def on_begin(self, run: Any) -> None:
            run.begin_epoch(0)
            backend.watcher = lambda operation: (step.append(operation), backend.execute(operation))[0]
            run.step(run.buffers.full)
            backend.watcher = None

    rng = np.random.default_rng(0)
    network.fit(rng.standard_normal((10, 5)), np.arange(10) % 4, epochs=1, optimizer=SGD(), callbacks=[Watch()])
    folded = fusion.fold_updates(backend, step)
    assert [one.spec.template for one in folded[-3:]] == ["update", "limit_columns", "advance"]
    assert len(folded) == len(step) + 1, "a kernel for the factors"
    view = network.parameters.views["0.W"]
    read = operations.Kernel(spec.plain("duplicate", view.grad.dtype), (view.grad, np.empty_like(view.grad)))
    kept = fusion.fold_updates(backend, [*step, read])
    kept_products = [one for one in kept if isinstance(one, operations.Product) and one.out is view.grad]
    assert len(kept_products) == 1


def test_without_a_bound_there_is_no_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    backend_type = type(get_backend("numpy"))
    monkeypatch.setattr(backend_type, "limit_columns", lambda *arguments: pytest.fail("nobody asked for it"))
    trained(make=lambda: [Dense(8, "relu"), Maxout(6), Dense(4)])
    trained(make=lambda: [Dense(8, "relu", max_weight_norm=0.1, freeze="weights"), Dense(4)])


def test_a_projection_has_its_own_bound(tmp_path: Path) -> None:
    def make() -> list[Layer]:
        return [Residual([Dense(12, "relu")], projection=True, max_weight_norm=0.3), Dense(4)]

    network = trained(make=make)
    found = norms(network)
    assert (found["2.W"] <= 0.3 * (1 + ROUNDING)).all()
    assert (found["2.W"] > 0.3 * (1 - ROUNDING)).any()
    assert (found["1.W"] > 0.5).any(), "the layers inside have their own"
    network.save(tmp_path / "model.safetensors")
    assert Network.load(tmp_path / "model.safetensors", backend="numpy").parameters.views["2.W"].max_weight_norm == 0.3
    with pytest.raises(InputError, match="max_weight_norm=1 bounds a Residual block's projection, and this has none"):
        Residual([Dense(12)], max_weight_norm=1.0)


def test_frozen_weights_are_not_limited() -> None:
    def make() -> list[Layer]:
        return [Dense(8, "relu", max_weight_norm=0.1, freeze=True), Dense(4, max_weight_norm=0.1)]

    network = Network(make(), inputs=9, backend="numpy", seed=0)
    before = network.parameters_by_name()["0.W"].copy()
    network = trained(make=make)
    np.testing.assert_array_equal(network.parameters_by_name()["0.W"], before)
    assert (norms(network)["1.W"] <= 0.1 * (1 + ROUNDING)).all()
    network.unfreeze(0)
    network.fit(np.ones((4, 9)), np.arange(4), epochs=1)
    assert (norms(network)["0.W"] <= 0.1 * (1 + ROUNDING)).all()


def test_a_saved_network_keeps_the_bound_and_an_old_file_has_none(tmp_path: Path) -> None:
    network = trained()
    network.save(tmp_path / "model.npz")
    loaded = Network.load(tmp_path / "model.npz", backend="numpy")
    kept = {layer.number: getattr(layer, "max_weight_norm", None) for _, layer in walk(loaded.layers)}
    assert kept == {0: 0.5, 1: None, 2: None, 3: 0.4, 4: 0.7}
    loaded.fit(np.ones((4, 9)), np.arange(4), epochs=2, optimizer=SGD(learning_rate=5.0))
    assert (norms(loaded)["0.W"] <= 0.5 * (1 + ROUNDING)).all()
    configuration = Dense(4).config()
    del configuration["max_weight_norm"]
    assert bpcore.model.layers.layer_from_config(json.loads(json.dumps(configuration))).max_weight_norm is None  # type: ignore[attr-defined]


# --- on the stand-in device ---------------------------------------------------------------------------------------


def on_device(device: Device, precision: str = "float32", **options: Any) -> Network:
    """As `trained`, on the stand-in device with replayed graphs."""
    backend = CupyBackend(device, device.launch, stand_in_cublas.Cublas(device))
    rng = np.random.default_rng(5)
    x, y = 2 * rng.standard_normal((47, 9)), rng.integers(0, 4, 47)
    network = Network(layers(), backend=backend, precision=precision)
    network.fit(x, y, **{"epochs": 3, "batch_size": 10, "optimizer": Nesterov(learning_rate=0.3), **options})
    return network


@pytest.mark.parametrize("folds", [False, True])
def test_the_gpu_trains_the_same(folds: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "BYTES_WORTH_FOLDING", 0)
    optimizer = SGD(learning_rate=0.5) if folds else Nesterov(learning_rate=0.3)
    gpu = on_device(Device(), "float64", optimizer=optimizer).parameters_by_name()
    for name, array in trained(optimizer=optimizer, precision="float64").parameters_by_name().items():
        np.testing.assert_allclose(gpu[name], array, rtol=1e-9, atol=1e-11, err_msg=name)


def test_a_bound_is_one_launch_a_layer_and_no_allocation() -> None:
    """In each step; three layers have a bound."""
    device = Device()
    counts = Counts(device)
    on_device(device, callbacks=[counts])
    epoch, steps = counts.of_an_epoch(), 5
    # gather, head, update, advance; relu and its delta; in the block tanh, maxout, a copy, a sum, and their ways back
    without = 4 + 2 + (1 + 1 + 1 + 1) + (1 + 1 + 1)
    assert epoch["kernels"] == (without + len(LIMITS)) * steps
    assert epoch["allocations"] == epoch["graphs"] == 0


def test_bfloat16_bounds_the_float32_weights() -> None:
    """The step's first operation rounds them for products, which lengthens them by at most half a last place."""
    network = on_device(Device(), "bfloat16")
    for name, limit in LIMITS.items():
        norm = norms(network)[name]
        assert (norm <= limit * (1 + ROUNDING)).all(), name
        assert (norm > limit * (1 - ROUNDING)).any(), f"{name}: the bound was reached"
        view = network.parameters.views[name]
        assert view.value.dtype == np.float32
        operand = bfloat16.widened(network.backend.to_numpy(view.operand))
        assert (np.linalg.norm(operand.astype(float), axis=0) <= limit * (1 + bfloat16.UNIT_ROUNDOFF)).all()


@pytest.mark.parametrize("make", [Dense, Maxout])
def test_a_bound_must_be_positive(make: Any) -> None:
    for value in (0, -1.0, float("nan"), float("inf")):
        with pytest.raises(
            InputError, match=r"max_weight_norm=.*; accepted: a positive number .* or None for no bound"
        ):
            make(3, max_weight_norm=value)
    for value in ("3", True, [1.0]):
        with pytest.raises(InputTypeError, match="max_weight_norm="):
            make(3, max_weight_norm=value)
    assert type(make(3, max_weight_norm=np.float32(2)).max_weight_norm) is float
    assert make(3, max_weight_norm=4).max_weight_norm == 4.0
