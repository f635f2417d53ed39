"""Compare a training run on MNIST with the same run in PyTorch eager: seconds of training, test accuracy.

    python benchmarks/versus_torch.py --data-dir DIR [--recipe default] [--rounds 3]

default   the defaults of `bpcore train`: 784-512-10, dropout, Adam
sgd       plain gradient descent with a one-cycle learning rate, which reaches 98 % in five epochs

The contenders take turns, each in its own process; medians are printed. Network, batch size, epochs, optimizer,
schedule and dropout are the same; the training data is in memory, and each epoch has a new order. Loading the data,
starting up and the first step (compilation) are not counted for either. PyTorch is not a dependency of bpcore: install
it with pip install torch.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from paired_runs import in_turns, print_machine, print_medians

from bpcore import Dense, Dropout, Network, OneCycle, load_dataset
from bpcore.training.optimizers import get_optimizer


@dataclass(frozen=True)
class Recipe:
    """How to train 784-hidden-10 with ReLU."""

    hidden: int
    dropout: float
    optimizer: str
    rate: float
    batch: int
    epochs: int

    def __str__(self) -> str:
        network = f"784-{self.hidden}-10, relu, dropout {self.dropout:g}"
        optimizer = f"{self.optimizer} {self.rate:g}, one cycle"
        return f"{network}, {optimizer}, batch {self.batch}, {self.epochs} epochs"


RECIPES = {"default": Recipe(512, 0.2, "adam", 0.003, 128, 12), "sgd": Recipe(512, 0.0, "sgd", 0.3, 32, 5)}


def run_bpcore(data: Any, recipe: Recipe, seed: int) -> dict[str, float]:
    def network() -> Network:
        dropout = [Dropout(recipe.dropout)] if recipe.dropout else []
        return Network([Dense(recipe.hidden, "relu"), *dropout, Dense(10)], backend="numpy", seed=seed)

    optimizer = get_optimizer(recipe.optimizer, learning_rate=recipe.rate)
    first = slice(2 * recipe.batch)
    network().fit(data.x_train[first], data.y_train[first], epochs=1, batch_size=recipe.batch, optimizer=optimizer)
    trained = network()
    history = trained.fit(
        data.x_train,
        data.y_train,
        optimizer=optimizer,
        schedule=OneCycle(),
        epochs=recipe.epochs,
        batch_size=recipe.batch,
        seed=seed,
    )
    accuracy = trained.evaluate(data.x_test, data.y_test).accuracy
    return {"seconds": sum(history["seconds"]), "accuracy": 100 * accuracy}


def run_torch(data: Any, recipe: Recipe, seed: int) -> dict[str, float]:
    import torch
    from torch import nn

    torch.manual_seed(seed)
    x = torch.from_numpy(data.x_train.astype(np.float32) / 255)
    y = torch.from_numpy(data.y_train)
    dropout = [nn.Dropout(recipe.dropout)] if recipe.dropout else []
    model = nn.Sequential(nn.Linear(784, recipe.hidden), nn.ReLU(), *dropout, nn.Linear(recipe.hidden, 10))
    nn.init.kaiming_normal_(model[0].weight)
    nn.init.xavier_uniform_(model[-1].weight)
    for layer in (model[0], model[-1]):
        nn.init.zeros_(layer.bias)
    steps = -(-len(x) // recipe.batch)
    rates = recipe.rate * OneCycle().factors(steps * recipe.epochs, steps)
    optimizer = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[recipe.optimizer](model.parameters(), lr=recipe.rate)
    loss_of = nn.CrossEntropyLoss()

    def step(rows: Any, rate: float) -> None:
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        loss_of(model(x[rows]), y[rows]).backward()
        optimizer.step()

    step(torch.arange(recipe.batch), 0.0)
    began = time.perf_counter()
    for epoch in range(recipe.epochs):
        order = torch.randperm(len(x))
        for number in range(steps):
            step(order[number * recipe.batch : (number + 1) * recipe.batch], float(rates[epoch * steps + number]))
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
    parser.add_argument("--recipe", choices=RECIPES, default="default")
    parser.add_argument("--worker", choices=CONTENDERS, help="run one contender once and print JSON")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if options.worker:
        data = load_dataset("mnist", data_dir=options.data_dir)
        print(json.dumps(CONTENDERS[options.worker](data, RECIPES[options.recipe], options.seed)))
        return
    print_machine("numba", "torch")
    print(f"{RECIPES[options.recipe]}, MNIST")
    print_medians(in_turns(CONTENDERS, options.rounds), "bpcore", "torch")


if __name__ == "__main__":
    main()
