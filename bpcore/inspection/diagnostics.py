"""Diagnostics: a callback that samples the layers of a network during training and warns if something is wrong."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from bpcore.errors import counted
from bpcore.inspection.advice import MAY_PASS, advice, short
from bpcore.inspection.probe import DiagnosticSample, Probe
from bpcore.training.callbacks import Callback
from bpcore.training.run import Run


class Diagnostics(Callback):
    """Samples a network's layers during training, and warns when gradients vanish or explode, or units die.

        diagnostics = Diagnostics()
        network.fit(x, y, callbacks=[diagnostics])
        print(diagnostics)

    every    the number of steps between two samples; by default before the first step and after each epoch
    rows     the number of training samples to use, always the same ones
    notify   called with each warning, once for each kind; a problem that may pass must show in two samples in a row.
             By default warnings.warn

    `samples` holds the figures, `warnings` the warnings, `seconds` the time that sampling took. Each sample costs about
    as much as a training step of `rows` rows that runs from Python; parameters, gradients and activations are copied to
    the host and read once. Between samples there is no cost. The device needs memory for a copy of the parameters and
    of the optimizer's state, and for the buffers of these rows.
    """

    _probe: Probe | None

    def __init__(
        self, every: int | None = None, *, rows: int = 256, notify: Callable[[str], None] | None = None
    ) -> None:
        self.every = None if every is None else counted("every", every)
        self.rows = counted("rows", rows)
        self.notify = notify
        self._forget()

    def on_begin(self, run: Run) -> None:
        """Take the first sample, before any training."""
        self._forget()
        began = time.perf_counter()
        self._probe = Probe(run, self.rows)
        self.seconds += time.perf_counter() - began
        self._take(run.epoch * run.steps_per_epoch)

    def on_progress(self, run: Run) -> None:
        """Take a sample if it is time by `every`."""
        step = run.epoch * run.steps_per_epoch + run.batch
        if self.every is not None and step % self.every == 0:
            self._take(step)

    def on_epoch_end(self, run: Run) -> None:
        """Take a sample if `every` is not given."""
        if self.every is None:
            self._take(run.epoch * run.steps_per_epoch)

    def on_end(self, run: Run) -> None:
        """Release the device's memory."""
        self._probe = None

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "every": self.every,
            "rows": self.rows,
            "seconds": self.seconds,
            "warnings": self.warnings,
            "samples": [asdict(sample) for sample in self.samples],
        }

    def __str__(self) -> str:
        if not self.samples:
            return "no samples yet"
        last = self.samples[-1]
        return "\n".join([title(last), *_aligned(table(last)), *self.warnings])

    def _forget(self) -> None:
        self.samples: list[DiagnosticSample] = []
        self.warnings: list[str] = []
        self.seconds = 0.0
        self._found: dict[str, str] = {}
        self._told: set[str] = set()
        self._probe = None

    def _take(self, step: int) -> None:
        if self._probe is None:
            return
        began = time.perf_counter()
        self.samples.append(self._probe.sample(step))
        self.seconds += time.perf_counter() - began
        before, self._found = self._found, dict(advice(self.samples[-1]))
        for kind, line in self._found.items():
            if kind not in self._told and (kind in before or kind not in MAY_PASS):
                self._told.add(kind)
                self.warnings.append(line)
                if self.notify is None:
                    warnings.warn(line, stacklevel=2)
                else:
                    self.notify(line)


def title(sample: DiagnosticSample) -> str:
    """Say when a sample was taken, and give the figures of the whole network."""
    return (
        f"after step {sample.step} (epoch {sample.epoch:.4g}): loss {sample.loss:.4g}, "
        f"gradient norm {short(sample.gradient_norm)}, learning rate {short(sample.learning_rate)}"
    )


def table(sample: DiagnosticSample, most: int = 24) -> tuple[list[str], list[list[str]]]:
    """Return headings and a row of texts for each layer, or for `most` layers at equal distances if there are more."""
    layers = sample.layers
    if len(layers) > most:
        layers = tuple(layers[round(place)] for place in np.linspace(0, len(layers) - 1, most))
    header = ["layer", "gradient norm", "update / weights", "saturated", "dead units"]
    rows = [
        [
            f"{layer.place} {layer.layer}",
            short(layer.gradient_norm),
            short(layer.update_ratio),
            "-" if layer.saturated is None else f"{100 * layer.saturated:.1f} %",
            "-" if layer.dead is None else f"{layer.dead} of {layer.units}",
        ]
        for layer in layers
    ]
    return header, rows


def _aligned(content: tuple[list[str], list[list[str]]]) -> list[str]:
    """Return the lines of a table, with the first column aligned left and the figures aligned right."""
    lines = [content[0], *content[1]]
    first, *others = (max(map(len, column)) for column in zip(*lines, strict=True))
    return ["  ".join([name.ljust(first), *map(str.rjust, figures, others)]) for name, *figures in lines]
