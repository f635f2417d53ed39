"""The test measures that `train` and `evaluate` report."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from bpcore import ops
from bpcore.cli.report import percent
from bpcore.data.codec import TableCodec
from bpcore.network import Network

LINKS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "softmax": ops.softmax,
    "sigmoid": lambda z: ops.activate(z, "sigmoid"),
}
"""The links that give probabilities."""


def measure(network: Network, x: np.ndarray, y: np.ndarray, codec: TableCodec | None) -> dict[str, Any]:
    """Evaluate a network: test_loss, and test_accuracy in percent or, for regression, rmse (in the target's units), r2.

    With several targets, rmse and r2 are lists. r2 is NaN if all true values are equal.
    """
    evaluation = network.evaluate(x, y)
    results: dict[str, Any] = {"test_loss": evaluation.loss}
    if network.classifies:
        return results | {"test_accuracy": 100.0 * evaluation.accuracy}
    true, predicted = (codec.decode_targets(part) if codec else part for part in (y, network.predict(x)))
    true, predicted = true.astype(np.float64), predicted.astype(np.float64)
    residual = ((predicted - true) ** 2).mean(axis=0)
    spread = true.var(axis=0)
    rmse = np.sqrt(residual)
    r2 = np.where(spread > 0, 1.0 - residual / np.where(spread > 0, spread, 1.0), np.nan)
    return results | {"rmse": _one_or_all(rmse), "r2": _one_or_all(r2)}


def class_scores(network: Network, x: np.ndarray) -> tuple[np.ndarray, bool]:
    """The scores (n, classes), and whether they are probabilities; one output becomes two scores, for no and yes."""
    scores = network.output(x).astype(np.float64)  # in which probabilities that are written down sum to one
    probabilities = network.loss is not None and network.loss.rule.gives_probabilities
    if network.loss is not None and probabilities:
        scores = LINKS[network.loss.rule.link](scores)
    if scores.shape[1] == 1:
        no = 1.0 - scores if probabilities else -scores
        scores = np.concatenate([no, scores], axis=1)
    return scores, probabilities


def in_words(results: dict[str, Any], target: str | None = None) -> str:
    """The measures as one phrase; target is the name of the predicted column."""
    if "test_accuracy" in results:
        first = f"test accuracy {percent(results['test_accuracy'] / 100)}"
    else:
        errors, r2 = (value if isinstance(value, list) else [value] for value in (results["rmse"], results["r2"]))
        unit = f" of {target}" if target else ""
        shares = " ".join("unknown" if math.isnan(one) else f"{one:.4f}" for one in r2)
        first = f"test RMSE{unit} {' '.join(map(_number, errors))}, R2 {shares}"
    return f"{first}, loss {results['test_loss']:.4f}"


def in_figures(results: dict[str, Any]) -> list[tuple[str, str]]:
    """The measures as pairs of a name and a value; with several targets, those of the first."""
    if "test_loss" not in results:
        return []
    if "test_accuracy" in results:
        found = [("test accuracy", percent(results["test_accuracy"] / 100))]
    else:
        rmse, r2 = (value[0] if isinstance(value, list) else value for value in (results["rmse"], results["r2"]))
        found = [("test RMSE", _number(rmse)), ("test R2", "unknown" if math.isnan(r2) else f"{r2:.4f}")]
    return [*found, ("test loss", f"{results['test_loss']:.4f}")]


def _one_or_all(values: np.ndarray) -> Any:
    return float(values[0]) if len(values) == 1 else values.tolist()


def _number(value: float) -> str:
    """A number with four digits, without an exponent unless it is very small or large."""
    if not 1e-4 <= value < 1e9:
        return f"{value:.3e}" if value else "0"
    return f"{value:,.{max(0, 3 - math.floor(math.log10(value)))}f}"
