"""A contender's process, seen from the one that asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bpcore.bench.cells import Cell
from bpcore.bench.contenders import CPU, GPU
from bpcore.errors import BpcoreError, InputError

PATIENCE = {GPU: 240.0}
"""Seconds that an answer may take on a device: on a GPU, which is lent for minutes, nobody waits for one that hangs."""


class ContenderError(BpcoreError):
    """A contender could not do what it was told; the benchmark goes on without it."""


class Process:
    """Starts the worker of a contender on a device, and asks it. Used as a context: at its end the worker ends too."""

    def __init__(self, name: str, device: str, precision: str = "float32") -> None:
        self.name, self.device, self.precision = name, device, precision
        self._said = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  closed with the process
        self._worker: subprocess.Popen[str] | None = None

    def ask(self, what: str, **arguments: Any) -> dict[str, Any]:
        """One request, one reply. InputError where the user asked for what cannot be; else ContenderError."""
        worker = self._worker = self._worker or self._start()
        assert worker.stdin is not None
        assert worker.stdout is not None
        try:
            with _killed_when_late(worker, PATIENCE.get(self.device)) as late:
                worker.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
                worker.stdin.flush()
                line = worker.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            words = self._last_words()
            raise ContenderError(f"no answer after {PATIENCE[self.device]:g} s" if late.is_set() else words)
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            kind = InputError if reply["refused"] else ContenderError
            raise kind(reply["error"])
        return reply

    def hello(self, activation: str, optimizer: str, precision: str) -> dict[str, str]:
        """What the contender tells of itself; InputError where it has not what is asked for."""
        asked = {"activation": activation, "optimizer": optimizer, "precision": precision}
        about: dict[str, str] = self.ask("hello", **asked)["about"]
        return about

    def prepare(self, cell: Cell, data: str, data_dir: str | None) -> dict[str, Any]:
        """Build everything and run the first steps: seconds, the steps that a call takes at least, notes."""
        return self.ask("prepare", cell=cell.key(), data=data, data_dir=data_dir)

    def time(self, steps: int) -> float:
        """Seconds for so many steps."""
        seconds: float = self.ask("time", steps=steps)["seconds"]
        return seconds

    def loss(self) -> float | None:
        """The loss of the latest steps; None where nothing is trained."""
        loss: float | None = self.ask("loss")["loss"]
        return loss

    def close(self) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.kill()
            self._worker.communicate()
            self._worker = None

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._said.close()

    def _start(self) -> subprocess.Popen[str]:
        # -P: what lies in the current folder is no part of what is measured.
        command = [sys.executable, "-P", "-m", "bpcore.bench.worker", self.name, self.device]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env=os.environ | environment(self.name, self.device, self.precision),
        )

    def _last_words(self) -> str:
        """Why the worker is no more. The next request starts a new one."""
        assert self._worker is not None
        self._worker.communicate()
        code, self._worker = self._worker.returncode, None
        self._said.seek(0)
        lines = [line.strip() for line in self._said.read().splitlines() if line.strip()]
        return f"its process ended with code {code}" + (f": {lines[-1]}" if lines else "")


@contextmanager
def _killed_when_late(worker: subprocess.Popen[str], seconds: float | None) -> Iterator[threading.Event]:
    """Within, the worker is killed after so many seconds, and the event set; None: never."""
    late = threading.Event()

    def give_up() -> None:
        late.set()
        worker.kill()

    watch = None if seconds is None else threading.Timer(seconds, give_up)
    if watch is not None:
        watch.daemon = True
        watch.start()
    try:
        yield late
    finally:
        if watch is not None:
            watch.cancel()


def environment(name: str, device: str, precision: str = "float32") -> dict[str, str]:
    """What a worker's environment has besides: on a GPU no library may round to TF32, whatever its own setting says,
    unless that is what is measured; and JAX must neither look for another device nor take all its memory.
    """
    found = {} if device == CPU or precision == "tf32" else {"NVIDIA_TF32_OVERRIDE": "0"}
    if name == "jax":
        found |= {"JAX_PLATFORMS": "cpu" if device == CPU else "cuda", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    return found
