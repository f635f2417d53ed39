"""The backend contract: every operation of a training step, with shapes and what it may overwrite.

A backend brings arrays (`empty`, `asarray`, `to_numpy`, ...) and a way to perform an operation: a matrix product or a
kernel (operations.py). What users and layers call is written here once: it checks its arguments, and comes down to one
operation. All take and return device arrays, write where they are told, and never touch the host.

Shapes: B batch, N inputs, M outputs, P parameters; row-major, batch first.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from threading import get_ident
from typing import TYPE_CHECKING, Any

import numpy as np

from bpcore.backends.operations import Kernel, Operation, Product
from bpcore.errors import InputError, InputTypeError, unknown_name
from bpcore.kernels import counter, spec
from bpcore.kernels.activations import Activation
from bpcore.kernels.bfloat16 import number_dtype
from bpcore.kernels.losses import Loss
from bpcore.kernels.optimizers import UpdateRule

if TYPE_CHECKING:
    from bpcore.backends.feeding import Feed

Array = Any
"""A device array of the backend at hand: numpy.ndarray, cupy.ndarray, ...

It is one that can be written to, and has views: `shape`, `dtype` (NumPy's), `size`, `strides` (in bytes), `T`, slices
`array[:n]` and `array[:n, :m]`, and `reshape` of contiguous memory, all of which look at the same memory. Where that
memory lies it says as CuPy's arrays do, by `data.ptr`, or as NumPy's, by `ctypes.data`.
"""

DTypeLike = Any

Watcher = Callable[[Operation], None]

PRECISIONS = {
    "float32": "the default: float32 throughout",
    "float64": "for gradient checks",
    "tf32": "float32, but products on a GPU's tensor cores keep 10 bits of each factor and sum in float32",
    "bfloat16": "on a GPU, float32 with 8 significant bits in what flows between layers and in factors of products",
}
"""What a network may compute in."""


@dataclass(frozen=True)
class Control:
    """What changes from step to step, on the device, so that a recorded step can be replayed unchanged.

    counters  int64 (COUNTERS,): step, epoch, batch, batch size, seed, shuffle, first bad step, first batch at hand,
              first step of the table (bpcore.kernels.counter gives the places)
    losses    (slots,): the mean loss of each batch of the epoch
    totals    (slots,): the sum of the sample weights of each batch
    correct   int64 (slots,): how many samples of each batch were classified rightly
    penalties (slots,): what Optimizer.penalty adds to each batch's loss, zero without
    table     (steps, 3): learning rate and the optimizer's two factors of each step from the table's first one on
    scale     (1,): a factor on the learning rate that callbacks may change
    norm      (1,): the global gradient norm of the last step that asked for it
    """

    counters: Array
    losses: Array
    totals: Array
    correct: Array
    penalties: Array
    table: Array
    scale: Array
    norm: Array


@dataclass(frozen=True)
class Samples:
    """A data set as it is stored, on the device or on the host before it goes there: x (samples, N) of any real dtype.

    targets are int64 labels (samples,) or a matrix (samples, M); weights (samples,) or None. The network sees
    x * scale + shift. On the host x may also be something with a shape, a dtype and `feed(backend, samples, dtype,
    batch_size)`, which brings it to the steps in its own way.
    """

    x: Array
    targets: Array
    weights: Array | None = None
    scale: float = 1.0
    shift: float = 0.0

    @property
    def labels(self) -> bool:
        """Whether the targets are class labels."""
        return len(self.targets.shape) == 1


@dataclass(frozen=True)
class Batch:
    """The buffers that one mini-batch is gathered into: x (B, N), targets (B,) or (B, M), weights (B,)."""

    x: Array
    targets: Array
    weights: Array
    weighted: bool

    def rows(self, count: int) -> Batch:
        """The leading rows, for a short batch."""
        return Batch(self.x[:count], self.targets[:count], self.weights[:count], self.weighted)


class Backend(ABC):
    """Arrays, products and kernels on one device."""

    name: str
    reason: str = "asked for"
    """Why this backend was chosen, in words."""
    allocations: int = 0
    """How many arrays this backend has made."""
    _watchers: dict[int, Watcher] | None = None

    # --- what each backend brings -------------------------------------------------------------------------

    @property
    @abstractmethod
    def array_type(self) -> type:
        """The type of this backend's arrays."""

    @abstractmethod
    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """A new array of undefined content."""

    @abstractmethod
    def asarray(self, host: Any, dtype: DTypeLike = None) -> Array:
        """Bring an array from the host (or keep one that is here already), C-contiguous."""

    @abstractmethod
    def to_numpy(self, array: Array) -> np.ndarray:
        """Bring an array to the host. With `asarray` and `write`, the only doors between the two."""

    @abstractmethod
    def write(self, host: Any, out: Array) -> None:
        """Bring values from the host into an array that exists."""

    @abstractmethod
    def copy(self, source: Array, out: Array) -> None:
        """out <- source, on the device."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until all work that was asked for is done."""

    @abstractmethod
    def execute(self, operation: Operation) -> None:
        """Perform one product or kernel now; both are described in operations.py, and their arguments are checked."""

    @abstractmethod
    def describe(self) -> dict[str, str]:
        """The device, its libraries and their versions, for `bpcore info`."""

    @property
    def array_module(self) -> Any:
        """The module with NumPy's functions for this backend's arrays, for bpcore.numpy: numpy, cupy, ..."""
        raise InputError(f"the {self.name} backend brings no module of array functions, which bpcore.numpy needs")

    # --- what a device with a memory of its own brings ------------------------------------------------------

    def free_bytes(self) -> int | None:
        """How many bytes of arrays it may still be asked for; None where nobody needs to ask: host memory."""
        return None

    def stream(self, samples: Samples, dtype: np.dtype[Any], batch_size: int, chunk_batches: int) -> Feed:
        """A feed of samples that stay on the host, in chunks of so many batches (streaming.py).

        dtype: of the network. Of the device's memory it takes two chunks.
        """
        raise InputError(f"the {self.name} backend has no way to stream data: it takes data sets that fit its memory")

    # --- what a device brings that other libraries share ----------------------------------------------------

    dlpack_devices: tuple[int, ...] = ()
    """The kinds of memory, by DLPack's numbers (1: the CPU, 2: CUDA), that `from_dlpack` takes arrays from."""

    def from_dlpack(self, array: Any) -> Array:
        """The array of another library in the same memory, as one of this backend's; whatever DLPack's import raises.

        For the functions of bpcore.ops; asked for arrays in memory of `dlpack_devices` alone.
        """
        raise InputTypeError(f"the {self.name} backend takes no arrays of other libraries")

    def __deepcopy__(self, memo: object) -> Backend:
        """The backend itself: there is one device."""
        return self

    # --- what follows from that ---------------------------------------------------------------------------

    def full(self, shape: tuple[int, ...], value: float, dtype: DTypeLike) -> Array:
        """A new array filled with one value."""
        return self.asarray(np.full(shape, value, dtype))

    def at_precision(self, name: str) -> tuple[Backend, np.dtype[Any]]:
        """The backend and the dtype for a network of this precision; InputError where the device has it not."""
        if name not in PRECISIONS:
            raise unknown_name("precision", name, PRECISIONS)
        if name in ("tf32", "bfloat16"):
            raise InputError(f"precision {name!r} needs a GPU; the {self.name} backend accepts float32 and float64")
        return self, np.dtype(name)

    def between_layers(self, dtype: np.dtype[Any]) -> np.dtype[Any]:
        """What inputs, activations and deltas are kept in where the parameters have this dtype: the same, mostly.

        A backend at precision "bfloat16" has BFLOAT16 (bpcore.kernels.bfloat16) there.
        """
        return dtype

    def same_bits(self, a: Array, b: Array) -> bool:
        """Whether two C-contiguous arrays hold the same bits; compared on the host, piece by piece."""
        x, y = (self.to_numpy(array).reshape(-1).view(np.uint8) for array in (a, b))
        return all((x[first : first + 4096] == y[first : first + 4096]).all() for first in range(0, x.size, 4096))

    def owns(self, array: object) -> bool:
        """Whether an array is one of this backend's."""
        return isinstance(array, self.array_type)

    def require(self, *arrays: object) -> None:
        """Refuse arrays of another backend."""
        for array in arrays:
            if not self.owns(array):
                module = type(array).__module__.partition(".")[0]
                raise InputTypeError(
                    f"the {self.name} backend was given an array of {module} ({type(array).__qualname__}); all "
                    f"arrays of one call must be {self.array_type.__module__}.{self.array_type.__qualname__}: "
                    f"bring it over with backend.asarray(...)"
                )

    def matmul(
        self,
        a: Array,
        b: Array,
        out: Array | None = None,
        *,
        transpose_a: bool = False,
        transpose_b: bool = False,
        alpha: Any = 1.0,
        beta: Any = 0.0,
    ) -> Array:
        """out <- alpha * op(a) @ op(b) + beta * out, where op transposes if told to, without a copy.

        alpha and beta are numbers or one-element device arrays. A new array where `out` is not given.
        """
        self.require(a, b)
        shape = check_product(a, b, out, transpose_a, transpose_b)
        if out is None:
            out = self.empty(shape, a.dtype)
        self.require(out)
        self._perform(Product(a.T if transpose_a else a, b.T if transpose_b else b, out, alpha, beta))
        return out

    def run(self, kernel: spec.Spec, *arguments: Any) -> None:
        """Run one kernel; its arguments are listed in bpcore.kernels.spec."""
        self._perform(Kernel(kernel, arguments))

    @property
    def watcher(self) -> Watcher | None:
        """While this thread records a step: who is given each operation, and performs it.

        Each thread has its own: what another one computes meanwhile, with the same backend, is no part of that step.
        """
        return None if self._watchers is None else self._watchers.get(get_ident())

    @watcher.setter
    def watcher(self, watcher: Watcher | None) -> None:
        watchers = vars(self).setdefault("_watchers", {})
        if watcher is None:
            watchers.pop(get_ident(), None)
        else:
            watchers[get_ident()] = watcher

    def _perform(self, operation: Operation) -> None:
        watcher = self.watcher
        if watcher is None:
            self.execute(operation)
        else:
            watcher(operation)

    def hadamard(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """out <- a * b, elementwise; all (B, M). `out` may be a or b."""
        return self._elementwise("hadamard", a, b, out)

    def add(self, a: Array, b: Array, out: Array | None = None) -> Array:
        """out <- a + b, elementwise; all (B, M): gradients of several paths add up. `out` may be a or b."""
        return self._elementwise("add", a, b, out)

    def activate(
        self,
        z: Array,
        bias: Array,
        activation: Activation,
        out: Array | None = None,
        *,
        parameter: Array | None = None,
    ) -> Array:
        """out <- f(z + bias). z (B, M) becomes z + bias where the activation saves its input.

        bias (M,); parameter (M,): each unit's slope, the activation's own where not given. `out` may be z
        where the activation saves its output.
        """
        if out is None:
            out = self.empty(z.shape, z.dtype)
        if parameter is None:
            parameter = self.full(z.shape[1:], activation.parameter, number_dtype(z.dtype))
        self.require(z, bias, parameter, out)
        _check("activate", z.shape, ("out", out, z.shape), ("bias", bias, z.shape[1:]))
        _check("activate", z.shape, ("parameter", parameter, z.shape[1:]))
        if out is z and activation.saves == "input":
            raise InputError(f"activate: {activation.name} saves its input, so out must not be z")
        self.run(spec.activate(activation, number_dtype(z.dtype)), z, bias, parameter, out)
        return out

    def delta(
        self,
        delta: Array,
        saved: Array,
        activation: Activation,
        bias_grad: Array,
        *,
        parameter: Array | None = None,
        parameter_grad: Array | None = None,
    ) -> None:
        """delta (B, M) <- delta * f'(saved) in place (BP2), bias_grad (M,) <- its column sums (BP4).

        saved (B, M): f's output or its input, as the activation has it. parameter_grad (M,) <- the gradient
        of a learned parameter.
        """
        if parameter is None:
            parameter = self.full(delta.shape[1:], activation.parameter, number_dtype(delta.dtype))
        if parameter_grad is None:
            if activation.learned:
                raise InputError(f"delta: {activation.name} learns its parameter: give parameter_grad")
            parameter_grad = bias_grad  # not written
        self.require(delta, saved, bias_grad, parameter, parameter_grad)
        columns = delta.shape[1:]
        _check("delta", delta.shape, ("saved", saved, delta.shape), ("bias_grad", bias_grad, columns))
        _check("delta", delta.shape, ("parameter", parameter, columns))
        _check("delta", delta.shape, ("parameter_grad", parameter_grad, columns))
        self.run(spec.delta(activation, number_dtype(delta.dtype)), delta, saved, parameter, bias_grad, parameter_grad)

    def duplicate(self, x: Array, out: Array) -> Array:
        """out (B, M) <- x (B, M), as an operation of a step: one path may then overwrite what another needs.

        Where one of them is bfloat16 and the other float32, that is the conversion.
        """
        self.require(x, out)
        _check("duplicate", x.shape, ("out", out, x.shape))
        self.run(spec.plain("duplicate", number_dtype(x.dtype)), x, out)
        return out

    def max_pieces(self, z: Array, bias: Array, out: Array, winner: Array) -> Array:
        """Maxout (Goodfellow et al. 2013): out (B, M) <- the largest of the k pieces of z + bias, (B, k M).

        winner int32 (B, M) <- which piece that was; the pieces stand one after the other in a row.
        """
        self._check_pieces("max_pieces", z, bias, out, winner)
        self.run(spec.plain("max_pieces", number_dtype(z.dtype)), z, bias, out, winner)
        return out

    def max_pieces_backward(self, delta: Array, winner: Array, out: Array, bias_grad: Array) -> None:
        """out (B, k M) <- delta (B, M) at the piece that won, zero at the others; bias_grad (k M,) <- column sums."""
        self._check_pieces("max_pieces_backward", out, bias_grad, delta, winner)
        self.run(spec.plain("max_pieces_backward", number_dtype(delta.dtype)), delta, winner, out, bias_grad)

    def softmax(self, z: Array, out: Array | None = None) -> Array:
        """out <- e^z / sum e^z, row by row; `out` may be z."""
        return self._over_rows("softmax", z, out)

    def log_softmax(self, z: Array, out: Array | None = None) -> Array:
        """out <- z - log sum e^z, row by row; `out` may be z."""
        return self._over_rows("log_softmax", z, out)

    def argmax(self, z: Array, out: Array | None = None) -> Array:
        """out int64 (B,) <- where each row of z (B, M) is largest: the first of equals; the first NaN, if any."""
        if out is None:
            out = self.empty(z.shape[:1], np.int64)
        self.require(z, out)
        _check("argmax", z.shape, ("out", out, z.shape[:1]))
        _check_labels("argmax", ("out", out))
        if z.shape[1] == 0:
            raise InputError("argmax: rows of no outputs have no largest one")
        self.run(spec.plain("argmax", z.dtype), z, out)
        return out

    def above_zero(self, z: Array, out: Array | None = None) -> Array:
        """out int64 (B, M) <- 1 where z (B, M) is above zero, else 0 (NaN too)."""
        if out is None:
            out = self.empty(z.shape, np.int64)
        self.require(z, out)
        _check("above_zero", z.shape, ("out", out, z.shape))
        _check_labels("above_zero", ("out", out))
        self.run(spec.plain("above_zero", z.dtype), z, out)
        return out

    def one_hot(self, labels: Array, out: Array) -> Array:
        """out (B, M) <- 1 in the column of each label, int64 (B,), else 0; zeros for a label that is no column."""
        self.require(labels, out)
        _check("one_hot", out.shape, ("labels", labels, out.shape[:1]))
        _check_labels("one_hot", ("labels", labels))
        self.run(spec.plain("one_hot", out.dtype), labels, out)
        return out

    def confusion(self, predicted: Array, targets: Array, counts: Array) -> None:
        """counts int64 (M, M), rows true and columns predicted, += the pairs of these labels, int64 (B,) each.

        A label that is not 0 to M - 1 is not counted.
        """
        self.require(predicted, targets, counts)
        _check("confusion", targets.shape, ("predicted", predicted, targets.shape[:1]))
        _check("confusion", counts.shape, ("counts", counts, (counts.shape[-1], counts.shape[-1])))
        _check_labels("confusion", ("predicted", predicted), ("targets", targets), ("counts", counts))
        self.run(spec.plain("confusion", np.dtype(np.float32)), predicted, targets, counts)

    def column_sums(self, x: Array, out: Array) -> None:
        """out (M,) <- the sum of each column of x (B, M), always added in the same order."""
        self.require(x, out)
        _check("column_sums", x.shape, ("out", out, x.shape[1:]))
        self.run(spec.plain("column_sums", number_dtype(x.dtype)), x, out)

    def loss_head(
        self,
        loss: Loss,
        z: Array,
        bias: Array,
        batch: Batch,
        delta: Array,
        bias_grad: Array,
        control: Control,
        *,
        smoothing: float = 0.0,
    ) -> None:
        """The loss of the batch into its slot, delta of the last layer (BP1), bias_grad: one pass.

        z (B, M) becomes z + bias, the network's output; delta (B, M) <- d(mean loss)/dz, the mean weighted by
        the batch's sample weights; bias_grad (M,) <- its column sums. The count of right answers goes into its
        slot too, and the first step with a loss that is not finite into the counters.
        """
        targets, weights = batch.targets, batch.weights
        self.require(z, bias, targets, weights, delta, bias_grad)
        labels = len(targets.shape) == 1
        rows = z.shape[:1]
        _check("loss_head", z.shape, ("bias", bias, z.shape[1:]), ("bias_grad", bias_grad, z.shape[1:]))
        _check("loss_head", z.shape, ("delta", delta, z.shape), ("weights", weights, rows))
        _check("loss_head", z.shape, ("targets", targets, rows if labels else z.shape))
        self.run(
            spec.loss_head(loss, z.dtype, labels=labels, weighted=batch.weighted),
            z,
            bias,
            targets,
            weights,
            weights,
            delta,
            bias_grad,
            control.losses,
            control.totals,
            control.correct,
            control.counters,
            z.dtype.type(smoothing),
        )

    def update(
        self,
        rule: UpdateRule,
        params: Array,
        grads: Array,
        state: Array,
        segments: Array,
        settings: Array,
        control: Control,
    ) -> None:
        """One pass of the optimizer over the flat buffers; params and state are changed.

        params, grads (P,); state (rule.states, P); segments int64 (S, 3): rows (first, stop, 1 where L2 and
        weight decay apply), what is in no segment is left alone; settings (8,): l2, weight decay, largest
        gradient norm (0: no clipping), penalty, then the rule's own four.
        """
        self.require(params, grads, state, segments, settings)
        _check("update", params.shape, ("grads", grads, params.shape), ("settings", settings, (8,)))
        _check("update", params.shape, ("state", state, (rule.states, *params.shape)))
        self.run(
            spec.update(rule, params.dtype),
            params,
            grads,
            state,
            segments,
            settings,
            control.table,
            control.scale,
            control.norm,
            control.counters,
            0,
        )

    def global_norm(self, grads: Array, segments: Array, control: Control) -> None:
        """control.norm <- the Euclidean norm of grads (P,) within the segments of `update`, without the host."""
        self.require(grads, segments)
        self.run(spec.plain("global_norm", grads.dtype), grads, segments, control.norm)

    def limit_columns(self, weights: Array, limit: float, factors: Array | None = None) -> Array:
        """A column of weights (N, M) that is longer than the limit is scaled to it: max-norm (Srivastava et al. 2014).

        factors (M,) <- what each column was multiplied by; returned. It is 1 where a column is left alone: so is one
        whose norm is not finite.
        """
        if factors is None:
            factors = self.empty(weights.shape[1:], weights.dtype)
        self.require(weights, factors)
        if len(weights.shape) != 2:
            raise InputError(f"limit_columns: an array of shape {weights.shape} was given; accepted: a matrix (N, M)")
        _check("limit_columns", weights.shape, ("factors", factors, weights.shape[1:]))
        dtype = weights.dtype
        if not float(np.finfo(dtype).tiny) <= limit <= float(np.finfo(dtype).max):
            raise InputError(f"limit_columns: limit={limit!r}; accepted: a positive number that {dtype} can hold")
        self.run(spec.plain("limit_columns", dtype), weights, dtype.type(limit), factors, 0)
        return factors

    def penalize(self, weights: Array, settings: Array, control: Control, squares: Array) -> None:
        """L2 that is shared out over the sum of sample weights of each batch, as that comes out of the loss head.

        weights (K,); settings (8,) of the update: its l2 <- penalty / total; control.penalties <- 1/2 l2 sum W^2 in the
        batch's slot. squares (k, k) is overwritten: the weights, cut into k pieces, times themselves, so that sum W^2
        comes from a product on many units, however many weights there are; K must be a multiple of k.
        """
        self.require(weights, settings, squares)
        pieces = weights.reshape(squares.shape[0], -1)
        self.matmul(pieces, pieces, squares, transpose_b=True)
        which = spec.plain("penalize", weights.dtype)
        self.run(which, squares, control.totals, control.penalties, settings, control.counters)

    def gather(self, samples: Samples, control: Control, batch: Batch) -> None:
        """Fill a batch with the rows whose turn it is, in the epoch's order, scaled in the same pass.

        The samples may begin with a later batch than the epoch's first one, see bpcore.kernels.counter.FIRST_BATCH.
        """
        # Without weights there is nothing to copy, and the batch's ones are not touched.
        out_weights = batch.weights[:0] if samples.weights is None else batch.weights
        weights = out_weights if samples.weights is None else samples.weights
        self.require(samples.x, samples.targets, weights, batch.x, batch.targets, out_weights)
        rows = batch.x.shape[0]
        _check("gather", batch.x.shape, ("x", samples.x, (samples.x.shape[0], batch.x.shape[1])))
        _check("gather", batch.x.shape, ("targets", batch.targets, (rows, *samples.targets.shape[1:])))
        dtype = number_dtype(batch.x.dtype)
        self.run(
            spec.gather(dtype, labels=samples.labels, weighted=samples.weights is not None),
            samples.x,
            samples.targets,
            weights,
            dtype.type(samples.scale),
            dtype.type(samples.shift),
            batch.x,
            batch.targets,
            out_weights,
            0,
            control.counters,
        )

    def scatter(self, batch: Array, control: Control, out: Array) -> None:
        """The reverse of a gather without a shuffle: the batch's rows to their places among the samples.

        batch (B, M) into out (samples, M), or labels int64 (B,) into (samples,); rows past its end are left out.
        """
        self.require(batch, out)
        _check("scatter", batch.shape, ("out", out, (*out.shape[:1], *batch.shape[1:])))
        if out.dtype != batch.dtype:
            raise InputTypeError(f"scatter: out has dtype {out.dtype}, but batch has {batch.dtype}")
        which = spec.scatter(control.losses.dtype, labels=len(batch.shape) == 1)
        self.run(which, batch, out, 0, control.counters)

    def dropout(self, x: Array, rate: float, layer: int, control: Control, out: Array | None = None) -> Array:
        """Each element is dropped with probability `rate`, the others are scaled by 1 / (1 - rate).

        x, out (B, M); `out` may be x. The mask is a function of the seed, the step, the layer's number and the
        element, so the backward pass is the same call on the delta, and nothing is stored.
        """
        if out is None:
            out = self.empty(x.shape, x.dtype)
        self.require(x, out)
        _check("dropout", x.shape, ("out", out, x.shape))
        if not 0.0 <= rate < 1.0:
            raise InputError(f"dropout rate {rate!r} is out of range; accepted: 0 <= rate < 1")
        threshold = round(rate * 2**32)
        scale = number_dtype(x.dtype).type(1.0 / (1.0 - rate))
        self.run(spec.plain("dropout", number_dtype(x.dtype)), x, out, layer, threshold, scale, 0, control.counters)
        return out

    def advance(self, control: Control) -> None:
        """The step is over: the next one sees the next batch, slot and learning rate."""
        self.run(spec.plain("advance", control.losses.dtype), control.counters)

    def record(
        self,
        step: Callable[[], None],
        *,
        control: Control | None = None,
        keeps_gradients: bool = False,
    ) -> Callable[[int], None]:
        """A function that runs the step many times; a backend may record it and replay the recording.

        control           the control block that the step reads, so that a recording can be tried on other samples
                          before it is trusted; all that this changes is put back
        keeps_gradients   a recording may fuse operations: unless this is set, weight gradients that nothing but the
                          update reads may be added to the weights without ever being written down
        """

        def replay(times: int) -> None:
            for _ in range(times):
                step()

        return replay

    def control(
        self,
        slots: int,
        dtype: DTypeLike,
        *,
        table: np.ndarray | None = None,
        seed: int = 0,
        shuffle: bool = False,
    ) -> Control:
        """A new control block with a slot for each batch of an epoch. table: (steps, 3), see Control."""
        counters = np.zeros(counter.COUNTERS, np.int64)
        counters[counter.SEED] = seed
        counters[counter.SHUFFLE] = shuffle
        counters[counter.FIRST_BAD] = -1
        return Control(
            counters=self.asarray(counters),
            losses=self.full((slots,), 0.0, dtype),
            totals=self.full((slots,), 0.0, dtype),
            correct=self.asarray(np.zeros(slots, np.int64)),
            penalties=self.full((slots,), 0.0, dtype),
            table=self.asarray(np.ones((1, 3)) if table is None else table, dtype),
            scale=self.full((1,), 1.0, dtype),
            norm=self.full((1,), 0.0, dtype),
        )

    def _elementwise(self, name: str, a: Array, b: Array, out: Array | None) -> Array:
        if out is None:
            out = self.empty(a.shape, a.dtype)
        self.require(a, b, out)
        _check(name, a.shape, ("b", b, a.shape), ("out", out, a.shape))
        self.run(spec.plain(name, number_dtype(a.dtype)), a, b, out)
        return out

    def _over_rows(self, name: str, z: Array, out: Array | None) -> Array:
        if out is None:
            out = self.empty(z.shape, z.dtype)
        self.require(z, out)
        _check(name, z.shape, ("out", out, z.shape))
        if z.shape[1] == 0:
            raise InputError(f"{name}: rows of no outputs have no {name}")
        self.run(spec.plain(name, z.dtype), z, out)
        return out

    def _check_pieces(self, name: str, pieces: Array, of_columns: Array, whole: Array, winner: Array) -> None:
        self.require(pieces, of_columns, whole, winner)
        columns = whole.shape[1]
        _check(name, whole.shape, ("winner", winner, whole.shape))
        _check(name, pieces.shape, ("bias or its gradient", of_columns, pieces.shape[1:]))
        if columns == 0 or pieces.shape[0] != whole.shape[0] or pieces.shape[1] % columns:
            raise InputError(
                f"{name}: {pieces.shape} does not hold pieces of {whole.shape}; the columns must be a multiple"
            )


def _check(op: str, shape: tuple[int, ...], *expected: tuple[str, Array, tuple[int, ...]]) -> None:
    """Each (name, array, shape) must have that shape: a kernel does not look."""
    if len(shape) not in (1, 2):
        raise InputError(f"{op}: an array of shape {shape} was given; accepted: matrices (batch, columns)")
    for name, array, wanted in expected:
        if array.shape != wanted:
            raise InputError(f"{op}: {name} has shape {array.shape}, but {wanted} is needed beside {shape}")


def _check_labels(op: str, *arrays: tuple[str, Array]) -> None:
    """Labels and counts are int64."""
    for name, array in arrays:
        if array.dtype != np.int64:
            raise InputTypeError(f"{op}: {name} has dtype {array.dtype}; int64 is needed")


def check_product(a: Array, b: Array, out: Array | None, transpose_a: bool, transpose_b: bool) -> tuple[int, int]:
    """The shape of op(a) @ op(b); one clear line where they do not fit."""
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise InputError(f"matmul: shapes {a.shape} and {b.shape} were given; accepted: two matrices")
    rows, inner = a.shape[::-1] if transpose_a else a.shape
    inner_b, columns = b.shape[::-1] if transpose_b else b.shape
    if inner != inner_b:
        marks = ("^T" if transpose_a else "", "^T" if transpose_b else "")
        raise InputError(f"matmul: {a.shape}{marks[0]} @ {b.shape}{marks[1]} do not fit: {inner} is not {inner_b}")
    if out is not None and out.shape != (rows, columns):
        raise InputError(f"matmul: out has shape {out.shape}, but the product has {(rows, columns)}")
    return rows, columns
