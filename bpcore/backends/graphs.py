"""Recording on a GPU: a step becomes a CUDA graph, which the host launches and goes away.

A graph is captured: the operations are asked for on a stream that only notes them down. Two graphs are kept, of one
step and of many, so that a small step is not held up by the launch of the next one.
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
"""The steps of the longer graph. A guess until it is measured (benchmarks/first_questions.py)."""

BYTES_WORTH_FOLDING = 4 * 2**20
"""A smaller gradient stays in the GPU's cache until the update reads it. A guess until it is measured."""


class GraphMaker:
    """Makes CUDA graphs of operations (recording.Maker).

    xp           the array module
    epilogues    whether cuBLASLt has a product, asked for one that ends with the activation that follows it; None
                 where products are to end without
    """

    def __init__(
        self, backend: Backend, xp: Any, *, folds: bool, epilogues: Callable[[Product], bool] | None = None
    ) -> None:
        self._backend, self._xp, self._folds, self._epilogues = backend, xp, folds, epilogues

    def fused(self, operations: Sequence[Operation]) -> Sequence[Operation]:
        """Updates folded into large weight gradients, activations into the products before them."""
        if self._folds:
            operations = fold_updates(self._backend, operations, smallest=BYTES_WORTH_FOLDING)
        if self._epilogues is not None:
            operations = fuse_epilogues(self._backend, operations, self._epilogues)
        return operations

    def make(self, operations: Sequence[Operation]) -> Replay:
        """The graphs of a step. It runs once first: what is compiled, loaded or chosen at first use cannot be later."""
        for operation in operations:
            self._backend.execute(operation)
        return _Graphs(self._backend, self._xp, operations)

    def perform(self, operation: Operation) -> None:
        """Run an operation now."""
        self._backend.execute(operation)


class _Graphs:
    """One step and many steps as graphs; a graph holds no reference to its arrays, so the operations are kept."""

    def __init__(self, backend: Backend, xp: Any, operations: Sequence[Operation]) -> None:
        self._backend, self._xp, self._operations = backend, xp, operations
        self._one = self._captured(1)
        self._many: Any = None

    def __call__(self, times: int) -> None:
        """Launch so many steps on the current stream."""
        if times >= STEPS_IN_A_GRAPH and self._many is None:
            self._many = self._captured(STEPS_IN_A_GRAPH)
        for _ in range(times // STEPS_IN_A_GRAPH):
            self._many.launch()
        for _ in range(times % STEPS_IN_A_GRAPH):
            self._one.launch()

    def _captured(self, steps: int) -> Any:
        """The graph of some steps. The default stream cannot be captured, so one is made for the purpose."""
        stream = self._xp.cuda.Stream(non_blocking=True)
        try:
            with stream:
                stream.begin_capture()
                try:
                    for _ in range(steps):
                        for operation in self._operations:
                            self._backend.execute(operation)
                except BaseException:
                    with suppress(Exception):  # that the capture is invalid now says nothing; what made it so does
                        stream.end_capture()
                    raise
                graph = stream.end_capture()
        except Exception as error:  # of several kinds, by what refused: CuPy, the driver, cuBLASLt, Numba
            first_line = str(error).strip().partition("\n")[0] or type(error).__name__
            raise NotRecordableError(f"it cannot be captured as a CUDA graph ({first_line})") from error
        return graph
