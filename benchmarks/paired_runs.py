"""Running contenders in turns, each in its own process: shared by the comparisons of whole training runs."""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Iterable
from datetime import date
from importlib.metadata import version

from bpcore import get_backend


def print_machine(*packages: str) -> None:
    """Print the date, the processor, and the versions of the packages."""
    device = get_backend("numpy").describe()
    print(f"{date.today()}  {device['device']}, {device['threads']} threads")
    versions = [f"{name} {version(name)}" for name in packages]
    print(f"Python {platform.python_version()}, " + ", ".join([f"numpy {device['numpy']}", *versions]))


def in_turns(contenders: Iterable[str], rounds: int) -> dict[str, list[dict[str, float]]]:
    """Run this program with --worker NAME --seed N for each contender in each round; collect the JSON it prints."""
    results: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for seed in range(rounds):
        for name, found in results.items():
            command = [sys.executable, *sys.argv, "--worker", name, "--seed", str(seed)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found.append(json.loads(output))
            print(f"seed {seed}  {name:12}  {found[-1]['seconds']:7.2f} s  {found[-1]['accuracy']:.2f} %", flush=True)
    return results


def print_medians(results: dict[str, list[dict[str, float]]], first: str, second: str) -> None:
    """Print each contender's median time and mean accuracy, and the ratio of the first one's time to the second's."""
    medians = {name: statistics.median(run["seconds"] for run in found) for name, found in results.items()}
    for name, found in results.items():
        accuracy = statistics.mean(run["accuracy"] for run in found)
        print(f"{name:12}  median {medians[name]:.2f} s of training, mean test accuracy {accuracy:.2f} %")
    print(f"{first} takes {medians[first] / medians[second]:.2f} of {second}'s time")
