"""The process of one contender: it stays alive and answers requests over a pipe.

    python -m bpcore.bench.worker NAME DEVICE

Requests are lines of JSON on the standard input, replies are lines of JSON on the original standard output; whatever a
framework prints goes to the standard error.

    {"do": "hello", "activation", "optimizer", "precision"}  -> {"about": ...}
    {"do": "prepare", "cell", "data", "data_dir"}            -> {"seconds", "chunk", "notes"}: built, compiled, run
    {"do": "time", "steps"}                                  -> {"seconds"}
    {"do": "loss"}                                           -> {"loss"}
    {"do": "roofline", "precision", "quick"}                 -> {"roofline"}

An error is answered by {"error": one line, "refused": whether the user's request is impossible}.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import time
from typing import IO, Any

from bpcore.bench import data, roofline
from bpcore.bench.cells import Cell, cell_from
from bpcore.bench.contenders import CONTENDERS
from bpcore.bench.contenders.base import Contender, check
from bpcore.errors import BpcoreError


class Worker:
    """Answers requests; `answer` takes one and returns the reply."""

    def __init__(self, name: str, device: str) -> None:
        self.name, self.device = name, device
        self._contender: Contender | None = None
        self._data: tuple[object, data.Data] | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """The reply to one request; an error is a reply too."""
        arguments = dict(request)
        try:
            reply: dict[str, Any] = getattr(self, f"_{arguments.pop('do')}")(**arguments)
            return reply
        except BpcoreError as error:
            return {"error": str(error), "refused": True}
        except Exception as error:
            return {"error": _one_line(error), "refused": False}

    def _hello(self, activation: str, optimizer: str, precision: str) -> dict[str, Any]:
        kind = CONTENDERS[self.name].load()
        check(kind, activation, optimizer, precision)
        return {"about": kind.about(self.device)}

    def _prepare(self, cell: dict[str, Any], data: str, data_dir: str | None) -> dict[str, Any]:
        self._contender = None
        gc.collect()  # frees the last cell's arrays before this one's are allocated
        wanted = cell_from(cell)
        samples = self._samples(wanted, data, data_dir)
        kind = CONTENDERS[self.name].load()
        began = time.perf_counter()
        contender = kind(wanted, samples)
        for _ in range(3):  # the steps are recorded, checked and replayed
            contender.run(contender.chunk)
        self._contender = contender
        seconds = time.perf_counter() - began
        return {"seconds": seconds, "chunk": contender.chunk, "notes": contender.notes()}

    def _time(self, steps: int) -> dict[str, Any]:
        contender = self._ready()
        began = time.perf_counter()
        contender.run(steps)
        return {"seconds": time.perf_counter() - began}

    def _loss(self) -> dict[str, Any]:
        return {"loss": self._ready().loss()}

    def _roofline(self, precision: str, quick: bool) -> dict[str, Any]:
        return {"roofline": roofline.measure(self.device, precision, quick=quick).as_json()}

    def _ready(self) -> Contender:
        if self._contender is None:
            raise RuntimeError("prepare comes first")
        return self._contender

    def _samples(self, cell: Cell, kind: str, data_dir: str | None) -> data.Data:
        key = (kind, data_dir, cell.network[0], cell.network[-1])
        if self._data is None or self._data[0] != key:
            self._data = None
            self._data = (key, data.make(kind, cell, data_dir))
        return self._data[1]


def serve(worker: Worker, requests: IO[str], replies: IO[str]) -> None:
    """Answer requests until there are no more."""
    for line in requests:
        replies.write(json.dumps(worker.answer(json.loads(line))) + "\n")
        replies.flush()


def main() -> None:
    """Serve requests, with the standard output kept for replies and prints redirected to the standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C, and then closes the pipe
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve(Worker(*sys.argv[1:]), sys.stdin, replies)


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"


if __name__ == "__main__":
    main()
