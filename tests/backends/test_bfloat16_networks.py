"""Networks with precision="bfloat16" on the stand-in device: saving, setting weights, diagnostics, user layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bpcore import Activation, Dense, Diagnostics, Dropout, Layer, Maxout, Network, Residual
from bpcore.backends.base import Array, Backend, Control
from bpcore.errors import InputError, InputTypeError
from bpcore.kernels.bfloat16 import UNIT_ROUNDOFF, rounded, widened
from bpcore.training.nonfinite import NonFiniteLossError
from support.bfloat16_runs import data, every_layer
from support.stand_in import Device
from support.stand_in_cublas import backend_on


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


def test_assigned_weights_are_used_in_products(device: Device, rng: np.random.Generator) -> None:
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
    # With three units little cancels, and there are four roundings.
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
    """Squares each input, in buffers of self.dtype."""

    def allocate(self, batch: int) -> None:
        self.a, self.dx = (self.backend.empty((batch, self.outputs), self.dtype) for _ in range(2))

    def forward(self, x: Array, control: Control | None) -> Array:
        self.x = x
        return self.backend.hadamard(x, x, self.a[: x.shape[0]])

    def backward(self, delta: Array, wants_input: bool) -> Array | None:
        dx = self.backend.hadamard(delta, self.x, self.dx[: delta.shape[0]])
        return self.backend.add(dx, dx, dx)


class Sine(Square):
    """Computes on the host, which sees numbers, not their bits."""

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
    """A layer whose output always has its input's dtype."""

    def allocate(self, batch: int) -> None:
        self.a, self.dx = (self.backend.empty((batch, self.outputs), self.input_dtype) for _ in range(2))


@pytest.mark.parametrize("layer", [Square(), Sine()])
@pytest.mark.filterwarnings("ignore:this cannot be recorded")
def test_user_layers_work(layer: Layer, device: Device, rng: np.random.Generator) -> None:
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
def test_unsuitable_user_layers_are_refused_in_one_line(
    layers: list[Layer], message: str, device: Device, rng: np.random.Generator
) -> None:
    x, y, _ = data(rng)
    network = Network(layers, backend=backend_on(device), precision="bfloat16")
    with pytest.raises((InputError, InputTypeError), match=message):
        network.fit(x, y, epochs=1, batch_size=16)
