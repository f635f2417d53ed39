"""Starting a contender's worker process, and talking to it."""

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
"""The most seconds that a reply may take on a device: a hanging GPU must not use up the time of a rented machine."""


class ContenderError(BpcoreError):
    """A contender could not answer a request; the benchmark continues without it."""


class Process:
    """The worker process of a contender on a device, started at the first request.

    A context manager: on leaving it, the worker is ended.
    """

    def __init__(self, name: str, device: str, precision: str = "float32") -> None:
        self.name, self.device, self.precision = name, device, precision
        self._stderr = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  __exit__ closes it
        self._worker: subprocess.Popen[str] | None = None

    def ask(self, what: str, **arguments: Any) -> dict[str, Any]:
        """Send a request and return the reply. InputError if the user's request is impossible, else ContenderError."""
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
            reason = self._exit_reason()
            raise ContenderError(f"no answer after {PATIENCE[self.device]:g} s" if late.is_set() else reason)
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            kind = InputError if reply["refused"] else ContenderError
            raise kind(reply["error"])
        return reply

    def hello(self, activation: str, optimizer: str, precision: str) -> dict[str, str]:
        """The contender's versions and device; InputError if it does not support what is asked for."""
        reply = self.ask("hello", activation=activation, optimizer=optimizer, precision=precision)
        about: dict[str, str] = reply["about"]
        return about

    def prepare(self, cell: Cell, data: str, data_dir: str | None) -> dict[str, Any]:
        """Build everything and run the first steps; return seconds, the least steps of a call (chunk), and notes."""
        return self.ask("prepare", cell=cell.key(), data=data, data_dir=data_dir)

    def time(self, steps: int) -> float:
        """Run a number of steps and return the seconds taken."""
        seconds: float = self.ask("time", steps=steps)["seconds"]
        return seconds

    def loss(self) -> float | None:
        """The loss of the latest steps; None for a contender that trains nothing."""
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
        self._stderr.close()

    def _start(self) -> subprocess.Popen[str]:
        # -P: modules in the current folder must not be imported.
        command = [sys.executable, "-P", "-m", "bpcore.bench.worker", self.name, self.device]
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
            env=os.environ | environment(self.name, self.device, self.precision),
        )

    def _exit_reason(self) -> str:
        """Why the worker has ended. The next request starts a new one."""
        assert self._worker is not None
        self._worker.communicate()
        code, self._worker = self._worker.returncode, None
        self._stderr.seek(0)
        lines = [line.strip() for line in self._stderr.read().splitlines() if line.strip()]
        return f"its process ended with code {code}" + (f": {lines[-1]}" if lines else "")


@contextmanager
def _killed_when_late(worker: subprocess.Popen[str], seconds: float | None) -> Iterator[threading.Event]:
    """A context in which the worker is killed, and the event set, after some seconds; None: never."""
    late = threading.Event()

    def give_up() -> None:
        late.set()
        worker.kill()

    timer = None if seconds is None else threading.Timer(seconds, give_up)
    if timer is not None:
        timer.daemon = True
        timer.start()
    try:
        yield late
    finally:
        if timer is not None:
            timer.cancel()


def environment(name: str, device: str, precision: str = "float32") -> dict[str, str]:
    """The environment variables to add for a worker.

    On a GPU, no library may round to TF32, whatever its own settings, unless TF32 is measured. JAX must not look for
    another device, nor allocate all of its memory.
    """
    found = {} if device == CPU or precision == "tf32" else {"NVIDIA_TF32_OVERRIDE": "0"}
    if name == "jax":
        found |= {"JAX_PLATFORMS": "cpu" if device == CPU else "cuda", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    return found
