"""precision="bfloat16": rounding, products and whole runs, on the stand-in device; what needs a real GPU is at the end.

A bfloat16 has 8 significant bits, so rounding moves a number by at most u = 2^-8 of it (UNIT_ROUNDOFF).
"""

from __future__ import annotations

import math
import types
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpcore import (
    SGD,
    Activation,
    Adam,
    Callback,
    Dense,
    Diagnostics,
    Dropout,
    Layer,
    Maxout,
    Network,
    Residual,
    load_dataset,
)
from bpcore.backends import graphs
from bpcore.backends.base import Array, Backend, Control
from bpcore.backends.cupy_backend import CupyBackend
from bpcore.backends.metering import bytes_of
from bpcore.errors import InputError, InputTypeError
from bpcore.kernels.bfloat16 import BFLOAT16, UNIT_ROUNDOFF, rounded, widened
from bpcore.training.nonfinite import NonFiniteLossError
from bpcore.training.run import Run
from support import stand_in_cublas
from support.counts import Counts
from support.repository import mnist_folder
from support.stand_in import Device

FLOAT, ROUNDED = 0, 14  # cudaDataType


def backend_on(device: Device, library: Any = None, **options: Any) -> CupyBackend:
    return CupyBackend(device, device.launch, library or stand_in_cublas.Cublas(device), **options)


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def at_bfloat16(device: Device) -> Backend:
    return backend_on(device).at_precision("bfloat16")[0]


def data(rng: np.random.Generator, rows: int = 70) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels that can be learned from them, and sample weights."""
    x = rng.integers(0, 256, (rows, 12), np.uint8)
    return x, (x @ rng.standard_normal((12, 3))).argmax(axis=1), rng.random(rows) + 0.5


# --- rounding ---------------------------------------------------------------------------------------------------


def nearest(number: float) -> float:
    """The nearest number of 8 significant bits, the even one of two, from Python's exact arithmetic."""
    _, exponent = math.frexp(number)
    unit = math.ldexp(1.0, max(exponent, -125) - 8)
    steps = round(number / unit) * unit  # Python rounds ties to even, and both operations are exact here
    return steps if abs(steps) < 2.0**128 else math.copysign(math.inf, steps)


@given(st.floats(width=32, allow_nan=False, allow_infinity=False))
def test_rounding_is_to_the_nearest(number: float) -> None:
    bits = rounded(np.array(number, np.float32))
    assert widened(bits) == nearest(number)
    assert np.signbit(widened(bits)) == np.signbit(number)
    np.testing.assert_array_equal(rounded(widened(bits)), bits)


def test_every_bfloat16_stays_itself_and_what_is_not_finite_too() -> None:
    bits = np.arange(2**16, dtype=BFLOAT16)
    numbers = widened(bits)
    back = rounded(numbers)
    np.testing.assert_array_equal(back[~np.isnan(numbers)], bits[~np.isnan(numbers)])
    assert np.isnan(widened(back[np.isnan(numbers)])).all()
    assert widened(rounded(np.array([np.inf, -np.inf], np.float32))).tolist() == [math.inf, -math.inf]
    lowest_bits = np.array([0x7F800001, 0x7FFFFFFF, 0xFF800001, 0xFFFFFFFF], np.uint32).view(np.float32)
    assert np.isnan(widened(rounded(lowest_bits))).all(), "a NaN that is told by its lower bits alone"


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="it is about compiled code")  # type: ignore[attr-defined]
def test_the_kernels_instructions_round_alike() -> None:
    """What rounding.py gives CUDA's compiler, compiled for the CPU: every upper half, with lower halves around ties."""
    cuda = pytest.importorskip("bpcore.kernels.cuda", reason="numba-cuda is not installed")
    number, fitted = (
        numba.extending.intrinsic(types.FunctionType(one.__code__, one.__globals__, one.__name__))
        for one in (cuda.rounding._number, cuda.rounding._fitted)
    )

    @numba.njit
    def convert(source: np.ndarray, out: np.ndarray) -> None:
        for i in range(len(source)):
            out[i] = fitted(number(source[i]), out)

    upper = np.arange(2**16, dtype=np.uint32) << np.uint32(16)
    for lower in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF):
        numbers = (upper | np.uint32(lower)).view(np.float32)
        bits, same = np.empty(numbers.shape, BFLOAT16), np.empty_like(numbers)
        convert(numbers, bits)
        np.testing.assert_array_equal(bits, rounded(numbers))
        convert(bits, same)
        np.testing.assert_array_equal(same.view(np.uint32), widened(bits).view(np.uint32))
        convert(numbers, same)
        np.testing.assert_array_equal(same.view(np.uint32), numbers.view(np.uint32), err_msg="float32 is left alone")


