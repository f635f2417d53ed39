"""The tested repository, the MNIST files near it, and the cost of starting Python."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PYTHONPATH = os.pathsep.join([str(REPOSITORY / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])])
"""For a process that imports from tests/support, and the bpcore that is tested here."""


def mnist_folder() -> Path | None:
    """The folder of real MNIST: $BPCORE_DATA_DIR or its mnist/, or next to the repository; None if not found."""
    for base in (os.environ.get("BPCORE_DATA_DIR"), REPOSITORY.parent / "shared" / "data"):
        if base and any((Path(base) / inner / "train-images-idx3-ubyte.gz").is_file() for inner in ("mnist", ".")):
            return Path(base)
    return None


def start_up_cost(*arguments: str) -> float:
    """The cost of a Python process with these arguments, relative to a process that imports NumPy and ends.

    Start-up uses one core, so its processor time is the time that a user waits on an idle machine. The speed and the
    load of the machine affect both processes alike; the best of five runs counts. Coverage is off in these processes.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    def processor_seconds(*arguments: str) -> float:
        before = used()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, env=environment)
        return used() - before

    rounds = [(processor_seconds(*arguments), processor_seconds("-c", "import numpy")) for _ in range(5)]
    ours, numpys = zip(*rounds, strict=True)
    return min(ours) / min(numpys)
