"""The default MNIST run of `bpcore train` beside the same run in PyTorch eager: seconds of training, test accuracy.

    python benchmarks/versus_torch.py --data-dir DIR [--rounds 3] [--epochs 12]

Each contender runs in a process of its own, in turns; what is printed are medians. Same network, batch size, epochs,
optimizer, schedule and dropout; the training data is in memory, and each epoch has a new order. Loading the data,
starting up and the first step (compilation) are not counted for either. PyTorch is not a dependency of bpcore:
install it beside (pip install torch).
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from datetime import date
from importlib.metadata import version
from typing import Any

import numpy as np

from bpcore import Adam, Dense, Dropout, Network, OneCycle, get_backend, load_dataset

HIDDEN, DROPOUT, RATE, BATCH = 512, 0.2, 0.003, 128


def run_bpcore(data: Any, epochs: int, seed: int) -> dict[str, float]:
    def network() -> Network:
        return Network([Dense(HIDDEN, "relu"), Dropout(DROPOUT), Dense(10)], backend="numpy", seed=seed)

    network().fit(data.x_train[:BATCH], data.y_train[:BATCH], epochs=1, batch_size=BATCH)
    trained = network()
    history = trained.fit(
        data.x_train,
        data.y_train,
        optimizer=Adam(learning_rate=RATE),
        schedule=OneCycle(),
        epochs=epochs,
        batch_size=BATCH,
        seed=seed,
    )
    accuracy = trained.evaluate(data.x_test, data.y_test).accuracy
    return {"seconds": sum(history["seconds"]), "accuracy": 100 * accuracy}


def run_torch(data: Any, epochs: int, seed: int) -> dict[str, float]:
    import torch
    from torch import nn

    torch.manual_seed(seed)
    x = torch.from_numpy(data.x_train.astype(np.float32) / 255)
    y = torch.from_numpy(data.y_train)
    model = nn.Sequential(nn.Linear(784, HIDDEN), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(HIDDEN, 10))
    nn.init.kaiming_normal_(model[0].weight)
    nn.init.xavier_uniform_(model[3].weight)
    for layer in (model[0], model[3]):
        nn.init.zeros_(layer.bias)
    steps = -(-len(x) // BATCH)
    rates = RATE * OneCycle().factors(steps * epochs, steps)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    loss_of = nn.CrossEntropyLoss()

    def step(rows: Any, rate: float) -> None:
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        loss_of(model(x[rows]), y[rows]).backward()
        optimizer.step()

    step(torch.arange(BATCH), 0.0)
    began = time.perf_counter()
    for epoch in range(epochs):
        order = torch.randperm(len(x))
        for number in range(steps):
            step(order[number * BATCH : (number + 1) * BATCH], float(rates[epoch * steps + number]))
    seconds = time.perf_counter() - began
    model.eval()
    with torch.no_grad():
        predicted = model(torch.from_numpy(data.x_test.astype(np.float32) / 255)).argmax(dim=1).numpy()
    return {"seconds": seconds, "accuracy": 100 * float((predicted == data.y_test).mean())}


CONTENDERS = {"bpcore": run_bpcore, "torch": run_torch}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--worker", choices=CONTENDERS, help="run one contender once and print JSON")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.worker:
        data = load_dataset("mnist", data_dir=options.data_dir)
        print(json.dumps(CONTENDERS[options.worker](data, options.epochs, options.seed)))
        return
    device = get_backend("numpy").describe()
    print(f"{date.today()}  {device['device']}, {device['threads']} threads")
    versions = f"numpy {device['numpy']}, numba {device['numba']}, torch {version('torch')}"
    print(f"Python {platform.python_version()}, {versions}")
    recipe = f"784-{HIDDEN}-10, relu, dropout {DROPOUT}, Adam {RATE}, one cycle, batch {BATCH}"
    print(f"{recipe}, {options.epochs} epochs, MNIST")
    results: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    for seed in range(options.rounds):
        for name, found in results.items():
            command = [sys.executable, __file__, *sys.argv[1:], "--worker", name, "--seed", str(seed)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found.append(json.loads(output))
            print(f"seed {seed}  {name:7}  {found[-1]['seconds']:7.2f} s  {found[-1]['accuracy']:.2f} %", flush=True)
    medians = {name: statistics.median(run["seconds"] for run in found) for name, found in results.items()}
    for name, found in results.items():
        accuracy = statistics.mean(run["accuracy"] for run in found)
        print(f"{name:7}  median {medians[name]:.2f} s of training, mean test accuracy {accuracy:.2f} %")
    print(f"bpcore takes {medians['bpcore'] / medians['torch']:.2f} of PyTorch's time")


if __name__ == "__main__":
    main()