def test_the_doors_round_and_widen(at_bfloat16: Backend, rng: np.random.Generator) -> None:
    host = rng.standard_normal((3, 5))
    array = at_bfloat16.asarray(host, BFLOAT16)
    assert (array.dtype, array.shape) == (BFLOAT16, (3, 5))
    expected = widened(rounded(host.astype(np.float32)))
    found = at_bfloat16.to_numpy(array)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)
    at_bfloat16.write(2 * host, array)
    np.testing.assert_array_equal(at_bfloat16.to_numpy(array), 2 * expected)
    np.testing.assert_array_equal(at_bfloat16.to_numpy(at_bfloat16.full((2,), 0.3, BFLOAT16)), widened(rounded(0.3)))
    wide = at_bfloat16.empty((3, 5), np.float32)
    at_bfloat16.duplicate(array, wide)
    np.testing.assert_array_equal(at_bfloat16.to_numpy(wide), 2 * expected)


def test_another_precision_begins_anew(at_bfloat16: Backend) -> None:
    """A network's backend, given to the next network, brings no rounding along."""
    for name in ("float32", "tf32", "float64"):
        backend, dtype = at_bfloat16.at_precision(name)
        assert backend.between_layers(dtype) == dtype
    assert at_bfloat16.at_precision("bfloat16") == (at_bfloat16, np.float32)


def test_integers_stay_integers_at_other_precisions(device: Device) -> None:
    backend = backend_on(device)
    array = backend.asarray(np.array([1, 65535], np.uint16))
    assert backend.to_numpy(array).tolist() == [1, 65535]
    backend.write(np.array([7, 8], np.uint16), array)
    assert backend.to_numpy(array).tolist() == [7, 8]
    assert backend.between_layers(np.dtype(np.float32)) == np.float32
    matrix = backend.empty((2, 3), np.uint16)
    with pytest.raises(InputTypeError, match=r"^add: its argument 1 was given as uint16; it must be float32$"):
        backend.add(matrix, matrix, matrix)


# --- products ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("out_dtype", [BFLOAT16, np.dtype(np.float32)])
@pytest.mark.parametrize("transposed", [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (7, 5, 3), (16, 9, 10), (5, 1, 8)])
def test_products_of_any_layout(
    sizes: tuple[int, int, int],
    transposed: tuple[bool, bool],
    out_dtype: Any,
    at_bfloat16: Backend,
    rng: np.random.Generator,
) -> None:
    """Odd widths, leading rows, an operand whose address is a multiple of two bytes alone, and beta."""
    m, k, n = sizes
    a, b, before = (widened(rounded(rng.standard_normal(size))) for size in ((m, k), (k, n), (m, n)))
    memory = at_bfloat16.empty((m * k + 1,), BFLOAT16)
    left = memory[1:].reshape((k, m) if transposed[0] else (m, k))
    right = at_bfloat16.asarray(b.T if transposed[1] else b, BFLOAT16)
    whole = at_bfloat16.asarray(np.vstack([before, before]), out_dtype)
    at_bfloat16.copy(at_bfloat16.asarray(a.T if transposed[0] else a, BFLOAT16), left)
    flags = {"transpose_a": transposed[0], "transpose_b": transposed[1]}
    at_bfloat16.matmul(left, right, whole[:m], alpha=0.5, beta=2.0, **flags)
    found = at_bfloat16.to_numpy(whole)
    expected = 0.5 * (a.astype(np.float64) @ b) + 2.0 * before
    close = 4e-6 if out_dtype == np.float32 else UNIT_ROUNDOFF
    np.testing.assert_allclose(found[:m], expected, rtol=close, atol=4e-6)
    np.testing.assert_array_equal(found[m:], before)


