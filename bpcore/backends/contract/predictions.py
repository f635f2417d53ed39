"""Operations of predictions: probabilities, labels and the confusion matrix, from a network's outputs."""

from __future__ import annotations

import numpy as np

from bpcore.backends.arrays import Array
from bpcore.backends.contract.primitives import Primitives
from bpcore.errors import InputError
from bpcore.kernels import spec


class PredictionOperations(Primitives):
    """Operations that predictions and evaluations apply to a network's outputs."""

    def softmax(self, z: Array, out: Array | None = None) -> Array:
        """out <- e^z / sum e^z, row by row; `out` may be z."""
        return self._over_rows("softmax", z, out)

    def log_softmax(self, z: Array, out: Array | None = None) -> Array:
        """out <- z - log sum e^z, row by row; `out` may be z."""
        return self._over_rows("log_softmax", z, out)

    def argmax(self, z: Array, out: Array | None = None) -> Array:
        """out int64 (B,) <- the column of each row's maximum in z (B, M): the first of equals; the first NaN if any."""
        if out is None:
            out = self.empty(z.shape[:1], np.int64)
        self.require(z, out)
        if z.shape[1] == 0:
            raise InputError("argmax: rows without outputs have no largest one")
        self.run(spec.plain("argmax", z.dtype), z, out)
        return out

    def above_zero(self, z: Array, out: Array | None = None) -> Array:
        """out int64 (B, M) <- 1 where z (B, M) is above zero, else 0, also for NaN."""
        if out is None:
            out = self.empty(z.shape, np.int64)
        self.require(z, out)
        self.run(spec.plain("above_zero", z.dtype), z, out)
        return out

    def confusion(self, predicted: Array, targets: Array, counts: Array) -> None:
        """Count pairs of true (rows) and predicted (columns) labels, int64 (B,) each, in counts int64 (M, M).

        Labels outside 0 to M - 1 are not counted.
        """
        self.require(predicted, targets, counts)
        self.run(spec.plain("confusion", np.dtype(np.float32)), predicted, targets, counts)

    def _over_rows(self, name: str, z: Array, out: Array | None) -> Array:
        if out is None:
            out = self.empty(z.shape, z.dtype)
        self.require(z, out)
        if z.shape[1] == 0:
            raise InputError(f"{name}: rows without outputs have no {name}")
        self.run(spec.plain(name, z.dtype), z, out)
        return out
