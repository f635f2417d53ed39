"""How good a network is: what `train` and `evaluate` report."""

from __future__ import annotations

from typing import Any

import numpy as np

from bpcore.commands.report import percent
from bpcore.data.codec import TableCodec
from bpcore.model import Network


def measure(network: Network, x: np.ndarray, y: np.ndarray, codec: TableCodec | None) -> dict[str, Any]:
    """test_loss, and test_accuracy in percent or, for regression, rmse and r2 in the target's own units.

    rmse and r2 are lists where there are several targets. r2 is NaN where all the true values are equal.
    """
    evaluation = network.evaluate(x, y)
    results: dict[str, Any] = {"test_loss": evaluation.loss}
    if network.classifies:
        return results | {"test_accuracy": 100.0 * evaluation.accuracy}
    output = network.output(x)
    true, predicted = (codec.decode_targets(part) if codec else part.astype(np.float64) for part in (y, output))
    residual = ((predicted - true) ** 2).mean(axis=0)
    spread = true.var(axis=0)
    rmse = np.sqrt(residual)
    r2 = np.where(spread > 0, 1.0 - residual / np.where(spread > 0, spread, 1.0), np.nan)
    return results | {"rmse": _one_or_all(rmse), "r2": _one_or_all(r2)}


def in_words(results: dict[str, Any], target: str | None = None) -> str:
    """The measures in one phrase."""
    if "test_accuracy" in results:
        first = f"test accuracy {percent(results['test_accuracy'] / 100)}"
    else:
        unit = f" of {target}" if target else ""
        first = f"test RMSE{unit} {_numbers(results['rmse'], '.4g')}, R2 {_numbers(results['r2'], '.4f')}"
    return f"{first}, loss {results['test_loss']:.4f}"


def _one_or_all(values: np.ndarray) -> Any:
    return float(values[0]) if len(values) == 1 else values.tolist()


def _numbers(value: Any, form: str) -> str:
    values = value if isinstance(value, list) else [value]
    return " ".join("unknown" if number != number else format(number, form) for number in values)