def test_mixed_products_and_rounded_logits_are_refused(at_bfloat16: Backend) -> None:
    narrow, wide = (at_bfloat16.full((4, 4), 1.0, kind) for kind in (BFLOAT16, np.float32))
    for a, b, out in ((narrow, wide, narrow), (wide, narrow, wide), (wide, wide, narrow)):
        with pytest.raises(
            InputTypeError, match=r"^matmul: .* accepted: two factors of bfloat16 \(weights: view\.operand"
        ):
            at_bfloat16.matmul(a, b, out)
    at_bfloat16.matmul(wide, wide, wide)  # of float32 alone it is what it always was
    with pytest.raises(InputTypeError, match=r"^softmax: its argument 1 was given as bfloat16; it must be float32"):
        at_bfloat16.softmax(narrow, wide)


def test_who_has_no_bfloat16_says_so(device: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"^precision 'bfloat16' needs a GPU; the numpy backend accepts float32 and"):
        Network([Dense(3)], backend="numpy", precision="bfloat16")
    with pytest.raises(InputError, match=r"^precision 'bfloat16' needs cuBLASLt, which cannot be loaded"):
        Network([Dense(3)], backend=CupyBackend(device, device.launch), precision="bfloat16")
    older = Device._properties(0) | {"major": 7, "minor": 5}
    with monkeypatch.context() as patch:
        patch.setattr(device.cuda.runtime, "getDeviceProperties", lambda number: older)
        with pytest.raises(InputError, match=r"needs a GPU of compute capability 8\.0 or more, and this one has 7\.5"):
            Network([Dense(3)], backend=backend_on(device), precision="bfloat16")
    library = stand_in_cublas.Cublas(device, refused_types=frozenset({ROUNDED}))
    network = Network([Dense(3)], backend=backend_on(device, library), precision="bfloat16", inputs=12)
    with pytest.raises(InputError, match=r"^cuBLASLt has no product of bfloat16 for \(1, 12\) @ \(12, 3\) on this GPU"):
        network.output(np.zeros((1, 12)))


# --- training ---------------------------------------------------------------------------------------------------


def test_what_is_rounded_and_what_is_not(device: Device, rng: np.random.Generator) -> None:
    x, y, _ = data(rng)
    library = stand_in_cublas.Cublas(device)
    network = Network([Dense(16, "relu"), Dense(3)], backend=backend_on(device, library), precision="bfloat16")
    network.fit(x, y, epochs=1, batch_size=16, optimizer=Adam())
    hidden, top = network.layers
    assert isinstance(hidden, Dense)
    assert isinstance(top, Dense)
    assert hidden.z.dtype == hidden.a.dtype == top.x.dtype == top.dx.dtype == hidden.W.dtype == BFLOAT16
    for kept in (network.parameters.params, network.parameters.grads, hidden.b, hidden.dW, hidden.db, top.z):
        assert kept.dtype == np.float32
    # hidden layers' outputs and deltas are rounded; logits and the gradients of weights are not
    assert library.multiplied == {(ROUNDED, ROUNDED, ROUNDED), (ROUNDED, ROUNDED, FLOAT)}
    assert network.predict_proba(x).dtype == np.float32
    assert network.backend.to_numpy(network.parameters.params).dtype == np.float32


class Losses(Callback):
    """The loss of every step."""

    def __init__(self) -> None:
        self.found: list[np.ndarray] = []

    def on_epoch_end(self, run: Run) -> None:
        self.found.append(np.array(run.backend.to_numpy(run.control.losses)))


