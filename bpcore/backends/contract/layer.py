"""Operations of layers: activations, Maxout, dropout, and their backward passes."""

from __future__ import annotations

from bpcore.backends.arrays import Array
from bpcore.backends.contract.primitives import Primitives
from bpcore.backends.control import Control
from bpcore.errors import InputError
from bpcore.kernels import spec
from bpcore.kernels.activations import ActivationRule
from bpcore.kernels.bfloat16 import number_dtype


class LayerOperations(Primitives):
    """Operations of layers other than matrix products, forward and backward."""

    def hadamard(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """out <- a * b, elementwise; all (B, M). `out` may be a or b."""
        return self._elementwise("hadamard", a, b, out)

    def add(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """out <- a + b, elementwise; all (B, M). `out` may be a or b. It also adds the gradients of several paths."""
        return self._elementwise("add", a, b, out)

    def duplicate(self, x: Array, out: Array) -> Array:
        """out (B, M) <- x (B, M), as an operation of the step: one path may then overwrite what another still needs.

        Between bfloat16 and float32 it converts.
        """
        self.require(x, out)
        self.run(spec.plain("duplicate", number_dtype(x.dtype)), x, out)
        return out

    def activate(
        self,
        z: Array,
        bias: Array,
        activation: ActivationRule,
        out: Array | None = None,
        *,
        parameter: Array | None = None,
    ) -> Array:
        """out <- f(z + bias); z (B, M) <- z + bias if the activation saves its input.

        bias (M,); parameter (M,): each unit's slope, by default the activation's own. `out` may be z if the activation
        saves its output.
        """
        if out is None:
            out = self.empty(z.shape, z.dtype)
        if parameter is None:
            parameter = self.full(z.shape[1:], activation.parameter, number_dtype(z.dtype))
        self.require(z, bias, parameter, out)
        if out is z and activation.saves == "input":
            raise InputError(f"activate: {activation.name} saves its input, so out must not be z")
        self.run(spec.activate(activation, number_dtype(z.dtype)), z, bias, parameter, out)
        return out

    def delta(
        self,
        delta: Array,
        saved: Array,
        activation: ActivationRule,
        bias_grad: Array,
        *,
        parameter: Array | None = None,
        parameter_grad: Array | None = None,
    ) -> None:
        """delta (B, M) <- delta * f'(saved) in place (BP2), bias_grad (M,) <- its column sums (BP4).

        saved (B, M): f's output or its input, whichever the activation saves. parameter_grad (M,) <- the gradient of a
        learned parameter.
        """
        if parameter is None:
            parameter = self.full(delta.shape[1:], activation.parameter, number_dtype(delta.dtype))
        if parameter_grad is None:
            if activation.learned:
                raise InputError(f"delta: {activation.name} learns its parameter: give parameter_grad")
            parameter_grad = bias_grad  # not written
        self.require(delta, saved, bias_grad, parameter, parameter_grad)
        self.run(spec.delta(activation, number_dtype(delta.dtype)), delta, saved, parameter, bias_grad, parameter_grad)

    def max_pieces(self, z: Array, bias: Array, out: Array, winner: Array) -> Array:
        """Maxout (Goodfellow et al. 2013): out (B, M) <- the largest of the k pieces of z + bias, (B, k M).

        winner int32 (B, M) <- the number of that piece. The pieces of a row follow one another.
        """
        self._check_pieces("max_pieces", z, bias, out, winner)
        self.run(spec.plain("max_pieces", number_dtype(z.dtype)), z, bias, out, winner)
        return out

    def max_pieces_backward(self, delta: Array, winner: Array, out: Array, bias_grad: Array) -> None:
        """out (B, k M) <- delta (B, M) at the winning piece, 0 at the others; bias_grad (k M,) <- its column sums."""
        self._check_pieces("max_pieces_backward", out, bias_grad, delta, winner)
        self.run(spec.plain("max_pieces_backward", number_dtype(delta.dtype)), delta, winner, out, bias_grad)

    def dropout(self, x: Array, rate: float, layer: int, control: Control, out: Array | None = None) -> Array:
        """out <- x with each element dropped with probability `rate`, and the others scaled by 1 / (1 - rate).

        x, out (B, M); `out` may be x. The mask is a function of the seed, the step, the layer's number and the
        element's place. The backward pass is therefore the same call on the delta, and no mask is stored.
        """
        if out is None:
            out = self.empty(x.shape, x.dtype)
        self.require(x, out)
        if not 0.0 <= rate < 1.0:
            raise InputError(f"dropout rate {rate!r} is out of range; accepted: 0 <= rate < 1")
        threshold = round(rate * 2**32)
        scale = number_dtype(x.dtype).type(1.0 / (1.0 - rate))
        self.run(spec.plain("dropout", number_dtype(x.dtype)), x, out, layer, threshold, scale, 0, control.counters)
        return out

    def _elementwise(self, name: str, a: Array, b: Array, out: Array | None) -> Array:
        if out is None:
            out = self.empty(a.shape, a.dtype)
        self.require(a, b, out)
        self.run(spec.plain(name, number_dtype(a.dtype)), a, b, out)
        return out

    def _check_pieces(self, name: str, pieces: Array, of_columns: Array, whole: Array, winner: Array) -> None:
        self.require(pieces, of_columns, whole, winner)
        columns = whole.shape[1]
        if columns == 0 or pieces.shape[0] != whole.shape[0] or pieces.shape[1] % columns:
            raise InputError(
                f"{name}: {pieces.shape} cannot be cut into pieces of {whole.shape}; its columns must be a multiple"
            )
