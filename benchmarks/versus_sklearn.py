"""Compare bpcore.sklearn.MLPClassifier with scikit-learn's own on MNIST: seconds of training, test accuracy.

    python benchmarks/versus_sklearn.py --data-dir DIR [--epochs 10] [--rounds 3] [--stream ROWS]

Both use scikit-learn's default settings (100 hidden units with ReLU, Adam, batches of 200, alpha 0.0001) and float32
features. They take turns, each in its own process; medians are printed. Loading the data, starting up and a first short
fit (compilation) are not counted for either. With the same random_state both start with the same weights; the order of
the samples differs. With --stream, the samples are passed to partial_fit in their own order, ROWS at a time.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from typing import Any

import numpy as np
from paired_runs import in_turns, print_machine, print_medians
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier as ScikitLearns

from bpcore import load_dataset
from bpcore.sklearn import MLPClassifier

CONTENDERS = {"bpcore": MLPClassifier, "scikit-learn": ScikitLearns}


def learn(model: Any, x: np.ndarray, y: np.ndarray, epochs: int, stream: int) -> None:
    """Fit the model; or, if stream is not 0, pass that many samples at a time to partial_fit."""
    if not stream:
        model.fit(x, y)
        return
    for _ in range(epochs):
        for first in range(0, len(x), stream):
            model.partial_fit(x[first : first + stream], y[first : first + stream], classes=np.arange(10))


def run(name: str, data: Any, epochs: int, seed: int, stream: int) -> dict[str, float]:
    """Fit one contender once, and return its seconds, accuracy and loss."""
    warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is fixed, converged or not
    x_train, x_test = (x.reshape(len(x), -1).astype(np.float32) / 255 for x in (data.x_train, data.x_test))
    own = {"device": "cpu"} if name == "bpcore" else {}
    settings: dict[str, Any] = {"random_state": seed, "tol": 0.0, "n_iter_no_change": epochs, **own}
    learn(CONTENDERS[name](max_iter=1, **settings), x_train[:1000], data.y_train[:1000], 1, stream)
    model = CONTENDERS[name](max_iter=epochs, **settings)
    began = time.perf_counter()
    learn(model, x_train, data.y_train, epochs, stream)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "accuracy": 100 * model.score(x_test, data.y_test), "loss": float(model.loss_)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument(
        "--stream", type=int, default=0, metavar="ROWS", help="call partial_fit with this many samples at a time"
    )
    parser.add_argument("--worker", choices=CONTENDERS, help="run one contender once and print JSON")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.worker:
        data = load_dataset("mnist", data_dir=options.data_dir)
        print(json.dumps(run(options.worker, data, options.epochs, options.seed, options.stream)))
        return
    print_machine("numba", "scikit-learn")
    how = f"partial_fit of {options.stream} samples at a time" if options.stream else "fit"
    print(f"784-100-10, relu, adam 0.001, batch 200, alpha 0.0001, {options.epochs} epochs, float32, MNIST; {how}")
    print_medians(in_turns(CONTENDERS, options.rounds), "bpcore", "scikit-learn")


if __name__ == "__main__":
    main()