def textbook_losses(network: Network, x: np.ndarray, y: np.ndarray, batch: int, rate: float, epochs: int) -> np.ndarray:
    """Two layers with ReLU, softmax and plain SGD in NumPy, rounded where the library rounds; without a shuffle."""

    def near(numbers: np.ndarray) -> np.ndarray:
        return widened(rounded(numbers))

    p = {name: array.copy() for name, array in network.parameters_by_name().items()}
    losses = []
    for _ in range(epochs):
        for first in range(0, len(x), batch):
            inputs, labels = near(x[first : first + batch] * np.float32(1 / 255)), y[first : first + batch]
            W1, W2 = near(p["0.W"]), near(p["1.W"])
            a = near(np.maximum(near(inputs @ W1) + p["0.b"], 0))
            z = a @ W2 + p["1.b"]
            shifted = z - z.max(axis=1, keepdims=True)
            log_softmax = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
            rows = np.arange(len(labels))
            losses.append(-log_softmax[rows, labels].mean())
            delta = np.exp(log_softmax)
            delta[rows, labels] -= 1
            delta /= np.float32(len(labels))
            below = near(delta)
            below_hidden = near(below @ W2.T) * (a > 0)
            p["1.W"] -= np.float32(rate) * (a.T @ below)
            p["1.b"] -= np.float32(rate) * delta.sum(axis=0)
            p["0.W"] -= np.float32(rate) * (inputs.T @ near(below_hidden))
            p["0.b"] -= np.float32(rate) * below_hidden.sum(axis=0)
    return np.array(losses)


