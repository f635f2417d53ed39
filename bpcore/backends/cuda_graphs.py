"""Record a step on a GPU: it becomes a CUDA graph, which the host only has to launch.

To capture a graph, operations are launched on a stream that records them instead of running them. Two graphs are kept,
of one step and of many, so that the launches do not slow down small steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from bpcore.backends.base import Backend
from bpcore.backends.fusion import fold_updates, fuse_epilogues
from bpcore.backends.operations import Operation, Product
from bpcore.backends.recording import NotRecordableError, Replay

STEPS_IN_A_GRAPH = 16
"""The number of steps in the longer graph. A guess until it is measured (benchmarks/first_questions.py)."""

BYTES_WORTH_FOLDING = 4 * 2**20
"""Smaller gradients are not folded: they stay in the GPU's cache until the update reads them. Also a guess."""


class GraphMaker:
    """Makes CUDA graphs of operations (recording.Maker).

    xp           the array module
    epilogues    whether the device can compute a product that ends with the activation following it; None for no
                 such products
    """

    def __init__(
        self, backend: Backend, xp: Any, *, folds: bool, epilogues: Callable[[Product], bool] | None = None
    ) -> None:
        self._backend, self._xp, self._folds, self._epilogues = backend, xp, folds, epilogues

    def fused(self, operations: Sequence[Operation]) -> Sequence[Operation]:
        """The step with updates folded into large weight gradients, and activations into the products before them."""
        if self._folds:
            operations = fold_updates(self._backend, operations, smallest=BYTES_WORTH_FOLDING)
        if self._epilogues is not None:
            operations = fuse_epilogues(self._backend, operations, self._epilogues)
        return operations

    def make(self, operations: Sequence[Operation]) -> Replay:
        """Capture the graphs of a step. It runs once first, since nothing can be compiled or loaded in a capture."""
        for operation in operations:
            self._backend.execute(operation)
        return _Graphs(self._backend, self._xp, operations)

    def perform(self, operation: Operation) -> None:
        """Execute an operation now."""
        self._backend.execute(operation)


class _Graphs:
    """Graphs of one step and of many. A graph does not keep its arrays alive, so the operations are kept as well."""

    def __init__(self, backend: Backend, xp: Any, operations: Sequence[Operation]) -> None:
        self._backend, self._xp, self._operations = backend, xp, operations
        self._one = self._captured(1)
        self._many: Any = None

    def __call__(self, times: int) -> None:
        """Launch this many steps on the current stream."""
        if times >= STEPS_IN_A_GRAPH and self._many is None:
            self._many = self._captured(STEPS_IN_A_GRAPH)
        for _ in range(times // STEPS_IN_A_GRAPH):
            self._many.launch()
        for _ in range(times % STEPS_IN_A_GRAPH):
            self._one.launch()

    def _captured(self, steps: int) -> Any:
        """Capture a number of steps as one graph, on a new stream, since the default stream cannot be captured."""
        stream = self._xp.cuda.Stream(non_blocking=True)
        try:
            with stream:
                stream.begin_capture()
                try:
                    for _ in range(steps):
                        for operation in self._operations:
                            self._backend.execute(operation)
                except BaseException:
                    with suppress(Exception):  # the first error says more than the invalid capture
                        stream.end_capture()
                    raise
                graph = stream.end_capture()
        except Exception as error:  # CuPy, the driver, cuBLASLt and Numba raise different errors
            first_line = str(error).strip().partition("\n")[0] or type(error).__name__
            raise NotRecordableError(f"it cannot be captured as a CUDA graph ({first_line})") from error
        return graph