@pytest.mark.parametrize("folds", [False, True])
def test_a_run_is_the_textbook_rounded_at_the_same_places(
    folds: bool, device: Device, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps in graphs, against NumPy to 1e-5; the float32 run is within what rounding explains, and is not the same.

    Folded updates change the weights of float32 alone; a copy that was not made anew would be one of the first weights.
    """
    monkeypatch.setattr(graphs, "BYTES_WORTH_FOLDING", 0 if folds else 2**30)
    x, y, _ = data(rng, 640)
    found = {}
    for precision in ("bfloat16", "float32"):
        network = Network([Dense(24, "relu"), Dense(3)], backend=backend_on(device), precision=precision, inputs=12)
        if precision == "bfloat16":
            expected = textbook_losses(network, x, y, 32, 0.5, 3)
        losses = Losses()
        options: dict[str, Any] = {"epochs": 3, "batch_size": 32, "shuffle": False, "callbacks": [losses]}
        network.fit(x, y, optimizer=SGD(learning_rate=0.5), **options)
        found[precision] = np.concatenate(losses.found)
    assert len(device.graph_launches) > 20
    # Sums in another order differ in the last bits of float32, and then and now one is rounded to the other neighbour.
    np.testing.assert_allclose(found["bfloat16"], expected, rtol=1e-5)
    # Each of two layers rounds its input, its weights and its output, by u at most: a logit may be off by 6 u of its
    # size, which is the loss's too, and the loss's derivative by a logit is 1 at most. That leaves out that steps add
    # up, and that roundings cancel in the sums, which is more.
    differences = np.abs(found["bfloat16"] - found["float32"])
    assert differences.max() < 6 * UNIT_ROUNDOFF * found["float32"].max()
    assert differences.max() > 1e-5, "nothing was rounded"
    assert found["bfloat16"][-20:].mean() < found["bfloat16"][:20].mean()


def every_layer() -> list[Layer]:
    return [
        Dense(16, "relu"),
        Residual([Dense(9, "prelu", freeze="bias"), Dropout(0.2), Dense(16, "gelu")]),
        Residual([Activation("silu"), Maxout(7, 3)], projection=True),
        Dropout(0.1),
        Dense(3),
    ]


@pytest.mark.parametrize("epilogues", [False, True])
@pytest.mark.parametrize("optimizer", [SGD(l2=0.01), Adam(max_norm=1.0, penalty=0.1)])
def test_every_layer_follows_float32(
    epilogues: bool, optimizer: Any, device: Device, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graphs, "BYTES_WORTH_FOLDING", 0)
    x, y, weights = data(rng, 200)
    histories = []
    for precision in ("bfloat16", "float32"):
        backend = backend_on(device, epilogues=epilogues)
        network = Network(every_layer(), backend=backend, seed=4, precision=precision)
        options: dict[str, Any] = {"epochs": 3, "batch_size": 16, "sample_weight": weights, "validation": (x, y)}
        histories.append(network.fit(x, y, optimizer=optimizer, **options))
    assert len(device.graph_launches) > 30
    for column in ("loss", "val_loss"):  # in the mean over an epoch many roundings cancel, so that one bounds them all
        np.testing.assert_allclose(histories[0][column], histories[1][column], rtol=UNIT_ROUNDOFF)


def test_a_graph_has_the_bits_of_plain_steps(
    device: Device, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y, _ = data(rng)
    found = []
    for recorded in (True, False):
        if not recorded:
            monkeypatch.setattr(CupyBackend, "record", Backend.record)
        network = Network(every_layer(), backend=backend_on(device), precision="bfloat16")
        network.fit(x, y, epochs=3, batch_size=16)
        found.append(network.parameters_by_name())
    for name, array in found[0].items():
        np.testing.assert_array_equal(array, found[1][name], err_msg=name)


@pytest.mark.parametrize("epilogues", [False, True])
def test_the_launches_of_a_step(epilogues: bool, device: Device, rng: np.random.Generator) -> None:
    """Two more than of float32: the weights are rounded, and the delta of the loss. Nothing crosses in a replay."""
    x, y, _ = data(rng)
    network = Network(
        [Dense(16, "relu"), Dense(9, "relu"), Dense(11, "gelu"), Dense(3)],
        backend=backend_on(device, epilogues=epilogues),
        precision="bfloat16",
    )
    counts = Counts(device)
    network.fit(x, y, epochs=4, batch_size=16, optimizer=Adam(), callbacks=[counts])
    epoch, steps = counts.of_an_epoch(), 5
    kernels, products = 1 + 3 + 1 + 3 + 2 + 2, 4 + 4 + 3
    assert (epoch["kernels"], epoch["products"]) == (kernels * steps, products * steps)
    assert epoch["nodes"] == (kernels + products) * steps
    assert epoch["allocations"] == epoch["graphs"] == 0
    assert epoch["to_device"] == 1, "the counters at the epoch's beginning"


@pytest.mark.skipif(mnist_folder() is None, reason="there is no MNIST")
def test_an_epoch_of_mnist(device: Device) -> None:
    """As test_graphs.py has it for float32: nothing crosses in a replay, and the losses are those of float32."""
    mnist = load_dataset("mnist", data_dir=mnist_folder())
    histories, counts = [], Counts(device)
    for precision, callbacks in (("bfloat16", [counts]), ("float32", [])):
        network = Network([Dense(32, "relu"), Dense(10)], backend=backend_on(device), precision=precision)
        options: dict[str, Any] = {"epochs": 2, "batch_size": 256, "optimizer": SGD(learning_rate=0.1)}
        histories.append(network.fit(mnist.x_train, mnist.y_train, callbacks=callbacks, **options))
    np.testing.assert_allclose(histories[0]["loss"], histories[1]["loss"], rtol=UNIT_ROUNDOFF)
    epoch, steps = counts.of_an_epoch(), -(-60000 // 256)
    assert epoch["allocations"] == 0
    assert epoch["nodes"] == (6 + 2 + 5) * steps
    assert epoch["to_device"] == 1, "the counters at the epoch's beginning"


def test_half_of_the_memory_between_the_layers(device: Device) -> None:
    sizes = {}
    for precision in ("bfloat16", "float32"):
        network = Network([Dense(512, "relu"), Dense(512)], backend=backend_on(device), precision=precision, inputs=512)
        before = device.used
        expected = network.bytes_for(1024)
        network.reserve(1024)
        assert device.used - before == expected
        sizes[precision] = expected
    # float32: 2 of a, 2 of dx and the delta; bfloat16: the logits and the loss's delta are as large, the rest is half
    assert sizes["bfloat16"] / sizes["float32"] == (2 + 4 * 0.5) / 5
    assert bytes_of(lambda meter: meter.empty((1,), BFLOAT16), network.backend) == 512


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_streamed_and_resident_data_are_the_same(
    kind: Any, device: Device, rng: np.random.Generator, scratch: Path
) -> None:
    """Features of uint16 in a file go to the device as they are, and are integers there."""
    x, y, _ = data(rng)
    in_file = np.lib.format.open_memmap(scratch / "x.npy", "w+", kind, x.shape)
    in_file[:] = x
    found = []
    for resident in (True, False):
        network = Network([Dense(8, "relu"), Dense(3)], backend=backend_on(device), precision="bfloat16", seed=1)
        network.fit(in_file, y, epochs=2, batch_size=16, resident=resident, scale=1 / 255)
        found.append(network.parameters_by_name())
    plain = Network([Dense(8, "relu"), Dense(3)], backend=backend_on(device), precision="bfloat16", seed=1)
    plain.fit(x, y, epochs=2, batch_size=16)
    for name, array in plain.parameters_by_name().items():
        np.testing.assert_array_equal(found[0][name], array, err_msg=name)
        np.testing.assert_array_equal(found[1][name], array, err_msg=name)


# --- what users do ----------------------------------------------------------------------------------------------


def test_a_model_is_saved_in_float32_and_read_on_a_cpu(device: Device, rng: np.random.Generator, scratch: Path) -> None:
    x, y, _ = data(rng)
    network = Network(every_layer(), backend=backend_on(device), precision="bfloat16")
    network.fit(x, y, epochs=2, batch_size=16)
    network.save(scratch / "model.safetensors")
    on_cpu = Network.load(scratch / "model.safetensors", backend="numpy")
    for name, array in network.parameters_by_name().items():
        assert array.dtype == np.float32
        np.testing.assert_array_equal(on_cpu.parameters_by_name()[name], array)
    probabilities = network.predict_proba(x)
    np.testing.assert_allclose(probabilities, on_cpu.predict_proba(x), atol=UNIT_ROUNDOFF)
    assert network.evaluate(x, y).loss == pytest.approx(on_cpu.evaluate(x, y).loss, rel=UNIT_ROUNDOFF)
    assert network.confusion_matrix(x, y).sum() == len(x)
    again = Network.load(scratch / "model.safetensors", backend=backend_on(device), precision="bfloat16")
    np.testing.assert_array_equal(again.predict_proba(x), probabilities)


def test_weights_that_are_set_are_the_ones_that_multiply(device: Device, rng: np.random.Generator) -> None:
    network = Network([Dense(4, bias=False)], backend=backend_on(device), precision="bfloat16", inputs=12)
    x = rng.standard_normal((5, 12)).astype(np.float32)
    for _ in range(2):
        weights = rng.standard_normal((12, 4)).astype(np.float32)
        network.set_parameters({"0.W": weights})
        expected = widened(rounded(x)) @ widened(rounded(weights))
        np.testing.assert_allclose(network.output(x), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "last", [Activation("tanh"), Dropout(0.2), Maxout(3), Residual([Dense(3)]), Dense(3, "sigmoid"), Dense(3, "gelu")]
)
def test_any_layer_may_be_the_last(last: Layer, device: Device, rng: np.random.Generator) -> None:
    x, y, _ = data(rng)
    losses = []
    for precision in ("bfloat16", "float32"):
        network = Network([Dense(3), last], backend=backend_on(device), precision=precision)
        history = network.fit(
            x, np.eye(3)[y], loss="squared_error", epochs=2, batch_size=16, validation=(x, np.eye(3)[y])
        )
        losses.append(history["val_loss"])
        assert network.output(x).dtype == np.float32
    # Three units: little cancels, and there are four roundings on the way.
    np.testing.assert_allclose(losses[0], losses[1], rtol=4 * UNIT_ROUNDOFF)


def test_diagnostics_and_the_first_layer_that_is_not_finite(device: Device, rng: np.random.Generator) -> None:
    x, y, _ = data(rng)
    samples = []
    for precision in ("bfloat16", "float32"):
        network = Network([Dense(16, "relu"), Dense(3)], backend=backend_on(device), precision=precision)
        diagnostics = Diagnostics(every=5, rows=32)
        network.fit(x, y, epochs=1, batch_size=16, callbacks=[diagnostics])
        samples.append(diagnostics.samples[-1])
    assert samples[0].gradient_norm == pytest.approx(samples[1].gradient_norm, rel=0.05)
    assert samples[0].layers[0].saturated == pytest.approx(samples[1].layers[0].saturated, abs=0.02)
    network = Network(
        [Dense(4, "tanh"), Dense(5), Dense(3)], backend=backend_on(device), precision="bfloat16", inputs=12
    )
    network.set_parameters({"1.W": np.full((4, 5), np.inf)})
    with pytest.raises(NonFiniteLossError, match=r"first in layer 2 \(Dense, identity\)"):
        network.fit(x, y, epochs=1, batch_size=16)


class Square(Layer):
    """Each input, squared: buffers of self.dtype."""

    def allocate(self, batch: int) -> None:
        self.a, self.dx = (self.backend.empty((batch, self.outputs), self.dtype) for _ in range(2))

    def forward(self, x: Array, control: Control | None) -> Array:
        self.x = x
        return self.backend.hadamard(x, x, self.a[: x.shape[0]])

    def backward(self, delta: Array, wants_input: bool) -> Array | None:
        dx = self.backend.hadamard(delta, self.x, self.dx[: delta.shape[0]])
        return self.backend.add(dx, dx, dx)


class Sine(Square):
    """Through the host, which sees numbers and not their bits."""

    def forward(self, x: Array, control: Control | None) -> Array:
        self.x = x
        self.backend.write(np.sin(self.backend.to_numpy(x)), self.a[: x.shape[0]])
        return self.a[: x.shape[0]]

    def backward(self, delta: Array, wants_input: bool) -> Array | None:
        self.backend.write(self.backend.to_numpy(delta) * np.cos(self.backend.to_numpy(self.x)), delta)
        return delta


class WithItsValue(Dense):
    """A layer that multiplies with the parameters themselves."""

    def bind(self, backend: Backend, dtype: np.dtype[Any], views: Any) -> None:
        super().bind(backend, dtype, views)
        self.W = views[f"{self.number}.W"].value


class OwnDtype(Square):
    """A layer that always makes what its input is."""

    def allocate(self, batch: int) -> None:
        self.a, self.dx = (self.backend.empty((batch, self.outputs), self.input_dtype) for _ in range(2))


@pytest.mark.parametrize("layer", [Square(), Sine()])
@pytest.mark.filterwarnings("ignore:this cannot be recorded")
def test_layers_of_users_work(layer: Layer, device: Device, rng: np.random.Generator) -> None:
    x, y, _ = data(rng)
    losses = []
    for precision in ("bfloat16", "float32"):
        network = Network([Dense(6, "tanh"), layer, Dense(3)], backend=backend_on(device), precision=precision)
        losses.append(network.fit(x, y, epochs=3, batch_size=16)["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=UNIT_ROUNDOFF)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([WithItsValue(6), Dense(3)], r"^matmul: bfloat16 @ float32 -> bfloat16 was asked for at precision 'bfloat16'"),
        ([Dense(3), Square()], r"^matmul: bfloat16 @ float32 -> float32 was asked for"),
        ([Dense(3), OwnDtype()], r"^the last layer \(OwnDtype\) gives the dtype of its input and not its own, float32"),
    ],
)
def test_or_are_refused_in_one_line(
    layers: list[Layer], message: str, device: Device, rng: np.random.Generator
) -> None:
    x, y, _ = data(rng)
    network = Network(layers, backend=backend_on(device), precision="bfloat16")
    with pytest.raises((InputError, InputTypeError), match=message):
        network.fit(x, y, epochs=1, batch_size=16)


# --- on a real GPU ----------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.parametrize("out_dtype", [BFLOAT16, np.dtype(np.float32)])
@pytest.mark.parametrize(
    "shape", [(1, 1, 1), (7, 5, 3), (128, 784, 30), (30, 128, 784), (2048, 30, 10), (513, 257, 129), (64, 8192, 10)]
)
def test_products_on_a_gpu(
    shape: tuple[int, int, int], out_dtype: Any, gpu: CupyBackend, rng: np.random.Generator
) -> None:
    """Odd widths too; the sums are made in float32, the long ones as well, and the result is rounded once."""
    m, k, n = shape
    backend, _ = gpu.at_precision("bfloat16")
    a, b = (widened(rounded(rng.standard_normal(size))) for size in ((m, k), (k, n)))
    expected = a.astype(np.float64) @ b
    for transpose_a in (False, True):
        for transpose_b in (False, True):
            left, right = (
                backend.asarray(one.T if turned else one, BFLOAT16)
                for one, turned in ((a, transpose_a), (b, transpose_b))
            )
            out = backend.empty((m, n), out_dtype)
            backend.matmul(left, right, out, transpose_a=transpose_a, transpose_b=transpose_b)
            relative = 1e-6 if out_dtype == np.float32 else UNIT_ROUNDOFF
            np.testing.assert_allclose(backend.to_numpy(out), expected, rtol=relative, atol=1e-5 * k**0.5)


@pytest.mark.gpu
def test_rounding_on_a_gpu(gpu: CupyBackend) -> None:
    backend, _ = gpu.at_precision("bfloat16")
    upper = np.arange(2**16, dtype=np.uint32) << np.uint32(16)
    for lower in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF):
        numbers = (upper | np.uint32(lower)).view(np.float32).reshape(256, 256)
        bits = backend.empty((256, 256), BFLOAT16)
        backend.duplicate(backend.asarray(numbers), bits)
        np.testing.assert_array_equal(backend.to_numpy(bits).view(np.uint32), widened(rounded(numbers)).view(np.uint32))


@pytest.mark.gpu
@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("optimizer", [SGD(), Adam(l2=0.01, max_norm=1.0)])
def test_a_run_on_a_gpu_follows_float32(optimizer: Any, gpu: CupyBackend, rng: np.random.Generator) -> None:
    """A failed capture would be a warning, and so an error."""
    x, y, weights = data(rng, 700)
    losses = []
    for precision in ("bfloat16", "float32"):
        network = Network(every_layer(), backend=gpu, precision=precision, seed=4)
        history = network.fit(x, y, epochs=3, batch_size=16, optimizer=optimizer, sample_weight=weights)
        losses.append(history["loss"])
    np.testing.assert_allclose(losses[0], losses[1], rtol=UNIT_ROUNDOFF)


@pytest.mark.gpu
def test_a_run_on_a_gpu_is_the_textbook(gpu: CupyBackend, rng: np.random.Generator) -> None:
    """Against NumPy that rounds at the same places; the GPU adds up in another order, which may turn a rounding."""
    x, y, _ = data(rng, 640)
    network = Network([Dense(24, "relu"), Dense(3)], backend=gpu, precision="bfloat16", inputs=12)
    expected = textbook_losses(network, x, y, 32, 0.5, 1)
    losses = Losses()
    options: dict[str, Any] = {"epochs": 1, "batch_size": 32, "shuffle": False, "callbacks": [losses]}
    network.fit(x, y, optimizer=SGD(learning_rate=0.5), **options)
    np.testing.assert_allclose(losses.found[0], expected, rtol=1e-3)
